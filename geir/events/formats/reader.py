"""What the readers of all formats share."""

import io
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy
import torch
from torch import Tensor

from ..._runtime import memory
from ..errors import EventFileError
from ..store import COLUMNS, Events
from .decode import READ, UNTIMED, WRITTEN, WRONG, Array, Columns, decode, new_state

Parts = Iterable[Events]
Target = IO[bytes]

# Bytes read at a time: they stay in a core's own cache.
BLOCK = 1 << 19


class Source:
    """A file from which parts are read, and which knows its size."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        # To open a pipe would wait for whoever writes to it.
        if not self.path.is_dir() and self.path.exists() and not self.path.is_file():
            raise self.error("this is not a file, whose parts can be read in any order")
        self.file = io.BufferedReader(io.FileIO(self.path), BLOCK)
        self.size = os.fstat(self.file.fileno()).st_size

    def error(self, reason: str, offset: int | None = None) -> EventFileError:
        """To be raised."""
        return EventFileError(self.path, offset, reason)

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Bytes from a place, all of them.

        Raises:
            EventFileError: If the file ends before.
        """
        if not 0 <= size <= self.size - offset:
            raise self.error(
                f"{what} is cut short: it should have {size:,} bytes, and {max(0, self.size - offset):,} are left",
                offset,
            )
        if self.file.tell() != offset:
            self.file.seek(offset)
        data = self.file.read(size)
        if len(data) < size:
            raise self.error(f"{what} is cut short: the file became shorter while it was read", offset)
        return data

    def blocks(self, start: int, size: int) -> Iterator[tuple[int, Array]]:
        """What follows a place, in parts of at most `size` bytes, whose memory is used again, and where they begin."""
        buffer = numpy.empty(size, numpy.uint8)
        view = memoryview(buffer)  # pyright: ignore[reportArgumentType]  (a NumPy array is a buffer)
        while start < self.size:
            self.file.seek(start)
            filled = self.file.readinto(view)
            if not filled:
                raise self.error("the file became shorter while it was read", start)
            yield start, buffer[:filled]
            start += filled


def new_columns(size: int) -> Columns:
    """Room for events, in one piece."""
    widths = [dtype.itemsize for dtype in COLUMNS.values()]
    pieces = memory.empty([size * sum(widths)], torch.empty(0), torch.uint8).split([size * width for width in widths])
    t, x, y, p = (piece.view(dtype) for piece, dtype in zip(pieces, COLUMNS.values(), strict=True))
    return t, x, y, p


def part(columns: Columns, first: int, last: int | None = None) -> Columns:
    """Some of the events."""
    t, x, y, p = (column[first:last] for column in columns)
    return t, x, y, p


