import http.client
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import chromium
import numpy
import pytest
import torch
from PIL import Image, ImageSequence
from torch import nn

from geir import LIBoxCell, LIFRefracCell, SequentialState
from geir.events import EventFileError, Events, FileInput, UDPInput, UDPOutput
from geir.tasks.edges import Detector, film, network, Player, Scene
from geir.tasks.edges.__main__ import main
from geir.tasks.edges.detector import ANGLES, filtered, FLOOR, line_fields
from geir.tasks.edges.picture import indexed, NO_EDGE, NO_EVENT, PALETTE, png
from geir.tasks.edges.player import Controls
from geir.tasks.edges.server import Server

SIZE = (64, 48)
NOTHING = Events.empty(SIZE)


class Recording:
    """Events of a recording in memory, for `FileInput`."""

    sensor_size = SIZE

    def __init__(self, *events):
        self._events = events

    def chunks(self, size=0, /):
        yield from self._events


def events_at(pixels, t=0, p=1):
    x, y = zip(*pixels, strict=True)
    return Events([t] * len(x), x, y, [p] * len(x), SIZE)


def line(angle, length=15):
    """Pixels of a line through the middle."""
    steps = numpy.arange(-length, length + 1) / 2
    return sorted({(round(32 + s * math.cos(angle)), round(24 + s * math.sin(angle))) for s in steps})


def seen(steps):
    detector = Detector(SIZE)
    detector.feed(steps)
    return detector


def flash(angle):
    """A line that appears, and the milliseconds after it in which the neurons answer."""
    return [events_at(line(angle)), *[NOTHING] * 7]


# The network


