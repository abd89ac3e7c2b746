"""A bounded buffer between the thread that produces events and the thread that reads them.

**Hand-over between the threads.** The producer thread runs `Buffer.fill`; the consumer calls
`Buffer.take`. Everything the two share is guarded by the lock of one condition, `_changed`. A chunk
of events is handed over as it is, without a copy: the producer appends it to a queue, and the
consumer takes slices of it. No one writes to the tensors of a chunk after it has been appended, so
the consumer reads them without the lock. The lock is held only to update the queue and the
counters. The exception is coalescing, which counts the oldest events into a frame under the lock.

**A full buffer.** With `Overflow.BLOCK` the producer waits in `_put` until half of the capacity is
free. It is not notified for every chunk that would fit, because one context switch per chunk costs
more than everything else here; `take` compares the number of waiting events with `_resume_at` and
notifies the producer once it falls to that level. An empty buffer accepts a chunk of any size, so a
chunk larger than the capacity cannot block forever.

**The end.** `close` (called by the consumer) sets `closed` and wakes the producer, whose `fill`
returns before the next chunk. If the source raises, `fill` stores the exception and ends;
`Buffer.check_finished` raises it in the consumer's thread, once, after all events before it have
been taken.
"""

import enum
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..store import Events
from .accumulate import accumulate


class Overflow(enum.Enum):
    """The policy for events that arrive while the buffer is full.

    ``BLOCK``: The source waits until half of the buffer is free. Files can wait; for a socket, the
    operating system drops datagrams meanwhile and counts them.
    ``DROP``: New events that do not fit are dropped and counted.
    ``COALESCE``: The oldest events lose their timestamps and are counted in the next frame. Frames
    lose no events and do not fall behind.
    """

    BLOCK = "block"
    DROP = "drop"
    COALESCE = "coalesce"


@dataclass
class _Chunk:
    """Events in the buffer, of which the first `start` have been taken."""

    times: Tensor  # nondecreasing
    events: Events
    latest_time: int
    start: int = 0


