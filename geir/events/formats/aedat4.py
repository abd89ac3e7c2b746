"""iniVation's AEDAT 4: packets of several streams, compressed, in FlatBuffers."""

import collections
import functools
import re
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from enum import IntEnum
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy
import torch

from ..errors import EventFileError
from .decode import WRITTEN, Array, Columns, decode, new_state
from .reader import BLOCK, Parts, Reader, Target, checked_size, new_columns, part

_MAGIC = b"#!AER-DAT4.0\r\n"
_RECORD = 16
# A packet may become so large when it is decompressed, which is 16 million events.
_LARGEST = 1 << 28
# Events of a packet that is written.
_PACKET = 1 << 16


class Compression(IntEnum):
    """What packets are compressed with."""

    NONE = 0
    LZ4 = 1
    LZ4_HIGH = 2
    ZSTD = 3
    ZSTD_HIGH = 4


class _Wrong(Exception):
    """A packet is not what it should be."""


class _Packet(NamedTuple):
    number: int
    offset: int
    data: bytes


class _Buffer:
    """A FlatBuffer, of which nothing is read before it is known to be there."""

    def __init__(self, data: bytes | memoryview, kind: bytes):
        self.data = data
        if len(data) < 12 or self.number("<I", 0) + 4 > len(data):
            raise _Wrong("is cut short")
        if bytes(data[8:12]) != kind:
            raise _Wrong(f"should be of type {kind.decode()}, got {bytes(data[8:12])!r}")
        self.root = self.follow(4)

    def number(self, kind: str, at: int) -> int:
        if not 0 <= at <= len(self.data) - struct.calcsize(kind):
            raise _Wrong(f"refers to its byte {at:,} of {len(self.data):,}")
        return struct.unpack_from(kind, self.data, at)[0]

    def follow(self, at: int) -> int:
        return at + self.number("<I", at)

    def field(self, table: int, index: int) -> int | None:
        """Where a field of a table is, if the table has it."""
        layout = table - self.number("<i", table)
        if 4 + 2 * index + 2 > self.number("<H", layout):
            return None
        offset = self.number("<H", layout + 4 + 2 * index)
        return table + offset if offset else None

    def vector(self, table: int, index: int, size: int) -> tuple[int, int]:
        """Where a vector begins and how many parts of some size it has."""
        at = self.field(table, index)
        if at is None:
            return 0, 0
        at = self.follow(at)
        count = self.number("<I", at)
        if count * size > len(self.data) - at - 4:
            raise _Wrong(f"says that it has {count:,} parts, for which it is too short")
        return at + 4, count


def _lz4() -> Any:
    try:
        import lz4.frame
    except ImportError as error:
        raise ImportError("LZ4-compressed AEDAT4 files need the package lz4; install it: pip install 'geir[events]'") from error
    return lz4.frame


def _zstd() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise ImportError("Zstandard-compressed AEDAT4 files need the package zstandard; install it: pip install 'geir[events]'") from error
    return zstandard


