"""The player: runs the detector on a stream in a thread, follows the controls, and keeps the latest frame.

**Threads.** The player thread reads the stream and runs the network. It renders no images itself:
each `PendingImage` goes to a worker thread, which renders it while the network continues with the
next steps. There is one worker, and the player waits for it before it submits the next image, so
frames stay in order and at most one image is pending. Server threads call `wait_for_frame` and
`change`. The condition `_changed` guards `controls` and `frame`, and is notified whenever one of
them changes or the player is stopped.
"""

import dataclasses
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from torch import Tensor

from ...events import EventInput, Events, FileInput
from .detector import Detector, PendingImage, THRESHOLD

FPS = 30
# Seconds over which rates are averaged.
_RATE_WINDOW = 0.5


@dataclasses.dataclass(frozen=True)
class Controls:
    """Settings that can be changed while the player runs.

    Raises:
        ValueError: If a value is invalid.
    """

    paused: bool = False
    speed: float | None = 1.0  # seconds of the recording per second; None is as fast as possible
    threshold: float = THRESHOLD  # of the neurons

    def __post_init__(self) -> None:
        if not isinstance(self.paused, bool):
            raise ValueError(f"paused must be true or false, got {self.paused!r}.")
        if self.speed is not None and not (_is_number(self.speed) and 1e-3 <= self.speed <= 1e3):
            raise ValueError(
                f"speed must be a number from 0.001 to 1000, or null for as fast as possible, got {self.speed!r}."
            )
        if not (_is_number(self.threshold) and 0 < self.threshold < math.inf):
            raise ValueError(f"threshold must be a positive number, got {self.threshold!r}.")

    def updated(self, changes: Mapping[str, Any]) -> "Controls":
        """Return the controls with some values replaced.

        Raises:
            ValueError: If a control does not exist, or a value is invalid.
        """
        names = [field.name for field in dataclasses.fields(self)]
        if unknown := changes.keys() - names:
            raise ValueError(
                f"Unknown control {', '.join(map(str, sorted(unknown)))}; the controls are {', '.join(names)}."
            )
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class PlayerStats:
    """Statistics at the time of a frame."""

    time: float = 0.0  # seconds of the stream processed so far
    events_per_second: float = 0.0  # by the wall clock
    steps_per_second: float = 0.0  # by the wall clock
    step_ms: float = 0.0  # time of the network per step, in milliseconds
    latency_ms: float = 0.0  # from the end of the last step to the rendered image, in milliseconds
    lost: int = (
        0  # events skipped while a live stream was paused, and events and datagrams that the input lost or rejected
    )
    ended: bool = False
    error: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """A numbered image."""

    number: int  # counted from 1
    image: Tensor | None  # None if the stream ended before the first image
    stats: PlayerStats


