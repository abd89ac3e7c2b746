"""The web server of the page, for this machine only.

The page requests one frame after another. A slow browser thus skips frames, but never delays the
player.
"""

import dataclasses
import json
import socket
import threading
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import cast
from urllib.parse import parse_qs, urlsplit

from .detector import describe_network
from .image import encode_png
from .player import Frame, Player

# Seconds after which a request for a frame is answered without one.
_FRAME_TIMEOUT = 2.0
# Maximum size of a request body in bytes.
_MAX_BODY = 1 << 12


def _encode(frame: Frame) -> bytes:
    return b"" if frame.image is None else encode_png(frame.image)


class Server(ThreadingHTTPServer):
    """Serves the page, its frames and its controls.

    Args:
        player: The player of the stream.
        title: Title of the stream.
        port: Port to listen on; 0 selects a free one.

    Raises:
        OSError: If the port is in use.
    """

    # The server waits for its threads when it is closed: PyTorch aborts the process if it exits
    # while a thread uses it.
    daemon_threads = False
    allow_reuse_address = True

    def __init__(self, player: Player, title: str, port: int = 0):
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise OSError(
                error.errno,
                f"Cannot serve the page on port {port}: {error.strerror}. Choose another port, or 0 for a free one.",
            ) from None
        self.player = player
        self.title = title
        self._connections: set[socket.socket] = set()
        # Several pages may be open; each frame is encoded once. Frames are compared by identity.
        self.encode = lru_cache(maxsize=2)(_encode)

    @property
    def address(self) -> str:
        """URL of the page."""
        return f"http://127.0.0.1:{self.server_port}/"

    def start(self) -> None:
        """Start serving in a thread."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def stop(self) -> None:
        """Stop the player, close all connections, and wait until all requests have ended."""
        self.shutdown()
        self.player.stop()
        for connection in tuple(self._connections):
            with suppress(OSError):  # the connection may have been closed meanwhile
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def get_request(self) -> tuple[socket.socket, object]:
        """Accept a connection. Browsers keep connections open, so they are recorded, to be closed by `stop`."""
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def close_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Close a connection."""
        self._connections.discard(cast(socket.socket, request))
        super().close_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors of a connection: a page may be closed in the middle of a response."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def _server(self) -> Server:
        return cast(Server, self.server)

    def do_GET(self) -> None:
        if not self._check_host():
            return
        url = urlsplit(self.path)
        if url.path == "/":
            page = files("geir.tasks.edges").joinpath("page.html").read_bytes()
            self._respond(HTTPStatus.OK, page, "text/html; charset=utf-8")
        elif url.path == "/frame":
            after = parse_qs(url.query).get("after", ["0"])[0]
            self._send_frame(int(after) if after.isdecimal() else 0)
        else:
            self._respond(HTTPStatus.NOT_FOUND, b"Not found. Available are / and /frame.")

    def do_POST(self) -> None:
        if not self._check_host():
            return
        length = self.headers.get("Content-Length", "")
        if self.path != "/controls" or not length.isdecimal() or int(length) > _MAX_BODY:
            # The body has not been read, so the connection cannot be used for another request.
            self.close_connection = True
            self._respond(HTTPStatus.BAD_REQUEST, b"Send controls to /controls, as a small JSON object.")
            return
        body = self.rfile.read(int(length))
        # Protects against cross-site requests: other websites can send text to this address, but
        # not this content type.
        if self.headers.get_content_type() != "application/json":
            self._respond(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, b"Send controls as application/json.")
            return
        try:
            changes = json.loads(body)
            if not isinstance(changes, dict):
                raise ValueError(f"Controls must be a JSON object, got {changes!r}.")
            controls = self._server.player.change(changes)
        except ValueError as error:
            self._respond(HTTPStatus.BAD_REQUEST, str(error).encode())
        else:
            self._respond(HTTPStatus.OK, json.dumps(dataclasses.asdict(controls)).encode(), "application/json")

    def _send_frame(self, after: int) -> None:
        """Send the latest frame if its number is greater than `after`, and the state of the player in any case."""
        player = self._server.player
        newer = player.wait_for_frame(after, _FRAME_TIMEOUT)
        controls = player.controls
        state: dict[str, object] = {
            "title": self._server.title,
            "live": player.live,
            "dt": player.dt,
            "controls": dataclasses.asdict(controls),
            "network": describe_network(controls.threshold),
        }
        if (latest := newer or player.frame) is not None:
            state |= {"number": latest.number, "stats": dataclasses.asdict(latest.stats)}
        if newer is not None and newer.image is not None:
            status, body = HTTPStatus.OK, self._server.encode(newer)
        else:
            status, body = HTTPStatus.NO_CONTENT, b""
        self._respond(status, body, "image/png", {"X-State": json.dumps(state)})

    def _check_host(self) -> bool:
        """Whether the request used the address of the page. If not, it is refused, which prevents DNS rebinding."""
        port = self._server.server_port
        allowed = self.headers.get("Host", "") in (f"127.0.0.1:{port}", f"localhost:{port}")
        if not allowed:
            self.close_connection = True
            self._respond(HTTPStatus.FORBIDDEN, f"The address of this page is {self._server.address}.".encode())
        return allowed

    def _respond(
        self,
        status: HTTPStatus,
        body: bytes,
        content_type: str = "text/plain; charset=utf-8",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})}
        if status != HTTPStatus.NO_CONTENT:
            headers |= {"Content-Type": content_type, "Content-Length": str(len(body))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""