class Buffer:
    """A first-in, first-out buffer of events.

    An event earlier than its predecessor is treated as simultaneous with it.

    Args:
        sensor_size: Width and height of the sensor in pixels.
        capacity: Maximum number of waiting events.
        overflow: What happens when the buffer is full.

    Attributes:
        waiting: Number of events in the buffer.
        taken: Number of events taken so far, including coalesced ones.
        dropped: Number of events dropped so far.
        coalesced: Number of events that lost their timestamps so far.
        latest_time: Time of the latest event put into the buffer, in microseconds; None before the
            first one.
        closed: Whether `close` has been called.
        ended: Whether the source has ended.
    """

    def __init__(self, sensor_size: tuple[int, int], capacity: int, overflow: Overflow):
        self.sensor_size = sensor_size
        self.capacity = capacity
        self.overflow = overflow
        self.waiting = 0
        self.taken = 0
        self.dropped = 0
        self.coalesced = 0
        self.latest_time: int | None = None
        self.closed = False
        self.ended = False
        self._resume_at = -1  # the blocked producer resumes when at most this many events wait; -1: it is not blocked
        self._error: BaseException | None = None
        self._coalesced_counts: Tensor | None = None
        self._chunks: deque[_Chunk] = deque()
        self._changed = threading.Condition()

    def fill(self, source: Iterator[Events]) -> None:
        """Put all events of a source into the buffer; run by the producer thread.

        Returns when the source ends, raises, or the buffer is closed. An exception is stored for
        `check_finished`.
        """
        try:
            for events in source:
                self._put(events)
                if self.closed:
                    break
        except BaseException as error:
            self._error = error
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Tell the producer to stop."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def check_finished(self) -> bool:
        """Whether the buffer is empty and the source has ended.

        Raises:
            Exception: The error of the source, once, after all events before it have been taken.
        """
        with self._changed:
            if self.ended and not self._chunks and self._error is not None:
                error = self._error
                self._error = None
                raise error
            return self.ended and not self._chunks and self._coalesced_counts is None

    @property
    def done(self) -> bool:
        """Whether the buffer is empty, the source has ended, and no error of the source is left to be raised."""
        with self._changed:
            return self.ended and not self._chunks and self._coalesced_counts is None and self._error is None

    @property
    def first_time(self) -> int | None:
        """Time of the first waiting event in microseconds; None if no event waits."""
        with self._changed:
            if not self._chunks:
                return None
            chunk = self._chunks[0]
            return int(chunk.times[chunk.start])

    def wait(self, until: Callable[[], bool], timeout: float | None = None) -> None:
        """Wait until a condition holds that `fill` can change, the source ends, or the buffer is closed.

        Args:
            until: The condition, evaluated whenever the buffer has changed.
            timeout: Maximum time to wait in seconds. Default: no limit.
        """
        with self._changed:
            self._changed.wait_for(lambda: until() or self.ended or self.closed, timeout)

    def take(self, before: int | None = None) -> list[Events]:
        """Take events out of the buffer, oldest first.

        Args:
            before: Take only events before this time in microseconds. Default: all events.
        """
        taken: list[Events] = []
        with self._changed:
            while self._chunks:
                chunk = self._chunks[0]
                stop = len(chunk.times)
                if before is not None and chunk.latest_time >= before:
                    stop = int(torch.searchsorted(chunk.times, before))
                if stop > chunk.start:
                    taken.append(self._pop(stop))
                if self._chunks and self._chunks[0] is chunk:
                    break
            self.taken += sum(map(len, taken))
            if self.waiting <= self._resume_at:
                self._changed.notify_all()
        return taken

    def take_coalesced(self) -> Tensor | None:
        """Take the counts of coalesced events, shape (polarity, height, width); None if there are none."""
        with self._changed:
            counts = self._coalesced_counts
            self._coalesced_counts = None
            if counts is not None:
                self.taken += int(counts.sum(dtype=torch.float64))
            return counts

    def drop_coalesced(self) -> None:
        """Discard coalesced events and count them as dropped: they cannot be returned as single events."""
        with self._changed:
            if self._coalesced_counts is not None:
                self.dropped += int(self._coalesced_counts.sum(dtype=torch.float64))
                self._coalesced_counts = None

    def _put(self, events: Events) -> None:
        if not len(events):
            return
        # Times are sorted within a chunk, so that `take` can search them. Chunks are taken in the
        # order of arrival, whatever their times. This needs no lock.
        times = events.t if events.is_sorted else events.t.cummax(0).values
        with self._changed:
            if self.overflow is Overflow.BLOCK and self._chunks and self.waiting + len(events) > self.capacity:
                self._resume_at = max(0, self.capacity // 2 - len(events))
                self._changed.wait_for(lambda: self.closed or self.waiting <= self._resume_at)
                self._resume_at = -1
            elif self.overflow is Overflow.DROP:
                room = max(0, self.capacity - self.waiting)
                self.dropped += max(0, len(events) - room)
                if not room:
                    return
                events = events[:room]
                times = times[:room]
            latest_time = int(times[-1])
            self.latest_time = latest_time if self.latest_time is None else max(self.latest_time, latest_time)
            self._chunks.append(_Chunk(times, events, latest_time))
            self.waiting += len(events)
            if self.overflow is Overflow.COALESCE:
                self._coalesce()
            self._changed.notify_all()

    def _coalesce(self) -> None:
        """Count the oldest events until the others fit the capacity."""
        while self.waiting > self.capacity:
            if self._coalesced_counts is None:
                width, height = self.sensor_size
                self._coalesced_counts = torch.zeros(2, height, width)
            chunk = self._chunks[0]
            excess = self.waiting - self.capacity
            oldest = self._pop(min(chunk.start + excess, len(chunk.times)))
            self.coalesced += len(oldest)
            accumulate(oldest, self._coalesced_counts)

    def _pop(self, stop: int) -> Events:
        """Take the events of the first chunk before index `stop`, at least one."""
        chunk = self._chunks[0]
        events = chunk.events[chunk.start : stop]
        chunk.start = stop
        self.waiting -= len(events)
        if stop == len(chunk.times):
            self._chunks.popleft()
        return events
