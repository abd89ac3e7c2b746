"""HDF5, with events as columns, records or rows."""

import importlib
import importlib.util
import itertools
import math
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy

from ..store import COLUMNS
from .arrays import check_numbers, convert, Numbers, time_scale, TimeScale
from .decoder import Batch
from .fields import FIELD_NAMES, find_fields, parse_columns, TimeUnit
from .hdf5_heaps import check_heaps
from .header import check_sensor_size
from .reader import BinaryFile, EventChunks, Reader, Summary
from .source import Source

# A chunk is decompressed as a whole.
_MAX_CHUNK_BYTES = 1 << 28
# A row is at most this large, so that a batch of rows fits into memory.
_MAX_ROW_BYTES = 256
_WRITTEN_CHUNK_EVENTS = 1 << 16
# Rows by which the unit of the times is decided.
_SAMPLE_ROWS = 1 << 12
_MAX_OFFSET = 1 << 61
_MAX_ATTRIBUTES = 100
# Attributes of variable length are stored near the start or the end of a file.
_SCANNED_BYTES = 1 << 26
# Errors that h5py raises on invalid files.
H5PY_ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, AttributeError)

# Objects of h5py, which has no types.
_Group = Any
_Dataset = Any
# A group, a dataset or None.
_Found = Any


def load_h5py() -> ModuleType:
    """Import h5py.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "HDF5 files are read and written with h5py; install it: pip install 'geir[events]'"
        ) from error
    return h5py


# Names of filters that the HDF5 library does not contain, by their registered numbers.
_FILTERS = {
    307: "bzip2",
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32026: "Blosc2",
    0x8ECF: "Prophesee's ECF",
}
_ECF = 0x8ECF
# Groups are searched for events this deep, and this many members at most.
_MAX_DEPTH = 4
_MAX_MEMBERS = 2000


def hard_member(group: _Group, name: str) -> _Found:
    """Return a member of a group, or None if it is a link, which may lead to another file."""
    link = group.get(name, getlink=True)
    return group[name] if type(link).__name__ == "HardLink" else None


def check_storage(source: Source, label: str, data: _Dataset) -> None:
    """Check that a dataset is stored in the file itself, in chunks of a reasonable size, and readable.

    Raises:
        EventFileError: If it is not; a filter that is missing is named.
    """
    h5py = load_h5py()
    if data.external or data.is_virtual:
        raise source.error(f"{label} is stored in another file")
    if data.chunks and math.prod(data.chunks) * data.dtype.itemsize > _MAX_CHUNK_BYTES:
        raise source.error(f"{label} has chunks of {math.prod(data.chunks):,} numbers, which are too large")
    plist = data.id.get_create_plist()
    codes = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
    missing = [code for code in codes if not h5py.h5z.filter_avail(code)]
    if missing and importlib.util.find_spec("hdf5plugin"):
        # The import registers its filters.
        importlib.import_module("hdf5plugin")
        missing = [code for code in missing if not h5py.h5z.filter_avail(code)]
    if not missing or not len(data):
        return
    try:
        # Filters may be optional; then chunks may do without them.
        data[:1]
    except OSError:
        code = missing[0]
        cure = "pip install hdf5plugin" if code in _FILTERS else "install its plugin and set HDF5_PLUGIN_PATH"
        if code == _ECF:
            cure = "install Prophesee's hdf5_ecf plugin, a part of OpenEB, and set HDF5_PLUGIN_PATH to its folder"
        raise source.error(
            f"{label} is compressed with {_FILTERS.get(code, 'an unknown filter')} (HDF5 filter {code}), "
            f"which is not installed: {cure}"
        ) from None


class Location(NamedTuple):
    """Where a file has events.

    Attributes:
        path: Path of the group or dataset.
        data: The dataset of each column, or one dataset for all of them.
        fields: For one dataset, its field or column for each of t, x, y and p.
        time_unit: Unit of the times, if the layout states it.
    """

    path: str
    data: dict[str, _Dataset]
    fields: dict[str, str | int] | None
    time_unit: TimeUnit | None


class Hdf5(Reader):
    """Events in the layouts of several programs.

    - Datasets t, x, y and p, with any of the names of `FIELD_NAMES`, in the group `events` or another;
      DSEC's `t_offset` is added.
    - A dataset of records with these fields, such as Prophesee's `CD/events`.
    - A dataset of four columns: MVSEC's `davis/left/events`, or any other with the option `columns`.

    If there are several, the option `stream` is the path of one of them. The sensor size is stated by
    the attribute `sensor_size` (width, height) of the group or the file, Prophesee's `geometry`,
    event_utils' `sensor_resolution` (height, width), or the images beside MVSEC's events.
    """

    name, suffixes = "hdf5", (".h5", ".hdf5")
    accepts = ("stream", "columns", "time_unit")

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return head.startswith(b"\x89HDF\r\n\x1a\n")

    def open(self) -> None:
        self.h5py = load_h5py()
        try:
            self.file = self.h5py.File(self.source.file, "r")
            self.location = self._find_events()
            for name, data in self.location.data.items():
                self._check_dataset(name, data)
            if len({len(data) for data in self.location.data.values()}) != 1:
                raise self.source.error("its datasets differ in length")
            self._attributes = self._read_attributes()
            self.metadata |= {key: value for key, value in self._attributes.items() if numpy.ndim(value) == 0}
            self._scale = self._find_scale()
        except H5PY_ERRORS as error:
            raise self.file_error(error) from None

    def _follow(self, path: str) -> _Found:
        """Return the object at a path, or None if there is none or a part of the path is a link."""
        found: _Found = self.file
        for part in filter(None, path.split("/")):
            found = hard_member(found, part) if isinstance(found, self.h5py.Group) else None
        return found

    def _find_events(self) -> Location:
        """Find the events: at the path that is given, in or at `events`, at the root, or anywhere."""
        if "stream" in self.options:
            path = str(self.options["stream"])
            found = self._follow(path)
            location = None if found is None else self._events_at(path, found)
            if location is None:
                raise self.source.error(f"stream={path!r} has no events; {self._describe_locations()}")
            return location
        for path in ("events", ""):
            found = self._follow(path)
            location = None if found is None else self._events_at(path, found)
            if location:
                return location
        if isinstance(self._follow("spikes/units"), self.h5py.Dataset):
            raise self.source.error("it has spike trains instead of events; read it with geir.events.SpikeTrains")
        locations = self._search()
        if len(locations) != 1:
            raise self.source.error(self._describe_locations())
        return locations[0]

    def _describe_locations(self) -> str:
        paths = [location.path for location in self._search()]
        if not paths:
            return "it has no dataset events/t, or other events that geir knows"
        return "events are at " + ", ".join(f"stream={path!r}" for path in paths)

    def _search(self) -> list[Location]:
        """Find all groups and datasets that contain events."""
        locations: list[Location] = []
        waiting: list[tuple[str, _Group, int]] = [("", self.file, 0)]
        left = _MAX_MEMBERS
        while waiting:
            path, group, depth = waiting.pop(0)
            for name in itertools.islice(group, left):
                left -= 1
                found = hard_member(group, name)
                if found is None:
                    continue
                below = f"{path}/{name}".lstrip("/")
                location = self._events_at(below, found)
                if location:
                    locations.append(location)
                elif isinstance(found, self.h5py.Group) and depth + 1 < _MAX_DEPTH:
                    waiting.append((below, found, depth + 1))
        return locations

    def _events_at(self, path: str, found: _Found) -> Location | None:
        """Return the events of a group or dataset, or None if it has none."""
        if isinstance(found, self.h5py.Group):
            data = {name: hard_member(found, name) for name in itertools.islice(found, _MAX_MEMBERS) if _is_field(name)}
            names = [name for name, member in data.items() if isinstance(member, self.h5py.Dataset)]
            fields = find_fields(names)
            if fields is None:
                return None
            unit = fields.time_unit
            if unit is None and names[fields.t] == "ts" and data["ts"].dtype.kind == "f":
                unit = "s"  # rpg's and event_utils' layout
            columns = {column: data[names[index]] for column, index in zip("txyp", fields.indices(), strict=True)}
            return Location(path, columns, None, unit)
        if not isinstance(found, self.h5py.Dataset):
            return None
        if found.dtype.names:
            fields = find_fields(found.dtype.names)
            if fields is None or found.ndim != 1:
                return None
            by_name: dict[str, str | int] = {
                column: found.dtype.names[index] for column, index in zip("txyp", fields.indices(), strict=True)
            }
            return Location(path, {"events": found}, by_name, fields.time_unit)
        if found.ndim != 2 or (path.rpartition("/")[2] != "events" and path != self.options.get("stream")):
            return None
        is_mvsec = bool(re.fullmatch("davis/(left|right)/events", path.strip("/"))) and found.shape[1] == 4
        if "columns" in self.options:
            fields = parse_columns(self.options["columns"])
        elif is_mvsec:
            fields = parse_columns("xytp")
        else:
            raise self.source.error(
                f"{path} has {found.shape[1]} columns without names; "
                'pass columns="txyp", in the order of the file, with _ for columns to skip'
            )
        if max(fields.indices()) >= found.shape[1]:
            raise self.source.error(f"{path} has only {found.shape[1]} columns")
        by_index: dict[str, str | int] = dict(zip("txyp", fields.indices(), strict=True))
        return Location(path, {"events": found}, by_index, "s" if is_mvsec else None)

    def _check_dataset(self, name: str, data: _Dataset) -> None:
        label = self.location.path if self.location.fields else f"{self.location.path or 'events'}/{name}"
        if self.location.fields is None and data.ndim != 1:
            raise self.source.error(f"{label} must be a one-dimensional dataset, got shape {data.shape}")
        dtypes = {name: data.dtype}
        if self.location.fields and data.dtype.names:
            dtypes = {column: data.dtype[field] for column, field in self.location.fields.items()}
        for column, dtype in dtypes.items():
            check_numbers(self.source, column, dtype)
        row_bytes = data.dtype.itemsize * math.prod(data.shape[1:])
        if row_bytes > _MAX_ROW_BYTES:
            raise self.source.error(f"{label} has rows of {row_bytes:,} bytes, which are too large")
        check_storage(self.source, label, data)

    def _read_attributes(self) -> dict[str, Any]:
        """Return the attributes of the file and of the events; those of the events take precedence."""
        found = self._follow(self.location.path)
        assert found is not None  # it was found before
        if _has_texts(self.file) or _has_texts(found):
            check_heaps(self.source, _SCANNED_BYTES)
        return {**_plain_attributes(self.file), **_plain_attributes(found)}

    def _find_scale(self) -> TimeScale:
        times = self._read(0, min(_SAMPLE_ROWS, self._length))["t"]
        scale = time_scale(self.options.get("time_unit", self.location.time_unit), times)
        self.metadata["time_unit"] = scale.unit
        offset = self._follow("t_offset")
        if offset is None:
            offset = self._follow(f"{self.location.path}/t_offset")
        if not isinstance(offset, self.h5py.Dataset):
            return scale
        if offset.size != 1 or offset.dtype.kind not in "iu" or abs(int(offset[()].item())) > _MAX_OFFSET:
            raise self.source.error("t_offset must be an integer in microseconds")
        return scale._replace(offset=int(offset[()].item()))

    @property
    def _length(self) -> int:
        return len(next(iter(self.location.data.values())))

    def stated_size(self) -> tuple[int, int] | None:
        for key in ("sensor_size", "sensor_resolution", "geometry"):
            if key not in self._attributes:
                continue
            value = self._attributes[key]
            if key == "geometry":
                text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
                size = numpy.array([int(side) for side in re.findall(r"\d{1,5}", text)])
            else:
                size = numpy.asarray(value)
            if key == "sensor_resolution":
                size = size[:2][::-1] if size.ndim == 1 else size
            if size.shape != (2,) or size.dtype.kind not in "iu":
                raise self.source.error(f"{key} must be two integers, got {numpy.asarray(value).tolist()!r}")
            return check_sensor_size(self.source, *size.tolist())
        folder, _, name = self.location.path.rpartition("/")
        if name != "events" or not folder:
            return None
        images = self._follow(f"{folder}/image_raw")
        if isinstance(images, self.h5py.Dataset) and images.ndim == 3:
            return check_sensor_size(self.source, images.shape[2], images.shape[1])
        return None

    def _read(self, first: int, last: int) -> dict[str, Numbers]:
        """Read rows `first` to `last` (exclusive)."""
        fields = self.location.fields
        if fields is None:
            return {name: data[first:last] for name, data in self.location.data.items()}
        rows = self.location.data["events"][first:last]
        return {column: rows[key] if isinstance(key, str) else rows[:, key] for column, key in fields.items()}

    def batches(self, size: int) -> Iterator[Batch]:
        first, length = 0, self._length
        while first < length:
            last = min(first + size, length)
            try:
                arrays = self._read(first, last)
            except H5PY_ERRORS as error:
                step = min((data.chunks[0] if data.chunks else 1 << 16) for data in self.location.data.values())
                if last - first == 1 or (first // step == (last - 1) // step and not self._chunks_differ()):
                    raise self.file_error(error) from None
                # Only a part is damaged: read up to the end of a chunk, or half of what is left of it.
                end = (first // step + 1) * step
                size = end - first if end < last else (last - first) // 2
                continue
            columns, unfit = convert(self.source, arrays, self._scale, first)
            if columns.size:
                yield Batch(None, columns, unfit)
            first = last

    def _chunks_differ(self) -> bool:
        """Whether the chunks of the datasets do not begin at the same rows."""
        return len({data.chunks for data in self.location.data.values()}) > 1

    def summary(self) -> Summary:
        return {"events": self._length}

    def close(self) -> None:
        self.file.close()
        super().close()


def _is_field(name: str) -> bool:
    """Whether a name is that of t, x, y or p."""
    return any(name.lower().startswith(known) for names in FIELD_NAMES.values() for known in names)


def _has_texts(found: _Found) -> bool:
    """Whether a group or dataset has attributes of variable length."""
    types = (found.attrs.get_id(name).get_type() for name in itertools.islice(found.attrs, _MAX_ATTRIBUTES))
    return any(type(kind).__name__ not in ("TypeIntegerID", "TypeFloatID") for kind in types)


def _plain_attributes(found: _Found) -> dict[str, Any]:
    """Return the attributes of a group or dataset but for large ones."""
    return {
        name: found.attrs[name]
        for name in itertools.islice(found.attrs, _MAX_ATTRIBUTES)
        if found.attrs.get_id(name).get_storage_size() < 4096
    }


def write(file: BinaryFile, chunks: EventChunks, sensor_size: tuple[int, int], compression: str | None = None) -> None:
    """Write events, with checksums.

    Args:
        file: Opened for reading and writing.
        chunks: The events.
        sensor_size: Width and height in pixels.
        compression: Name of a compression of h5py's.

    Raises:
        ImportError: If h5py is not installed.
    """
    with load_h5py().File(file, "w") as target:
        group = target.create_group("events")
        group.attrs["sensor_size"] = sensor_size
        for name, dtype in COLUMNS.items():
            group.create_dataset(
                name,
                (0,),
                str(dtype).removeprefix("torch."),
                maxshape=(None,),
                chunks=(_WRITTEN_CHUNK_EVENTS,),
                compression=compression,
                fletcher32=True,
            )
        count = 0
        for events in chunks:
            for name, column in zip(COLUMNS, events.columns(), strict=True):
                group[name].resize((count + len(events),))
                group[name][count:] = column.numpy()
            count += len(events)
