"""Events from UDP sockets."""

import errno
import selectors
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, ExitStack
from typing import Unpack

import numpy

from .._sockets import check_layout, check_port, MAX_DATAGRAM
from ..layouts import Decoder, DEFAULT, Layout
from ..store import Events
from .base import InputSettings, RejectionCounts
from .buffer import Overflow
from .live import LiveInput

# Datagrams are decoded in batches of about this many bytes: a millisecond of data at tens of
# millions of events per second.
_BATCH = 1 << 16
# Requested size of the socket's receive buffer in bytes. The operating system may grant less.
_RECEIVE_BUFFER = 1 << 25
# SO_MEMINFO of Linux, which Python does not define: nine 32-bit integers, of which the last counts
# dropped datagrams.
_SO_MEMINFO = 55


class UDPInput(LiveInput):
    """Events that arrive as datagrams.

    The content of a datagram is not trusted: events outside of the sensor and truncated datagrams
    are dropped and counted. An event without a timestamp gets the time of its arrival, in
    microseconds since the input was opened. `frames` and `slices` are bins of arrival time.

    Datagrams can be lost on the way. The layouts do not number datagrams, so a receiver cannot
    detect this in general. It can detect datagrams that its own operating system dropped because
    they were not read in time: `stats.lost` counts them exactly, on Linux.

    Args:
        sensor_size: Width and height of the sensor in pixels.
        port: UDP port to listen on; 0 selects a free one, and the attribute `port` then holds its
            number.
        host: Address to listen on. Default: the loopback address, which other machines cannot
            reach; ``"0.0.0.0"`` accepts datagrams from everywhere.
        layout: Layout of events in a datagram.
        overflow: What happens when the buffer is full.
        dt: Default bin width in seconds.
        device: Device of the returned tensors and events.
        capacity: Maximum number of events in the buffer, 13 bytes each.

    Raises:
        OSError: On opening, if the port is in use or the address does not belong to this machine.
        TypeError: If `layout` is not a layout, or `sensor_size` is not a pair of integers.
        ValueError: If `port` is out of range.
    """

    def __init__(
        self,
        sensor_size: tuple[int, int],
        port: int = 3333,
        host: str = "127.0.0.1",
        layout: Layout = DEFAULT,
        overflow: Overflow = Overflow.COALESCE,
        **settings: Unpack[InputSettings],
    ):
        super().__init__(overflow=overflow, **settings)
        self.sensor_size = Events.empty(sensor_size).sensor_size
        self.host = host
        self.layout = check_layout("UDPInput", layout)
        self._requested_port = check_port("UDPInput", port, lowest=0)
        self.port = port
        self._decoder = Decoder(layout, self.sensor_size)
        self._malformed = 0
        self._lost: int | None = 0
        self._socket: socket.socket | None = None
        self._waker: socket.socket | None = None

    @contextmanager
    def _open_source(self) -> Iterator[Iterator[Events]]:
        self._decoder = Decoder(self.layout, self.sensor_size)
        self._malformed = 0
        with ExitStack() as stack:
            family, _, _, _, address = socket.getaddrinfo(self.host, self._requested_port, type=socket.SOCK_DGRAM)[0]
            self._socket = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            try:
                self._socket.bind(address)
            except OSError as error:
                raise OSError(error.errno, _describe_bind_error(error, self.host, self._requested_port)) from None
            self.port = self._socket.getsockname()[1]
            # A byte written to one end of this pair wakes the selector, which waits on the other end.
            wake_signal, self._waker = (stack.enter_context(end) for end in socket.socketpair())
            yield self._receive(self._socket, wake_signal)
            self._lost = self._count_lost()
            self._socket = None

    def _receive(self, receiver: socket.socket, wake_signal: socket.socket) -> Iterator[Events]:
        start = time.perf_counter()
        batch = numpy.empty(_BATCH + MAX_DATAGRAM, numpy.uint8)
        data = batch.data
        record = self.layout.record
        with selectors.DefaultSelector() as selector:
            selector.register(receiver, selectors.EVENT_READ)
            selector.register(wake_signal, selectors.EVENT_READ)
            while True:
                selector.select()
                end = 0
                sizes: list[int] = []
                try:
                    while end < _BATCH:
                        size = receiver.recv_into(data[end:])
                        if size % record or not size:
                            self._malformed += 1
                        else:
                            sizes.append(size)
                            end += size
                except BlockingIOError:  # all datagrams have been read
                    pass
                arrival = int((time.perf_counter() - start) * 1e6)
                yield self._decoder(batch[:end], sizes, arrival)

    def _wake_source(self) -> None:
        if self._waker is not None:
            self._waker.send(b"\0")

    def _count_lost(self) -> int | None:
        """Number of datagrams dropped by the operating system; None if it does not report them."""
        if self._socket is None:
            return self._lost
        if not sys.platform.startswith("linux"):
            return None
        return struct.unpack("9I", self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))[-1]

    def _rejection_counts(self) -> RejectionCounts:
        return RejectionCounts(
            rejected=self._decoder.rejected,
            malformed=self._malformed + self._decoder.malformed,
            lost=self._count_lost(),
        )


def _describe_bind_error(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        cure = "stop the program that listens there, or choose another port (port=0 selects a free one)"
        return f"UDPInput: port {port} of {host} is in use; {cure}"
    return f"UDPInput cannot listen on port {port} of {host}: {error.strerror}"
