"""Events through sockets."""

import errno
import selectors
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, Self

import numpy

from .buffer import Overflow
from .store import Events
from .input import LiveInput
from .layouts import DEFAULT, Decoder, Layout

# The largest datagram, and how many bytes of them are decoded at a time: a millisecond's worth at tens of millions of events a second.
_LARGEST, _BATCH = 1 << 16, 1 << 16
# What the system is asked to hold for us while we are busy; it gives what it may.
_RECEIVE_BUFFER = 1 << 25
# Linux's, which Python does not name: a socket's memory, the last of whose nine numbers counts datagrams that were dropped.
_SO_MEMINFO = 55


class UDPInput(LiveInput):
    """Events that arrive as datagrams.

    What a datagram says is not trusted: events outside of the sensor and datagrams that are cut short are left out and counted. Without timestamps,
    an event's time is that of its arrival, in microseconds since opening. `frames` and `slices` are bins of arrival.

    Datagrams can be lost on the way. No layout numbers them, so that a receiver cannot tell, except for those that its own system dropped because
    they were not fetched in time: `stats.lost` counts them exactly, on Linux.

    Args:
        sensor_size: Width and height of the sensor in pixels.
        port: UDP port to listen at; 0 takes a free one, which `port` then is while it is open.
        host: Address to listen at. Default: this machine's own, which nobody else reaches; "0.0.0.0" is reached by all.
        layout: How events lie in a datagram.
        overflow: What happens when more events come than the buffer holds.
        dt: Width in seconds of the bins of an iteration.
        device: Where tensors and events are wanted.
        capacity: How many events the buffer holds, 13 bytes each.

    Raises:
        OSError: On opening, if the port is in use or the address not this machine's.
    """

    def __init__(
        self,
        sensor_size: tuple[int, int],
        port: int = 3333,
        host: str = "127.0.0.1",
        layout: Layout = DEFAULT,
        overflow: Overflow = Overflow.COALESCE,
        **settings: Any,
    ):
        super().__init__(overflow=overflow, **settings)
        self.sensor_size = Events.empty(sensor_size).sensor_size
        self.host, self.layout, self._asked = host, _layout(self, layout), _port(self, port, 0)
        self.port = port
        self._decoder, self._malformed, self._lost = Decoder(layout, self.sensor_size), 0, 0
        self._socket = self._wake = None

    @contextmanager
    def _source(self) -> Iterator[Iterator[Events]]:
        self._decoder, self._malformed = Decoder(self.layout, self.sensor_size), 0
        with ExitStack() as stack:
            family, _, _, _, address = socket.getaddrinfo(self.host, self._asked, type=socket.SOCK_DGRAM)[0]
            self._socket = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            try:
                self._socket.bind(address)
            except OSError as error:
                raise OSError(error.errno, _why_not_bound(error, self.host, self._asked)) from None
            self.port = self._socket.getsockname()[1]
            # Writing to one end ends the wait at the other.
            waiting, self._wake = (stack.enter_context(end) for end in socket.socketpair())
            yield self._received(self._socket, waiting)
            self._lost, self._socket = self._dropped_by_system(), None

    def _received(self, receiver: socket.socket, woken: socket.socket) -> Iterator[Events]:
        start = time.perf_counter()
        slab = numpy.empty(_BATCH + _LARGEST, numpy.uint8)
        into, record = slab.data, self.layout.record
        with selectors.DefaultSelector() as selector:
            selector.register(receiver, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while True:
                selector.select()
                end, sizes = 0, []
                try:
                    while end < _BATCH:
                        size = receiver.recv_into(into[end:])
                        if size % record or not size:
                            self._malformed += 1
                        else:
                            sizes.append(size)
                            end += size
                except BlockingIOError:  # that was all
                    pass
                yield self._decoder(slab[:end], sizes, int((time.perf_counter() - start) * 1e6))

    def _interrupt(self) -> None:
        if self._wake is not None:
            self._wake.send(b"\0")

    def _dropped_by_system(self) -> int | None:
        if not sys.platform.startswith("linux") or self._socket is None:
            return self._lost if self._socket is None else None
        return struct.unpack("9I", self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))[-1]

    def _refused(self) -> dict[str, Any]:
        malformed = self._malformed + self._decoder.malformed
        return {"rejected": self._decoder.rejected, "malformed": malformed, "lost": self._dropped_by_system()}


class Sent(NamedTuple):
    """What a `UDPOutput` has sent."""

    events: int
    datagrams: int
    refused: int  # datagrams of which the receiving system said that nobody listens, as far as it said so


class UDPOutput:
    """Events sent as datagrams, in a ``with`` statement. They are sent at once: for a pace, take them from `FileInput.slices`.

    Args:
        port: UDP port to send to.
        host: Address to send to.
        layout: How events lie in a datagram.
        datagram: Bytes of a datagram at most. Default: 128 words of `SPIF`.

    >>> with UDPOutput(port=3333) as output:
    ...     output.send(Events(t=[10, 20], x=[0, 1], y=[5, 5], p=[1, 0], sensor_size=(3, 7)))
    """

    def __init__(self, port: int = 3333, host: str = "127.0.0.1", layout: Layout = DEFAULT, datagram: int = 512):
        self.port, self.host, self.layout, self.datagram = _port(self, port, 1), host, _layout(self, layout), datagram
        if not isinstance(datagram, int) or not 16 <= datagram < _LARGEST - 28:
            raise ValueError(f"UDPOutput.datagram must be a number of bytes from 16 to 65507, got {datagram!r}.")
        self.stats = Sent(0, 0, 0)
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        if self._socket is not None:
            raise ValueError("UDPOutput is open already.")
        family, _, _, _, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_DGRAM)[0]
        self.stats = Sent(0, 0, 0)
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.connect(address)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, events: Events) -> None:
        """Send events, in as few datagrams as hold them.

        Raises:
            ValueError: If it is not open.
        """
        if self._socket is None:
            raise ValueError("UDPOutput is not open; use it in a with statement.")
        if not len(events):
            return
        records = self.layout.encode(events)
        size = records.nbytes // len(records)
        size = self.datagram // size * size
        data, send, refused = records.reshape(-1).view(numpy.uint8).data, self._socket.send, 0
        for start in range(0, len(data), size):
            part = data[start : start + size]
            try:
                send(part)
            except ConnectionRefusedError:  # an earlier one was refused; this one was not sent
                refused += 1
                send(part)
        self.stats = Sent(
            self.stats.events + len(events), self.stats.datagrams + -(-len(data) // size), self.stats.refused + refused
        )


def _layout(caller: Any, layout: Layout) -> Layout:
    if not isinstance(layout, Layout):
        raise TypeError(f"{type(caller).__name__}.layout must be SPIF(), T32() or T64(), got {layout!r}.")
    return layout


def _port(caller: Any, port: int, lowest: int) -> int:
    if not isinstance(port, int) or not lowest <= port < 1 << 16:
        raise ValueError(f"{type(caller).__name__}.port must be a number from {lowest} to 65535, got {port!r}.")
    return port


def _why_not_bound(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"UDPInput: port {port} of {host} is in use; close what listens there, or take another (port=0 takes a free one)"
    return f"UDPInput cannot listen at port {port} of {host}: {error.strerror}"
