"""HDF5, with columns in a group `events`."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy

from ..store import ALIASES, COLUMNS
from .columns import EventColumns, to_column
from .decoder import Batch
from .header import check_sensor_size
from .reader import BinaryFile, EventChunks, Reader, Summary

# A chunk is decompressed as a whole.
_MAX_CHUNK_BYTES = 1 << 28
_WRITTEN_CHUNK_EVENTS = 1 << 16
# Errors that h5py raises on invalid files.
_H5PY_ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, AttributeError)

# Objects of h5py, which has no types.
_Group = Any
_Dataset = Any


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "HDF5 files are read and written with h5py; install it: pip install 'geir[events]'"
        ) from error
    return h5py


class Hdf5(Reader):
    """Datasets `events/t`, `x`, `y` and `p`, or the same at the root.

    The attribute `sensor_size` (width, height) of their group states the sensor size.
    """

    name, suffixes = "hdf5", (".h5", ".hdf5")

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return head.startswith(b"\x89HDF\r\n\x1a\n")

    def open(self) -> None:
        h5py = _h5py()
        try:
            self.file = h5py.File(self.source.file, "r")
            has_group = isinstance(self._member(self.file, "events"), h5py.Group)
            group = self.file["events"] if has_group else self.file
            self._columns = {column: self._find_column(h5py, group, column) for column in COLUMNS}
            self._attributes = dict(group.attrs)
            if len({len(data) for data in self._columns.values()}) != 1:
                raise self.source.error("its datasets differ in length")
            self.metadata |= {key: value for key, value in self._attributes.items() if numpy.ndim(value) == 0}
        except _H5PY_ERRORS as error:
            raise self.file_error(error) from None

    def _member(self, group: _Group, name: str) -> _Group | _Dataset | None:
        """Return a member of a group, or None if it is a link, which may lead to another file."""
        link = group.get(name, getlink=True)
        return group[name] if type(link).__name__ == "HardLink" else None

    def _find_column(self, h5py: ModuleType, group: _Group, column: str) -> _Dataset:
        members = (self._member(group, alias) for alias in ALIASES[column])
        data = next((member for member in members if member is not None), None)
        if data is None:
            raise self.source.error(f"it has no dataset events/{column}")
        if not isinstance(data, h5py.Dataset) or data.ndim != 1 or data.dtype.kind not in "iub":
            raise self.source.error(f"events/{column} must be a one-dimensional dataset of integers")
        if data.external or data.is_virtual:
            raise self.source.error(f"events/{column} is stored in another file")
        if data.chunks and data.chunks[0] * data.dtype.itemsize > _MAX_CHUNK_BYTES:
            raise self.source.error(f"events/{column} has chunks of {data.chunks[0]:,} numbers, which are too large")
        return data

    def stated_size(self) -> tuple[int, int] | None:
        if "sensor_size" not in self._attributes:
            return None
        size = numpy.asarray(self._attributes["sensor_size"])
        if size.shape != (2,) or size.dtype.kind not in "iu":
            raise self.source.error(f"sensor_size must be two integers, got {size.tolist()!r}")
        return check_sensor_size(self.source, *size.tolist())

    def batches(self, size: int) -> Iterator[Batch]:
        try:
            for first in range(0, len(self._columns["t"]), size):
                columns = [
                    to_column(self.source, name, data[first : first + size]) for name, data in self._columns.items()
                ]
                yield Batch(None, EventColumns(*columns))
        except _H5PY_ERRORS as error:
            raise self.file_error(error) from None

    def summary(self) -> Summary:
        return {"events": len(self._columns["t"])}

    def close(self) -> None:
        self.file.close()
        super().close()


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
    with _h5py().File(file, "w") as target:
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
