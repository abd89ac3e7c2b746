"""The page, served to this machine alone: it asks for one picture after another, so that a slow browser misses pictures and delays nothing."""

import dataclasses
import json
import socket
import threading
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .detector import description
from .picture import png
from .player import Player

# Seconds after which a page that waits for a picture is told that there is none.
_PATIENCE = 2.0
_LARGEST = 1 << 12


class Server(ThreadingHTTPServer):
    """Serves the page and what it asks for.

    Args:
        player: Where pictures come from.
        title: What is being played.
        port: Port to listen at; 0 takes a free one.

    Raises:
        OSError: If the port is in use.
    """

    # Threads that answer are waited for: PyTorch aborts a process that ends while one is within it.
    daemon_threads = False
    allow_reuse_address = True

    def __init__(self, player: Player, title: str, port: int = 0):
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise OSError(
                error.errno,
                f"The page cannot be served at port {port}: {error.strerror}. Take another, or 0 for a free one.",
            ) from None
        self.player, self.title = player, title
        self._connections: set[socket.socket] = set()
        # Several pages may look; a picture is coded once.
        self.coded = lru_cache(maxsize=2)(lambda shown: b"" if shown.picture is None else png(shown.picture))

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://127.0.0.1:{self.server_port}/"

    def start(self) -> None:
        """Serve, in a thread, until `stop`."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def stop(self) -> None:
        """Stop the player, hang up on everybody, and wait until all answers have ended."""
        self.shutdown()
        self.player.stop()
        for connection in tuple(self._connections):
            with suppress(OSError):  # which was hung up meanwhile
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Take a connection, to hang up at the end: a browser keeps it."""
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def close_request(self, request: Any) -> None:
        """The connection has ended."""
        self._connections.discard(request)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that was closed in the middle of an answer is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        if not self._is_ours():
            return
        url = urlsplit(self.path)
        if url.path == "/":
            page = files("geir.tasks.edges").joinpath("page.html").read_bytes()
            self._answer(HTTPStatus.OK, page, "text/html; charset=utf-8")
        elif url.path == "/picture":
            number = parse_qs(url.query).get("after", ["0"])[0]
            self._picture(int(number) if number.isdecimal() else 0)
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"There is only / and /picture.")

    def do_POST(self) -> None:
        if not self._is_ours():
            return
        length = self.headers.get("Content-Length", "")
        if self.path != "/controls" or not length.isdecimal() or int(length) > _LARGEST:
            self.close_connection = True  # what was not read must not be taken for the next request
            self._answer(HTTPStatus.BAD_REQUEST, b"Controls are sent to /controls, as a small JSON object.")
            return
        body = self.rfile.read(int(length))
        # Pages of others can send plain text here, but not this type.
        if self.headers.get_content_type() != "application/json":
            self._answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, b"Controls are sent as application/json.")
            return
        try:
            changes = json.loads(body)
            if not isinstance(changes, dict):
                raise ValueError(f"Controls are a JSON object, got {changes!r}.")
            controls = self.server.player.change(changes)
        except ValueError as error:
            self._answer(HTTPStatus.BAD_REQUEST, str(error).encode())
        else:
            self._answer(HTTPStatus.OK, json.dumps(dataclasses.asdict(controls)).encode(), "application/json")

    def _picture(self, after: int) -> None:
        """The newest picture if it is newer, and what is known with it."""
        server, player = self.server, self.server.player
        shown = player.newer(after, _PATIENCE)
        controls = player.controls
        state: dict[str, Any] = {
            "title": server.title,
            "live": player.live,
            "dt": player.dt,
            "controls": dataclasses.asdict(controls),
        }
        state["network"] = description(controls.threshold)
        # A page that has the newest picture is to know what the controls are all the same.
        if (known := shown or player.shown) is not None:
            state |= {"number": known.number, "reading": dataclasses.asdict(known.reading)}
        status = HTTPStatus.NO_CONTENT if shown is None or shown.picture is None else HTTPStatus.OK
        body = server.coded(shown) if status == HTTPStatus.OK else b""
        self._answer(status, body, "image/png", {"X-State": json.dumps(state)})

    def _is_ours(self) -> bool:
        """Whether the page was asked for by its address, and not by a name that somebody else gave to this machine."""
        host = self.headers.get("Host", "")
        ours = host in (f"127.0.0.1:{self.server.server_port}", f"localhost:{self.server.server_port}")
        if not ours:
            self.close_connection = True
            self._answer(HTTPStatus.FORBIDDEN, f"This page is at {self.server.address}.".encode())
        return ours

    def _answer(
        self,
        status: HTTPStatus,
        body: bytes,
        kind: str = "text/plain; charset=utf-8",
        more: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        more = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(more or {})}
        if status != HTTPStatus.NO_CONTENT:
            more |= {"Content-Type": kind, "Content-Length": str(len(body))}
        for name, value in more.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not worth a line."""
