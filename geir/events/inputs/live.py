"""Inputs whose events arrive in real time."""

import time
from collections.abc import Iterator

from ..store import Events
from .base import Bin, EventInput


class LiveInput(EventInput):
    """Abstract base of inputs whose events arrive in real time, such as sockets and cameras.

    `frames` and `slices` are bins of arrival time. A reader that is too late gets the events of all
    elapsed bins in one bin; `Stats.merged` counts the bins merged this way.
    """

    def _bins(self, width: float) -> Iterator[Bin]:
        start = time.perf_counter()
        delivered = 0  # number of bins delivered so far, including merged ones
        while not self._buffer.check_finished():
            elapsed = int((time.perf_counter() - start) * 1e6 / width)
            self._merged += max(0, elapsed - delivered - 1)
            delivered = max(delivered + 1, elapsed)
            deadline = start + delivered * width / 1e6
            yield Bin(self._events_until(deadline), deadline)

    def _events_until(self, deadline: float) -> Iterator[Events]:
        time.sleep(max(0.0, deadline - time.perf_counter()))
        yield from self._buffer.take()
