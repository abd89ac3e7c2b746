"""The file table at the end of AEDAT 4: where the packets are, and what they hold."""

import struct
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

from .flatbuffer import build_flatbuffer, FlatBuffer

# Bytes of an entry of the file table at least, unless entries share them.
_MIN_TABLE_ENTRY = 24


class FileTable(NamedTuple):
    """The file table: of each packet its stream, number of events, and first and last time."""

    stream: NDArray[numpy.int64]
    events: NDArray[numpy.int64]
    start: NDArray[numpy.int64]
    stop: NDArray[numpy.int64]


class WrittenPacket(NamedTuple):
    """The entry of the file table for a packet."""

    stream: int
    size: int  # compressed, without the packet header
    position: int  # byte of the file at which its content begins
    events: int
    start: int  # first and last time in microseconds
    stop: int


def parse_table(buffer: FlatBuffer) -> FileTable:
    """Parse the file table.

    All entries are parsed at once: as `FlatBuffer.field` does, but with arrays of positions.

    Raises:
        DamagedError: If it refers to bytes that it does not have.
    """
    begin, count = buffer.vector(buffer.root, 0, _MIN_TABLE_ENTRY)
    positions = begin + 4 * numpy.arange(count)
    entries = positions + buffer.numbers("<u4", positions)
    layouts = entries - buffer.numbers("<i4", entries)
    layout_sizes = buffer.numbers("<u2", layouts)

    def field(index: int, dtype: str) -> NDArray[numpy.int64]:
        in_layout = 4 + 2 * index
        exists = layout_sizes >= in_layout + 2
        offsets = buffer.numbers("<u2", numpy.where(exists, layouts + in_layout, 0))
        exists &= offsets > 0
        return numpy.where(exists, buffer.numbers(dtype, numpy.where(exists, entries + offsets, 0)), 0)

    # Field 0 is the position of a packet; field 1 a struct of stream and size, of which only the stream is
    # read.
    return FileTable(field(1, "<i4"), field(2, "<i8"), field(3, "<i8"), field(4, "<i8"))


def build_table(packets: list[WrittenPacket]) -> bytes:
    """Build a FlatBuffer of a vector of tables, one per packet, all with the same layout.

    The layout follows the offsets to the tables, and is preceded by padding so that the numbers of
    the tables are aligned.
    """
    entry_size, vector_begin = 48, 32
    # Sizes of layout and entry, then where an entry has: position, stream and size, events, start, stop.
    layout = struct.pack("<7H2x", 14, entry_size, 16, 4, 24, 32, 40)
    offsets_end = vector_begin + 4 * len(packets)
    begin = -(-(offsets_end + len(layout)) // 8) * 8
    offsets = [begin + entry_size * k - (vector_begin + 4 * k) for k in range(len(packets))]
    entries = [
        # The first number leads from the entry back to the layout.
        struct.pack(
            "<iii4xqqqq",
            entry_size * k + len(layout),
            packet.stream,
            packet.size,
            packet.position,
            packet.events,
            packet.start,
            packet.stop,
        )
        for k, packet in enumerate(packets)
    ]
    padding = bytes(begin - len(layout) - offsets_end)
    content = numpy.array(offsets, "<u4").tobytes() + padding + layout + b"".join(entries)
    return build_flatbuffer(b"FTAB", len(packets), content)
