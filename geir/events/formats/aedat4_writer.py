"""Writer of AEDAT 4."""

import struct
from typing import NamedTuple

import numpy

from ..store import COLUMNS, Events
from .aedat4 import MAGIC
from .aedat4_columns import RECORD
from .aedat4_packets import PACKET_HEADER
from .aedat4_table import build_table, WrittenPacket
from .compression import Compression, make_compressor
from .flatbuffer import build_flatbuffer
from .reader import BinaryFile, EventChunks

_PACKET_EVENTS = 1 << 16
# The number of the stream of events, the only one.
_STREAM = 0


class Header(NamedTuple):
    """The beginning of a file."""

    data: bytes
    table_position: int  # byte at which the position of the file table is to be written, a little-endian 64-bit integer


def write(
    file: BinaryFile,
    chunks: EventChunks,
    sensor_size: tuple[int, int],
    compression: Compression = Compression.LZ4,
) -> None:
    """Write events as AEDAT 4.

    Raises:
        ImportError: If the package for the compression is not installed.
    """
    compression = Compression(compression)
    compress = make_compressor(compression)
    header = build_header(sensor_size, compression)
    file.write(header.data)
    packets: list[WrittenPacket] = []
    for chunk in chunks:
        for first in range(0, len(chunk), _PACKET_EVENTS):
            events = chunk[first : first + _PACKET_EVENTS]
            data = compress(build_flatbuffer(b"EVTS", len(events), _encode(events)))
            position = file.tell() + PACKET_HEADER.size
            packets.append(
                WrittenPacket(_STREAM, len(data), position, len(events), int(events.t.min()), int(events.t.max()))
            )
            file.write(PACKET_HEADER.pack(_STREAM, len(data)) + data)
    table_position = file.tell()
    file.write(compress(build_table(packets)))
    file.seek(header.table_position)
    file.write(struct.pack("<q", table_position))


def _encode(events: Events) -> bytes:
    records = numpy.zeros(len(events), RECORD)
    for name, column in zip(COLUMNS, events.columns(), strict=True):
        records[name] = column.numpy()
    return records.tobytes()


def build_header(sensor_size: tuple[int, int], compression: Compression) -> Header:
    """Build the magic number and the FlatBuffer of the header.

    Its fields are the compression, the position of the file table (-1 for now) and the description of
    the streams.
    """
    text = _describe_streams(sensor_size, compression).encode()
    body = struct.pack(
        "<I4s5H2xiiqII",
        20,  # offset of the table
        b"IOHE",
        *(10, 20),  # sizes of layout and table
        *(4, 8, 16),  # offsets of the fields in the table
        12,  # from the table back to its layout
        compression,
        -1,
        4,  # offset of the text
        len(text),
    )
    body += text + b"\0"
    start = len(MAGIC) + 4
    # The position of the file table is 28 bytes into the FlatBuffer.
    return Header(MAGIC + struct.pack("<I", len(body)) + body, start + 28)


def _describe_streams(sensor_size: tuple[int, int], compression: Compression) -> str:
    """Return the XML description of the streams, as DV writes it."""
    path = "/mainloop/Recorder/outInfo/"
    width, height = sensor_size
    stream = {
        "compression": compression.name,
        "originalModuleName": "geir",
        "originalOutputName": "events",
        "typeDescription": "Array of events (polarity ON/OFF).",
        "typeIdentifier": "EVTS",
    }
    info = _node("info", f"{path}{_STREAM}/info/", {"sizeX": width, "sizeY": height, "source": "geir"})
    node = _node(str(_STREAM), f"{path}{_STREAM}/", stream, info)
    return f'<dv version="2.0">{_node("outInfo", path, {}, node)}</dv>'


def _node(name: str, path: str, attributes: dict[str, str] | dict[str, int | str], *children: str) -> str:
    lines = []
    for key, value in attributes.items():
        kind = "int" if isinstance(value, int) else "string"
        lines.append(f'<attr key="{key}" type="{kind}">{value}</attr>')
    return f'<node name="{name}" path="{path}">{"".join([*lines, *children])}</node>'