def _decompressor(compression: int) -> Callable[[bytes], bytes]:
    if compression == Compression.NONE:
        return lambda data: data
    if compression in (Compression.LZ4, Compression.LZ4_HIGH):
        frame = _lz4()

        def lz4(data: bytes) -> bytes:
            decompressor = frame.LZ4FrameDecompressor()
            result = decompressor.decompress(data, max_length=_LARGEST)
            if not decompressor.eof:
                raise _Wrong(f"is cut short, or has more than {_LARGEST:,} bytes" if decompressor.needs_input else f"has more than {_LARGEST:,} bytes")
            return result

        return lz4
    zstandard = _zstd()

    def zstd(data: bytes) -> bytes:
        size = zstandard.frame_content_size(data)
        if size > _LARGEST:
            raise _Wrong(f"has {size:,} bytes, which are more than {_LARGEST:,}")
        if size >= 0:
            return zstandard.ZstdDecompressor(max_window_size=_LARGEST // 2).decompress(data)
        with zstandard.ZstdDecompressor(max_window_size=_LARGEST // 2).stream_reader(data) as reader:
            result = reader.read(_LARGEST)
        if len(result) == _LARGEST:
            raise _Wrong(f"has more than {_LARGEST:,} bytes")
        return result

    return zstd


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
            header = _Buffer(data, b"IOHE")
            at, table = header.field(header.root, 0), header.field(header.root, 1)
            self.compression = 0 if at is None else header.number("<i", at)
            self.table = -1 if table is None else header.number("<q", table)
            begin, count = header.vector(header.root, 2, 1)
        except _Wrong as error:
            raise source.error(f"the header {error}", len(_MAGIC)) from None
        if self.compression not in list(Compression):
            raise source.error(f"AEDAT 4 has no compression {self.compression}", len(_MAGIC))
        if 0 < self.table < self.start:
            raise source.error(f"the header says that packets end at byte {self.table:,}, where they have not begun", len(_MAGIC))
        self._streams(data[begin : begin + count])
        self.decompress = _decompressor(self.compression)

    def _streams(self, text: bytes) -> None:
        try:
            # Nothing needs declarations, with which a few bytes can become gigabytes.
            if b"<!" in text:
                raise ValueError("it has declarations")
            root = ElementTree.fromstring(text.decode())
            nodes = {int(node.get("name", "")): node for node in root.findall("./node[@name='outInfo']/node")}
        except (ElementTree.ParseError, ValueError) as error:
            raise self.source.error(f"the header's description of its streams is damaged: {error}", len(_MAGIC)) from None
        self.streams = {number: self._attribute(node, "typeIdentifier") for number, node in nodes.items()}
        found = [number for number, kind in self.streams.items() if kind == "EVTS"]
        if len(found) != 1:
            raise self.source.error(f"geir reads files with one stream of events, this has {len(found)} among {self.streams}", len(_MAGIC))
        self.stream = found[0]
        information = {attribute.get("key", ""): attribute.text or "" for attribute in nodes[self.stream].iter("attr")}
        self._size = information.get("sizeX", ""), information.get("sizeY", "")
        self.metadata |= information | {"compression": Compression(self.compression).name, "streams": dict(self.streams)}

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
                raise source.error(f"packet {number} is cut short: it should have {size:,} bytes, and {end - at - 8:,} are left", at)
            if stream == self.stream:
                yield _Packet(number, at, source.read(at + 8, size, f"packet {number}"))
            at, number = at + 8 + size, number + 1
        if self.table > source.size:
            raise source.error(f"the file is cut short: its packets should end at byte {self.table:,}", source.size)

    def _records(self, packet: _Packet) -> tuple[int, Array]:
        """A packet's records, as bytes, and where it was."""
        try:
            buffer = _Buffer(self._decompressed(packet.data), b"EVTS")
            begin, count = buffer.vector(buffer.root, 0, _RECORD)
        except _Wrong as error:
            raise self.source.error(f"packet {packet.number} {error}", packet.offset) from None
        return packet.offset, numpy.frombuffer(buffer.data, numpy.uint8, count * _RECORD, begin)

    def _decompressed(self, data: bytes) -> bytes:
        try:
            return self.decompress(data)
        except (_Wrong, MemoryError):
            raise
        except Exception as error:  # the packages have their own, or RuntimeError
            raise _Wrong(f"cannot be decompressed: {error}") from None

    def _groups(self) -> Iterator[tuple[list[_Packet], EventFileError | None]]:
        """Some packets at a time, and at last what is wrong with what follows them."""
        group, size = [], 0
        try:
            for packet in self._packets():
                group.append(packet)
                size += len(packet.data)
                if size >= BLOCK:
                    yield group, None
                    group, size = [], 0
        except EventFileError as error:
            yield group, error
        else:
            yield group, None

    def _decoded(self, group: list[_Packet], error: EventFileError | None) -> tuple[list[tuple[int, Array]], EventFileError | None]:
        """The records of some packets up to the first wrong one, and what is wrong with it."""
        records = []
        for packet in group:
            try:
                records.append(self._records(packet))
            except EventFileError as wrong:
                return records, wrong
        return records, error

    def _all(self) -> Iterator[tuple[list[tuple[int, Array]], EventFileError | None]]:
        """All groups, decompressed by threads ahead of who asks for them."""
        threads = torch.get_num_threads()
        if self.compression == Compression.NONE or threads == 1:
            yield from (self._decoded(*group) for group in self._groups())
            return
        waiting: collections.deque[Future] = collections.deque()
        pool = ThreadPoolExecutor(threads)
        try:
            for group in self._groups():
                waiting.append(pool.submit(self._decoded, *group))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def batches(self, size: int) -> Iterator[tuple[int | None, Columns]]:
        state, columns, filled, total, begin = new_state(), new_columns(size), 0, 0, self.start
        for group, error in self._all():
            for offset, records in group:
                at, count = 0, len(records) // _RECORD
                while at < count:
                    begin = begin if filled else offset
                    decode("aedat4", records[at * _RECORD :], count - at, part(columns, filled), state)
                    at += int(state[WRITTEN])
                    filled += int(state[WRITTEN])
                    total += int(state[WRITTEN])
                    if filled == size:
                        yield begin, part(columns, 0, filled)
                        columns, filled = new_columns(size), 0
            if error:
                yield begin, part(columns, 0, filled)
                raise error
        if filled:
            yield begin, part(columns, 0, filled)
        stated = self.summary().get("events", total)
        if stated != total:
            raise self.source.error(f"its table speaks of {stated:,} events, but it has {total:,}", self.table)

    def summary(self) -> dict[str, Any]:
        """From the table at the end, where there is one."""
        if not 0 < self.table < self.source.size:
            return {}
        data = self.source.read(self.table, self.source.size - self.table, "the table")
        events, times = 0, []
        try:
            table = _Buffer(self._decompressed(data), b"FTAB")
            begin, count = table.vector(table.root, 0, 4)
            for at in range(begin, begin + 4 * count, 4):
                entry = table.follow(at)
                packet, *numbers = (table.field(entry, index) for index in (1, 2, 3, 4))
                if packet is not None and table.number("<i", packet) == self.stream:
                    number, start, stop = (0 if n is None else table.number("<q", n) for n in numbers)
                    events += number
                    times += [start, stop] if number else []
        except _Wrong as error:
            raise self.source.error(f"the table {error}", self.table) from None
        return {"events": events} | ({"start": min(times), "stop": max(times)} if times else {})

    @staticmethod
    def write(file: Target, parts: Parts, sensor_size: tuple[int, int], compression: Compression = Compression.LZ4) -> None:
        """Write events."""
        compress = _compressor(Compression(compression))
        header, place = _header(sensor_size, Compression(compression))
        file.write(header)
        table = []
        for some in parts:
            for first in range(0, len(some), _PACKET):
                events = some[first : first + _PACKET]
                records = numpy.zeros(len(events), [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1"), ("nothing", "u1", 3)])
                for name, column in zip("txyp", events.columns(), strict=True):
                    records[name] = column.numpy()
                data = compress(_flatbuffer(b"EVTS", len(events), records.tobytes()))
                table.append((len(data), file.tell(), len(events), int(events.t.min()), int(events.t.max())))
                file.write(struct.pack("<ii", 0, len(data)) + data)
        end = file.tell()
        file.write(compress(_table(table)))
        file.seek(place)
        file.write(struct.pack("<q", end))


def _compressor(compression: Compression) -> Callable[[bytes], bytes]:
    match compression:
        case Compression.NONE:
            return bytes
        case Compression.LZ4 | Compression.LZ4_HIGH:
            frame = _lz4()
            return functools.partial(frame.compress, compression_level=9 if compression == Compression.LZ4_HIGH else 0)
        case _:
            return _zstd().ZstdCompressor(10 if compression == Compression.ZSTD_HIGH else 3).compress


# A FlatBuffer is: its size, where its table is, its type; the table's layout (sizes of layout and table, and where each field is), the table (where
# its layout is, and the fields), and what fields refer to. All offsets are from where they stand.


def _flatbuffer(kind: bytes, count: int, content: bytes) -> bytes:
    """A table with one field, a vector."""
    body = struct.pack("<I4s3H2xiIII", 16, kind, 6, 8, 4, 8, 4, 4, count)[:28] + content
    return struct.pack("<I", len(body)) + body


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
    return _flatbuffer(b"FTAB", count, content)


def _description(sensor_size: tuple[int, int], compression: Compression) -> str:
    def node(name: str, path: str, attributes: dict[str, Any], *children: str) -> str:
        lines = [f'<attr key="{key}" type="{"int" if isinstance(value, int) else "string"}">{value}</attr>' for key, value in attributes.items()]
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
