"""Writers of EVT 2.0 and 3.0."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy
from numpy.typing import NDArray

from ..store import Events
from .evt import COORDINATE_LIMIT, EVT2_TIME_HIGH, EVT3_EVENT, EVT3_ROW, EVT3_TIME_HIGH, EVT3_TIME_LOW
from .reader import BinaryFile, EventChunks

Integers: TypeAlias = NDArray[numpy.int64]
# Time words that may be needed in addition to one per event of a chunk: beyond this the file would consist
# of them.
_MAX_EXTRA_TIME_WORDS = 1 << 20


class Fields(NamedTuple):
    """Columns of events: the lower bits of time, x, y and polarity."""

    time_low: Integers
    x: Integers
    y: Integers
    p: Integers


class TimeWords(NamedTuple):
    """Words of the upper bits of time."""

    counts: Integers  # how many precede each event
    values: Integers  # their values, one after another


@dataclass(frozen=True)
class EvtVersion:
    """Layout of a version of the format.

    Args:
        name: As in the header.
        time_low_bits: Lower bits of time, which events or words beside them hold.
        time_high_bits: Upper bits of time in a time word.
        encode: Makes the words of a chunk from its time words, its events, and the last event of
            the chunk before.
    """

    name: str
    time_low_bits: int
    time_high_bits: int
    encode: Callable[[TimeWords, Fields, Fields], NDArray[numpy.unsignedinteger]]

    def header(self, sensor_size: tuple[int, int]) -> str:
        """Return the header without its last line."""
        width, height = sensor_size
        number = self.name.replace(".0", "").replace(".", "")
        return f"% evt {self.name}\n% format EVT{number};height={height};width={width}\n% geometry {width}x{height}\n"


def encode_evt2(times: TimeWords, fields: Fields, last: Fields) -> NDArray[numpy.unsignedinteger]:
    """Make the words of EVT 2.0. Each event is preceded by its time words."""
    position = numpy.cumsum(times.counts + 1) - 1
    words = numpy.empty(len(times.counts) + len(times.values), "<u4")
    is_time = numpy.ones(len(words), bool)
    is_time[position] = False
    words[position] = fields.p << 28 | fields.time_low << 22 | fields.x << 11 | fields.y
    words[is_time] = EVT2_TIME_HIGH << 28 | times.values
    return words


def encode_evt3(times: TimeWords, fields: Fields, last: Fields) -> NDArray[numpy.unsignedinteger]:
    """Make the words of EVT 3.0.

    Each event is preceded by its time words, and by its lower bits of time and its row if they
    changed.
    """
    time_low, x, y, p = fields
    row_changed = numpy.diff(numpy.concatenate([last.y, y])) != 0
    low_changed = (numpy.diff(numpy.concatenate([last.time_low, time_low])) != 0) | (times.counts > 0)
    position = numpy.cumsum(times.counts + low_changed + row_changed + 1) - 1
    words = numpy.empty(position[-1] + 1, "<u2")
    is_time = numpy.ones(len(words), bool)

    def put(kind: int, at: Integers, values: Integers) -> None:
        words[at] = kind << 12 | values
        is_time[at] = False

    put(EVT3_EVENT, position, p << 11 | x)
    put(EVT3_ROW, (position - 1)[row_changed], y[row_changed])
    put(EVT3_TIME_LOW, (position - 1 - row_changed)[low_changed], time_low[low_changed])
    words[is_time] = EVT3_TIME_HIGH << 12 | times.values
    return words


EVT2 = EvtVersion("2.0", time_low_bits=6, time_high_bits=28, encode=encode_evt2)
EVT3 = EvtVersion("3.0", time_low_bits=12, time_high_bits=12, encode=encode_evt3)


def write_evt2(file: BinaryFile, chunks: EventChunks, sensor_size: tuple[int, int]) -> None:
    """Write events as EVT 2.0.

    Raises:
        ValueError: If the sensor is too large, or times lie too far apart.
    """
    _write(file, chunks, sensor_size, EVT2)


def write_evt3(file: BinaryFile, chunks: EventChunks, sensor_size: tuple[int, int]) -> None:
    """Write events as EVT 3.0, one word per event (no vectors).

    Raises:
        ValueError: If the sensor is too large, or times lie too far apart.
    """
    _write(file, chunks, sensor_size, EVT3)


def _write(file: BinaryFile, chunks: EventChunks, sensor_size: tuple[int, int], version: EvtVersion) -> None:
    if max(sensor_size) > COORDINATE_LIMIT:
        width, height = sensor_size
        raise ValueError(
            f"evt{version.name[0]} has 11 bits per coordinate, "
            f"which are too few for a sensor of {width}x{height} pixels."
        )
    header, low_bits = version.header(sensor_size), version.time_low_bits
    previous_high, origin = None, 0
    none = numpy.array([-1])
    last = Fields(none, none, none, none)
    for events in chunks:
        if not len(events):
            continue
        if previous_high is None:
            # The header states the part of the first time that the time words cannot hold, as faery's
            # files do.
            first = int(events.t[0])
            origin = first >> (low_bits + version.time_high_bits) << (low_bits + version.time_high_bits)
            file.write(f"{header}% t0 {origin}\n% end\n".encode())
            # One less, so that the first event is preceded by a time word.
            previous_high = (first - origin >> low_bits) - 1
        high, fields = _split(events, origin, low_bits)
        words = version.encode(_time_words(high, previous_high, version.time_high_bits), fields, last)
        file.write(words.tobytes())
        previous_high = int(high[-1])
        last = Fields(*(column[-1:] for column in fields))
    if previous_high is None:
        file.write(f"{header}% end\n".encode())


def _split(events: Events, origin: int, low_bits: int) -> tuple[Integers, Fields]:
    """Split events into the upper bits of time and the other columns."""
    t, x, y, p = (column.numpy().astype(numpy.int64) for column in events.columns())
    t -= origin
    return t >> low_bits, Fields(t & ((1 << low_bits) - 1), x, y, p)


def _time_words(high: Integers, previous: int, bits: int) -> TimeWords:
    """Make the time words that precede each event.

    They lead from the time of the previous event to its own. A reader interprets a change of the
    counter by half of its range or more as a step in the other direction, so a large step needs
    several words: steps of the largest size, and finally the time of the event.

    Raises:
        ValueError: If there would be far more of these words than events.
    """
    max_step = (1 << (bits - 1)) - 1
    steps: Integers = numpy.diff(high, prepend=previous)
    counts: Integers = -(-abs(steps) // max_step)
    if counts.sum() > len(high) + _MAX_EXTRA_TIME_WORDS:
        raise ValueError(f"the times of events lie too far apart for this format, whose counter has {bits} bits.")
    event = numpy.repeat(numpy.arange(len(high)), counts)
    # Words that follow before the event.
    remaining = numpy.repeat(numpy.cumsum(counts), counts) - 1 - numpy.arange(len(event))
    partway = (high - steps)[event] + numpy.sign(steps[event]) * max_step * (counts[event] - remaining)
    values = numpy.where(remaining == 0, high[event], partway) & ((1 << bits) - 1)
    return TimeWords(counts, values)
