"""Decoding of records into columns, in C or, without a C compiler, in Python.

Each format has its decoder twice. The functions ``reference_*`` in Python are the definition: one
record after another, written to be read. The functions ``decode_*`` in the C file beside them do
the same, to the bit, and are used wherever there is a compiler.
"""

import ctypes
import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy

from .. import _native
from ..errors import EventFileError
from .columns import Bytes, CheckedEvents, EventCheck, EventColumns
from .source import Block

# Time, x, y and polarity of one event.
Row: TypeAlias = tuple[int, int, int, int]


class DecoderState(ctypes.Structure):
    """Results of one call of a decoder, and what it keeps from call to call; all zero at first.

    The same fields, in the same order, as `DecoderState` in decoder.h.

    Attributes:
        records_read: Records that the call read; bytes for text.
        events_written: Events that the call wrote.
        invalid: 1 if the record after those that were read is invalid.
        has_time: 1 once a time word has been read.
        untimed_events: Events dropped because they precede the first time word.
        time_high: Upper bits of the current time, with wraparounds added.
        time_low: Lower bits of the current time (EVT 3.0).
        row: Current row (EVT 3.0).
        vector_x: Column at which the next vector begins (EVT 3.0).
        vector_polarity: Polarity of the next vectors (EVT 3.0).
    """

    _fields_ = [
        ("records_read", ctypes.c_int64),
        ("events_written", ctypes.c_int64),
        ("invalid", ctypes.c_int64),
        ("has_time", ctypes.c_int64),
        ("untimed_events", ctypes.c_int64),
        ("time_high", ctypes.c_int64),
        ("time_low", ctypes.c_int64),
        ("row", ctypes.c_int64),
        ("vector_x", ctypes.c_int64),
        ("vector_polarity", ctypes.c_int64),
    ]

    # For type checkers; ctypes defines the attributes.
    records_read: int
    events_written: int
    invalid: int
    has_time: int
    untimed_events: int
    time_high: int
    time_low: int
    row: int
    vector_x: int
    vector_polarity: int


# Arguments: bytes of records, how many records they are, how many events there is room for, and the state,
# which it updates.
Reference: TypeAlias = Callable[[bytes, int, int, DecoderState], list[Row]]


@dataclass(frozen=True)
class Decoder:
    """A decoder of records.

    Args:
        source: C file that holds the decoder, in the folder of this module; empty if there is none.
        function: Name of the function in it.
        reference: The same in Python. It returns events, and sets all results in the state but
            `events_written`.
        record_size: Bytes of a record; 1 for text, whose records are bytes.
        max_events_per_record: Events for which there must be room before a record is decoded.
        parameters: Further argument of the function in C.
    """

    source: str
    function: str
    reference: Reference
    record_size: int
    max_events_per_record: int = 1
    parameters: ctypes.Structure | None = None

    def __call__(self, records: Bytes, count: int, columns: EventColumns, state: DecoderState) -> None:
        """Decode records from the first one on, as far as there is room in the columns.

        Args:
            records: Bytes of at least `count` records.
            count: Number of records.
            columns: Where events are written.
            state: Updated; says how many records were read and events written.
        """
        library = _native.load(f"formats/{self.source}")
        if library is None:
            _warn_about_reference()
            self._run_reference(records, count, columns, state)
            return
        parameters = () if self.parameters is None else (ctypes.byref(self.parameters),)
        getattr(library, self.function)(
            ctypes.c_void_p(records.ctypes.data),
            ctypes.c_int64(count),
            ctypes.byref(columns.pointers()),
            ctypes.byref(state),
            *parameters,
        )

    def decode_checked(
        self, records: Bytes, count: int, columns: EventColumns, first: int, state: DecoderState, check: EventCheck
    ) -> None:
        """Do the same from event `first` of the columns on, and check the events where that is possible in C."""
        library = _native.load(f"formats/{self.source}") if self.source and self.parameters is None else None
        if library is None or check.library is None:
            self(records, count, columns.part(first), state)
            check.skip(columns.part(first, first + state.events_written))
        else:
            out = columns.pointers(first)
            check.decode(getattr(library, self.function), records, count, self.record_size, out, state)

    def _run_reference(self, records: Bytes, count: int, columns: EventColumns, state: DecoderState) -> None:
        state.invalid = 0
        rows = self.reference(records[: count * self.record_size].tobytes(), count, columns.size, state)
        state.events_written = len(rows)
        values = numpy.array(rows, numpy.int64).reshape(-1, 4).T
        for column, numbers in zip(columns, values, strict=True):
            column.numpy()[: len(numbers)] = numbers


@functools.cache
def _warn_about_reference() -> None:
    """Warn, once per process, that the reference decoders are used."""
    warnings.warn(
        "Event files are decoded in Python, about 100 times slower than in C, because there is no C compiler; "
        "install gcc or clang, or run `pip install ziglang`.",
        RuntimeWarning,
        stacklevel=2,
    )


class Batch(NamedTuple):
    """Decoded events."""

    offset: int | None  # byte of the file at which they begin, where the format can tell
    columns: EventColumns
    unfit: EventFileError | None = None  # describes the first event with a number of `UNFIT`
    checked: CheckedEvents | None = None  # if they were checked right after decoding


def decode_blocks(
    decoder: Decoder,
    blocks: Iterable[Block],
    size: int,
    state: DecoderState,
    invalid_record: Callable[[Block, int], EventFileError],
    check: EventCheck,
    skip_record: Callable[[Block, int], int] | None = None,
) -> Iterator[Batch]:
    """Decode blocks of whole records into batches of events.

    A batch is handed over when its columns have no room for the next record, whichever block that
    is in, and after the last block. When a record is invalid or reading a block fails, the events
    decoded so far are handed over before the error is raised.

    Args:
        decoder: Of one record after another.
        blocks: Consecutive bytes of the file. A last record that is incomplete is ignored.
        size: Events of a batch; raised to those of one record.
        state: All zero; updated.
        invalid_record: Makes the error for a record that is invalid, given its block and its first
            byte in the block.
        check: Check of the events.
        skip_record: Finds the byte of a block at which decoding continues after a record that is
            invalid, given the same. Default: such a record is an error.

    Yields:
        Batches of at most `size` events, or of at most those of one record if these are more.

    Raises:
        EventFileError: As `invalid_record` or `blocks` say.
    """
    size = max(size, decoder.max_events_per_record)
    columns, filled, begin = EventColumns.allocate(size), 0, None

    def batch() -> Batch:
        return Batch(begin, columns.part(0, filled), checked=check.finish())

    try:
        for block in blocks:
            begin = block.offset if begin is None else begin
            record, count = 0, len(block.data) // decoder.record_size
            while record < count:
                records = block.data[record * decoder.record_size :]
                decoder.decode_checked(records, count - record, columns, filled, state, check)
                record += state.records_read
                filled += state.events_written
                if state.invalid:
                    position = record * decoder.record_size
                    if skip_record is None:
                        raise invalid_record(block, position)
                    record = skip_record(block, position) // decoder.record_size
                    continue
                if record < count:
                    yield batch()
                    columns, filled = EventColumns.allocate(size), 0
                    begin = block.offset + record * decoder.record_size
    except EventFileError:
        if filled:
            yield batch()
        raise
    if filled:
        yield batch()