@pytest.mark.parametrize("k", range(ANGLES))
def test_a_line_excites_the_field_of_its_angle_most(k):
    responses = seen(flash(math.pi * k / ANGLES)).edges()[:, 24, 32]
    assert responses.argmax() == k
    assert responses[k] > 2 * responses[(k + ANGLES // 2) % ANGLES].clamp(min=FLOOR)


def test_a_line_of_spikes_that_are_just_there_evokes_one():
    fields = line_fields()
    assert fields[0, 0, 4].sum() == pytest.approx(1)
    assert fields[2, 0, :, 4].sum() == pytest.approx(1)
    torch.testing.assert_close(fields.sum((1, 2, 3)), torch.zeros(ANGLES), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (16, 9), (33, 40)])
def test_the_fields_are_a_convolution(shape):
    image, fields = torch.rand(shape), torch.rand(3, 1, 9, 9)
    torch.testing.assert_close(
        filtered(image, fields[:, 0]), nn.functional.conv2d(image[None, None], fields, padding=4)[0]
    )


def test_a_pixel_that_fires_all_the_time_is_no_edge():
    stuck = events_at([(20, 20)])
    detector, largest = Detector(SIZE), 0.0
    for _ in range(40):
        detector.feed([stuck] * 5)
        largest = max(largest, float(detector.edges().max()))
    assert 0.5 * FLOOR < largest < FLOOR, "it spikes, but is not seen"
    assert (detector.picture()[:, 64:] == NO_EDGE).all()


def test_below_the_threshold_one_event_is_nothing_and_two_are_something():
    for threshold, spikes in ((0.24, True), (0.26, False)):
        zs, _ = network(threshold)[0](
            torch.ones(1, 1, 1, 1, 1).expand(1, 1, 1, 1, 1).repeat(30, 1, 1, 1, 1)
            * (torch.arange(30) == 0).view(-1, 1, 1, 1, 1)
        )
        assert bool(zs.any()) == spikes
    detector = Detector(SIZE, threshold=0.3)
    detector.feed(flash(0))
    assert detector.edges().abs().max() == 0
    detector.feed(flash(0))
    assert detector.edges().max() > FLOOR


def test_the_network_over_time_is_the_same_as_cells_step_by_step():
    layers = network()
    cells = SequentialState(LIFRefracCell(), LIBoxCell(), nn.Conv2d(1, 4, 9, padding=4, bias=False))
    for cell, layer in zip(cells, (*layers[:2], layers[2].module), strict=True):
        cell.load_state_dict(layer.state_dict())
    xs = (torch.rand(60, 1, 1, 20, 30) < 0.05).float()
    expected, state = [], None
    for x in xs:
        y, state = cells(x, state)
        expected.append(y)
    ys, _ = layers(xs)
    assert ys.abs().max() > FLOOR
    torch.testing.assert_close(ys, torch.stack(expected).detach(), rtol=1e-5, atol=1e-5)


def test_a_detector_does_the_same_however_many_steps_it_is_fed_at_once():
    with FileInput(Scene(SIZE), speed=None, capacity=1 << 12) as stream:
        steps = [next(bins) for bins in [stream.slices()] for _ in range(120)]
    at_once, singly = Detector(SIZE), Detector(SIZE)
    for k in range(0, 120, 8):
        at_once.feed(steps[k : k + 8])
    for step in steps:
        singly.feed([step])
    assert at_once.edges().max() > FLOOR
    torch.testing.assert_close(singly.edges(), at_once.edges(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(singly._events, at_once._events, rtol=1e-4, atol=1e-5)


def test_what_a_detector_shows_is_the_network_it_has():
    with FileInput(Scene(SIZE), speed=None, capacity=1 << 12) as stream:
        steps = [next(bins) for bins in [stream.slices()] for _ in range(50)]
    xs = torch.zeros(50, 1, 1, 48, 64)
    for k, step in enumerate(steps):
        for x, y in zip(step.x.tolist(), step.y.tolist(), strict=True):
            xs[k, 0, 0, y, x] += 1
    ys, _ = network()(xs)
    assert xs.max() >= 1
    torch.testing.assert_close(seen(steps).edges(), ys[-1, 0], rtol=1e-4, atol=1e-5)


def test_a_picture_that_is_drawn_later_is_that_of_its_moment():
    with FileInput(Scene(SIZE), speed=None, capacity=1 << 12) as stream:
        steps = [next(bins) for bins in [stream.slices()] for _ in range(40)]
    at_once, later = ([], [])
    for drawn, draw in ((at_once, lambda due: due.draw()), (later, lambda due: due.draw)):
        drawn.extend(draw(due) for due in Detector(SIZE).pictures(steps, lambda: 20))
    assert not at_once[0].equal(at_once[1])
    assert all(picture.equal(draw()) for picture, draw in zip(at_once, later, strict=True))


def test_a_detector_refuses_a_threshold_that_is_none():
    with pytest.raises(ValueError, match=r"Detector.threshold must be a positive number, got -1"):
        Detector(SIZE).threshold = -1


def test_what_layers_prepare_for_a_threshold_is_good_until_it_changes():
    detector = Detector(SIZE)
    prepared = detector._v_th._version
    for threshold, changes in ((detector.threshold, 0), (0.3, 1), (0.3, 1)):
        detector.threshold = threshold
        assert detector._v_th._version - prepared == changes
    assert float(detector._v_th) == pytest.approx(0.3)


# Pictures


@pytest.mark.parametrize("degrees", [0, 22.5, 45, 67.5, 90, 112.5, 135, 157.5])
def test_the_hue_of_an_edge_is_twice_its_angle(degrees):
    picture = seen(flash(math.radians(degrees))).picture()
    number = int(picture[24, 64 + 32]) - NO_EDGE
    assert number > 0, "the line is not seen"
    hue = 360 * (number // 16) / 12
    assert min(abs(hue - 2 * degrees), 360 - abs(hue - 2 * degrees)) <= 20


def test_events_are_orange_where_it_became_brighter_and_blue_where_darker():
    detector = seen([events_at([(5, 6)], p=1), events_at([(7, 8)], p=0)])
    picture = PALETTE[detector.picture().numpy()].astype(int)
    brighter, darker, nothing = picture[6, 5], picture[8, 7], picture[0, 0]
    assert brighter[0] > brighter[2] + 50
    assert darker[2] > darker[0] + 50
    assert nothing.max() < 20


def test_a_picture_as_png_is_read_back_by_another_program(tmp_path):
    picture = indexed(torch.linspace(-1.5, 1.5, 48 * 64).view(48, 64), torch.rand(4, 48, 64))
    (tmp_path / "picture.png").write_bytes(png(picture))
    with Image.open(tmp_path / "picture.png") as image:
        image.load()
        assert (numpy.asarray(image) == picture.numpy()).all()
        assert (numpy.asarray(image.convert("RGB")) == PALETTE[picture.numpy()]).all()
    assert picture[:, :64].min() == 0
    assert picture[:, :64].max() == 2 * NO_EVENT


# The scene


def test_a_scene_is_the_same_for_the_same_seed():
    def first(seed):
        chunks = Scene(SIZE, seed).chunks()
        return Events.cat([next(chunks) for _ in range(100)])

    assert len(first(1)) > 100
    assert first(1).equal(first(1))
    assert not first(1).equal(first(2))


def test_a_scene_goes_on_after_its_turn_and_in_the_order_of_time():
    scene = Scene((32, 24))
    chunks = scene.chunks()
    looks = [next(chunks) for _ in range(1050)]
    events = Events.cat(looks)
    assert events.is_sorted
    assert len(Events.cat(looks[:10])) < 3 * len(Events.cat(looks[10:20])) + 10, "nothing appears all at once"
    assert 4_100_000 < events.t[-1] < 4_200_000
    assert looks[1040].x.equal(looks[40].x)
    # What was made is played again to the next who asks.
    assert next(scene.chunks()).equal(looks[0])
    # No pixel ends a turn brighter than it began.
    change = torch.zeros(24 * 32).index_add_(0, events.y.long() * 32 + events.x, events.p * 2.0 - 1)
    assert change.abs().mean() < 1.5


# The player


@pytest.fixture
def play():
    players = []

    def started(*arguments, **settings):
        player = Player(*arguments, **settings)
        players.append(player)
        player.start()
        return player

    yield started
    for player in players:
        player.stop()


def scene_input(speed=1.0):
    return FileInput(Scene(SIZE), speed, capacity=1 << 12)


def advance(player, pictures, timeout=10):
    """So many pictures later."""
    shown = player.newer(0, timeout)
    for _ in range(pictures):
        assert shown is not None
        shown = player.newer(shown.number, timeout)
    return shown


def test_a_player_shows_pictures_at_the_speed_of_the_stream(play):
    # Slow enough for a machine that has other work.
    player = play(lambda: scene_input(0.25), Controls(speed=0.25))
    first = advance(player, 3)
    start, before = time.perf_counter(), first.reading.time
    last = advance(player, 30)
    passed = 0.25 * (time.perf_counter() - start)
    assert last.picture.shape == (48, 128)
    assert passed / 4 < last.reading.time - before <= passed + 0.04, "a busy machine may be late, but nothing is early"
    assert last.reading.events_per_second > 100
    assert 0 < last.reading.step_ms < 1e3
    assert 0 < last.reading.latency_ms < 1e4


def test_a_paused_player_shows_nothing_and_goes_on_where_it_was(play):
    player = play(scene_input, Controls(speed=0.1))
    advance(player, 5)
    assert player.change({"paused": True}).paused
    time.sleep(1.0)
    then = player.shown
    assert player.newer(then.number, 0.5) is None
    start = time.perf_counter()
    player.change({"paused": False})
    shown = advance(player, 9)
    assert shown.number > then.number
    assert shown.reading.time - then.reading.time <= 0.1 * (time.perf_counter() - start) + 0.004, (
        "the pause is not played"
    )


def test_speed_is_obeyed_while_it_plays(play):
    player = play(scene_input)
    advance(player, 3)
    rates = {}
    for speed in (0.02, 1.0):
        player.change({"speed": speed})
        before, start = advance(player, 2), time.perf_counter()
        last = advance(player, 10)
        rates[speed] = (last.reading.time - before.reading.time) / (time.perf_counter() - start)
    assert 0.004 < rates[0.02] < 0.03
    assert rates[1.0] > 2 * rates[0.02]


def test_the_threshold_changes_what_is_seen(play):
    player = play(scene_input)
    edges = {}
    for threshold in (0.15, 5.0):
        player.change({"threshold": threshold})
        time.sleep(0.5)
        edges[threshold] = int((advance(player, 5).picture[:, 64:] != NO_EDGE).sum())
    assert edges[0.15] > 50
    assert edges[5.0] == 0


def test_a_recording_is_played_once_with_its_tail_or_again_and_again(play):
    recording = Recording(events_at(line(0)), events_at(line(0), t=50_000))
    once = play(lambda: FileInput(recording, None))
    once.join(10)
    assert once.shown.reading.ended
    assert once.shown.reading.error is None
    assert once.shown.reading.time == pytest.approx(0.051)
    again = play(lambda: FileInput(recording, None), repeat=True)
    assert again.newer(10, 10).number > 10
    assert not again.shown.reading.ended


def test_only_the_first_seconds_are_played_if_they_are_asked_for(play):
    player = play(lambda: scene_input(None), seconds=0.2)
    player.join(10)
    assert player.shown.reading.time == pytest.approx(0.2)


def test_what_goes_wrong_is_shown(play):
    class Broken(Recording):
        def chunks(self, size=0, /):
            yield events_at(line(0))
            raise EventFileError("clip.raw", 12, "it ends too early.")

    player = play(lambda: FileInput(Broken(), None))
    player.join(10)
    assert player.shown.reading.ended
    assert player.shown.reading.error == "clip.raw at byte 12: it ends too early."


def test_a_live_stream_goes_on_while_it_is_paused_and_what_passed_is_counted(play):
    source = UDPInput(SIZE, 0)
    player = play(lambda: source)
    advance(player, 1)
    assert player.live
    with UDPOutput(source.port) as output:
        for _ in range(5):
            output.send(events_at(line(0)))
            time.sleep(0.02)
        assert advance(player, 3).picture[:, :64].ne(NO_EVENT).sum() > 10
        player.change({"paused": True})
        time.sleep(0.1)
        output.send(events_at(line(0)))
        time.sleep(0.1)
        player.change({"paused": False})
        output.send(Events([0], [3], [3], [1], (4, 4)))
    deadline = time.monotonic() + 5
    while player.shown.reading.lost != len(line(0)) and time.monotonic() < deadline:
        advance(player, 1)
    assert player.shown.reading.lost == len(line(0))
    with pytest.raises(ValueError, match="A live stream has its own speed"):
        player.change({"speed": 2.0})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"volume": 3}, "There is no control volume; there are paused, speed, threshold."),
        ({"paused": 1}, "paused must be true or false, got 1."),
        ({"speed": 0}, "speed must be a number from 0.001 to 1000, or nothing for as fast as possible, got 0."),
        (
            {"speed": "fast"},
            "speed must be a number from 0.001 to 1000, or nothing for as fast as possible, got 'fast'.",
        ),
        ({"threshold": -1.0}, "threshold must be a positive number, got -1.0."),
        ({"threshold": math.nan}, "threshold must be a positive number, got nan."),
        ({"threshold": True}, "threshold must be a positive number, got True."),
    ],
)
def test_controls_refuse_what_they_cannot_do(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Controls().changed(**changes)


# The server


@pytest.fixture
def served(play):
    player = play(scene_input)
    server = Server(player, "a scene")
    server.start()
    yield server
    server.stop()


def ask(server, path="/", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        connection.request("POST" if body is not None else "GET", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def test_the_page_needs_nothing_from_elsewhere(served):
    status, page, headers = ask(served)
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert not re.search(rb"https?://|//\w+\.|@import|\bsrc=", page)


def test_it_listens_to_this_machine_alone(served):
    assert served.server_address[0] == "127.0.0.1"
    assert served.address == f"http://127.0.0.1:{served.server_port}/"


def test_pictures_are_served_one_after_another_with_what_is_known(served):
    status, body, headers = ask(served, "/picture?after=0")
    assert status == 200
    assert body.startswith(b"\x89PNG")
    state = json.loads(headers["X-State"])
    assert state["title"] == "a scene"
    assert state["controls"] == {"paused": False, "speed": 1.0, "threshold": 0.15}
    _, _, headers = ask(served, f"/picture?after={state['number']}")
    assert json.loads(headers["X-State"])["number"] > state["number"]


def test_who_is_slow_misses_pictures_and_delays_nothing(served):
    def number(after):
        return json.loads(ask(served, f"/picture?after={after}")[2]["X-State"])["number"]

    first = number(0)
    advance(served.player, 8)
    assert number(first) > first + 6


def test_no_picture_in_time_is_said_and_controls_with_it(served):
    advance(served.player, 1)
    status, _, _ = ask(served, "/controls", json.dumps({"paused": True}), **{"Content-Type": "application/json"})
    assert status == 200
    time.sleep(0.2)
    status, body, headers = ask(served, f"/picture?after={served.player.shown.number}")
    assert (status, body) == (204, b"")
    state = json.loads(headers["X-State"])
    assert state["controls"]["paused"]
    assert state["reading"]["time"] > 0


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        ('{"threshold": 0}', "application/json", 400, "threshold must be a positive number, got 0."),
        ("[1]", "application/json", 400, "Controls are a JSON object, got [1]."),
        ("{", "application/json", 400, "Expecting property name"),
        ('{"paused": true}', "text/plain", 415, "Controls are sent as application/json."),
        (" " * 5000, "application/json", 400, "Controls are sent to /controls, as a small JSON object."),
    ],
)
def test_what_is_no_control_is_refused_and_changes_nothing(served, body, kind, status, message):
    before = served.player.controls
    got, text, _ = ask(served, "/controls", body, **{"Content-Type": kind})
    assert got == status
    assert text.decode().startswith(message)
    assert served.player.controls == before


def test_other_paths_are_not_there_and_other_names_are_refused(served):
    assert ask(served, "/../../etc/passwd")[0] == 404
    status, text, _ = ask(served, "/picture", Host="somewhere.else:80")
    assert status == 403
    assert text.decode() == f"This page is at {served.address}."


def test_a_port_in_use_is_said(served):
    with pytest.raises(
        OSError, match=rf"cannot be served at port {served.server_port}: .* Take another, or 0 for a free one"
    ):
        Server(served.player, "", served.server_port)


# The command line


@pytest.mark.parametrize(("speed", "milliseconds", "pictures", "each"), [(0.5, 400, 20, 40), (0.02, 40, 40, 50)])
def test_a_gif_shows_the_whole_stream_at_its_speed(speed, milliseconds, pictures, each, tmp_path, capsys):
    path = tmp_path / "edges.gif"
    main(
        [
            "--synthetic",
            "--size",
            "64x48",
            "--seconds",
            f"{milliseconds / 1e3}",
            "--speed",
            f"{speed}",
            "--output",
            str(path),
            "--no-page",
        ]
    )
    done = json.loads(capsys.readouterr().out)
    assert (done["steps"], done["pictures"]) == (milliseconds, pictures)
    with Image.open(path) as image:
        frames = [frame.copy() for frame in ImageSequence.Iterator(image)]
        assert image.size == (128, 48)
        # A picture that is as the one before makes that one longer.
        assert sum(frame.info["duration"] for frame in frames) == pictures * each
    colours = numpy.asarray(frames[-1].convert("RGB")).astype(int)
    assert (colours[:, 64:].max(-1) > 100).sum() > 30
    assert os.listdir(tmp_path) == ["edges.gif"]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_an_mp4_is_written_by_ffmpeg(tmp_path):
    path = tmp_path / "edges.mp4"
    main(["--synthetic", "--size", "64x48", "--seconds", "0.2", "--output", str(path), "--no-page"])
    report = subprocess.run(["ffmpeg", "-i", str(path)], capture_output=True, text=True, check=False).stderr
    assert "256x96" in report
    assert "00:00:00.20" in report


def test_a_film_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "edges.gif"
    path.write_text("before")

    def pictures():
        yield torch.zeros(4, 8, dtype=torch.uint8)
        raise EventFileError("clip.raw", 3, "broken")

    with pytest.raises(EventFileError):
        film.write(path, pictures(), 25)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["edges.gif"]
    with pytest.raises(ValueError, match="The stream ended before the first picture"):
        film.write(path, iter(()), 25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments file --udp --synthetic is required"),
        (["a.raw", "--synthetic"], "not allowed with argument"),
        (["--synthetic", "--size", "64"], "must be WIDTHxHEIGHT in pixels, such as 640x480, got 64"),
        (["a.raw", "--size", "64x48"], "--size is for --udp and --synthetic; a recording knows its own."),
        (["--synthetic", "--no-page"], "This stream has no end; say with --seconds how much of it is wanted."),
        (["--synthetic", "--speed", "0"], "--speed must be a positive number, got 0.0."),
        (["a.raw", "--dt", "nan"], "--dt must be a positive number, got nan."),
        (["a.raw", "--output", "a.avi"], "A film is written to .gif or .mp4, got a.avi."),
        (["a.raw", "--output", "nowhere/a.gif"], "There is no folder nowhere to write a.gif to."),
    ],
)
def test_the_command_line_refuses_what_makes_no_sense(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_not_there_is_said(tmp_path):
    for more in (["--no-page"], []):
        with pytest.raises(SystemExit, match=r"python -m geir.tasks.edges: .*clip.aedat4"):
            main([str(tmp_path / "clip.aedat4"), *more])


def test_without_ffmpeg_the_cure_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="which is not there; install it, or write a .gif"):
        film.check(Path("a.mp4"))


