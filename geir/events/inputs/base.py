"""The abstract base of event inputs."""

import math
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import NamedTuple, Self, TypedDict, TypeVar

import numpy
import torch
from torch import Tensor

from ..._runtime import memory
from ..store import Events
from .accumulate import accumulate, flat_indices
from .buffer import Buffer, Overflow

T = TypeVar("T")


class InputSettings(TypedDict, total=False):
    """Settings that all inputs share."""

    dt: float  # default bin width in seconds
    device: torch.device | str  # of the returned tensors and events
    capacity: int  # maximum number of events in the buffer


class Bin(NamedTuple):
    """One bin of events."""

    chunks: Iterator[Events]  # yields the events of the bin as they arrive
    deadline: float | None  # wall-clock time at which the bin is to be delivered, as `time.perf_counter`; None: at once


class RejectionCounts(NamedTuple):
    """Numbers of events and datagrams that an input could not use."""

    rejected: int = 0
    malformed: int = 0
    lost: int | None = 0


class Stats(NamedTuple):
    """Statistics of an event input since it was opened."""

    events: int  # events read
    queue: int  # events in the buffer
    dropped: int  # events dropped by `Overflow.DROP`, or coalesced ones when single events were requested
    coalesced: int  # events that lost their timestamps by `Overflow.COALESCE`
    merged: int  # bins of a live input that had elapsed before they were requested and were merged with the next one
    late_p50: float  # median delay of the last 100,000 bins, from the end of the bin to its delivery, in microseconds
    late_p99: float  # 99th percentile of the same
    rejected: int = 0  # events that were left out: of datagrams outside of the sensor, of files with errors="skip"
    malformed: int = 0  # datagrams with an incomplete event
    lost: int | None = 0  # datagrams dropped by the operating system; None if it does not report them


