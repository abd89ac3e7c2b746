"""The packets of AEDAT 4, as they follow one another in a file."""

import ctypes
import struct
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy
from numpy.typing import NDArray

from .. import _native
from .columns import Bytes
from .source import Buffer, Source

# Before the content of a packet: its stream and its size.
PACKET_HEADER = struct.Struct("<ii")
# Bytes of a file that are read at a time, unless a packet is larger.
_PIECE_BYTES = 1 << 20
# Packets that are located at a time.
_MAX_PLACES = 1024
# Further from 0 than the number of any stream in a packet; headers may name any number.
_FAR = 1 << 40


class Packet(NamedTuple):
    """A packet of events."""

    number: int  # among the packets of all streams
    offset: int  # byte of the file at which it begins
    data: Buffer


class PacketPlace(ctypes.Structure):
    """Where the content of a packet is; the same fields as in aedat4.c.

    Attributes:
        content: Its address, for C.
        size: Its size in bytes.
        begin: Where it begins in a piece of a file.
        number: Its number among the packets of all streams.
    """

    _fields_ = [
        ("content", ctypes.c_char_p),
        ("size", ctypes.c_int64),
        ("begin", ctypes.c_int64),
        ("number", ctypes.c_int64),
    ]


PacketPlaces: TypeAlias = "ctypes.Array[PacketPlace]"
# Made once: ctypes forgets the type of an array with its last array, and making it takes longer than decoding a packet.
_Places = PacketPlace * _MAX_PLACES


class PacketWalk(ctypes.Structure):
    """How far the packets in a piece of a file have been located; the same fields as in aedat4.c.

    Attributes:
        next: Byte of the piece at which the next packet begins.
        number: Its number among the packets of all streams.
        found: Packets that the last call has found.
        bytes: Their size together.
    """

    _fields_ = [
        ("next", ctypes.c_int64),
        ("number", ctypes.c_int64),
        ("found", ctypes.c_int64),
        ("bytes", ctypes.c_int64),
    ]

    # For type checkers; ctypes defines the attributes.
    next: int
    number: int
    found: int
    bytes: int


class PacketRun:
    """Packets of events in a piece of a file.

    Attributes:
        places: Where the contents of the packets are.
        bytes: Size of their contents together.

    Args:
        piece: The piece.
        offset: Byte of the file at which it begins.
        places: The places of the packets, and further memory. It is reused for the next run.
        walk: Their number and size.
    """

    def __init__(self, piece: Bytes, offset: int, places: PacketPlaces, walk: PacketWalk):
        self.places = places
        self.bytes = walk.bytes
        self._count = walk.found
        self._view = piece.data
        self._offset = offset

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Packet]:
        view, offset = self._view, self._offset - PACKET_HEADER.size
        table = numpy.frombuffer(memoryview(self.places), numpy.int64).reshape(-1, len(PacketPlace._fields_))
        for _, size, begin, number in table[: self._count].tolist():
            yield Packet(number, offset + begin, view[begin : begin + size])

    def packet(self, index: int) -> Packet:
        """Return one packet."""
        place = self.places[index]
        data = self._view[place.begin : place.begin + place.size]
        return Packet(place.number, self._offset + place.begin - PACKET_HEADER.size, data)


