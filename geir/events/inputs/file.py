"""Recordings, read at their own pace or as fast as possible."""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager, ExitStack
from os import PathLike
from typing import Protocol, runtime_checkable, Unpack

from ..recording import check_error_mode, ErrorMode, open_events, Recording
from ..store import Events
from .base import Bin, EventInput, InputSettings, RejectionCounts
from .buffer import Overflow
from .clock import PlaybackClock
from .pipe import Pipe

# Events decoded at a time: enough for throughput, few enough that the first ones are available soon.
_CHUNK_SIZE = 1 << 18
_BEFORE_ALL = -1 << 63


@runtime_checkable
class ChunkSource(Protocol):
    """An object that yields events in chunks, such as the result of `geir.events.open_events`."""

    sensor_size: tuple[int, int]

    def chunks(self, size: int = ..., /) -> Iterator[Events]:
        """Yield events in order, about `size` at a time."""
        ...


class FileInput(EventInput):
    """The events of a recording, at the pace of the recording or as fast as they are read.

    There are two ways to read. `read` and `events` are live: they return all events that have
    become due since the last call. `frames`, `slices` and iteration divide the time of the
    recording, from its first event, into bins. The bins depend neither on the wall clock nor on the
    speed of the reader; with a `speed`, each bin is delivered when its end is due. Deadlines are
    absolute, so a single delay does not accumulate. The clock starts with the first call.

    An event earlier than its predecessor is treated as simultaneous with it.

    Args:
        path: The file, or an object with a `sensor_size` and a method `chunks(size)`, which is not
            closed.
        speed: Seconds of the recording per second of wall-clock time; None reads as fast as
            possible.
        errors: ``"strict"`` raises on a damaged file, after the events before the damage have been
            returned; ``"truncate"`` warns and ends there; ``"skip"`` leaves out single invalid
            events, which `stats.rejected` counts.
        sensor_size: Width and height of the sensor, for files that do not contain them.
        format: Name of the file format. Default: recognized from the content or the name of the
            file.
        overflow: What happens when the buffer is full.
        dt: Default bin width in seconds.
        device: Device of the returned tensors and events.
        capacity: Maximum number of events decoded ahead, 13 bytes each.

    Raises:
        ValueError: If `speed`, `errors`, `dt`, `capacity` or `overflow` is invalid.
        EventFileError: On opening, if the file is not a valid event file.
    """

    def __init__(
        self,
        path: str | PathLike[str] | ChunkSource,
        speed: float | None = 1.0,
        errors: ErrorMode = "strict",
        *,
        sensor_size: tuple[int, int] | None = None,
        format: str | None = None,
        overflow: Overflow = Overflow.BLOCK,
        **settings: Unpack[InputSettings],
    ):
        super().__init__(overflow=overflow, **settings)
        self.path = path
        check_error_mode("FileInput", errors)
        self._errors: ErrorMode = errors
        self._recording: ChunkSource | Recording | None = None
        self._given_sensor_size = sensor_size
        self._format = format
        self._clock = PlaybackClock(_check_speed(speed))
        # Time up to which the recording has been read, in microseconds; None: the time of the first
        # waiting event.
        self._position: int | None = None

    @property
    def speed(self) -> float | None:
        """Seconds of the recording per second of wall-clock time; None reads as fast as possible.

        After `speed` has been set, the clock resumes with the next call at the current position, as
        after a pause.
        """
        return self._clock.speed

    @speed.setter
    def speed(self, speed: float | None) -> None:
        self._clock.speed = _check_speed(speed)

    @contextmanager
    def _open_source(self) -> Iterator[Iterator[Events]]:
        with ExitStack() as stack:
            if isinstance(self.path, ChunkSource):
                recording = self.path
            else:
                recording = stack.enter_context(
                    open_events(self.path, self._errors, sensor_size=self._given_sensor_size, format=self._format)
                )
            self.sensor_size = recording.sensor_size
            self._recording = recording
            self._position = None
            self._clock.reset()
            yield iter(recording.chunks(min(_CHUNK_SIZE, self.capacity)))

    def _rejection_counts(self) -> RejectionCounts:
        if isinstance(self._recording, Recording):
            return RejectionCounts(rejected=self._recording.skipped.total)
        return RejectionCounts(rejected=self._recording.rejected if isinstance(self._recording, Pipe) else 0)

    def _bins(self, width: float) -> Iterator[Bin]:
        buffer = self._buffer
        origin: int | None = None
        for k in itertools.count(1):
            buffer.wait(lambda: buffer.waiting > 0)
            if buffer.check_finished() or (start := self._reached()) is None:
                return
            origin = start if origin is None else origin
            edge = origin + round(k * width)
            deadline = self._deadline(edge)
            self._position = edge
            yield Bin(self._events_before(edge), deadline)

    def _events_before(self, edge: int) -> Iterator[Events]:
        buffer = self._buffer
        complete = False
        while not complete:
            buffer.wait(lambda: buffer.waiting > 0)
            # Evaluated before taking, because more events can arrive in between.
            complete = buffer.ended or (buffer.latest_time is not None and buffer.latest_time >= edge)
            yield from buffer.take(edge)

    def _reached(self) -> int | None:
        """Time up to which the recording has been read; None before the first event has arrived."""
        return self._buffer.first_time if self._position is None else self._position

    def _start_clock(self) -> bool:
        """Start the clock at the current position unless it is running. Returns False if no event has arrived yet."""
        position = self._reached()
        if position is None:
            return False
        self._clock.start(position)
        return True

    def _deadline(self, t: int) -> float | None:
        if self._clock.speed is None or not self._start_clock():
            return None
        return self._clock.deadline(t)

    def _read_limit(self) -> int | None:
        if self._clock.speed is None:
            self._position = None
            return None
        if not self._start_clock():
            return _BEFORE_ALL
        # The events of the current microsecond are due.
        self._position = self._clock.position() + 1
        return self._position

    def _next_deadline(self) -> float | None:
        first_time = self._buffer.first_time
        return None if first_time is None else self._deadline(first_time)


def _check_speed(speed: float | None) -> float | None:
    if speed is not None and not (isinstance(speed, (int, float)) and 0 < speed < math.inf):
        raise ValueError(f"FileInput.speed must be a positive number, or None for as fast as possible, got {speed!r}.")
    return speed