class Reader(ABC):
    """An opened file of one format.

    Args:
        source: The file.
        sensor_size: Width and height, where the caller knows them.

    Raises:
        EventFileError: If the file is not what it should be.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    sensor_size: tuple[int, int]
    metadata: dict[str, Any]

    def __init__(self, source: Source, sensor_size: tuple[int, int] | None):
        self.source, self.metadata = source, {}
        self.open()
        self.sensor_size = sensor_size or self.stated_size() or self._no_size()

    def _no_size(self) -> tuple[int, int]:
        raise self.source.error(
            "the file does not say how large its sensor was; say it with sensor_size=(width, height)"
        )

    @classmethod
    @abstractmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        """Whether a file that begins so and is named so is of this format."""

    @abstractmethod
    def open(self) -> None:
        """Read what comes before the events."""

    @abstractmethod
    def stated_size(self) -> tuple[int, int] | None:
        """The width and height that the file states."""

    @abstractmethod
    def batches(self, size: int) -> Iterator[tuple[int | None, Columns]]:
        """The events, at most `size` at a time, and at which byte of the file they begin: those that are sound before an error is raised."""

    def summary(self) -> dict[str, Any]:
        """What can be said about the events without reading all of them: `events`, `start`, `stop`."""
        return {}

    def close(self) -> None:
        """Let go of the file."""
        self.source.file.close()


class RecordReader(Reader):
    """A format of records that are of one size and follow one another to the end of the file."""

    decoder: str
    record: ClassVar[int]
    # Events for which a record needs room.
    most: ClassVar[int] = 1
    # Where the records begin, and what is added to their times.
    start: int = 0
    first_time: int = 0

    def batches(self, size: int) -> Iterator[tuple[int | None, Columns]]:
        state, size = new_state(), max(size, self.most)
        columns, filled, begin = new_columns(size), 0, self.start
        whole = self.start + (self.source.size - self.start) // self.record * self.record
        for offset, block in self.source.blocks(self.start, BLOCK // self.record * self.record):
            at, count = 0, len(block) // self.record
            while at < count:
                decode(self.decoder, block[at * self.record :], count - at, part(columns, filled), state)
                at += int(state[READ])
                filled += int(state[WRITTEN])
                if state[WRONG]:
                    yield begin, self._timed(part(columns, 0, filled))
                    raise self.source.error(f"this is no record of {self.name}", offset + at * self.record)
                if at < count:
                    yield begin, self._timed(part(columns, 0, filled))
                    columns, filled, begin = new_columns(size), 0, offset + at * self.record
        if filled:
            yield begin, self._timed(part(columns, 0, filled))
        if state[UNTIMED]:
            text = f"{self.source.path}: {int(state[UNTIMED]):,} events before the first word of time are left out; nobody knows when they were."
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        if whole < self.source.size:
            raise self.source.error(
                f"the last record is cut short: it has {self.source.size - whole} of {self.record} bytes", whole
            )

    def _timed(self, columns: Columns) -> Columns:
        if self.first_time:
            columns[0].add_(self.first_time)
        return columns


def text_header(source: Source, limit: int = 1 << 16) -> tuple[dict[str, str], int]:
    """Lines that begin with %, as Prophesee's formats have them, by their first words; and where they end.

    Raises:
        EventFileError: If they do not end.
    """
    head = source.read(0, min(limit, source.size), "the header")
    lines, at = {}, 0
    while head[at : at + 1] == b"%":
        end = head.find(b"\n", at)
        if end < 0:
            raise source.error("a line of the header does not end", at)
        key, _, value = head[at + 1 : end].decode("latin-1").strip().partition(" ")
        at = end + 1
        if key == "end":
            break
        lines[key] = value.strip()
    return lines, at


def whole_number(source: Source, header: Mapping[str, str], key: str, default: int = 0) -> int:
    """A number that a header states.

    Raises:
        EventFileError: If it is none, or none that can be.
    """
    text = header.get(key, str(default))
    try:
        value = int(text) if len(text) < 20 else None
    except ValueError:
        value = None
    if value is None or abs(value) >= 1 << 61:
        raise source.error(f"the header's {key} should be a whole number, got {text[:40]!r}")
    return value


def checked_size(source: Source, width: int, height: int) -> tuple[int, int]:
    """A size that a file states.

    Raises:
        EventFileError: If no sensor has it.
    """
    if not (0 < width <= 1 << 15 and 0 < height <= 1 << 15):
        raise source.error(f"no sensor has {width}x{height} pixels")
    return width, height


def as_column(source: Source, name: str, values: numpy.ndarray) -> Tensor:
    """Numbers that a file holds as an array, as a column.

    Raises:
        EventFileError: If they are not of a kind that it can hold, or too large.
    """
    dtype = COLUMNS[name]
    if values.dtype.kind not in "iub":
        raise source.error(f"column {name} should be of whole numbers, got {values.dtype}")
    limits = torch.iinfo(dtype)
    if len(values) and not limits.min <= int(values.min()) <= int(values.max()) <= limits.max:
        raise source.error(f"column {name} should fit {dtype}, got {int(values.min())} to {int(values.max())}")
    column = memory.empty([len(values)], torch.empty(0), dtype)
    column.numpy()[:] = values
    return column
