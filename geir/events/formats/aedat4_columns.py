"""Columns of the events in packets of AEDAT 4."""

import ctypes
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy

from .. import _native
from ..errors import EventFileError
from .aedat4_packets import Packet, PacketPlace, PacketPlaces, PacketRun
from .columns import Bytes, ColumnPointers, EventCheck, EventColumns
from .decoder import Batch, DecoderState
from .flatbuffer import DamagedError, FlatBuffer, U32
from .source import Buffer, Source

RECORD = numpy.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1"), ("padding", "u1", 3)])
# The most packets in a list.
MAX_LISTED = 64
# Made once, as in aedat4_packets.py.
_ListedPlaces = PacketPlace * MAX_LISTED
# The room in columns is rounded up to a multiple of this number of events, so that their memory can be reused.
_ROOM_STEP = 1 << 15


class RecordLayout:
    """Where the records are in a packet.

    The packets of one writer begin alike: the same type, offsets and layout between the size of
    the buffer and the number of records. Parsing them takes longer than decoding a small
    packet, so the bytes in between are kept from the last packet that was parsed (`prefix`). A
    packet that has the same bytes has its records at the same position; only the two sizes remain
    to be checked. Several threads read and replace `prefix` without a lock: each uses one
    consistent value.
    """

    def __init__(self) -> None:
        self.prefix = b""

    def find(self, data: Buffer) -> Bytes:
        """Find the bytes of a packet's records.

        Raises:
            DamagedError: If the packet is invalid.
        """
        known = reference_find_records(data, self.prefix)
        return self.parse(data) if known is None else known

    def parse(self, data: Buffer) -> Bytes:
        """Do the same without what is known about other packets."""
        buffer = FlatBuffer(bytes(data), b"EVTS")
        begin, count = buffer.vector(buffer.root, 0, RECORD.itemsize)
        # Not kept if there are no records or the layout is unusually large.
        self.prefix = bytes(data[4 : begin - 4]) if 12 < begin < 256 else b""
        return numpy.frombuffer(data, numpy.uint8, count * RECORD.itemsize, begin)


def reference_find_records(data: Buffer, prefix: bytes) -> Bytes | None:
    """Do the same as `find_records` in aedat4.c, in Python; returns None in place of -1."""
    begin = 4 + len(prefix) + 4
    if not prefix or len(data) < begin or data[4 : begin - 4] != prefix:
        return None
    (size,), (count,) = U32.unpack_from(data), U32.unpack_from(data, begin - 4)
    if size + 4 > len(data) or begin + count * RECORD.itemsize > len(data):
        return None
    return numpy.frombuffer(data, numpy.uint8, count * RECORD.itemsize, begin)


class PacketList:
    """Packets that were decompressed one by one, 1 to `MAX_LISTED`; has what a `PacketRun` has.

    Args:
        packets: The packets as the file holds them.
        contents: Their decompressed contents.
        size: Bytes of the contents together.
    """

    def __init__(self, packets: list[Packet], contents: list[bytes], size: int):
        self.bytes = size
        self._packets = packets
        self._contents = contents

    def __len__(self) -> int:
        return len(self._packets)

    def __iter__(self) -> Iterator[Packet]:
        return map(self.packet, range(len(self)))

    def packet(self, index: int) -> Packet:
        """Return one packet, decompressed."""
        return self._packets[index]._replace(data=self._contents[index])

    @property
    def places(self) -> PacketPlaces:
        """Where the contents of the packets are."""
        return _ListedPlaces(*zip(self._contents, map(len, self._contents), strict=True))


class DecodedGroup(NamedTuple):
    """The events of several packets up to the first one that is invalid, and the error that follows them, if any."""

    batch: Batch
    error: EventFileError | None


