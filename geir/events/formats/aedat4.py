"""iniVation's AEDAT 4: packets of several streams, compressed, in FlatBuffers."""

import collections
import itertools
import re
import struct
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple
from xml.etree import ElementTree

import numpy
import torch

from ..errors import EventFileError
from .aedat4_columns import PacketColumns, RECORD
from .aedat4_table import parse_table
from .columns import Bytes
from .compression import Compression, estimate_size, make_decompressor
from .decoder import Batch
from .flatbuffer import DamagedError, FlatBuffer, I32, I64, U32
from .header import check_sensor_size
from .reader import Reader, Summary
from .source import Buffer, Window

MAGIC = b"#!AER-DAT4.0\r\n"
# Before the content of a packet: its stream and its size.
PACKET_HEADER = struct.Struct("<ii")
# Decompressed bytes that a thread takes at a time. Bounds memory for decompression bombs split over many
# packets.
_GROUP_BYTES = 1 << 21


class Packet(NamedTuple):
    """A packet of events as the file holds it."""

    number: int  # among the packets of all streams
    offset: int  # byte of the file at which it begins
    data: Buffer


class DecodedGroup(NamedTuple):
    """The events of several packets up to the first one that is invalid, and the error that follows them, if any."""

    batch: Batch
    error: EventFileError | None