class Served:
    """The command line's own page, in a process of its own, in a ``with`` statement."""

    def __init__(self, *arguments):
        self._arguments = arguments

    def __enter__(self):
        command = [sys.executable, "-W", "error", "-m", "geir.tasks.edges", *self._arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        match = re.fullmatch(r"Edges of (.*): (http://127\.0\.0\.1:(\d+)/) \(Ctrl-C ends\)\n", line)
        if match is None:
            self.process.kill()
            pytest.fail(f"{line}{self.process.communicate()[1]}")
        self.title, self.address, self.port = match[1], match[2], int(match[3])
        return self

    def interrupt(self):
        """End it, as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)

    def __exit__(self, *exception):
        try:
            if self.process.poll() is None:
                self.interrupt()
            _, self.complaint = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def test_ctrl_c_ends_it_cleanly_and_frees_the_port():
    with (
        Served("--synthetic", "--size", "64x48") as served,
        closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)) as kept,
    ):
        # A browser keeps its connection, and here waits for more.
        for _ in range(3):
            kept.request("GET", "/picture?after=0")
            assert kept.getresponse().read()
        kept.request("GET", "/picture?after=1000000")
        served.interrupt()
    assert served.process.returncode == 0
    assert served.complaint.strip() == ""
    with socket.create_server(("127.0.0.1", served.port)):
        pass


# The page


PICTURES = "document.title.startsWith('Edges: ') && number > {}"
PIXELS = "(d => { let n = 0; for (let k = 0; k < d.length; k += 4) n += d[k] + d[k + 1] + d[k + 2] > 120; return n; })"


def lit(canvas):
    """How many pixels of a canvas are bright."""
    return f"{PIXELS}(document.querySelector('{canvas}').getContext('2d').getImageData(0, 0, 160, 120).data)"


@pytest.mark.skipif(chromium.find() is None, reason="needs Chromium; CHROMIUM names one")
def test_the_page_lives_in_a_browser(tmp_path):
    with Served("--synthetic", "--size", "160x120") as served, chromium.Page(served.address) as page:
        page.until(PICTURES.format(10))
        assert page.evaluate("document.querySelector('#title').textContent") == "a scene that is made up"
        assert page.evaluate("document.querySelector('#events').width") == 160
        page.until(lit("#events") + " > 50")
        page.until(lit("#edges") + " > 50")

        page.click("#pause")
        page.until("document.querySelector('#status').textContent === 'paused'")
        number = page.evaluate("new Promise(done => setTimeout(() => done(number), 300))")
        assert page.evaluate("new Promise(done => setTimeout(() => done(number), 1000))") == number
        assert page.evaluate("document.querySelector('#pause').innerText") == "Play"
        page.click("#pause")
        page.until(PICTURES.format(number + 3))

        page.slide("#threshold", 0.8)
        page.until(lit("#edges") + " === 0")
        page.until(lit("#events") + " > 50")
        assert page.evaluate("document.querySelector('#threshold + output').textContent") == "0.80"
        page.slide("#threshold", 0.15)
        page.until(lit("#edges") + " > 50")

        page.slide("#speed", -1)
        page.until("controls.speed === 0.1 && document.querySelector('#speed + output').textContent === '0.10×'")
        clock = "+document.querySelector('#time').innerText.replace('s', '')"
        slow = page.evaluate(
            f"new Promise(done => {{ const t = {clock}; setTimeout(() => done({clock} - t), 2000); }})"
        )
        assert 0.05 < slow < 0.5

        for reading, unit in {"rate": "/s", "step": "ms", "latency": "ms", "pictures": "/s"}.items():
            text = page.evaluate(f"document.querySelector('#{reading}').innerText")
            assert re.match(r"[\d.]+", text), f"{reading} is {text}"
            assert unit in text
        page.screenshot(tmp_path / "page.png")
        assert page.errors == []
        asked = page.evaluate("performance.getEntriesByType('resource').map(r => new URL(r.name).host)")
        assert set(asked) == {f"127.0.0.1:{served.port}"}
    assert served.process.returncode == 0


# Real data


def test_of_a_real_recording_the_person_is_seen_and_not_the_noise(real_data):
    with FileInput(real_data / "events" / "person_320x240.aedat4", speed=None) as stream:
        detector = Detector(stream.sensor_size)
        due = list(detector.pictures(stream.slices(), lambda: 100))
    assert sum(d.events for d in due) == 111_954
    picture = due[2].draw()
    events, edges = picture[:, :320] != NO_EVENT, picture[:, 320:] != NO_EDGE
    # The person is to the right of the middle; at the left above the shoulder there is only noise.
    noise = numpy.s_[:150, :140]
    assert events[noise].sum() > 100
    assert edges[noise].sum() <= 0.005 * edges.sum()
    # The outline of the head, of which no row is without an edge at its left, where the recording shows it moving.
    assert edges[30:120, 150:190].any(1).float().mean() > 0.95
    assert 2_000 < edges.sum() < 15_000
