"""Recordings, played."""

import itertools
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from os import PathLike
from typing import Any, Literal, Protocol, runtime_checkable

from .store import Events
from .recording import open_events
from .input import Bin, Input

# Events decoded at a time: enough for speed, few enough for the first ones to come at once.
_CHUNK = 1 << 18
_BEFORE_ALL = -1 << 63


@runtime_checkable
class Chunks(Protocol):
    """What gives the events of a recording in parts, as `geir.events.open_events` does."""

    sensor_size: tuple[int, int]

    def chunks(self, size: int = ..., /) -> Iterator[Events]:
        """Events in order, about `size` at a time."""
        ...


class FileInput(Input):
    """The events of a recording, at the pace at which they once came or as fast as they are read.

    There are two ways to read. `read` and `events` are live: they give everything that has become due since the last call. `frames`, `slices` and
    iteration cut the recording's own time, from its first event on, into bins that depend neither on the wall clock nor on how fast anybody is; at a
    `speed`, each is delivered when its end has come. Deadlines are absolute, so that being late once does not add up. The clock starts with the
    first call.

    Events that are earlier than one before them are taken to be simultaneous with it.

    Args:
        path: The file, or an object with `sensor_size` and `chunks(size)`, which stays its owner's to close.
        speed: How many seconds of the recording pass in a second; None is as fast as possible.
        errors: "strict" raises what is wrong with a file after what was sound has been given, "truncate" warns and ends.
        sensor_size: Width and height of the sensor, for files that do not say it.
        format: The name of the file's format, if neither its first bytes nor its name tell.
        dt: Width in seconds of the bins of an iteration.
        device: Where tensors and events are wanted.
        capacity: How many events are decoded ahead at most, 13 bytes each.

    Raises:
        ValueError: If `speed`, `dt` or `capacity` is out of range.
        EventFileError: On opening, if it is not a file of events.
    """

    def __init__(
        self,
        path: str | PathLike[str] | Chunks,
        speed: float | None = 1.0,
        errors: Literal["strict", "truncate"] = "strict",
        *,
        sensor_size: tuple[int, int] | None = None,
        format: str | None = None,
        **settings: Any,
    ):
        super().__init__(**settings)
        self.path, self.speed = path, speed
        self._how: dict[str, Any] = {"errors": errors, "sensor_size": sensor_size, "format": format}

    @property
    def speed(self) -> float | None:
        """How many seconds of the recording pass in a second. Once it is set, the clock goes on with the next call, as after a pause."""
        return self._speed

    @speed.setter
    def speed(self, speed: float | None) -> None:
        if speed is not None and not (isinstance(speed, (int, float)) and 0 < speed < math.inf):
            raise ValueError(
                f"FileInput.speed must be a positive number, or None for as fast as possible, got {speed!r}."
            )
        self._speed = speed
        self._anchor: tuple[float, int] | None = (
            None  # a moment by the wall clock in seconds, and in the recording in microseconds
        )

    @contextmanager
    def _source(self) -> Iterator[Iterator[Events]]:
        with ExitStack() as stack:
            recording = (
                self.path if isinstance(self.path, Chunks) else stack.enter_context(open_events(self.path, **self._how))
            )
            self.sensor_size = recording.sensor_size
            # Up to where the recording has been read; None is up to the first event that waits.
            self._position: int | None = None
            self._anchor = None
            yield iter(recording.chunks(min(_CHUNK, self.capacity)))

    def _bins(self, step: float) -> Iterator[Bin]:
        buffer, origin = self._buffer, None
        for k in itertools.count(1):
            buffer.wait(lambda: buffer.waiting > 0)
            if buffer.finished or (start := self._reached()) is None:
                return
            origin = start if origin is None else origin
            edge = origin + round(k * step)
            deadline = self._deadline(edge)
            self._position = edge
            yield self._until(edge), deadline

    def _until(self, edge: int) -> Iterator[Events]:
        buffer, complete = self._buffer, False
        while not complete:
            buffer.wait(lambda: buffer.waiting > 0)
            # To be asked before taking, for more may come meanwhile.
            complete = buffer.ended or (buffer.latest is not None and buffer.latest >= edge)
            yield from buffer.take(edge)

    def _reached(self) -> int | None:
        return self._buffer.first if self._position is None else self._position

    def _deadline(self, t: int) -> float | None:
        """When a time of the recording comes by the wall clock."""
        if self._speed is None or (start := self._reached()) is None:
            return None
        now, then = self._anchor = self._anchor or (time.perf_counter(), start)
        return now + (t - then) / self._speed / 1e6

    def _due(self) -> int | None:
        if self._speed is None:
            self._position = None
            return None
        if self._reached() is None:
            return _BEFORE_ALL
        now, then = self._anchor = self._anchor or (time.perf_counter(), self._reached() or 0)
        # Events of this very microsecond are due.
        self._position = then + int((time.perf_counter() - now) * self._speed * 1e6) + 1
        return self._position

    def _seconds_to_next(self) -> float | None:
        first = self._buffer.first
        deadline = None if first is None else self._deadline(first)
        return None if deadline is None else deadline - time.perf_counter()