class PacketColumns:
    """Columns of the events of packets that arrive a few at a time, checked as they are decoded.

    Args:
        source: The file.
        sensor_size: Width and height in pixels.
        layout: Layout of the preceding packets; updated.
        expected_bytes: Size of the packets to decode together; the last ones may exceed it.

    Attributes:
        is_full: Whether packets of `expected_bytes` have been decoded.
    """

    def __init__(self, source: Source, sensor_size: tuple[int, int], layout: RecordLayout, expected_bytes: int):
        self._source = source
        self._layout = layout
        self._expected_bytes = expected_bytes
        self._check = EventCheck(sensor_size)
        self._start()

    def _start(self) -> None:
        self.is_full = False
        self._columns: EventColumns | None = None
        self._filled = 0
        self._room = 0  # events for which the columns have room
        self._out = ColumnPointers()  # to the rest of the columns
        self._offset: int | None = None  # of the first packet

    def finish(self, error: EventFileError | None = None) -> DecodedGroup:
        """Return all events and the error that follows them, and start anew."""
        columns = EventColumns.allocate(0) if self._columns is None else self._columns.part(0, self._filled)
        batch = Batch(self._offset, columns, checked=self._check.finish())
        self._start()
        return DecodedGroup(batch, error)

    def decode(self, packets: PacketRun | PacketList) -> None:
        """Append the events of several packets, at least one.

        Raises:
            EventFileError: If one is invalid; the events before it have been appended.
        """
        if self._offset is None:
            self._offset = packets.packet(0).offset
        columns = self._make_room(packets.bytes // RECORD.itemsize)
        library = _native.load("formats/aedat4.c")
        if library is None or self._check.library is None:
            self._decode_with_python(packets, columns)
        else:
            self._decode_with_c(packets, columns, library, self._check.library)
        self.is_full = self._filled * RECORD.itemsize >= self._expected_bytes

    def _make_room(self, count: int) -> EventColumns:
        """Return columns that have room for more events."""
        end = self._filled + count
        if self._columns is None:
            # The last packets may exceed the expected bytes.
            expected = self._expected_bytes // RECORD.itemsize
            self._room = _round_up(expected + max(count, expected // 4))
            self._columns = EventColumns.allocate(self._room)
            self._out = self._columns.pointers()
        elif end > self._room:
            self._room = _round_up(2 * end)
            self._columns = self._columns.copied(self._filled, self._room)
            self._out = self._columns.pointers(self._filled)
        return self._columns

    def _decode_with_c(self, packets: PacketRun | PacketList, columns: EventColumns, library: Any, check: Any) -> None:
        library.decode_packets.restype = ctypes.c_int64
        places, done = packets.places, 0
        while done < len(packets):
            prefix = self._layout.prefix
            done += library.decode_packets(
                ctypes.byref(places, done * ctypes.sizeof(PacketPlace)),
                ctypes.c_int64(len(packets) - done),
                prefix,
                ctypes.c_int64(len(prefix)),
                check.decode_checked,
                ctypes.byref(self._out),
                ctypes.byref(self._check.limits),
                ctypes.byref(self._check.checked),
            )
            self._filled = self._room - self._out.capacity
            if done < len(packets):
                # Its layout is another one, or it is invalid.
                records = self._find_records(packets.packet(done), self._layout.parse)
                count, state = len(records) // RECORD.itemsize, DecoderState()
                self._check.decode(library.decode_aedat4, records, count, RECORD.itemsize, self._out, state)
                self._filled += count
                self._out = columns.pointers(self._filled)
                done += 1

    def _decode_with_python(self, packets: PacketRun | PacketList, columns: EventColumns) -> None:
        for packet in packets:
            records = self._find_records(packet, self._layout.find)
            part = columns.part(self._filled, self._filled + len(records) // RECORD.itemsize)
            reference_aedat4(records, part)
            self._check.skip(part)
            self._filled += part.size

    def _find_records(self, packet: Packet, find: Callable[[Buffer], Bytes]) -> Bytes:
        try:
            return find(packet.data)
        except DamagedError as error:
            raise self._source.error(f"packet {packet.number} {error}", packet.offset) from None


def _round_up(count: int) -> int:
    return -(-count // _ROOM_STEP) * _ROOM_STEP


def reference_aedat4(records: Bytes, columns: EventColumns) -> None:
    """Do the same as `decode_aedat4` in aedat4.c, in NumPy."""
    events = records.view(RECORD)
    columns.t.numpy()[:] = events["t"]
    columns.x.numpy()[:] = events["x"]
    columns.y.numpy()[:] = events["y"]
    columns.p.numpy()[:] = events["p"] != 0
