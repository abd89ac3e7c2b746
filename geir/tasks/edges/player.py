"""The network at work in a thread of its own: it plays a stream, obeys controls, and keeps the newest picture for whoever wants to see it."""

import dataclasses
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch import Tensor

from ...events import Events, FileInput
from ...events.input import Input
from .detector import Detector, Due, THRESHOLD

PICTURES_PER_SECOND = 30
# Seconds over which rates are measured.
_WINDOW = 0.5


@dataclasses.dataclass(frozen=True)
class Controls:
    """What can be changed while it plays."""

    paused: bool = False
    speed: float | None = 1.0  # seconds of a recording in a second; None is as fast as possible
    threshold: float = THRESHOLD  # potential above which neurons spike

    def __post_init__(self) -> None:
        if not isinstance(self.paused, bool):
            raise ValueError(f"paused must be true or false, got {self.paused!r}.")
        if self.speed is not None and not (_is_number(self.speed) and 1e-3 <= self.speed <= 1e3):
            raise ValueError(
                f"speed must be a number from 0.001 to 1000, or nothing for as fast as possible, got {self.speed!r}."
            )
        if not (_is_number(self.threshold) and 0 < self.threshold < math.inf):
            raise ValueError(f"threshold must be a positive number, got {self.threshold!r}.")

    def changed(self, **changes: Any) -> "Controls":
        """The same but for some.

        Raises:
            ValueError: If there is no such control, or it cannot have this value.
        """
        names = [field.name for field in dataclasses.fields(self)]
        if unknown := changes.keys() - names:
            raise ValueError(
                f"There is no control {', '.join(map(str, sorted(unknown)))}; there are {', '.join(names)}."
            )
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class Reading:
    """What is known when a picture is made."""

    time: float = 0.0  # seconds of the stream since it began
    events_per_second: float = 0.0  # of the wall clock
    steps_per_second: float = 0.0
    step_ms: float = 0.0  # milliseconds that the network takes for a step
    latency_ms: float = 0.0  # from the end of the newest step to the picture
    lost: int = (
        0  # events that came while a live stream was paused, and events and datagrams that were lost or refused before
    )
    ended: bool = False
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class Shown:
    """A picture with its number, counted from 1."""

    number: int
    picture: Tensor | None  # none yet, if the stream ended before the first
    reading: Reading