class Aedat4(Reader):
    """AEDAT 4 with changes of brightness; frames, inertial measurements and triggers are skipped.

    If there are several streams of events, as of two cameras, the option `stream` is the number of one
    of them, or the name of its camera.
    """

    name, suffixes = "aedat4", (".aedat4",)
    accepts = ("stream",)

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return head.startswith(MAGIC)

    def open(self) -> None:
        source = self.source
        (size,) = struct.unpack("<I", source.read(len(MAGIC), 4, "the header"))
        data = source.read(len(MAGIC), size + 4, "the header")
        self.start = len(MAGIC) + 4 + size
        try:
            header = FlatBuffer(data, b"IOHE")
            compression, table = (header.field(header.root, index) for index in (0, 1))
            self.compression = 0 if compression is None else header.number(I32, compression)
            # Byte at which the packets end and the file table begins; -1 if the file was not closed.
            self.table = -1 if table is None else header.number(I64, table)
            begin, count = header.vector(header.root, 2, 1)
        except DamagedError as error:
            raise source.error(f"the header {error}", len(MAGIC)) from None
        if self.compression not in list(Compression):
            raise source.error(f"unknown compression {self.compression} of AEDAT 4", len(MAGIC))
        if 0 < self.table < self.start:
            raise source.error(
                f"the header states that packets end at byte {self.table:,}, but they begin at byte {self.start:,}",
                len(MAGIC),
            )
        self._parse_description(data[begin : begin + count])
        self.decompress = make_decompressor(self.compression)
        self._layout = b""

    def _parse_description(self, text: bytes) -> None:
        """Find the stream of events in the XML description of the streams."""
        try:
            # Descriptions need no declarations, by which a few bytes can expand to gigabytes.
            if b"<!" in text:
                raise ValueError("it has declarations")
            root = ElementTree.fromstring(text.decode())
            nodes = {int(node.get("name", "")): node for node in root.findall("./node[@name='outInfo']/node")}
        except (ElementTree.ParseError, ValueError) as error:
            raise self.source.error(
                f"the header's description of its streams is invalid: {error}", len(MAGIC)
            ) from None
        self.streams = {number: _type_of(node) for number, node in nodes.items()}
        found = [number for number, kind in self.streams.items() if kind == "EVTS"]
        self.stream = self._choose_stream(found, nodes)
        attributes = {attribute.get("key", ""): attribute.text or "" for attribute in nodes[self.stream].iter("attr")}
        self._size = attributes.get("sizeX", ""), attributes.get("sizeY", "")
        self.metadata |= attributes
        self.metadata |= {"compression": Compression(self.compression).name, "streams": dict(self.streams)}

    def _choose_stream(self, found: list[int], nodes: dict[int, ElementTree.Element]) -> int:
        """Return the stream that the option names, by its number, or by the name of its source or of its output."""
        described = ", ".join(
            f"{number} ({', '.join(sorted(_names_of(nodes[number]))) or 'no name'})" for number in found
        )
        if "stream" in self.options:
            stream = self.options["stream"]
            named = [number for number in found if str(stream) == str(number) or stream in _names_of(nodes[number])]
            if len(named) == 1:
                return named[0]
            problem = "names several of its streams of events" if named else "is none of its streams of events"
            raise self.source.error(f"stream={stream!r} {problem}: {described or 'there are none'}", len(MAGIC))
        if not found:
            raise self.source.error(f"it has no stream of events, only {self.streams}", len(MAGIC))
        if len(found) > 1:
            raise self.source.error(
                f"it has {len(found)} streams of events; pass stream= and the number of one: {described}", len(MAGIC)
            )
        return found[0]

    def stated_size(self) -> tuple[int, int] | None:
        if all(re.fullmatch("[0-9]{1,5}", side) for side in self._size):
            return check_sensor_size(self.source, int(self._size[0]), int(self._size[1]))
        return None

    def packets(self) -> Iterator[Packet]:
        """Read the packets of the stream of events, in order.

        Raises:
            EventFileError: If one is truncated or of a stream that the header does not name, or the
                file ends early.
        """
        source, offset, number = self.source, self.start, 0
        window = Window(source)
        end = self.table if 0 < self.table <= source.size else source.size
        while offset < end:
            content = offset + PACKET_HEADER.size
            stream, size = PACKET_HEADER.unpack(window.read(offset, PACKET_HEADER.size, f"packet {number}"))
            if stream not in self.streams:
                raise source.error(f"packet {number} is of stream {stream}, which the header does not name", offset)
            if not 0 <= size <= end - content:
                raise source.error(
                    f"packet {number} is truncated: expected {size:,} bytes, got {end - content:,}", offset
                )
            if stream == self.stream:
                yield Packet(number, offset, window.read(content, size, f"packet {number}", PACKET_HEADER.size))
            offset, number = content + size, number + 1
        if self.table > source.size:
            raise source.error(f"the file is truncated: its packets end at byte {self.table:,}", source.size)

    def _packets_and_error(self) -> Iterator[Packet | EventFileError]:
        """Return all packets, then the error that `packets` raises, if any."""
        try:
            yield from self.packets()
        except EventFileError as error:
            yield error

    def packet_groups(self, scale: int = 1) -> Iterator[Iterator[Packet | EventFileError]]:
        """Group packets by about `scale * _GROUP_BYTES` of decompressed data; use up each group before the next."""
        packets = self._packets_and_error()
        for first in packets:
            yield self._group(first, packets, scale * _GROUP_BYTES)

    def _group(
        self, first: Packet | EventFileError, others: Iterator[Packet | EventFileError], most: int
    ) -> Iterator[Packet | EventFileError]:
        """Return a packet and those after it, of about `most` bytes of decompressed data."""
        size = 0
        for packet in itertools.chain([first], others):
            yield packet
            size += estimate_size(packet.data, self.compression) if isinstance(packet, Packet) else 0
            if size >= most:
                return

    def _records(self, packet: Packet) -> Bytes:
        """Return the bytes of a packet's records."""
        try:
            data = self._decompress(packet.data)
            begin, count = self._find_records(data)
        except DamagedError as error:
            raise self.source.error(f"packet {packet.number} {error}", packet.offset) from None
        return numpy.frombuffer(data, numpy.uint8, count * RECORD.itemsize, begin)

    def _find_records(self, data: Buffer) -> tuple[int, int]:
        """Find a packet's first record, and return its position and the number of records.

        The packets of one writer begin alike: the same type, offsets and layout between the size of
        the buffer and the number of records. Parsing them takes longer than decoding a small
        packet, so the bytes in between are kept from the last packet that was parsed (`_layout`). A
        packet that has the same bytes has its records at the same position; only the two sizes remain
        to be checked. Several threads read and replace `_layout` without a lock: each uses one
        consistent value.
        """
        layout = self._layout
        begin = 4 + len(layout) + 4
        if layout and len(data) >= begin and data[4 : begin - 4] == layout:
            (size,), (count,) = U32.unpack_from(data), U32.unpack_from(data, begin - 4)
            if size + 4 <= len(data) and begin + count * RECORD.itemsize <= len(data):
                return begin, count
        buffer = FlatBuffer(bytes(data), b"EVTS")
        begin, count = buffer.vector(buffer.root, 0, RECORD.itemsize)
        # Not kept if there are no records or the layout is unusually large.
        self._layout = bytes(data[4 : begin - 4]) if 12 < begin < 256 else b""
        return begin, count

    def _decompress(self, data: Buffer) -> Buffer:
        try:
            return self.decompress(data)
        except (DamagedError, MemoryError):
            raise
        except Exception as error:  # each package has its own errors, or raises RuntimeError
            raise DamagedError(f"cannot be decompressed: {error}") from None

    def _decode_group(self, group: Iterable[Packet | EventFileError], scale: int = 1) -> DecodedGroup:
        """Decode packets, a few at a time: their memory is in the processor's cache, and is used for the next."""
        columns, offset, error = PacketColumns(self.sensor_size, scale * _GROUP_BYTES), None, None
        try:
            for packet in group:
                if isinstance(packet, EventFileError):
                    raise packet
                offset = packet.offset if offset is None else offset
                columns.add(self._records(packet))
        except EventFileError as invalid:
            error = invalid
        return DecodedGroup(columns.finish(offset), error)

    def _decode_groups(self) -> Iterator[DecodedGroup]:
        """Decode all groups, in threads that work ahead of the caller.

        The queue holds at most one group more than there are threads, so memory is bounded however
        slow the caller is. The order of the file is kept, because results are taken from the queue
        in the order in which the groups were submitted.
        """
        threads = torch.get_num_threads()
        if threads == 1 or self.compression == Compression.NONE:
            # Each packet is read after the one before it has been decoded. Without decompression, two threads
            # were no faster than one and took half as much processor time again.
            # Groups may be larger, because only their events are held.
            for group in self.packet_groups(scale=2):
                yield self._decode_group(group, scale=2)
            return
        waiting: collections.deque[Future[DecodedGroup]] = collections.deque()
        pool = ThreadPoolExecutor(threads)
        try:
            for group in self.packet_groups():
                waiting.append(pool.submit(self._decode_group, list(group)))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def batches(self, size: int) -> Iterator[Batch]:
        total = 0
        for batch, error in self._decode_groups():
            offset, columns, *_ = batch
            if 0 < columns.size <= size:
                yield batch
            else:
                for first in range(0, columns.size, size):
                    yield Batch(offset, columns.part(first, first + size))
            total += columns.size
            if error:
                raise error
        stated = self.summary().get("events", total)
        if stated != total:
            raise self.source.error(f"the file table lists {stated:,} events, found {total:,}", self.table)

    def summary(self) -> Summary:
        """Summarize the file table; empty if the file has none."""
        if not 0 < self.table < self.source.size:
            return {}
        data = self.source.read(self.table, self.source.size - self.table, "the file table")
        try:
            table = parse_table(FlatBuffer(bytes(self._decompress(data)), b"FTAB"))
        except DamagedError as error:
            raise self.source.error(f"the file table {error}", self.table) from None
        own = (table.stream == self.stream) & (table.events > 0)
        summary: Summary = {"events": int(table.events[own].sum())}
        if own.any():
            summary["start"] = int(table.start[own].min())
            summary["stop"] = int(table.stop[own].max())
        return summary


def _names_of(stream: ElementTree.Element) -> set[str]:
    """Return the names of the camera and of the output of a stream, as far as the description states them."""
    attributes = {attribute.get("key", ""): attribute.text or "" for attribute in stream.iter("attr")}
    return {attributes[key] for key in ("source", "originalOutputName") if attributes.get(key)}


def _type_of(stream: ElementTree.Element) -> str:
    """Return the type that the description states for a stream."""
    attributes = stream.findall("attr")
    return next((a.text or "" for a in attributes if a.get("key") == "typeIdentifier"), "")
