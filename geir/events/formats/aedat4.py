"""iniVation's AEDAT 4: packets of several streams, compressed, in FlatBuffers."""

import collections
import re
import struct
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy
import torch

from ..errors import EventFileError
from .compression import Compression, compressor_of, decompressor_of, expected_size
from .decode import Array, Columns, gather
from .flatbuffer import Buffer, DamagedError, flatbuffer, I32, I64, U32
from .reader import checked_size, new_columns, part, Parts, Reader, Target

_MAGIC = b"#!AER-DAT4.0\r\n"
_RECORD = 16
# Bytes of packets that a thread takes at a time, when they are decompressed: a file of little bombs must not become large either.
_GROUP = 1 << 21
# Events of a packet that is written.
_PACKET = 1 << 16


class _Packet(NamedTuple):
    number: int
    offset: int
    data: bytes


class Aedat4(Reader):
    """AEDAT 4 with changes of brightness; frames, inertial measurements and triggers are passed over."""

    name, suffixes = "aedat4", (".aedat4",)

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return head.startswith(_MAGIC)

    def open(self) -> None:
        source = self.source
        (size,) = struct.unpack("<I", source.read(len(_MAGIC), 4, "the header"))
        data = source.read(len(_MAGIC), size + 4, "the header")
        self.start = len(_MAGIC) + 4 + size
        try:
            header = Buffer(data, b"IOHE")
            at, table = header.field(header.root, 0), header.field(header.root, 1)
            self.compression = 0 if at is None else header.number(I32, at)
            self.table = -1 if table is None else header.number(I64, table)
            begin, count = header.vector(header.root, 2, 1)
        except DamagedError as error:
            raise source.error(f"the header {error}", len(_MAGIC)) from None
        if self.compression not in list(Compression):
            raise source.error(f"AEDAT 4 has no compression {self.compression}", len(_MAGIC))
        if 0 < self.table < self.start:
            raise source.error(
                f"the header says that packets end at byte {self.table:,}, where they have not begun", len(_MAGIC)
            )
        self._streams(data[begin : begin + count])
        self.decompress, self._prefix = decompressor_of(self.compression), b""

    def _streams(self, text: bytes) -> None:
        try:
            # Nothing needs declarations, with which a few bytes can become gigabytes.
            if b"<!" in text:
                raise ValueError("it has declarations")
            root = ElementTree.fromstring(text.decode())
            nodes = {int(node.get("name", "")): node for node in root.findall("./node[@name='outInfo']/node")}
        except (ElementTree.ParseError, ValueError) as error:
            raise self.source.error(
                f"the header's description of its streams is damaged: {error}", len(_MAGIC)
            ) from None
        self.streams = {number: self._attribute(node, "typeIdentifier") for number, node in nodes.items()}
        found = [number for number, kind in self.streams.items() if kind == "EVTS"]
        if len(found) != 1:
            raise self.source.error(
                f"geir reads files with one stream of events, this has {len(found)} among {self.streams}", len(_MAGIC)
            )
        self.stream = found[0]
        information = {attribute.get("key", ""): attribute.text or "" for attribute in nodes[self.stream].iter("attr")}
        self._size = information.get("sizeX", ""), information.get("sizeY", "")
        self.metadata |= information | {
            "compression": Compression(self.compression).name,
            "streams": dict(self.streams),
        }

    def _attribute(self, node: ElementTree.Element, key: str) -> str:
        return next((a.text or "" for a in node.findall("attr") if a.get("key") == key), "")

    def stated_size(self) -> tuple[int, int] | None:
        if all(re.fullmatch("[0-9]{1,5}", n) for n in self._size):
            return checked_size(self.source, int(self._size[0]), int(self._size[1]))
        return None

    def _packets(self) -> Iterator[_Packet]:
        """The packets of the stream, in order."""
        source, at, number = self.source, self.start, 0
        end = self.table if 0 < self.table <= source.size else source.size
        while at < end:
            stream, size = struct.unpack("<ii", source.read(at, 8, f"packet {number}"))
            if stream not in self.streams:
                raise source.error(f"packet {number} is of stream {stream}, which the header does not name", at)
            if not 0 <= size <= end - at - 8:
                raise source.error(
                    f"packet {number} is cut short: it should have {size:,} bytes, and {end - at - 8:,} are left", at
                )
            if stream == self.stream:
                yield _Packet(number, at, source.read(at + 8, size, f"packet {number}"))
            at, number = at + 8 + size, number + 1
        if self.table > source.size:
            raise source.error(f"the file is cut short: its packets should end at byte {self.table:,}", source.size)

    def _records(self, packet: _Packet) -> Array:
        """A packet's records, as bytes."""
        try:
            data = self._decompressed(packet.data)
            begin, count = self._place(data)
        except DamagedError as error:
            raise self.source.error(f"packet {packet.number} {error}", packet.offset) from None
        return numpy.frombuffer(data, numpy.uint8, count * _RECORD, begin)

    def _place(self, data: bytes) -> tuple[int, int]:
        """Where a packet's records begin, and how many they are."""
        prefix = self._prefix  # which another thread may change
        begin = len(prefix) + 8
        # Packets of one writer begin alike, up to the number of records. What was read there once need not be read again.
        if prefix and len(data) >= begin and data[4 : begin - 4] == prefix:
            (size,), (count,) = U32.unpack_from(data), U32.unpack_from(data, begin - 4)
            if size + 4 <= len(data) and begin + count * _RECORD <= len(data):
                return begin, count
        buffer = Buffer(data, b"EVTS")
        begin, count = buffer.vector(buffer.root, 0, _RECORD)
        self._prefix = data[4 : begin - 4] if 12 < begin < 256 else b""
        return begin, count

    def _decompressed(self, data: bytes) -> bytes:
        try:
            return self.decompress(data)
        except (DamagedError, MemoryError):
            raise
        except Exception as error:  # the packages have their own, or RuntimeError
            raise DamagedError(f"cannot be decompressed: {error}") from None

    def _groups(self) -> Iterator[tuple[list[_Packet], EventFileError | None]]:
        """Some packets at a time, and at last what is wrong with what follows them."""
        group, size = [], 0
        try:
            for packet in self._packets():
                group.append(packet)
                size += expected_size(packet.data, self.compression)
                if size >= _GROUP:
                    yield group, None
                    group, size = [], 0
        except EventFileError as error:
            yield group, error
        else:
            yield group, None

    def _decoded(
        self, group: list[_Packet], error: EventFileError | None
    ) -> tuple[int | None, Columns, EventFileError | None]:
        """Where some packets begin, their events up to the first packet that is wrong, and what is wrong with it."""
        records = []
        try:
            for packet in group:
                records.append(self._records(packet))
        except EventFileError as wrong:
            error = wrong
        columns = new_columns(sum(len(some) for some in records) // _RECORD)
        gather(records, columns)
        return group[0].offset if group else None, columns, error

    def _all(self) -> Iterator[tuple[int | None, Columns, EventFileError | None]]:
        """All groups, decoded by threads ahead of who asks for them."""
        threads = torch.get_num_threads()
        if threads == 1:
            yield from (self._decoded(*group) for group in self._groups())
            return
        waiting: collections.deque[Future] = collections.deque()
        pool = ThreadPoolExecutor(threads)
        try:
            for group in self._groups():
                waiting.append(pool.submit(self._decoded, *group))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def batches(self, size: int) -> Iterator[tuple[int | None, Columns]]:
        total = 0
        for offset, columns, error in self._all():
            count = len(columns[0])
            for first in range(0, count, size):
                yield offset, part(columns, first, min(first + size, count))
            total += count
            if error:
                raise error
        stated = self.summary().get("events", total)
        if stated != total:
            raise self.source.error(f"its table speaks of {stated:,} events, but it has {total:,}", self.table)

    def summary(self) -> dict[str, Any]:
        """From the table at the end, where there is one."""
        if not 0 < self.table < self.source.size:
            return {}
        data = self.source.read(self.table, self.source.size - self.table, "the table")
        try:
            stream, events, start, stop = _table_of(Buffer(self._decompressed(data), b"FTAB"))
        except DamagedError as error:
            raise self.source.error(f"the table {error}", self.table) from None
        own = (stream == self.stream) & (events > 0)
        times = {"start": int(start[own].min()), "stop": int(stop[own].max())} if own.any() else {}
        return {"events": int(events[own].sum())} | times


def _table_of(buffer: Buffer) -> tuple[Array, Array, Array, Array]:
    """Stream, number of events, and times of the first and last one of each packet."""
    # No entry has fewer bytes, if they are not to share them.
    begin, count = buffer.vector(buffer.root, 0, 24)
    at = begin + 4 * numpy.arange(count)
    entries = at + buffer.numbers("<u4", at)
    layouts = entries - buffer.numbers("<i4", entries)
    sizes = buffer.numbers("<u2", layouts)

    def field(index: int, kind: str) -> Array:
        there = sizes >= 6 + 2 * index
        offsets = buffer.numbers("<u2", numpy.where(there, layouts + 4 + 2 * index, 0))
        there &= offsets > 0
        return numpy.where(there, buffer.numbers(kind, numpy.where(there, entries + offsets, 0)), 0)

    return field(1, "<i4"), field(2, "<i8"), field(3, "<i8"), field(4, "<i8")


def _header(sensor_size: tuple[int, int], compression: Compression) -> tuple[bytes, int]:
    """The beginning of a file, and where in it the table's place is to be written."""
    text = _description(sensor_size, compression).encode()
    body = struct.pack("<I4s5H2xiiqII", 20, b"IOHE", 10, 20, 4, 8, 16, 12, compression, -1, 4, len(text)) + text + b"\0"
    return _MAGIC + struct.pack("<I", len(body)) + body, len(_MAGIC) + 32


def _table(packets: list[tuple[int, int, int, int, int]]) -> bytes:
    """A vector of tables that share a layout: where the packet is, its stream and size, its events and their times."""
    layout = struct.pack("<7H2x", 14, 48, 16, 4, 24, 32, 40)
    # Where the tables are: after the vector of offsets to them and the layout, and so that their numbers are aligned.
    count = len(packets)
    begin = -(-(32 + 4 * count + len(layout)) // 8) * 8
    offsets = numpy.array([begin + 48 * k - (32 + 4 * k) for k in range(count)], "<u4").tobytes()
    entries = b"".join(
        struct.pack("<iii4xqqqq", begin + 48 * k - (begin - len(layout)), 0, size, place, number, start, stop)
        for k, (size, place, number, start, stop) in enumerate(packets)
    )
    content = offsets + bytes(begin - 32 - 4 * count - len(layout)) + layout + entries
    return flatbuffer(b"FTAB", count, content)


def _description(sensor_size: tuple[int, int], compression: Compression) -> str:
    def node(name: str, path: str, attributes: dict[str, Any], *children: str) -> str:
        lines = [
            f'<attr key="{key}" type="{"int" if isinstance(value, int) else "string"}">{value}</attr>'
            for key, value in attributes.items()
        ]
        return f'<node name="{name}" path="{path}">{"".join([*lines, *children])}</node>'

    path = "/mainloop/Recorder/outInfo/"
    size = {"sizeX": sensor_size[0], "sizeY": sensor_size[1], "source": "geir"}
    stream = {
        "compression": compression.name,
        "originalModuleName": "geir",
        "originalOutputName": "events",
        "typeDescription": "Array of events (polarity ON/OFF).",
        "typeIdentifier": "EVTS",
    }
    return f'<dv version="2.0">{node("outInfo", path, {}, node("0", f"{path}0/", stream, node("info", f"{path}0/info/", size)))}</dv>'


def write(file: Target, parts: Parts, sensor_size: tuple[int, int], compression: Compression = Compression.LZ4) -> None:
    """Write events."""
    compress = compressor_of(Compression(compression))
    header, place = _header(sensor_size, Compression(compression))
    file.write(header)
    table = []
    for some in parts:
        for first in range(0, len(some), _PACKET):
            events = some[first : first + _PACKET]
            records = numpy.zeros(
                len(events), [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1"), ("nothing", "u1", 3)]
            )
            for name, column in zip("txyp", events.columns(), strict=True):
                records[name] = column.numpy()
            data = compress(flatbuffer(b"EVTS", len(events), records.tobytes()))
            # A packet's place is that of its content.
            table.append((len(data), file.tell() + 8, len(events), int(events.t.min()), int(events.t.max())))
            file.write(struct.pack("<ii", 0, len(data)) + data)
    end = file.tell()
    file.write(compress(_table(table)))
    file.seek(place)
    file.write(struct.pack("<q", end))