class Player(threading.Thread):
    """Plays a stream through a `Detector`.

    Args:
        open_input: Creates the input; called again for every repetition.
        controls: Initial controls.
        dt: Step size in seconds.
        repeat: Whether a recording is repeated when it ends.
        seconds: Length of the stream to play, in seconds. Default: all of it.

    Attributes:
        frame: The latest frame; None before the first one.
        error: The exception that ended the player, if any.
        live: Whether the stream arrives in real time.
        ended: Set when the player has ended.
    """

    def __init__(
        self,
        open_input: Callable[[], EventInput],
        controls: Controls | None = None,
        dt: float = 1e-3,
        repeat: bool = False,
        seconds: float | None = None,
    ):
        super().__init__(name="geir edges", daemon=True)
        self.dt = dt
        self.controls = controls or Controls()
        self.frame: Frame | None = None
        self.error: Exception | None = None
        self.live = False
        # The main thread waits for this event instead of calling join(): in Python 3.11, Ctrl-C
        # during join() makes a running thread look as if it had ended.
        self.ended = threading.Event()
        self._open_input = open_input
        self._repeat = repeat
        self._seconds = seconds
        self._changed = threading.Condition()
        self._stopping = False

    def change(self, changes: Mapping[str, Any]) -> Controls:
        """Change controls. Returns all controls.

        Raises:
            ValueError: If a control does not exist, a value is invalid, or the stream is live and
                `speed` is changed.
        """
        with self._changed:
            if self.live and "speed" in changes:
                raise ValueError("The speed of a live stream cannot be changed.")
            self.controls = self.controls.updated(changes)
            self._changed.notify_all()
            return self.controls

    def stop(self) -> None:
        """Stop the player, from another thread, and wait until it has ended."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self.ended.wait()
        self.join()

    def wait_for_frame(self, after: int, timeout: float) -> Frame | None:
        """Wait for a frame with a number greater than `after`.

        Returns:
            The latest frame; None if there is no such frame within `timeout` seconds.
        """

        def is_newer() -> bool:
            return self.frame is not None and self.frame.number > after

        with self._changed:
            self._changed.wait_for(lambda: self._stopping or is_newer(), timeout)
            return self.frame if is_newer() else None

    def run(self) -> None:
        try:
            while True:
                with self._open_input() as stream:
                    self._play(stream)
                if self._stopping or not self._repeat:
                    break
            self._publish(ended=True)
        except Exception as error:  # shown on the page
            self.error = error
            self._publish(ended=True, error=str(error))
        finally:
            self.ended.set()

    def _play(self, stream: EventInput) -> None:
        self.live = not isinstance(stream, FileInput)
        detector = Detector(stream.sensor_size, self.controls.threshold, self.dt)
        meter = _Meter(stream, self.dt)
        with ThreadPoolExecutor(1, "geir edges renderer") as renderer:
            rendering: Future[None] | None = None
            for pending in detector.images(self._steps(stream, detector, meter), self._steps_per_image):
                if rendering is not None:
                    rendering.result()
                rendering = renderer.submit(self._render, pending, meter.update(pending))
            if rendering is not None:
                rendering.result()

    def _render(self, pending: PendingImage, rates: dict[str, float]) -> None:
        image = pending.render()
        latency_ms = 1e3 * (time.perf_counter() - pending.completed_at)
        self._publish(image, latency_ms=latency_ms, **rates)

    def _steps(self, stream: EventInput, detector: Detector, meter: "_Meter") -> Iterator[Events]:
        """Yield the events of consecutive steps, and apply the controls between steps."""
        applied = self.controls
        for events in read_steps(stream, self.dt, self._seconds):
            if self.live and self.controls.paused:
                meter.skipped += len(events)
            else:
                yield events
            with self._changed:
                was_paused = self.controls.paused and not self.live
                self._changed.wait_for(lambda: self._stopping or self.live or not self.controls.paused)
                if self._stopping:
                    return
                controls = self.controls
            detector.threshold = controls.threshold
            if isinstance(stream, FileInput) and (was_paused or controls.speed != applied.speed):
                # Setting the speed restarts the clock of the input here, so a pause is not caught up.
                stream.speed = controls.speed
            applied = controls

    def _steps_per_image(self) -> int:
        speed = 1.0 if self.live else self.controls.speed or 1.0
        return steps_per_image(speed, self.dt, FPS)

    def _publish(self, image: Tensor | None = None, **stats: float | str | None) -> None:
        """Publish a frame. The image and the statistics that are not given are those of the previous frame."""
        with self._changed:
            previous = self.frame or Frame(0, None, PlayerStats())
            image = previous.image if image is None else image
            self.frame = Frame(previous.number + 1, image, dataclasses.replace(previous.stats, **stats))
            self._changed.notify_all()


class _Work(NamedTuple):
    """Work done for one image. (A `PendingImage` would keep the image in memory.)"""

    events: int
    steps: int
    seconds: float


class _Meter:
    """Measures rates over the last half second."""

    def __init__(self, stream: EventInput, dt: float):
        self.skipped = 0  # events of a live stream while it was paused
        self._stream = stream
        self._dt = dt
        self._steps = 0
        self._window: list[_Work] = []
        self._rates: dict[str, float] = {}
        self._start = time.perf_counter()

    def update(self, pending: PendingImage) -> dict[str, float]:
        """Record the work for an image. Returns the values of `PlayerStats` that are known before it is rendered."""
        self._steps += pending.steps
        self._window.append(_Work(pending.events, pending.steps, pending.seconds))
        elapsed = time.perf_counter() - self._start
        if elapsed >= _RATE_WINDOW or not self._rates:
            events = sum(work.events for work in self._window)
            steps = sum(work.steps for work in self._window)
            seconds = sum(work.seconds for work in self._window)
            stats = self._stream.stats
            self._rates = {
                "events_per_second": events / elapsed,
                "steps_per_second": steps / elapsed,
                "step_ms": 1e3 * seconds / steps,
                "lost": self.skipped + stats.dropped + stats.rejected + stats.malformed + (stats.lost or 0),
            }
            self._start = time.perf_counter()
            self._window = []
        return {"time": self._steps * self._dt, **self._rates}


def read_steps(stream: EventInput, dt: float, seconds: float | None) -> Iterator[Events]:
    """Yield the events of consecutive steps of `dt` seconds, up to a length of `seconds` if it is given."""
    return itertools.islice(stream.slices(dt), None if seconds is None else round(seconds / dt))


def steps_per_image(speed: float, dt: float, fps: float) -> int:
    """The number of steps between two images."""
    return max(1, round(speed / fps / dt))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
