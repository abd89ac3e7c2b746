"""The player: speed, pause, controls, and the end of a stream."""

import math
import re
import time

import pytest
from edge_inputs import events_at, line, MemoryRecording, scene_input, SIZE, wait_for_frames

from geir.events import EventFileError, Events, FileInput, UDPInput, UDPOutput
from geir.tasks.edges.image import NO_EDGE, NO_EVENT
from geir.tasks.edges.player import Controls


def test_frames_are_published_at_the_speed_of_the_stream(play):
    # A low speed, so that a busy machine keeps up.
    wait_for_frames(play(lambda: scene_input(0.25), Controls(speed=0.25)), 3)  # kernels are compiled now
    begin = time.perf_counter()
    player = play(lambda: scene_input(0.25), Controls(speed=0.25))
    first = wait_for_frames(player, 3)
    start, before = time.perf_counter(), first.stats.time
    last = wait_for_frames(player, 30)
    now = time.perf_counter()
    assert last.image.shape == (48, 128)
    # They may be late on a busy machine, the first ones too, which are caught up.
    assert last.stats.time - before > 0.25 * (now - start) / 4
    assert last.stats.time <= 0.25 * (now - begin) + 0.04, "frames are never early"
    assert last.stats.events_per_second > 100
    assert 0 < last.stats.step_ms < 1e3
    assert 0 < last.stats.latency_ms < 1e4


def test_a_paused_player_publishes_no_frames_and_resumes_where_it_was(play):
    player = play(scene_input, Controls(speed=0.1))
    wait_for_frames(player, 5)
    assert player.change({"paused": True}).paused
    time.sleep(0.5)
    paused = player.frame
    assert player.wait_for_frame(paused.number, 0.3) is None
    start = time.perf_counter()
    player.change({"paused": False})
    frame = wait_for_frames(player, 9)
    assert frame.number > paused.number
    assert frame.stats.time - paused.stats.time <= 0.1 * (time.perf_counter() - start) + 0.004, (
        "the pause is not caught up"
    )


def test_the_speed_can_be_changed_while_playing(play):
    player = play(scene_input)
    wait_for_frames(player, 3)
    rates = {}
    for speed in (0.02, 1.0):
        player.change({"speed": speed})
        before, start = wait_for_frames(player, 2), time.perf_counter()
        last = wait_for_frames(player, 10)
        rates[speed] = (last.stats.time - before.stats.time) / (time.perf_counter() - start)
    assert 0.004 < rates[0.02] < 0.03
    assert rates[1.0] > 2 * rates[0.02]


def test_a_high_threshold_removes_all_edges(play):
    player = play(scene_input)
    edges = {}
    for threshold in (0.15, 5.0):
        player.change({"threshold": threshold})
        time.sleep(0.5)
        edges[threshold] = int((wait_for_frames(player, 5).image[:, 64:] != NO_EDGE).sum())
    assert edges[0.15] > 50
    assert edges[5.0] == 0


def test_a_recording_is_played_to_its_end_or_repeated(play):
    recording = MemoryRecording(events_at(line(0)), events_at(line(0), t=50_000))
    once = play(lambda: FileInput(recording, None))
    once.join(10)
    assert once.frame.stats.ended
    assert once.frame.stats.error is None
    assert once.frame.stats.time == pytest.approx(0.051)
    again = play(lambda: FileInput(recording, None), repeat=True)
    assert again.wait_for_frame(10, 10).number > 10
    assert not again.frame.stats.ended


def test_only_the_requested_seconds_are_played(play):
    player = play(lambda: scene_input(None), seconds=0.2)
    player.join(10)
    assert player.frame.stats.time == pytest.approx(0.2)


def test_an_error_of_the_stream_is_published(play):
    class Broken(MemoryRecording):
        def chunks(self, size=0, /):
            yield events_at(line(0))
            raise EventFileError("clip.raw", 12, "truncated")

    player = play(lambda: FileInput(Broken(), None))
    player.join(10)
    assert player.frame.stats.ended
    assert player.frame.stats.error == "clip.raw at byte 12: truncated"


def test_events_of_a_paused_live_stream_are_skipped_and_counted(play):
    source = UDPInput(SIZE, 0)
    player = play(lambda: source)
    wait_for_frames(player, 1)
    assert player.live
    with UDPOutput(source.port) as output:
        for _ in range(5):
            output.send(events_at(line(0)))
            time.sleep(0.02)
        assert wait_for_frames(player, 3).image[:, :64].ne(NO_EVENT).sum() > 10
        player.change({"paused": True})
        time.sleep(0.1)
        output.send(events_at(line(0)))
        time.sleep(0.1)
        player.change({"paused": False})
        output.send(Events([0], [3], [3], [1], (4, 4)))
    deadline = time.monotonic() + 5
    while player.frame.stats.lost != len(line(0)) and time.monotonic() < deadline:
        wait_for_frames(player, 1)
    assert player.frame.stats.lost == len(line(0))
    with pytest.raises(ValueError, match="The speed of a live stream cannot be changed"):
        player.change({"speed": 2.0})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"volume": 3}, "Unknown control volume; the controls are paused, speed, threshold."),
        ({"paused": 1}, "paused must be true or false, got 1."),
        ({"speed": 0}, "speed must be a number from 0.001 to 1000, or null for as fast as possible, got 0."),
        (
            {"speed": "fast"},
            "speed must be a number from 0.001 to 1000, or null for as fast as possible, got 'fast'.",
        ),
        ({"threshold": -1.0}, "threshold must be a positive number, got -1.0."),
        ({"threshold": math.nan}, "threshold must be a positive number, got nan."),
        ({"threshold": True}, "threshold must be a positive number, got True."),
    ],
)
def test_invalid_controls_raise(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Controls().updated(changes)
