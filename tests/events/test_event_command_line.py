"""The command line: python -m geir.events."""

import json
import os
import re
import signal
import sys
import threading
import time
import types
import warnings

import numpy
import pytest
from event_streams import pipe_with, random_events, SIZE

from geir.events import Events, read_events, T64, UDPInput, UDPOutput, write_events
from geir.events.__main__ import main

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def test_convert_reads_and_writes_files_and_pipes(tmp_path, monkeypatch, capfdbinary):
    events = random_events()
    write_events(events, tmp_path / "a.npz")
    assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / "b.csv")]) == 0
    assert read_events(tmp_path / "b.csv").equal(events)
    assert main(["convert", str(tmp_path / "b.csv"), "-"]) == 0
    piped = capfdbinary.readouterr().out
    assert piped == T64().encode(events).tobytes()
    with pipe_with(piped) as end:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=end))
        assert main(["convert", "-", str(tmp_path / "c.npz"), "--sensor-size", "17x11"]) == 0
    assert read_events(tmp_path / "c.npz").equal(events)
    assert main(["info", str(tmp_path / "c.npz"), "--json"]) == 0
    about = json.loads(capfdbinary.readouterr().out)
    assert about["sensor_size"] == [17, 11]
    assert about["events"] == 1000


def test_convert_skips_invalid_events_of_files_and_pipes(tmp_path, monkeypatch, capfd):
    events = random_events()
    bad = Events.cat([events[:300], Events([0], [0], [0], [0], SIZE), events[300:]])  # its time is 0
    numpy.savez(tmp_path / "a.npz", **dict(zip("txyp", bad.columns(), strict=True)), sensor_size=SIZE)
    for arguments, expected in (([], None), (["--errors", "truncate"], events[:300]), (["--errors", "skip"], events)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            status = main(["convert", str(tmp_path / "a.npz"), str(tmp_path / "b.npz"), *arguments])
        assert status == (expected is None)
        assert expected is None or read_events(tmp_path / "b.npz").equal(expected)
    assert "not processed: 1 rejected" in capfd.readouterr().err
    with pipe_with(T64().encode(events).tobytes()) as end:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=end))
        arguments = ["convert", "-", str(tmp_path / "c.npz"), "--sensor-size", "17x5", "--errors", "skip"]
        assert main(arguments) == 0
    assert len(read_events(tmp_path / "c.npz")) == int((events.y < 5).sum())
    assert f"not processed: {int((events.y >= 5).sum())} rejected" in capfd.readouterr().err


def test_view_shows_events(tmp_path, capsys):
    write_events(random_events(), tmp_path / "a.npz")
    assert main(["view", str(tmp_path / "a.npz"), "--speed", "1000", "--fps", "100"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("\x1b[H") == 5
    assert "1,000 events, " in shown


def test_send_and_serve_stream_through_sockets(tmp_path, capsys):
    events = random_events()
    write_events(events, tmp_path / "a.npz")
    for command in (["send"], ["serve", "--once", "--speed", "5"]):
        with UDPInput(SIZE, port=0) as source:
            assert main([*command, str(tmp_path / "a.npz"), "--port", str(source.port), "--layout", "spif-timed"]) == 0
            total = 0
            while total < 1000 and (frame := source.read(timeout=5)).any():
                total += int(frame.sum())
        assert total == 1000
        assert "sent 1,000 events in " in capsys.readouterr().err


def test_convert_records_from_a_socket_until_it_is_interrupted(tmp_path, capsys):
    events = random_events()
    with UDPInput(SIZE, port=0) as source:
        port = source.port
    ended = threading.Event()

    def send_then_interrupt():
        with UDPOutput(port, layout=T64()) as output:

            def recorder_listens():
                before = output.stats.refused
                for _ in range(2):
                    output.send(events[:1])
                    time.sleep(0.02)
                return output.stats.refused == before

            while not recorder_listens():
                if ended.is_set():
                    return
            output.send(events)
            time.sleep(0.3)
            # As Ctrl-C does. The recorder handles it, unless it has failed.
            if not ended.is_set():
                os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send_then_interrupt)
    sender.start()
    path = str(tmp_path / "a.npz")
    try:
        status = main(["convert", f"udp:{port}", path, "--sensor-size", "17x11", "--layout", "t64"])
    finally:
        ended.set()
        sender.join()
    assert status == 0
    assert capsys.readouterr().err == ""
    assert read_events(path)[-1000:].equal(events)


def test_a_file_without_a_sensor_size_is_told_the_option_of_the_command_line(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("t,x,y,p\n10,0,3,1\n")
    assert main(["convert", str(tmp_path / "a.csv"), str(tmp_path / "a.npz")]) == 1
    assert "does not state its sensor size; pass --sensor-size WIDTHxHEIGHT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["view", "nowhere.raw"], "error: .*No such file.*nowhere.raw"),
        (
            ["convert", "udp:3333", "a.npz"],
            "error: udp:3333 does not contain the size of its sensor; pass --sensor-size WIDTHxHEIGHT",
        ),
        (["send", __file__], "error: .*unrecognized file format"),
        (["serve", "nowhere.raw", "--speed", "0"], "error: FileInput.speed must be a positive number"),
        (["serve", "nowhere.raw", "--port", "0"], "error: UDPOutput.port must be a number from 1 to 65535, got 0"),
    ],
)
def test_errors_are_reported(arguments, message, capsys):
    assert main(arguments) == 1
    assert re.search(message, capsys.readouterr().err)


def test_a_closed_output_pipe_is_not_an_error(tmp_path, monkeypatch, capsys):
    write_events(random_events(), tmp_path / "a.npz")
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as end:
        monkeypatch.setattr(sys, "stdout", end)
        assert main(["convert", str(tmp_path / "a.npz"), "-"]) == 0
    assert capsys.readouterr().err == ""
