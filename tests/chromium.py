"""A headless Chromium, controlled with the DevTools protocol over a pipe. Needs no Python package."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# The browser reads commands from file descriptor 3 and writes responses to 4, which the process must set up before it
# executes the browser.
_LAUNCHER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execvp(sys.argv[3], sys.argv[3:])"
)


def find():
    """The path of the browser; None if there is none. The environment variable CHROMIUM overrides it."""
    return os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """A page in a new browser process; a context manager.

    Attributes:
        errors: Descriptions of uncaught JavaScript exceptions.
    """

    def __init__(self, url, width=1280, height=900):
        self._url = url
        self._size = width, height
        self.errors = []

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        (commands, self._commands), (self._responses, responses) = os.pipe(), os.pipe()
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
            "--no-first-run",
        ]
        flags += [
            f"--user-data-dir={self._folder.name}",
            f"--window-size={self._size[0]},{self._size[1]}",
            "--disable-background-networking",
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER, str(commands), str(responses), find(), *flags, "about:blank"],
            pass_fds=(commands, responses),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands), os.close(responses)
        self._buffer = b""
        self._number = 0
        self._session = None
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            self.call("Page.enable"), self.call("Runtime.enable")
            self.call(
                "Emulation.setDeviceMetricsOverride",
                width=self._size[0],
                height=self._size[1],
                deviceScaleFactor=1,
                mobile=False,
            )
            self.call("Page.navigate", url=self._url)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        os.close(self._commands), os.close(self._responses)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def call(self, method, **parameters):
        """Send a DevTools command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters} | (
            {"sessionId": self._session} if self._session else {}
        )
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            response = self._next(time.monotonic() + 60)
            if response.get("method") == "Runtime.exceptionThrown":
                self.errors.append(response["params"]["exceptionDetails"].get("exception", {}).get("description"))
            if response.get("id") == self._number:
                if "error" in response:
                    raise RuntimeError(f"{method}: {response['error']['message']}")
                return response["result"]

    def _next(self, deadline):
        while b"\0" not in self._buffer:
            if not select.select([self._responses], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError("The browser does not respond.")
            part = os.read(self._responses, 1 << 20)
            if not part:
                raise RuntimeError("The browser has exited.")
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def evaluate(self, expression):
        """Return the value of a JavaScript expression; a promise is awaited."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"]["description"])
        return result["result"].get("value")

    def until(self, expression, seconds=30):
        """Wait until a JavaScript expression is true. Returns its value."""
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{expression} was not true within {seconds} s.")
            time.sleep(0.05)
        return value

    def click(self, selector):
        """Click the center of an element."""
        box = f"document.querySelector({selector!r}).getBoundingClientRect()"
        x, y = self.evaluate(f"(box => [box.x + box.width / 2, box.y + box.height / 2])({box})")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def slide(self, selector, value):
        """Set the value of a slider, with the events of dragging it."""
        element = f"document.querySelector({selector!r})"
        dispatch = f"for (const kind of ['input', 'change']) {element}.dispatchEvent(new Event(kind))"
        self.evaluate(f"{element}.value = {value}; {dispatch}")

    def screenshot(self, path):
        """Save a screenshot as PNG."""
        Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
