"""The clock that paces a recording."""

import pytest

from geir.events.inputs.clock import PlaybackClock

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def test_deadlines_and_positions_follow_from_the_moment_of_the_start(clock):
    playback = PlaybackClock(speed=2.0)
    playback.start(5_000_000)
    clock.now += 3.0
    playback.start(7_000_000)  # already running: ignored
    assert playback.position() == 11_000_000
    assert playback.deadline(5_000_000) == 100.0
    assert playback.deadline(15_000_000) == 105.0


def test_setting_the_speed_restarts_the_clock(clock):
    playback = PlaybackClock(speed=1.0)
    playback.start(0)
    clock.now += 50.0
    playback.speed = 4.0
    playback.start(1_000_000)
    assert playback.position() == 1_000_000
    assert playback.deadline(5_000_000) == 151.0


@pytest.mark.parametrize("speed", [None, 1.0])
def test_a_clock_that_is_unpaced_or_not_started_has_no_deadlines(speed):
    playback = PlaybackClock(speed)
    if speed is None:
        playback.start(0)
    with pytest.raises(RuntimeError, match=r"PlaybackClock is not running; set a speed and call start\(\) first"):
        playback.deadline(0)