class PacketReader:
    """Reads the packets of one stream of a file, in order.

    Args:
        source: The file.
        start: Byte at which the packets begin.
        table: Byte at which they end, as the header states it; not positive if it does not.
        stream: Number of the stream.
        streams: Numbers of all streams that the header names.
    """

    def __init__(self, source: Source, start: int, table: int, stream: int, streams: list[int]):
        self._source = source
        self._table = table
        self._end = table if 0 < table <= source.size else source.size
        self._stream = stream
        # The one that is looked for comes first.
        self._streams = numpy.array([max(-_FAR, min(_FAR, number)) for number in (stream, *streams)], numpy.int64)
        self._piece, self._begin = numpy.empty(0, numpy.uint8), start
        self._walk = PacketWalk()
        self._places = _Places()

    def runs(self) -> Iterator[PacketRun]:
        """Read all packets.

        Raises:
            EventFileError: If one is truncated or of a stream that the header does not name, or the
                file ends early.
        """
        while self._offset < self._end:
            find_packets(self._piece, self._streams, self._walk, self._places)
            if self._walk.found:
                yield PacketRun(self._piece, self._begin, self._places, self._walk)
            if self._walk.found < len(self._places) and self._offset < self._end:
                self._read_on()
        if self._table > self._source.size:
            raise self._source.error(
                f"the file is truncated: its packets end at byte {self._table:,}", self._source.size
            )

    @property
    def _offset(self) -> int:
        """Byte of the file at which the next packet begins."""
        return self._begin + self._walk.next

    def _read_on(self) -> None:
        """Read a piece that begins with the next packet, which is invalid or not wholly in the current piece."""
        offset, name = self._offset, f"packet {self._walk.number}"
        if self._walk.next + PACKET_HEADER.size > len(self._piece):
            self._read_piece(PACKET_HEADER.size, name)
        stream, size = PACKET_HEADER.unpack_from(self._piece.data, self._walk.next)
        content = offset + PACKET_HEADER.size
        if not (self._streams == stream).any():
            raise self._source.error(f"{name} is of stream {stream}, which the header does not name", offset)
        if not 0 <= size <= self._end - content:
            raise self._source.error(
                f"{name} is truncated: expected {size:,} bytes, got {self._end - content:,}", offset
            )
        if stream == self._stream:
            self._read_piece(PACKET_HEADER.size + size, name)
        else:
            # It need not be read.
            self._walk.next += PACKET_HEADER.size + size
            self._walk.number += 1

    def _read_piece(self, size: int, name: str) -> None:
        """Read at least `size` bytes from the next packet on; the rest of the current piece is kept."""
        offset, rest = self._offset, self._piece[self._walk.next :]
        # And the header of the packet that follows, because that may be of another stream, and need not be read.
        room = min(max(size + PACKET_HEADER.size, _PIECE_BYTES), max(size, self._end - offset))
        if offset + size > self._source.size:
            self._source.read(offset, size, name)  # raises the error
        piece = numpy.empty(room, numpy.uint8)
        piece[: len(rest)] = rest
        filled = len(rest) + self._source.read_into(offset + len(rest), piece[len(rest) :])
        if filled < size:
            raise self._source.error(f"{name} is truncated: the file shrank while it was read", offset)
        self._piece, self._begin, self._walk.next = piece[:filled], offset, 0


def find_packets(piece: Bytes, streams: NDArray[numpy.int64], walk: PacketWalk, places: PacketPlaces) -> None:
    """Locate packets of one stream, up to the first packet that is invalid or not wholly in the piece.

    Args:
        piece: Part of a file.
        streams: Numbers of the streams whose packets are valid, first that of the stream that is looked for.
        walk: Where to begin; updated.
        places: Where the packets are that were found, at most as many as there is room for.
    """
    library = _native.load("formats/aedat4.c")
    if library is None:
        reference_find_packets(piece, streams, walk, places)
        return
    library.find_packets(
        ctypes.c_void_p(piece.ctypes.data),
        ctypes.c_int64(len(piece)),
        ctypes.c_void_p(streams.ctypes.data),
        ctypes.c_int64(len(streams)),
        ctypes.byref(walk),
        places,
        ctypes.c_int64(len(places)),
    )


def reference_find_packets(piece: Bytes, streams: NDArray[numpy.int64], walk: PacketWalk, places: PacketPlaces) -> None:
    """Do the same as `find_packets` in aedat4.c, in Python, but for the addresses."""
    walk.found = walk.bytes = 0
    while walk.found < len(places) and walk.next + PACKET_HEADER.size <= len(piece):
        stream, size = PACKET_HEADER.unpack_from(piece.data, walk.next)
        begin = walk.next + PACKET_HEADER.size
        if stream not in streams or not 0 <= size <= len(piece) - begin:
            break
        if stream == streams[0]:
            places[walk.found] = PacketPlace(None, size, begin, walk.number)
            walk.found += 1
            walk.bytes += size
        walk.next = begin + size
        walk.number += 1
