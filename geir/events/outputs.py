"""Events sent through sockets."""

import socket
from typing import NamedTuple, Self

import numpy

from ._sockets import check_layout, check_port, MAX_DATAGRAM
from .layouts import DEFAULT, Layout
from .store import Events

# Bytes of the headers of IP and UDP, which count toward the maximum size.
_HEADERS = 28


class SendStats(NamedTuple):
    """Statistics of a `UDPOutput` since it was opened."""

    events: int  # events sent
    datagrams: int  # datagrams sent
    refused: int  # datagrams for which the receiving system reported that no one listens, as far as it reports this


class UDPOutput:
    """Events sent as datagrams; a context manager.

    Events are sent immediately. To send a recording at its own pace, send the events of
    `FileInput.slices`.

    Args:
        port: UDP port to send to.
        host: Address to send to.
        layout: Layout of events in a datagram.
        datagram: Maximum size of a datagram in bytes. Default: 128 words of `SPIF`.

    Raises:
        TypeError: If `layout` is not a layout.
        ValueError: If `port` or `datagram` is out of range.

    Attributes:
        stats: Statistics since the output was opened.

    >>> with UDPOutput(port=3333) as output:
    ...     output.send(Events(t=[10, 20], x=[0, 1], y=[5, 5], p=[1, 0], sensor_size=(3, 7)))
    """

    def __init__(self, port: int = 3333, host: str = "127.0.0.1", layout: Layout = DEFAULT, datagram: int = 512):
        self.port = check_port("UDPOutput", port, lowest=1)
        self.host = host
        self.layout = check_layout("UDPOutput", layout)
        if not isinstance(datagram, int) or not 16 <= datagram < MAX_DATAGRAM - _HEADERS:
            raise ValueError(f"UDPOutput.datagram must be a number of bytes from 16 to 65507, got {datagram!r}.")
        self.datagram = datagram
        self.stats = SendStats(0, 0, 0)
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        if self._socket is not None:
            raise ValueError("UDPOutput is already open; create another UDPOutput to send to the port twice at once.")
        family, _, _, _, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_DGRAM)[0]
        self.stats = SendStats(0, 0, 0)
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.connect(address)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, events: Events) -> None:
        """Send events in as few datagrams as possible.

        Raises:
            ValueError: If the output is not open.
        """
        if self._socket is None:
            raise ValueError("UDPOutput is not open; use it in a with statement.")
        if not len(events):
            return
        records = self.layout.encode(events)
        event_bytes = records.nbytes // len(records)
        size = self.datagram // event_bytes * event_bytes
        data = records.reshape(-1).view(numpy.uint8).data
        send = self._socket.send
        refused = 0
        for start in range(0, len(data), size):
            part = data[start : start + size]
            try:
                send(part)
            except ConnectionRefusedError:
                # The error refers to an earlier datagram; this one has not been sent.
                refused += 1
                send(part)
        self.stats = SendStats(
            events=self.stats.events + len(events),
            datagrams=self.stats.datagrams + -(-len(data) // size),
            refused=self.stats.refused + refused,
        )
