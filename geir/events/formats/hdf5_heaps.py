"""The heaps of HDF5 in which values of variable length are stored: a check before they are read."""

import mmap
import struct
from typing import Protocol

_SIGNATURE = b"GCOL\x01\0\0\0"
_HEAD_BYTES = 16
# Index, reference count, and size of an object.
_OBJECT = struct.Struct("<HH4xQ")


class _File(Protocol):
    def fileno(self) -> int: ...


class DamagedFile(Protocol):
    """A file and the error to raise if it is damaged."""

    @property
    def file(self) -> _File: ...

    def error(self, reason: str, offset: int | None = None) -> Exception: ...


def check_heaps(source: DamagedFile, scanned_bytes: int | None = None) -> None:
    """Check the chains of objects in global heaps, because the HDF5 library does not end on some damaged ones.

    Args:
        source: The file.
        scanned_bytes: Bytes from the start and from the end of the file in which heaps are searched;
            default is everywhere.

    Raises:
        Exception: The error of the file, if a heap is damaged.
    """
    with mmap.mmap(source.file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        gap = None if scanned_bytes is None else (scanned_bytes, len(data) - scanned_bytes)
        start = _find(data, 0, gap)
        while start >= 0:
            (size,) = struct.unpack("<Q", data[start + 8 : start + 16].ljust(8, b"\0"))
            end = start + size
            if size < _HEAD_BYTES or end > len(data):
                raise source.error("the file is damaged: invalid size of a heap", start)
            position = start + _HEAD_BYTES
            while position + _OBJECT.size <= end:
                index, _, object_bytes = _OBJECT.unpack_from(data, position)
                # The size of the free space, which has the index 0, contains its head.
                used = object_bytes if index == 0 else _OBJECT.size + -(-object_bytes // 8) * 8
                if used < _OBJECT.size or position + used > end:
                    raise source.error("the file is damaged: invalid size of an object in a heap", position)
                position += used
            start = _find(data, end, gap)


def _find(data: mmap.mmap, start: int, gap: tuple[int, int] | None) -> int:
    """Return the position of the next heap, or -1, without a search in the gap."""
    if gap is None or gap[0] >= gap[1]:
        return data.find(_SIGNATURE, start)
    found = data.find(_SIGNATURE, start, gap[0]) if start < gap[0] else -1
    return found if found >= 0 else data.find(_SIGNATURE, max(start, gap[1]))
