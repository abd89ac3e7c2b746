"""Leaving out single invalid events of a recording."""

from typing import NamedTuple

import numpy
import torch
from numpy.typing import NDArray

from .formats.columns import EventColumns, MAX_ABS_TIME, valid_prefix

# Number of events that are compared on either side of a step back in time at most.
_WINDOW = 1 << 16
_FEW = 64


class SkippedCounts(NamedTuple):
    """Numbers of events that were left out."""

    outside: int = 0  # outside the sensor, with an invalid polarity or an invalid time
    misplaced: int = 0  # out of the order of time
    undecodable: int = 0  # records of the file that are invalid, such as lines of text that are no event

    @property
    def total(self) -> int:
        """Number of all events left out."""
        return self.outside + self.misplaced + self.undecodable

    def __str__(self) -> str:
        lines = f", {self.undecodable:,} as invalid records" if self.undecodable else ""
        return (
            f"{self.total:,} events were left out: {self.outside:,} with invalid coordinates, polarity or time, "
            f"{self.misplaced:,} out of the order of time{lines}"
        )


class _Scan(NamedTuple):
    """The events of a piece of a recording that are in order, as far as that is known."""

    kept: NDArray[numpy.int64]  # indices of the events that stay
    latest: NDArray[numpy.int64]  # for each of them, the latest time up to it
    scanned: int  # index of the first event about which later events will decide


class InvalidEventFilter:
    """Removes the invalid events from the events of a recording, which arrive in pieces of any size.

    Events outside the sensor, and with an invalid polarity or time, are removed. Where time steps
    back by more than `max_backward_step`, either the events before the step are too late, such as
    one event with a corrupted time, or those after it are too early. The side with fewer events is
    removed; if they are equal, the later one. An event is held back until it is known whether it
    stays, so that the result does not depend on the division into pieces.

    Args:
        sensor_size: Width and height in pixels.
        max_backward_step: Microseconds by which an event may be earlier than one before it.
        window: Number of events that are compared on either side of a step at most.

    Attributes:
        counts: Numbers of events removed so far.
    """

    def __init__(self, sensor_size: tuple[int, int], max_backward_step: int, window: int = _WINDOW):
        self.counts = SkippedCounts()
        self._sensor_size = sensor_size
        self._back = max_backward_step
        self._window = window
        # Events held back, and the latest time before them.
        self._pending = EventColumns.allocate(0)
        self._latest = -MAX_ABS_TIME

    def add(self, columns: EventColumns, is_last: bool = False) -> EventColumns:
        """Take the next events of the recording, and return those that are known to stay.

        Args:
            columns: The events, which may be none.
            is_last: Whether no events follow.
        """
        inside = self._select_inside(columns)
        events = EventColumns(*(torch.cat(pair) for pair in zip(self._pending, inside, strict=True)))
        scan = self._scan(events, is_last)
        # The last events that stay so far may still turn out to be too late.
        final = len(scan.kept) if is_last else max(0, len(scan.kept) - self._window)
        self.counts = SkippedCounts(
            outside=self.counts.outside + columns.size - inside.size,
            misplaced=self.counts.misplaced + scan.scanned - len(scan.kept),
        )
        held = torch.from_numpy(numpy.concatenate([scan.kept[final:], numpy.arange(scan.scanned, events.size)]))
        self._pending = EventColumns(*(column[held] for column in events))
        if final:
            self._latest = int(scan.latest[final - 1])
        chosen = torch.from_numpy(scan.kept[:final])
        return EventColumns(*(column[chosen] for column in events))

    def _select_inside(self, columns: EventColumns) -> EventColumns:
        width, height = self._sensor_size
        t, x, y, p = columns
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (p <= 1)
        inside &= (t >= -MAX_ABS_TIME) & (t <= MAX_ABS_TIME)
        return columns if bool(inside.all()) else EventColumns(*(column[inside] for column in columns))

    def _scan(self, events: EventColumns, is_last: bool) -> _Scan:
        """Find the events that stay, up to the first step back about which later events decide."""
        times, size = events.t.numpy(), events.size
        kept = numpy.empty(size, numpy.int64)
        latest = numpy.empty(size, numpy.int64)
        count = position = 0
        while True:
            before = int(latest[count - 1]) if count else self._latest
            # The coordinates have been checked, so that the events end where time steps back.
            run = valid_prefix(events.part(position), self._sensor_size, self._back, before).length
            part = slice(count, count + run)
            kept[part] = numpy.arange(position, position + run)
            numpy.maximum.accumulate(times[position : position + run], out=latest[part])
            numpy.maximum(latest[part], before, out=latest[part])
            count, position = count + run, position + run
            if position == size or (not is_last and position + self._window >= size):
                return _Scan(kept[:count], latest[:count], position)
            before = int(latest[count - 1]) if count else self._latest
            early = self._count_early(times[position : position + self._window], before)
            # The events before the step that are too late for the event after it.
            stay = int(numpy.searchsorted(latest[:count], times[position] + self._back, side="right"))
            if count - stay < early and (stay or self._latest - self._back <= times[position]):
                count = stay
            else:
                position += early

    def _count_early(self, times: NDArray[numpy.int64], latest: int) -> int:
        """Count the first events that are too early after others."""
        # Mostly it is one event, so the first few are compared first.
        for part in (times[:_FEW], times):
            in_order = part >= latest - self._back
            if in_order.any():
                return int(in_order.argmax())
        return len(times)
