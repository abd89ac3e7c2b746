"""The clock that paces a recording."""

import time
from typing import NamedTuple


class _Anchor(NamedTuple):
    """One moment in both times, from which all others follow."""

    wall: float  # seconds, by `time.perf_counter`
    recording: int  # microseconds


class PlaybackClock:
    """Maps the time of a recording to wall-clock time.

    The clock is anchored once, by `start`, and every deadline is computed from that anchor.
    Deadlines are therefore absolute: a late reader does not delay the deadlines after it. Setting
    `speed` releases the anchor, and the next call of `start` anchors the clock again at the
    position reached by then.

    Args:
        speed: Seconds of the recording per second of wall-clock time; None for unpaced reading,
            without deadlines.
    """

    def __init__(self, speed: float | None):
        self._speed = speed
        self._anchor: _Anchor | None = None

    @property
    def speed(self) -> float | None:
        """Seconds of the recording per second of wall-clock time; None if unpaced."""
        return self._speed

    @speed.setter
    def speed(self, speed: float | None) -> None:
        self._speed = speed
        self.reset()

    def reset(self) -> None:
        """Stop the clock until the next call of `start`."""
        self._anchor = None

    def start(self, position: int) -> None:
        """Start the clock at a position of the recording in microseconds, unless it is running already."""
        if self._anchor is None:
            self._anchor = _Anchor(time.perf_counter(), position)

    def deadline(self, t: int) -> float:
        """Wall-clock time, as `time.perf_counter`, at which the recording reaches `t` microseconds.

        Raises:
            RuntimeError: If the clock is unpaced or has not been started.
        """
        anchor, speed = self._running()
        return anchor.wall + (t - anchor.recording) / speed / 1e6

    def position(self) -> int:
        """Position of the recording now, in microseconds.

        Raises:
            RuntimeError: If the clock is unpaced or has not been started.
        """
        anchor, speed = self._running()
        return anchor.recording + int((time.perf_counter() - anchor.wall) * speed * 1e6)

    def _running(self) -> tuple[_Anchor, float]:
        if self._anchor is None or self._speed is None:
            raise RuntimeError("PlaybackClock is not running; set a speed and call start() first.")
        return self._anchor, self._speed
