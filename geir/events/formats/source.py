"""Files that are read in parts, with errors that say where."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy
from numpy.typing import NDArray

from ..errors import EventFileError

Buffer: TypeAlias = bytes | memoryview

# Bytes read at a time: they fit into the cache of one core.
BLOCK_BYTES = 1 << 19
# Less, because whatever does not fill the buffer of a file is read into place, and all else is copied once more.
_BUFFER_BYTES = 1 << 16


class Block(NamedTuple):
    """Consecutive bytes of a file. The memory is reused for the next block."""

    offset: int  # byte of the file at which they begin
    data: NDArray[numpy.uint8]


class Source:
    """A regular file, opened for reading.

    Args:
        path: The file.

    Raises:
        EventFileError: If it is not a regular file.
        OSError: If it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        # Checked before it is opened, because opening a pipe waits for a writer. Folders raise
        # IsADirectoryError below.
        if not self.path.is_dir() and self.path.exists() and not self.path.is_file():
            raise self.error("not a regular file; events are read from files that can be read in any order")
        self.file = io.BufferedReader(io.FileIO(self.path), _BUFFER_BYTES)
        self.size = os.fstat(self.file.fileno()).st_size

    def error(self, reason: str, offset: int | None = None) -> EventFileError:
        """Make an error about this file, for the caller to raise."""
        return EventFileError(self.path, offset, reason)

    def read(self, offset: int, size: int, content: str) -> bytes:
        """Read exactly `size` bytes from `offset`.

        Args:
            offset: Byte of the file.
            size: Number of bytes; any integer, as files state it.
            content: Description of the bytes, for error messages.

        Raises:
            EventFileError: If the file ends before, or `size` is negative.
        """
        left = self.size - offset
        if not 0 <= size <= left:
            raise self.error(f"{content} is truncated: expected {size:,} bytes, got {max(0, left):,}", offset)
        if self.file.tell() != offset:
            self.file.seek(offset)
        data = self.file.read(size)
        if len(data) < size:
            raise self.error(f"{content} is truncated: the file shrank while it was read", offset)
        return data

    def read_into(self, offset: int, buffer: NDArray[numpy.uint8]) -> int:
        """Fill a buffer from `offset` on, as far as the file goes, and return the number of bytes."""
        self.file.seek(offset)
        return self.file.readinto(buffer.data)

    def blocks(self, start: int, size: int) -> Iterator[Block]:
        """Read the file from byte `start` to its end, at most `size` bytes at a time.

        Raises:
            EventFileError: If the file shrinks meanwhile.
        """
        buffer = numpy.empty(size, numpy.uint8)
        view = buffer.data
        while start < self.size:
            self.file.seek(start)
            filled = self.file.readinto(view)
            if not filled:
                raise self.error("the file shrank while it was read", start)
            yield Block(start, buffer[:filled])
            start += filled

    def close(self) -> None:
        """Close the file."""
        self.file.close()