class Player(threading.Thread):
    """Plays a stream through a `Detector`.

    Args:
        open_input: Makes the input; called again for every repetition.
        controls: What it starts with.
        dt: Width of a step in seconds.
        repeat: Whether a recording starts again at its end.
        seconds: How much of it is played. Default: all.
    """

    def __init__(
        self,
        open_input: Callable[[], Input],
        controls: Controls | None = None,
        dt: float = 1e-3,
        repeat: bool = False,
        seconds: float | None = None,
    ):
        super().__init__(name="edges of geir", daemon=True)
        self._open_input, self._repeat, self._seconds = open_input, repeat, seconds
        self.dt, self.controls = dt, controls or Controls()
        self.shown: Shown | None = None
        self.failure: Exception | None = None
        self.live = False
        self.ended = (
            threading.Event()
        )  # to wait for: Ctrl-C within join() makes Python 3.11 take a running thread for one that has ended
        self._turned = threading.Condition()
        self._stopping = False

    def change(self, changes: Mapping[str, Any]) -> Controls:
        """Turn controls, and say how all of them are then.

        Raises:
            ValueError: If there is no such control, or it cannot have this value.
        """
        with self._turned:
            if self.live and "speed" in changes:
                raise ValueError("A live stream has its own speed.")
            self.controls = self.controls.changed(**changes)
            self._turned.notify_all()
            return self.controls

    def stop(self) -> None:
        """End it, from another thread."""
        with self._turned:
            self._stopping = True
            self._turned.notify_all()
        self.ended.wait()
        self.join()

    def newer(self, than: int, timeout: float) -> Shown | None:
        """The newest picture, once there is one with a higher number; None if there is none in time."""
        with self._turned:
            self._turned.wait_for(
                lambda: self._stopping or (self.shown is not None and self.shown.number > than), timeout
            )
            return self.shown if self.shown is not None and self.shown.number > than else None

    def run(self) -> None:
        try:
            while True:
                with self._open_input() as stream:
                    self._play(stream)
                if self._stopping or not self._repeat:
                    break
            self._show(ended=True)
        except Exception as error:  # whoever looks at the pictures is to see it
            self.failure = error
            self._show(ended=True, error=str(error))
        finally:
            self.ended.set()

    def _play(self, stream: Input) -> None:
        self.live = not isinstance(stream, FileInput)
        detector = Detector(stream.sensor_size, self.controls.threshold, self.dt)
        meter = _Meter(stream, self.dt)
        # The network goes on while a picture is drawn; it waits only for the one before.
        with ThreadPoolExecutor(1, "pictures of geir") as painter:
            drawn: Future[None] | None = None
            for due in detector.pictures(self._steps(stream, detector, meter), self._steps_per_picture):
                if drawn is not None:
                    drawn.result()
                drawn = painter.submit(self._draw, due, meter.read(due))
            if drawn is not None:
                drawn.result()

    def _draw(self, due: Due, known: dict[str, Any]) -> None:
        picture = due.draw()
        self._show(picture, latency_ms=1e3 * (time.perf_counter() - due.complete), **known)

    def _steps(self, stream: Input, detector: Detector, meter: "_Meter") -> Iterator[Events]:
        """Events of one step after another, as the controls say."""
        obeyed = self.controls
        for events in slices(stream, self.dt, self._seconds):
            if self.live and self.controls.paused:
                meter.passed_over += len(events)
            else:
                yield events
            with self._turned:
                waited = self.controls.paused and not self.live
                self._turned.wait_for(lambda: self._stopping or self.live or not self.controls.paused)
                now = self.controls
                if self._stopping:
                    return
            detector.threshold = now.threshold
            if isinstance(stream, FileInput) and (waited or now.speed != obeyed.speed):
                stream.speed = now.speed  # the clock goes on from here
            obeyed = now

    def _steps_per_picture(self) -> int:
        return steps_per_picture(1.0 if self.live else self.controls.speed or 1.0, self.dt, PICTURES_PER_SECOND)

    def _show(self, picture: Tensor | None = None, **known: Any) -> None:
        with self._turned:
            before = self.shown or Shown(0, None, Reading())
            picture = before.picture if picture is None else picture
            self.shown = Shown(before.number + 1, picture, dataclasses.replace(before.reading, **known))
            self._turned.notify_all()


class _Meter:
    """Rates of the last half second."""

    def __init__(self, stream: Input, dt: float):
        self.passed_over = 0
        self._stream, self._dt, self._steps = stream, dt, 0
        self._since: list[tuple[float, ...]] = []  # not what is due itself, which holds what is drawn
        self._rates: dict[str, float] = {}
        self._start = time.perf_counter()

    def read(self, due: Due) -> dict[str, float]:
        """What a `Reading` tells of a picture before it is drawn."""
        self._steps += due.steps
        self._since.append((due.events, due.steps, due.seconds))
        passed = time.perf_counter() - self._start
        if passed >= _WINDOW or not self._rates:
            events, steps, seconds = map(sum, zip(*self._since, strict=True))
            self._rates = {
                "events_per_second": events / passed,
                "steps_per_second": steps / passed,
                "step_ms": 1e3 * seconds / steps,
            }
            stats = self._stream.stats
            self._rates["lost"] = (
                self.passed_over + stats.dropped + stats.rejected + stats.malformed + (stats.lost or 0)
            )
            self._start, self._since = time.perf_counter(), []
        return {"time": self._steps * self._dt} | self._rates


def slices(stream: Input, dt: float, seconds: float | None) -> Iterator[Events]:
    """Events of one step after another, of the first seconds of a stream if they are given."""
    return itertools.islice(stream.slices(dt), None if seconds is None else round(seconds / dt))


def steps_per_picture(speed: float, dt: float, pictures_per_second: float) -> int:
    """How many steps pass from picture to picture."""
    return max(1, round(speed / pictures_per_second / dt))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
