"""HDF5, with events as columns, records or rows."""

import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy

from .arrays import check_numbers, convert, Numbers, time_scale, TimeScale
from .decoder import Batch
from .hdf5_events import EventFinder
from .hdf5_heaps import check_heaps
from .hdf5_storage import check_storage, Dataset, follow, Found, H5PY_ERRORS, load_h5py
from .header import check_sensor_size
from .reader import Reader, Summary

# A row is at most this large, so that a batch of rows fits into memory.
_MAX_ROW_BYTES = 256
# Rows by which the unit of the times is decided.
_SAMPLE_ROWS = 1 << 12
_MAX_OFFSET = 1 << 61
_MAX_ATTRIBUTES = 100
_MAX_ATTRIBUTE_BYTES = 4096
# Rows of a damaged dataset without chunks that are taken for a chunk.
_UNCHUNKED_ROWS = 1 << 16
# Attributes of variable length are stored near the start or the end of a file.
_SCANNED_BYTES = 1 << 26


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
            self.location = EventFinder(self.source, self.file, self.options).find()
            for name, data in self.location.data.items():
                self._check_dataset(name, data)
            if len({len(data) for data in self.location.data.values()}) != 1:
                raise self.source.error("its datasets differ in length")
            self._attributes = self._read_attributes()
            self.metadata |= {key: value for key, value in self._attributes.items() if numpy.ndim(value) == 0}
            self._scale = self._find_scale()
        except H5PY_ERRORS as error:
            raise self.file_error(error) from None

    def _check_dataset(self, name: str, data: Dataset) -> None:
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
        found = follow(self.file, self.location.path)
        assert found is not None  # it was found before
        if _has_texts(self.file) or _has_texts(found):
            check_heaps(self.source, _SCANNED_BYTES)
        return {**_plain_attributes(self.file), **_plain_attributes(found)}

    def _find_scale(self) -> TimeScale:
        times = self._read(0, min(_SAMPLE_ROWS, self._length))["t"]
        scale = time_scale(self.options.get("time_unit", self.location.time_unit), times)
        self.metadata["time_unit"] = scale.unit
        offset = follow(self.file, "t_offset")
        if offset is None:
            offset = follow(self.file, f"{self.location.path}/t_offset")
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
        images = follow(self.file, f"{folder}/image_raw")
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
                step = min(data.chunks[0] if data.chunks else _UNCHUNKED_ROWS for data in self.location.data.values())
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


def _has_texts(found: Found) -> bool:
    """Whether a group or dataset has attributes of variable length."""
    types = (found.attrs.get_id(name).get_type() for name in itertools.islice(found.attrs, _MAX_ATTRIBUTES))
    return any(type(kind).__name__ not in ("TypeIntegerID", "TypeFloatID") for kind in types)


def _plain_attributes(found: Found) -> dict[str, Any]:
    """Return the attributes of a group or dataset but for large ones."""
    return {
        name: found.attrs[name]
        for name in itertools.islice(found.attrs, _MAX_ATTRIBUTES)
        if found.attrs.get_id(name).get_storage_size() < _MAX_ATTRIBUTE_BYTES
    }
