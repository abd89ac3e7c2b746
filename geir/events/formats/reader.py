"""Base classes of the readers of all formats."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar, IO, TypeAlias, TypedDict

from ..errors import EventFileError
from ..store import Events
from .columns import EventCheck
from .decoder import Batch, decode_blocks, Decoder, DecoderState
from .fields import ReadOptions
from .source import Block, BLOCK_BYTES, Source

# What writers take: the events of a file in order, and the file.
EventChunks: TypeAlias = Iterable[Events]
BinaryFile: TypeAlias = IO[bytes]


class Summary(TypedDict, total=False):
    """Number of events, and times of the first and last one in microseconds, as a file states them."""

    events: int
    start: int
    stop: int


class Reader(ABC):
    """An opened file of one format.

    Args:
        source: The file.
        sensor_size: Width and height in pixels; default is what the file states.
        options: Options of `ReadOptions`, only those that the format `accepts`.

    Attributes:
        name: Name of the format.
        suffixes: Suffixes of its files, in lower case.
        accepts: Names of the options that the format has.
        options: The options given.
        sensor_size: Width and height of the sensor in pixels.
        metadata: What else the file states.
        skips_invalid: Whether `batches` leaves out records that are invalid, where it can, and goes on.
        invalid_records: Number of records that it has left out.

    Raises:
        EventFileError: If the head of the file is invalid, or neither the file nor the caller
            states the sensor size.
        ValueError: If the format does not have one of the options.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    accepts: ClassVar[tuple[str, ...]] = ()

    sensor_size: tuple[int, int]
    metadata: dict[str, object]

    def __init__(self, source: Source, sensor_size: tuple[int, int] | None, options: ReadOptions | None = None):
        self.source = source
        self.options: ReadOptions = options or {}
        for option in self.options:
            if option not in self.accepts:
                raise ValueError(f"open_events: {option} does not apply to files of the format {self.name}.")
        self.metadata = {}
        self.skips_invalid = False
        self.invalid_records = 0
        self.open()
        self.sensor_size = sensor_size or self.stated_size() or self._require_size()

    def _require_size(self) -> tuple[int, int]:
        raise self.source.error("the file does not state its sensor size; pass sensor_size=(width, height)")

    @classmethod
    @abstractmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        """Whether a file with these first bytes and this suffix is of the format."""

    @abstractmethod
    def open(self) -> None:
        """Read everything before the events."""

    @abstractmethod
    def stated_size(self) -> tuple[int, int] | None:
        """Return width and height as the file states them, or None."""

    @abstractmethod
    def batches(self, size: int) -> Iterator[Batch]:
        """Decode the events, at most `size` at a time; their values are not validated.

        Raises:
            EventFileError: Where the file is invalid, after the events before that.
        """

    def summary(self) -> Summary:
        """Return what is known about the events without decoding them."""
        return {}

    def file_error(self, error: Exception) -> EventFileError:
        """Convert an error that a library raised on this file; an `EventFileError` is returned as it is."""
        return error if isinstance(error, EventFileError) else self.source.error(f"the file is damaged: {error}")

    def close(self) -> None:
        """Close the file."""
        self.source.close()


class RecordReader(Reader):
    """A format of records of one size that follow one another to the end of the file.

    Attributes:
        decoder: Decoder of the records.
        start: Byte at which the records begin.
        first_time: Microseconds added to the times of the records.
    """

    decoder: Decoder
    start: int = 0
    first_time: int = 0

    def batches(self, size: int) -> Iterator[Batch]:
        record_size = self.decoder.record_size
        state = DecoderState()
        blocks = self.source.blocks(self.start, BLOCK_BYTES // record_size * record_size)
        skip = self._skip_record if self.skips_invalid else None
        check = EventCheck(self.sensor_size, self.first_time)
        yield from decode_blocks(self.decoder, blocks, size, state, self._invalid_record, check, skip)
        if state.untimed_events:
            warnings.warn(
                f"{self.source.path}: {state.untimed_events:,} events dropped: they precede the first timestamp.",
                RuntimeWarning,
                stacklevel=2,
            )
        left = (self.source.size - self.start) % record_size
        if left:
            raise self.source.error(
                f"the last record is truncated: it has {left} of {record_size} bytes", self.source.size - left
            )

    def _skip_record(self, block: Block, position: int) -> int:
        self.invalid_records += 1
        return position + self.decoder.record_size

    def _invalid_record(self, block: Block, position: int) -> EventFileError:
        return self.source.error(f"invalid {self.name} record", block.offset + position)
