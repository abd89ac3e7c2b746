"""Between a source of events, in a thread of its own, and the one who reads them: a buffer that is bounded and loses nothing silently."""

import enum
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .counts import add_counts
from .store import Events


class Overflow(enum.Enum):
    """What happens when more events come than the buffer holds.

    ``BLOCK``: the source waits until half of the room is free. A file can; of a socket the operating system then drops datagrams, and counts them.
    ``DROP``: those that find no room are dropped, and counted.
    ``COALESCE``: the oldest ones give up their times; the next frame counts them. Nothing is lost to frames, and they do not fall behind.
    """

    BLOCK = "block"
    DROP = "drop"
    COALESCE = "coalesce"


@dataclass
class _Part:
    """Events of which those before number `start` have been taken, and their times in order."""

    times: Tensor
    events: Events
    latest: int
    start: int = 0


class Buffer:
    """Events in the order in which they came. The time of an event that is earlier than one before it is taken to be that one's.

    Args:
        sensor_size: Width and height of the sensor.
        capacity: How many events wait at most.
        overflow: What happens to more.
    """

    def __init__(self, sensor_size: tuple[int, int], capacity: int, overflow: Overflow):
        self.sensor_size, self.capacity, self.overflow = sensor_size, capacity, overflow
        self.waiting = self.dropped = self.coalesced = self.taken = 0
        self.latest: int | None = None  # time of the latest event that came
        self.closed = self.ended = False
        self._least = -1  # the source, which waits, goes on when no more than so many events do
        self._error: BaseException | None = None
        self._excess: Tensor | None = None  # counts of events that are coalesced
        self._parts: deque[_Part] = deque()
        self._changed = threading.Condition()

    def fill(self, source: Iterator[Events]) -> None:
        """Put all that a source gives, and its error after it; to be run in a thread. Ends early when the buffer is closed."""
        try:
            for events in source:
                self._put(events)
                if self.closed:
                    break
        except BaseException as error:  # raised where the events are read
            self._error = error
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Let the source stop."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    @property
    def finished(self) -> bool:
        """Whether nothing is left and nothing will come; the error with which the source ended is raised here, once."""
        with self._changed:
            if self.ended and not self._parts and self._error is not None:
                error, self._error = self._error, None
                raise error
            return self.ended and not self._parts and self._excess is None

    @property
    def done(self) -> bool:
        """Whether nothing is left and nothing will come, an error neither."""
        with self._changed:
            return self.ended and not self._parts and self._excess is None and self._error is None

    @property
    def first(self) -> int | None:
        """Time of the first event that waits."""
        with self._changed:
            return int(self._parts[0].times[self._parts[0].start]) if self._parts else None

    def wait(self, until: Callable[[], bool], timeout: float | None = None) -> None:
        """Wait for something to be true that putting changes, for the end, or for `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: until() or self.ended or self.closed, timeout)

    def take(self, before: int | None = None) -> list[Events]:
        """Take all events, or those before a time in microseconds."""
        parts: list[Events] = []
        with self._changed:
            while self._parts:
                part = self._parts[0]
                stop = len(part.times)
                if before is not None and part.latest >= before:
                    stop = int(torch.searchsorted(part.times, before))
                if stop > part.start:
                    parts.append(self._pop(stop))
                if self._parts and self._parts[0] is part:
                    break
            self.taken += sum(map(len, parts))
            if self.waiting <= self._least:
                self._changed.notify_all()
        return parts

    def take_excess(self) -> Tensor | None:
        """Take the counts, of shape (polarity, height, width), of events that were coalesced, if there are any."""
        with self._changed:
            excess, self._excess = self._excess, None
            self.taken += 0 if excess is None else int(excess.sum(dtype=torch.float64))
            return excess

    def drop_excess(self) -> None:
        """Count as dropped what was coalesced: there are no single events of it any more."""
        with self._changed:
            if self._excess is not None:
                self.dropped += int(self._excess.sum(dtype=torch.float64))
                self._excess = None

    def _put(self, events: Events) -> None:
        if not len(events):
            return
        # Those of one part are searched; parts are taken one after another, whatever their times. Nobody need wait for this.
        times = events.t if events.is_sorted else events.t.cummax(0).values
        latest = int(times[-1])
        with self._changed:
            if self.overflow is Overflow.BLOCK and self._parts and self.waiting + len(events) > self.capacity:
                # Woken when half is free: to be woken for every part that finds room costs both threads more than all else here.
                self._least = max(0, self.capacity // 2 - len(events))
                self._changed.wait_for(lambda: self.closed or self.waiting <= self._least)
                self._least = -1
            elif self.overflow is Overflow.DROP:
                room = max(0, self.capacity - self.waiting)
                self.dropped += max(0, len(events) - room)
                if not room:
                    return
                events, times = events[:room], times[:room]
                latest = int(times[-1])
            self.latest = latest if self.latest is None else max(self.latest, latest)
            self._parts.append(_Part(times, events, latest))
            self.waiting += len(events)
            while self.overflow is Overflow.COALESCE and self.waiting > self.capacity:
                if self._excess is None:
                    self._excess = torch.zeros(2, *self.sensor_size[::-1])
                part = self._parts[0]
                oldest = self._pop(min(part.start + self.waiting - self.capacity, len(part.times)))
                self.coalesced += len(oldest)
                add_counts(oldest, self._excess)
            self._changed.notify_all()

    def _pop(self, stop: int) -> Events:
        """Those events of the first part that have not been taken and come before number `stop`, of which there are some."""
        part = self._parts[0]
        events = part.events[part.start : stop]
        part.start = stop
        self.waiting -= len(events)
        if stop == len(part.times):
            self._parts.popleft()
        return events
