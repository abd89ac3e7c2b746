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
# Bytes of a file that a window holds, unless one part is larger.
_WINDOW_BYTES = 1 << 18


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

    def read_at_most(self, offset: int, size: int) -> bytes:
        """Read `size` bytes from `offset`, or fewer if the file ends before."""
        self.file.seek(offset)
        return self.file.read(size)

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


class Window:
    """Reads small parts of a file that follow one another, from one large piece of it.

    The parts share the memory of the piece, which is not reused for the next one.

    Args:
        source: The file.
    """

    def __init__(self, source: Source):
        self._source = source
        self._piece = memoryview(b"")
        self._begin = 0

    def read(self, offset: int, size: int, content: str, following: int = 0) -> memoryview:
        """Do the same as `Source.read`.

        Args:
            offset: Byte of the file.
            size: Number of bytes.
            content: Description of the bytes, for error messages.
            following: Bytes that will be read after them.

        Raises:
            EventFileError: If the file ends before, or `size` is negative.
        """
        first = offset - self._begin
        if not 0 <= first <= first + size <= len(self._piece):
            data = b""
            if 0 <= size <= self._source.size - offset:
                data = self._source.read_at_most(offset, max(size + following, _WINDOW_BYTES))
            if len(data) < size or size < 0:
                data = self._source.read(offset, size, content)  # raises the error
            self._piece, self._begin, first = memoryview(data), offset, 0
        return self._piece[first : first + size]
