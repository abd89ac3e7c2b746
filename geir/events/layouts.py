"""Binary layouts of events in datagrams and pipes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy
import torch
from numpy.typing import NDArray

from .store import Events

# Integers of various sizes, or structured records.
Array = NDArray[Any]


# -1 in 8 bits, unsigned.
_MINUS_ONE = numpy.uint8(255)


class RawColumns(NamedTuple):
    """Decoded fields of events, not validated yet."""

    x: Array
    y: Array
    p: Array
    t: Array | None  # timestamps in microseconds, in the precision of the layout; None if no event has one
    has_time: Array | None = None  # which events have a timestamp; None if all have one
    malformed: int = 0  # number of datagrams that end within an event


class Layout(ABC):
    """Abstract base of layouts of events in datagrams. All layouts are little-endian."""

    record: ClassVar[int]  # the size of a datagram is a multiple of this many bytes
    wraps: ClassVar[bool]  # whether only the lower 32 bits of a timestamp are sent

    @abstractmethod
    def encode(self, events: Events) -> Array:
        """Encode events as an array, one element or row per event."""

    @abstractmethod
    def decode(self, data: Array, sizes: list[int]) -> RawColumns:
        """Decode datagrams.

        Args:
            data: Concatenated datagrams, uint8.
            sizes: Size of each datagram in bytes, a multiple of `record`.
        """


class _MixedWords(NamedTuple):
    """Parsed SPIF words of events with and without timestamps."""

    first: Array  # index of the first word of each event
    stamps: Array  # word after it, which is the timestamp if there is one
    has_time: Array  # which events have a timestamp
    malformed: int  # number of datagrams that end between an event and its timestamp


@dataclass(frozen=True)
class SPIF(Layout):
    """32-bit words, as sent by SPIF (the peripheral interface of SpiNNaker) and AEStream on port 3333.

    Bit 31 is set if the event has no timestamp; bits 30 to 16 are x, bit 15 is the polarity, bits
    14 to 0 are y. If bit 31 is clear, a word with the lower 32 bits of the time in microseconds
    follows. Both kinds of events are always decoded.

    Args:
        timestamps: Whether to send timestamps.
    """

    timestamps: bool = False
    record: ClassVar[int] = 4
    wraps: ClassVar[bool] = True

    def encode(self, events: Events) -> Array:
        t, x, y, p = _arrays(events)
        words = x.astype("<u4") << 16 | p.astype("<u4") << 15 | y.astype("<u4")
        return numpy.stack([words, t.astype("<u4")], -1) if self.timestamps else words | numpy.uint32(1 << 31)

    def decode(self, data: Array, sizes: list[int]) -> RawColumns:
        words = data.view(numpy.dtype("<u4"))
        timed = words >> 31 == 0
        t = has_time = None
        malformed = 0
        if not timed.any():
            pass
        elif timed[::2].all() and not any(size % 8 for size in sizes):
            words, t = words[::2], words[1::2]
        else:
            mixed = self._parse_mixed(timed.tolist(), sizes, words)
            words = words[mixed.first]
            t, has_time, malformed = mixed.stamps, mixed.has_time, mixed.malformed
        return RawColumns(
            x=(words >> 16 & 0x7FFF).astype("<i2"),
            y=(words & 0x7FFF).astype("<i2"),
            p=(words >> 15 & 1).astype("u1"),
            t=t,
            has_time=has_time,
            malformed=malformed,
        )

    @staticmethod
    def _parse_mixed(timed: list[bool], sizes: list[int], words: NDArray[numpy.uint32]) -> _MixedWords:
        first: list[int] = []
        malformed = 0
        at = 0
        for size in sizes:
            end = at + size // 4
            while at < end:
                if timed[at] and at + 1 == end:
                    malformed += 1
                else:
                    first.append(at)
                at += 1 + timed[at]
            at = end
        indices = numpy.array(first, dtype=numpy.int64)
        stamps = words[numpy.minimum(indices + 1, len(words) - 1)]
        return _MixedWords(indices, stamps, numpy.array(timed)[indices], malformed)


DEFAULT = SPIF()


@dataclass(frozen=True)
class T32(Layout):
    """8 bytes per event, faery's ``t32_x16_y15_on1``.

    The lower 32 bits of t, 16 bits of x, and 16 bits of which the lowest is the polarity and the
    others are y.
    """

    dtype: ClassVar = numpy.dtype([("t", "<u4"), ("x", "<u2"), ("yp", "<u2")])
    record: ClassVar[int] = 8
    wraps: ClassVar[bool] = True

    def encode(self, events: Events) -> Array:
        t, x, y, p = _arrays(events)
        records = numpy.empty(len(t), self.dtype)
        records["t"] = t.astype("<u4")
        records["x"] = x
        records["yp"] = y.astype("<u2") << 1 | p
        return records

    def decode(self, data: Array, sizes: list[int]) -> RawColumns:
        records = data.view(self.dtype)
        yp = records["yp"]
        return RawColumns(x=records["x"], y=yp >> 1, p=(yp & 1).astype("u1"), t=records["t"])


@dataclass(frozen=True)
class T64(Layout):
    """13 bytes per event, faery's ``t64_x16_y16_on8``: 64 bits of t, 16 bits of x and of y, 8 bits of polarity.

    A polarity of -1, as a signed number, is decoded as 0. The command line of geir uses this layout for pipes.
    """

    dtype: ClassVar = numpy.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
    record: ClassVar[int] = 13
    wraps: ClassVar[bool] = False

    def encode(self, events: Events) -> Array:
        records = numpy.empty(len(events), self.dtype)
        for name, column in zip("txyp", _arrays(events), strict=True):
            records[name] = column
        return records

    def decode(self, data: Array, sizes: list[int]) -> RawColumns:
        records = data.view(self.dtype)
        p = records["p"]
        return RawColumns(x=records["x"], y=records["y"], p=numpy.where(p == _MINUS_ONE, 0, p), t=records["t"])


class Decoder:
    """Decodes datagrams to events: validates coordinates and extends 32-bit timestamps to 64 bits.

    An event without a timestamp gets the latest timestamp before it; before the first timestamp,
    the time of arrival.

    Args:
        layout: Layout of the events.
        sensor_size: Width and height of the sensor in pixels.

    Attributes:
        rejected: Number of events that were dropped because they lie outside of the sensor.
        first_rejected: Index of the first event that the last call dropped; None if it dropped none.
        malformed: Number of datagrams that end within an event.
    """

    def __init__(self, layout: Layout, sensor_size: tuple[int, int]):
        self.layout = layout
        self.sensor_size = sensor_size
        self.rejected = 0
        self.first_rejected: int | None = None
        self.malformed = 0
        self._latest: int | None = None

    def __call__(self, data: Array, sizes: list[int], arrival: int) -> Events:
        """Decode datagrams.

        Args:
            data: Concatenated datagrams, uint8. The events do not share memory with it.
            sizes: Size of each datagram in bytes, a multiple of `Layout.record`.
            arrival: Time of arrival in microseconds.
        """
        columns = self.layout.decode(data, sizes)
        self.malformed += columns.malformed
        t = self._times(columns, arrival)
        x, y, p = columns.x, columns.y, columns.p
        width, height = self.sensor_size
        # A 64-bit timestamp above 2^63 has become negative. Extended 32-bit timestamps may be negative.
        inside = (x < width) & (y < height) & (p < 2) & ((t >= 0) | self.layout.wraps)
        self.first_rejected = None
        if not inside.all():
            self.first_rejected = int(inside.argmin())
            self.rejected += len(x) - int(inside.sum())
            t, x, y, p = t[inside], x[inside], y[inside], p[inside]
        # `numpy.array` copies, because the next datagrams overwrite `data`.
        dtypes = (numpy.int64, numpy.int16, numpy.int16, numpy.uint8)
        arrays = (numpy.array(column, dtype) for column, dtype in zip((t, x, y, p), dtypes, strict=True))
        return Events.unchecked(*map(torch.from_numpy, arrays), sensor_size=self.sensor_size)

    def _times(self, columns: RawColumns, arrival: int) -> NDArray[numpy.int64]:
        count = len(columns.x)
        stamps = columns.t
        if stamps is not None and columns.has_time is not None:
            stamps = stamps[columns.has_time]
        previous = self._latest
        if stamps is None or not len(stamps):
            return numpy.full(count, arrival if previous is None else previous, numpy.int64)
        times = self._unwrap(stamps) if self.layout.wraps else stamps.astype(numpy.int64)
        self._latest = int(times[-1])
        if columns.has_time is None:
            return times
        known = numpy.concatenate([[arrival if previous is None else previous], times])
        return known[numpy.cumsum(columns.has_time)]

    def _unwrap(self, stamps: Array) -> NDArray[numpy.int64]:
        """Extend 32-bit timestamps to 64 bits, given that consecutive times differ by less than 2^31 microseconds."""
        first = int(stamps[0])
        if self._latest is not None:
            first = self._latest + (first - self._latest + (1 << 31)) % (1 << 32) - (1 << 31)
        steps = numpy.diff(stamps).view(numpy.dtype("<i4"))
        return first + numpy.concatenate([[0], numpy.cumsum(steps, dtype=numpy.int64)])


def _arrays(events: Events) -> tuple[Array, ...]:
    return tuple(column.cpu().numpy() for column in events.columns())
