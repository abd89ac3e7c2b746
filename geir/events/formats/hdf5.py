"""HDF5, with columns in a group `events`."""

from collections.abc import Iterator
from typing import Any

import numpy

from ..store import ALIASES, COLUMNS
from .decode import Columns
from .reader import Parts, Reader, Target, as_column, checked_size

_NEEDED = "HDF5 files are read and written with h5py; install it: pip install 'geir[events]'"
# A chunk is decompressed as a whole.
_LARGEST_CHUNK = 1 << 28


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(_NEEDED) from error
    return h5py


class Hdf5(Reader):
    """Datasets `events/t`, `x`, `y` and `p`, or these at the root; the sensor's size in the attribute `sensor_size` (width, height) of the group."""

    name, suffixes = "hdf5", (".h5", ".hdf5")

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return head.startswith(b"\x89HDF\r\n\x1a\n")

    def open(self) -> None:
        h5py = _h5py()
        try:
            self.file = h5py.File(self.source.file, "r")
            group = self.file
            if isinstance(self._own(self.file, "events"), h5py.Group):
                group = self.file["events"]
            self._columns = {}
            for column, aliases in ALIASES.items():
                found = [data for alias in aliases if (data := self._own(group, alias)) is not None]
                if not found:
                    raise self.source.error(f"it has no dataset events/{column}")
                self._columns[column] = self._checked(h5py, column, found[0])
            self._attributes = dict(group.attrs)
            if len({len(data) for data in self._columns.values()}) != 1:
                raise self.source.error("its datasets differ in length")
            self.metadata = {key: value for key, value in self._attributes.items() if numpy.ndim(value) == 0}
        except _DAMAGED as error:
            raise self._error(error) from None

    def _own(self, group: Any, name: str) -> Any:
        """What the file itself has under a name; a link can lead to another file."""
        link = group.get(name, getlink=True)
        return group[name] if type(link).__name__ == "HardLink" else None

    def _checked(self, h5py: Any, column: str, data: Any) -> Any:
        if not isinstance(data, h5py.Dataset) or data.ndim != 1 or data.dtype.kind not in "iub":
            raise self.source.error(f"events/{column} should be one row of whole numbers")
        if data.external or data.is_virtual:
            raise self.source.error(f"events/{column} lies in another file")
        if data.chunks and data.chunks[0] * data.dtype.itemsize > _LARGEST_CHUNK:
            raise self.source.error(f"events/{column} has chunks of {data.chunks[0]:,} numbers, which are too large")
        return data

    def _error(self, error: Exception) -> Exception:
        own = error.__class__.__module__.startswith("geir")
        return error if own else self.source.error(f"the file is damaged: {error}")

    def stated_size(self) -> tuple[int, int] | None:
        if "sensor_size" not in self._attributes:
            return None
        size = numpy.asarray(self._attributes["sensor_size"])
        if size.shape != (2,) or size.dtype.kind not in "iu":
            raise self.source.error(f"sensor_size should be two whole numbers, got {size.tolist()!r}")
        return checked_size(self.source, *size.tolist())

    def batches(self, size: int) -> Iterator[tuple[int | None, Columns]]:
        try:
            for first in range(0, len(self._columns["t"]), size):
                t, x, y, p = (
                    as_column(self.source, name, self._columns[name][first : first + size]) for name in COLUMNS
                )
                yield None, (t, x, y, p)
        except _DAMAGED as error:
            raise self._error(error) from None

    def summary(self) -> dict[str, Any]:
        return {"events": len(self._columns["t"])}

    def close(self) -> None:
        self.file.close()
        super().close()


# What a damaged file makes h5py raise.
_DAMAGED = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, AttributeError)


def write(file: Target, parts: Parts, sensor_size: tuple[int, int], compression: str | None = None) -> None:
    """Write events, with sums that tell damage, and with a compression of h5py's if wanted."""
    with _h5py().File(file, "w") as to:
        group = to.create_group("events")
        group.attrs["sensor_size"] = sensor_size
        for name, dtype in COLUMNS.items():
            kind = str(dtype).removeprefix("torch.")
            group.create_dataset(
                name, (0,), kind, maxshape=(None,), chunks=(1 << 16,), compression=compression, fletcher32=True
            )
        count = 0
        for part in parts:
            for name, column in zip(COLUMNS, part.columns(), strict=True):
                group[name].resize((count + len(part),))
                group[name][count:] = column.numpy()
            count += len(part)