class EventInput(ABC):
    """Abstract base of event inputs: context managers that read events in a separate thread.

    While an input is open, a thread fills a bounded buffer from the source. It can be opened
    repeatedly, but only once at a time.

    Args:
        dt: Default bin width in seconds.
        device: Device of the returned tensors and events.
        capacity: Maximum number of events in the buffer, 13 bytes each.
        overflow: What happens when the buffer is full.

    Raises:
        ValueError: If `dt`, `capacity` or `overflow` is invalid.

    Attributes:
        sensor_size: Width and height of the sensor in pixels; available while the input is open.
    """

    sensor_size: tuple[int, int]

    def __init__(
        self,
        dt: float = 1e-3,
        device: torch.device | str = "cpu",
        capacity: int = 1 << 22,
        overflow: Overflow = Overflow.BLOCK,
    ):
        name = type(self).__name__
        self.dt = dt
        self.device = torch.device(device)
        self.capacity = capacity
        self._bin_width(dt)
        if not isinstance(capacity, int) or capacity < 1:
            raise ValueError(f"{name}.capacity must be a number of events, at least 1, got {capacity!r}.")
        try:
            self.overflow = Overflow(overflow)
        except ValueError:
            options = ", ".join(map(str, Overflow))
            raise ValueError(f"{name}.overflow must be one of {options}, got {overflow!r}.") from None
        self._stack: ExitStack | None = None
        self._last_buffer: Buffer | None = None  # of the last opening; kept after closing for `stats`
        self._delays: deque[float] = deque(maxlen=100_000)
        self._merged = 0

    @abstractmethod
    def _open_source(self) -> AbstractContextManager[Iterator[Events]]:
        """Open the source, set `sensor_size`, and yield an iterator over events, which the producer thread runs."""

    @abstractmethod
    def _bins(self, width: float) -> Iterator[Bin]:
        """Yield consecutive bins of `width` microseconds."""

    def _wake_source(self) -> None:
        """Make a source that is waiting for data yield, possibly no events, so that its thread can end."""

    def _rejection_counts(self) -> RejectionCounts:
        return RejectionCounts()

    def _read_limit(self) -> int | None:
        """Time in microseconds before which events may be read now; None for no limit."""
        return None

    def _next_deadline(self) -> float | None:
        """Wall-clock time at which the next event may be read; None if that depends on arriving events."""
        return None

    def __enter__(self) -> Self:
        name = type(self).__name__
        if self._stack is not None:
            raise ValueError(f"{name} is already open; create another {name} to read the source twice at once.")
        self._delays.clear()
        self._merged = 0
        with ExitStack() as stack:
            source = stack.enter_context(self._open_source())
            buffer = Buffer(self.sensor_size, self.capacity, self.overflow)
            self._last_buffer = buffer
            thread = threading.Thread(target=buffer.fill, args=(source,), name=f"geir {name}", daemon=True)
            thread.start()
            # Run in reverse order on exit: close the buffer, wake the source, join the thread,
            # close the source.
            stack.callback(thread.join)
            stack.callback(self._wake_source)
            stack.callback(buffer.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        stack = self._stack
        self._stack = None
        if stack is not None:
            stack.close()

    @property
    def _buffer(self) -> Buffer:
        if self._stack is None or self._last_buffer is None:
            raise ValueError(f"{type(self).__name__} is not open; use it in a with statement.")
        return self._last_buffer

    @property
    def done(self) -> bool:
        """Whether all events have been read and no more will arrive."""
        return self._stack is None or self._buffer.done

    @property
    def stats(self) -> Stats:
        """Statistics since the input was opened; available after it is closed, too."""
        buffer = self._last_buffer or Buffer((1, 1), 1, Overflow.BLOCK)
        p50, p99 = numpy.percentile(self._delays or math.nan, (50, 99))
        rejections = self._rejection_counts()
        return Stats(
            events=buffer.taken,
            queue=buffer.waiting,
            dropped=buffer.dropped,
            coalesced=buffer.coalesced,
            merged=self._merged,
            late_p50=round(1e6 * float(p50), 1),
            late_p99=round(1e6 * float(p99), 1),
            rejected=rejections.rejected,
            malformed=rejections.malformed,
            lost=rejections.lost,
        )

    def read(self, timeout: float | None = None) -> Tensor:
        """Count all events since the last read. Waits for the first event.

        Args:
            timeout: Maximum time to wait in seconds; 0 does not wait. Default: until an event
                arrives or the source ends.

        Returns:
            Event counts, float32 of shape (polarity, height, width); zeros if there are no events.

        Raises:
            EventFileError: If a file is damaged, after all events before the damage have been
                returned.
            ValueError: If the input is not open.
        """
        return self._count(iter(self._read(timeout)))

    def events(self, timeout: float | None = None) -> Events:
        """Return all events since the last read. As `read`, but returns the events instead of counts."""
        return self._join(iter(self._read(timeout)))

    def frames(self, dt: float | None = None, sparse: bool = False) -> Iterator[Tensor]:
        """Count the events in consecutive bins of time, including empty ones.

        Args:
            dt: Bin width in seconds. Default: `dt` of the input.
            sparse: Whether to return sparse tensors.

        Returns:
            An iterator over event counts, float32 of shape (polarity, height, width). A second
            iterator continues where the first one stopped.

        Raises:
            EventFileError: If a file is damaged, after all events before the damage have been
                returned.
            ValueError: If `dt` is less than a microsecond, or the input is not open.
        """
        return self._deliver(self._count_sparse if sparse else self._count, dt)

    def slices(self, dt: float | None = None) -> Iterator[Events]:
        """Return the events in consecutive bins of time. As `frames`, but yields events instead of counts."""
        return self._deliver(self._join, dt)

    def __iter__(self) -> Iterator[Tensor]:
        return self.frames()

    def _bin_width(self, dt: float | None) -> float:
        """The bin width in microseconds."""
        dt = self.dt if dt is None else dt
        if not isinstance(dt, (int, float)) or not 1e-6 <= dt < math.inf:
            raise ValueError(f"{type(self).__name__}: dt must be a number of seconds, at least 1e-6, got {dt!r}.")
        return dt * 1e6

    def _read(self, timeout: float | None) -> list[Events]:
        buffer = self._buffer
        end = math.inf if timeout is None else time.perf_counter() + timeout
        while True:
            chunks = buffer.take(self._read_limit())
            remaining = end - time.perf_counter()
            if chunks or buffer.check_finished() or remaining <= 0:
                return chunks
            if (deadline := self._next_deadline()) is not None:
                time.sleep(max(0.0, min(deadline - time.perf_counter(), remaining)))
            else:
                buffer.wait(lambda: buffer.waiting > 0, None if remaining == math.inf else remaining)

    def _deliver(self, assemble: Callable[[Iterator[Events]], T], dt: float | None) -> Iterator[T]:
        """Yield each bin, assembled from its chunks, at its deadline."""
        width = self._bin_width(dt)
        # Not in the generator, so that an input that is not open raises here and not at the first bin.
        _ = self._buffer

        def bins() -> Iterator[T]:
            for chunks, deadline in self._bins(width):
                result = assemble(chunks)
                if deadline is not None:
                    if (remaining := deadline - time.perf_counter()) > 0:
                        time.sleep(remaining)
                    self._delays.append(time.perf_counter() - deadline)
                yield result

        return bins()

    def _count(self, chunks: Iterator[Events]) -> Tensor:
        width, height = self.sensor_size
        frame = memory.empty((2, height, width), torch.empty(0, device=self.device))
        if frame.device.type == "cpu":
            # NumPy fills in this thread. PyTorch would use its thread pool, whose wake-up takes
            # longer and has outliers.
            frame.numpy().fill(0)
        else:
            frame.zero_()
        for events in chunks:
            accumulate(events, frame)
        if (coalesced := self._buffer.take_coalesced()) is not None:
            frame += coalesced.to(self.device)
        return frame

    def _count_sparse(self, chunks: Iterator[Events]) -> Tensor:
        width, height = self.sensor_size
        indices = torch.cat([torch.empty(0, dtype=torch.int32), *map(flat_indices, chunks)])
        if (coalesced := self._buffer.take_coalesced()) is not None:
            indices = torch.cat([indices, torch.repeat_interleave(coalesced.flatten().long()).int()])
        indices, counts = _to_device(indices, self.device).unique(return_counts=True)
        coordinates = torch.stack([indices // (width * height), indices // width % height, indices % width])
        return torch.sparse_coo_tensor(
            coordinates, counts.float(), (2, height, width), is_coalesced=True, check_invariants=False
        )

    def _join(self, chunks: Iterator[Events]) -> Events:
        nonempty = [events for events in chunks if len(events)]
        events = nonempty[0] if len(nonempty) == 1 else Events.cat([Events.empty(self.sensor_size), *nonempty])
        self._buffer.drop_coalesced()
        if self.device.type == "cpu":
            return events
        columns = (_to_device(column, self.device) for column in events.columns())
        return Events.unchecked(*columns, sensor_size=self.sensor_size)


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; to a GPU from pinned memory, without blocking."""
    if device.type == "cuda" and not tensor.is_cuda:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
