"""The command line and the page: python -m geir.tasks.edges."""

import http.client
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing

import chromium
import pytest

from geir.tasks.edges.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments file --udp --synthetic is required"),
        (["a.raw", "--synthetic"], "not allowed with argument"),
        (["--synthetic", "--size", "64"], "must be WIDTHxHEIGHT in pixels, such as 640x480, got 64"),
        (
            ["a.raw", "--size", "64x48"],
            "--size is only for --udp and --synthetic; a recording contains its sensor size.",
        ),
        (["--synthetic", "--no-page"], "The stream is endless; limit its length with --seconds."),
        (["--synthetic", "--speed", "0"], "--speed must be a positive number, got 0.0."),
        (["a.raw", "--dt", "nan"], "--dt must be a positive number, got nan."),
        (["a.raw", "--output", "a.avi"], "The suffix of a video must be .gif or .mp4, got a.avi."),
        (["a.raw", "--output", "nowhere/a.gif"], "Cannot write a.gif: the folder nowhere does not exist."),
    ],
)
def test_invalid_arguments_are_rejected(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_missing_file_is_reported(tmp_path):
    for more in (["--no-page"], []):
        with pytest.raises(SystemExit, match=r"python -m geir.tasks.edges: .*clip.aedat4"):
            main([str(tmp_path / "clip.aedat4"), *more])


class Served:
    """The page, served by the command line in a separate process; a context manager."""

    def __init__(self, *arguments):
        self._arguments = arguments

    def __enter__(self):
        command = [sys.executable, "-W", "error", "-m", "geir.tasks.edges", *self._arguments]
        # Tests that run in the background of a shell ignore Ctrl-C, and so would the processes that they start.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        finally:
            signal.signal(signal.SIGINT, before)
        line = self.process.stdout.readline()
        match = re.fullmatch(r"Edges of (.*): (http://127\.0\.0\.1:(\d+)/) \(press Ctrl-C to stop\)\n", line)
        if match is None:
            self.process.kill()
            pytest.fail(f"{line}{self.process.communicate()[1]}")
        self.title, self.address, self.port = match[1], match[2], int(match[3])
        return self

    def interrupt(self):
        """Stop the process as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)

    def __exit__(self, *exception):
        try:
            if self.process.poll() is None:
                self.interrupt()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process.stdout.close()
            self.process.stderr.close()


@pytest.fixture(scope="module")
def served():
    """One process for all tests of this module, because starting it takes seconds. The last test stops it."""
    with Served("--synthetic", "--size", "160x120") as served:
        yield served


FRAME_COUNT = "document.title.startsWith('Edges: ') && number > {}"
PIXELS = "(d => { let n = 0; for (let k = 0; k < d.length; k += 4) n += d[k] + d[k + 1] + d[k + 2] > 120; return n; })"


def lit(canvas):
    """JavaScript expression for the number of bright pixels of a canvas."""
    return f"{PIXELS}(document.querySelector('{canvas}').getContext('2d').getImageData(0, 0, 160, 120).data)"


@pytest.mark.skipif(chromium.find() is None, reason="needs Chromium; set CHROMIUM to its path")
def test_the_page_works_in_a_browser(served, tmp_path):
    with chromium.Page(served.address) as page:
        page.until(FRAME_COUNT.format(10))
        assert page.evaluate("document.querySelector('#title').textContent") == "a synthetic scene"
        assert page.evaluate("document.querySelector('#events').width") == 160
        page.until(lit("#events") + " > 50")
        page.until(lit("#edges") + " > 50")

        page.click("#pause")
        page.until("document.querySelector('#status').textContent === 'paused'")
        number = page.evaluate("new Promise(done => setTimeout(() => done(number), 300))")
        assert page.evaluate("new Promise(done => setTimeout(() => done(number), 1000))") == number
        assert page.evaluate("document.querySelector('#pause').innerText") == "Play"
        page.click("#pause")
        page.until(FRAME_COUNT.format(number + 3))

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

        for name, unit in {"rate": "/s", "step": "ms", "latency": "ms", "frames": "/s"}.items():
            text = page.evaluate(f"document.querySelector('#{name}').innerText")
            assert re.match(r"[\d.]+", text), f"{name} is {text}"
            assert unit in text
        page.screenshot(tmp_path / "page.png")
        assert page.errors == []
        hosts = page.evaluate("performance.getEntriesByType('resource').map(r => new URL(r.name).host)")
        assert set(hosts) == {f"127.0.0.1:{served.port}"}


def test_ctrl_c_stops_the_process_cleanly_and_frees_the_port(served):
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)) as connection:
        # As in a browser, the connection stays open, and the last request is still waiting for a frame.
        for _ in range(3):
            connection.request("GET", "/frame?after=0")
            assert connection.getresponse().read()
        connection.request("GET", "/frame?after=1000000")
        served.interrupt()
    _, stderr = served.process.communicate(timeout=20)
    assert served.process.returncode == 0
    assert stderr.strip() == ""
    with socket.create_server(("127.0.0.1", served.port)):
        pass
