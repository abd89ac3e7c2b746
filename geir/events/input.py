"""Events from somewhere, as they come or as they once came, into tensors."""

import math
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NamedTuple, Self, TypeVar

import numpy
import torch
from torch import Tensor

from .._runtime import memory
from .buffer import Buffer, Overflow
from .counts import add_counts, positions
from .store import Events

T = TypeVar("T")

# One bin of events, which may still be on their way, and when by the wall clock it is complete, if that matters.
Bin = tuple[Iterator[Events], float | None]


class Stats(NamedTuple):
    """What has become of events so far, and how late their bins were."""

    events: int  # that were read
    queue: int  # that wait to be read
    dropped: int  # by `Overflow.DROP`, or that had been coalesced when single events were asked for
    coalesced: int  # whose times were given up by `Overflow.COALESCE`
    merged: int  # bins of a live source that had passed before they were asked for; their events are in the next
    late_p50: float  # microseconds between the end of a bin by the wall clock and its delivery: the median of the last 100,000
    late_p99: float  # their 99th percentile
    rejected: int = 0  # events of datagrams that lie outside of the sensor
    malformed: int = 0  # datagrams that are not whole
    lost: int | None = 0  # datagrams for which the operating system had no room; None if it does not tell


class Input(ABC):
    """A source of events to be opened in a ``with`` statement, as often as you like; a thread fills a bounded buffer from it.

    Args:
        dt: Width in seconds of the bins of an iteration.
        device: Where tensors and events are wanted.
        capacity: How many events the buffer holds, 13 bytes each.
        overflow: What happens to more.

    Raises:
        ValueError: If one of them is out of range.
    """

    sensor_size: tuple[int, int]  # width and height in pixels; known when it is open

    def __init__(
        self,
        dt: float = 1e-3,
        device: torch.device | str = "cpu",
        capacity: int = 1 << 22,
        overflow: Overflow = Overflow.BLOCK,
    ):
        self.dt, self.device, self.capacity = dt, torch.device(device), capacity
        self._step(dt)
        if not isinstance(capacity, int) or capacity < 1:
            raise ValueError(
                f"{type(self).__name__}.capacity must be a number of events, at least 1, got {capacity!r}."
            )
        try:
            self.overflow = Overflow(overflow)
        except ValueError:
            raise ValueError(
                f"{type(self).__name__}.overflow must be one of {', '.join(map(str, Overflow))}, got {overflow!r}."
            ) from None
        self._stack: ExitStack | None = None
        self._opened_buffer: Buffer | None = None
        self._late: deque[float] = deque(maxlen=100_000)
        self._merged = 0

    @abstractmethod
    def _source(self) -> AbstractContextManager[Iterator[Events]]:
        """Open it, set `sensor_size`, and yield its events, which a thread then goes through; close it afterwards."""

    @abstractmethod
    def _bins(self, step: float) -> Iterator[Bin]:
        """Bins of `step` microseconds."""

    def _interrupt(self) -> None:
        """Make a source that waits for something yield, be it no events."""

    def _refused(self) -> dict[str, Any]:
        """More of `stats`."""
        return {}

    def _due(self) -> int | None:
        """Time in microseconds before which events may be read now; None for all."""
        return None

    def _seconds_to_next(self) -> float | None:
        """How long until the next of the events that wait may be read; None if that depends on what comes."""
        return None

    def __enter__(self) -> Self:
        if self._stack is not None:
            raise ValueError(f"{type(self).__name__} is open already; make another to read it twice at once.")
        self._late.clear()
        self._merged = 0
        with ExitStack() as stack:
            source = stack.enter_context(self._source())
            buffer = self._opened_buffer = Buffer(self.sensor_size, self.capacity, self.overflow)
            thread = threading.Thread(
                target=buffer.fill, args=(source,), name=f"{type(self).__name__} of geir", daemon=True
            )
            thread.start()
            stack.callback(thread.join)
            stack.callback(self._interrupt)
            stack.callback(buffer.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.close()

    @property
    def _buffer(self) -> Buffer:
        if self._stack is None or self._opened_buffer is None:
            raise ValueError(f"{type(self).__name__} is not open; use it in a with statement.")
        return self._opened_buffer

    @property
    def done(self) -> bool:
        """Whether everything has been read and nothing more will come."""
        return self._stack is None or self._buffer.done

    @property
    def stats(self) -> Stats:
        """What has become of events so far; it stays after closing."""
        buffer = self._opened_buffer or Buffer((1, 1), 1, Overflow.BLOCK)
        p50, p99 = (round(1e6 * float(q), 1) for q in numpy.percentile(self._late or math.nan, (50, 99)))
        return Stats(
            buffer.taken, buffer.waiting, buffer.dropped, buffer.coalesced, self._merged, p50, p99, **self._refused()
        )

    def read(self, timeout: float | None = None) -> Tensor:
        """Count everything since the last read; waits for the first event.

        Args:
            timeout: Seconds to wait at most; 0 does not wait. Default: until there is an event or nothing more will come.

        Returns:
            Numbers of events, float32 of shape (polarity, height, width); zeros if there were none.

        Raises:
            EventFileError: If a file cannot be read further; everything before that has been given.
        """
        return self._frame(iter(self._read(timeout)))

    def events(self, timeout: float | None = None) -> Events:
        """As `read`, the events themselves."""
        return self._joined(iter(self._read(timeout)))

    def frames(self, dt: float | None = None, sparse: bool = False) -> Iterator[Tensor]:
        """Bins of time one after another, empty ones too.

        Args:
            dt: Width of a bin in seconds. Default: that of the input.
            sparse: Whether to make sparse tensors.

        Returns:
            An iterator over numbers of events, float32 of shape (polarity, height, width). Another one goes on where the last ended.

        Raises:
            ValueError: If `dt` is not at least a microsecond.
        """
        return self._binned(self._sparse_frame if sparse else self._frame, dt)

    def slices(self, dt: float | None = None) -> Iterator[Events]:
        """As `frames`, the events themselves."""
        return self._binned(self._joined, dt)

    def __iter__(self) -> Iterator[Tensor]:
        return self.frames()

    def _step(self, dt: float | None) -> float:
        """The width of a bin in microseconds."""
        dt = self.dt if dt is None else dt
        if not isinstance(dt, (int, float)) or not 1e-6 <= dt < math.inf:
            raise ValueError(f"{type(self).__name__}: dt must be a number of seconds, at least 1e-6, got {dt!r}.")
        return dt * 1e6

    def _read(self, timeout: float | None) -> list[Events]:
        buffer = self._buffer
        deadline = math.inf if timeout is None else time.perf_counter() + timeout
        while True:
            parts = buffer.take(self._due())
            left = deadline - time.perf_counter()
            if parts or buffer.finished or left <= 0:
                return parts
            if (seconds := self._seconds_to_next()) is not None:
                time.sleep(max(0.0, min(seconds, left)))
            else:
                buffer.wait(lambda: buffer.waiting > 0, None if left == math.inf else left)

    def _binned(self, joined: Callable[[Iterator[Events]], T], dt: float | None) -> Iterator[T]:
        step, _ = self._step(dt), self._buffer  # refused here, not when the first is asked for

        def bins() -> Iterator[T]:
            for parts, deadline in self._bins(step):
                result = joined(parts)
                if deadline is not None:
                    if (left := deadline - time.perf_counter()) > 0:
                        time.sleep(left)
                    self._late.append(time.perf_counter() - deadline)
                yield result

        return bins()

    def _frame(self, parts: Iterator[Events]) -> Tensor:
        width, height = self.sensor_size
        frame = memory.empty((2, height, width), torch.empty(0, device=self.device))
        if frame.device.type == "cpu":
            frame.numpy().fill(
                0
            )  # in this thread: waiting for PyTorch's others takes longer, and now and then much longer
        else:
            frame.zero_()
        for part in parts:
            add_counts(part, frame)
        if (excess := self._buffer.take_excess()) is not None:
            frame += excess.to(self.device)
        return frame

    def _sparse_frame(self, parts: Iterator[Events]) -> Tensor:
        width, height = self.sensor_size
        at = torch.cat([torch.empty(0, dtype=torch.int32), *map(positions, parts)])
        if (excess := self._buffer.take_excess()) is not None:
            at = torch.cat([at, torch.repeat_interleave(excess.flatten().long()).int()])
        at, counts = _moved(at, self.device).unique(return_counts=True)
        indices = torch.stack([at // (width * height), at // width % height, at % width])
        return torch.sparse_coo_tensor(
            indices, counts.float(), (2, height, width), is_coalesced=True, check_invariants=False
        )

    def _joined(self, parts: Iterator[Events]) -> Events:
        every = [part for part in parts if len(part)]
        events = every[0] if len(every) == 1 else Events.cat([Events.empty(self.sensor_size), *every])
        self._buffer.drop_excess()
        if self.device.type == "cpu":
            return events
        return Events.unchecked(
            *(_moved(column, self.device) for column in events.columns()), sensor_size=self.sensor_size
        )


class LiveInput(Input):
    """A source whose events come when they come."""

    def _bins(self, step: float) -> Iterator[Bin]:
        start, past = time.perf_counter(), 0
        while not self._buffer.finished:
            # Bins that have passed meanwhile are one with the next.
            now = int((time.perf_counter() - start) * 1e6 / step)
            self._merged += max(0, now - past - 1)
            past = max(past + 1, now)
            deadline = start + past * step / 1e6
            yield self._until(deadline), deadline

    def _until(self, deadline: float) -> Iterator[Events]:
        time.sleep(max(0.0, deadline - time.perf_counter()))
        yield from self._buffer.take()


def _moved(column: Tensor, device: torch.device) -> Tensor:
    """To the device, by way of memory from which a GPU copies quickly."""
    return (
        column.pin_memory().to(device, non_blocking=True)
        if device.type == "cuda" and not column.is_cuda
        else column.to(device)
    )
