"""How events lie in datagrams and pipes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy
import torch

from .store import Events


class Columns(NamedTuple):
    """What datagrams say, nothing of it checked yet."""

    x: numpy.ndarray
    y: numpy.ndarray
    p: numpy.ndarray
    t: numpy.ndarray | None  # times in microseconds, as long as the layout keeps them; None if no event has one
    timed: numpy.ndarray | None = None  # which events have one; None is all
    malformed: int = 0  # datagrams that end within an event


class Layout(ABC):
    """How events lie in datagrams, little-endian."""

    record: int  # bytes of which a datagram holds a whole number
    wraps: bool  # whether times are kept to 32 bits

    @abstractmethod
    def encode(self, events: Events) -> numpy.ndarray:
        """Events as an array, along its first axis."""

    @abstractmethod
    def decode(self, data: numpy.ndarray, sizes: list[int]) -> Columns:
        """Datagrams of so many bytes each, a multiple of `record`, one after another in an array of bytes."""


@dataclass(frozen=True)
class SPIF(Layout):
    """Words of 32 bits, as SPIF (the peripheral interface of SpiNNaker) and AEStream send them on port 3333.

    Bit 31 is set if the event has no timestamp; bits 30 to 16 are x, bit 15 the polarity, bits 14 to 0 y. If bit 31 is clear, a word with the lower
    32 bits of the time in microseconds follows. Both kinds are understood at any time.

    Args:
        timestamps: Whether to send times.
    """

    timestamps: bool = False
    record, wraps = 4, True

    def encode(self, events: Events) -> numpy.ndarray:
        t, x, y, p = _arrays(events)
        words = x.astype("<u4") << 16 | p.astype("<u4") << 15 | y.astype("<u4")
        return numpy.stack([words, t.astype("<u4")], -1) if self.timestamps else words | numpy.uint32(1 << 31)

    def decode(self, data: numpy.ndarray, sizes: list[int]) -> Columns:
        words = data.view("<u4")
        malformed, timed = 0, words >> 31 == 0
        if not timed.any():
            t = kind = None
        elif timed[::2].all() and not any(size % 8 for size in sizes):
            words, t, kind = words[::2], words[1::2], None
        else:
            first, t, kind, malformed = self._mixed(timed.tolist(), sizes, words)
            words = words[first]
        return Columns(
            (words >> 16 & 0x7FFF).astype("<i2"),
            (words & 0x7FFF).astype("<i2"),
            (words >> 15 & 1).astype("u1"),
            t,
            kind,
            malformed,
        )

    @staticmethod
    def _mixed(
        clear: list[bool], sizes: list[int], words: numpy.ndarray
    ) -> tuple[Any, numpy.ndarray, numpy.ndarray, int]:
        """Events with and without times: where their first words are, times, which of them have one, and how many datagrams are cut short."""
        first: list[int] = []
        malformed = at = 0
        for size in sizes:
            end = at + size // 4
            while at < end:
                if clear[at] and at + 1 == end:
                    malformed += 1
                else:
                    first.append(at)
                at += 1 + clear[at]
            at = end
        where = numpy.array(first, dtype=numpy.int64)
        timed = numpy.array(clear)[where]
        return where, words[numpy.minimum(where + 1, len(words) - 1)], timed, malformed


DEFAULT = SPIF()


@dataclass(frozen=True)
class T32(Layout):
    """8 bytes an event, faery's ``t32_x16_y15_on1``: the lower 32 bits of t, 16 bits of x, 15 bits of y above one of polarity."""

    dtype = numpy.dtype([("t", "<u4"), ("x", "<u2"), ("yp", "<u2")])
    record, wraps = 8, True

    def encode(self, events: Events) -> numpy.ndarray:
        t, x, y, p = _arrays(events)
        records = numpy.empty(len(t), self.dtype)
        records["t"], records["x"], records["yp"] = t.astype("<u4"), x, y.astype("<u2") << 1 | p
        return records

    def decode(self, data: numpy.ndarray, sizes: list[int]) -> Columns:
        records = data.view(self.dtype)
        return Columns(records["x"], records["yp"] >> 1, (records["yp"] & 1).astype("u1"), records["t"])


@dataclass(frozen=True)
class T64(Layout):
    """13 bytes an event, faery's ``t64_x16_y16_on8``: 64 bits of t, 16 of x and y, 8 of polarity. Also what geir's command line pipes."""

    dtype = numpy.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
    record, wraps = 13, False

    def encode(self, events: Events) -> numpy.ndarray:
        records = numpy.empty(len(events), self.dtype)
        for name, column in zip("txyp", _arrays(events), strict=True):
            records[name] = column
        return records

    def decode(self, data: numpy.ndarray, sizes: list[int]) -> Columns:
        records = data.view(self.dtype)
        return Columns(records["x"], records["y"], records["p"], records["t"])


class Decoder:
    """Datagrams to events: coordinates checked, times made whole again.

    An event without a timestamp has that of the last one that had one; as long as none had, the time of its arrival.
    """

    def __init__(self, layout: Layout, sensor_size: tuple[int, int]):
        self.layout, self.sensor_size = layout, sensor_size
        self.rejected = self.malformed = 0
        self._latest: int | None = None

    def __call__(self, data: numpy.ndarray, sizes: list[int], arrival: int) -> Events:
        """The events of datagrams that lie one after another in an array of bytes, their sizes, and when they came."""
        columns = self.layout.decode(data, sizes)
        self.malformed += columns.malformed
        x, y, p = columns.x, columns.y, columns.p
        t = self._times(columns, arrival)
        width, height = self.sensor_size
        # Times beyond 63 bits have become negative; only those of 32 bits may go below zero.
        inside = (x < width) & (y < height) & (p < 2) & ((t >= 0) | self.layout.wraps)
        if not inside.all():
            self.rejected += len(x) - int(inside.sum())
            t, x, y, p = t[inside], x[inside], y[inside], p[inside]
        # Copies, for the bytes are overwritten by the next datagrams.
        tensors = [torch.from_numpy(numpy.array(c, dtype)) for c, dtype in ((t, "i8"), (x, "i2"), (y, "i2"), (p, "u1"))]
        return Events.unchecked(*tensors, sensor_size=self.sensor_size)

    def _times(self, columns: Columns, arrival: int) -> numpy.ndarray:
        count, stamps, timed = len(columns.x), columns.t, columns.timed
        if stamps is not None and timed is not None:
            stamps = stamps[timed]
        if stamps is None or not len(stamps):
            return numpy.full(count, arrival if self._latest is None else self._latest)
        times = self._unwrapped(stamps) if self.layout.wraps else stamps.astype("i8")
        before, self._latest = self._latest, int(times[-1])
        if timed is None:
            return times
        known = numpy.concatenate([[arrival if before is None else before], times])
        return known[numpy.cumsum(timed)]

    def _unwrapped(self, stamps: numpy.ndarray) -> numpy.ndarray:
        """Times of which the lower 32 bits are known and that differ from one to the next by less than half of what these hold."""
        first = int(stamps[0])
        if self._latest is not None:
            first = self._latest + (first - self._latest + (1 << 31)) % (1 << 32) - (1 << 31)
        steps = numpy.diff(stamps).view("<i4")
        return first + numpy.concatenate([[0], numpy.cumsum(steps, dtype="i8")])


def _arrays(events: Events) -> tuple[numpy.ndarray, ...]:
    return tuple(column.cpu().numpy() for column in events.columns())
