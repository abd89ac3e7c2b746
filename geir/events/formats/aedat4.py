"""iniVation's AEDAT 4: packets of several streams, compressed, in FlatBuffers."""

import collections
import contextlib
import re
import struct
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from xml.etree import ElementTree

import torch

from ..errors import EventFileError
from .aedat4_columns import DecodedGroup, MAX_LISTED, PacketColumns, PacketList, RecordLayout
from .aedat4_packets import Packet, PacketReader, PacketRun
from .aedat4_table import parse_table
from .compression import Compression, estimate_size, make_decompressor
from .decoder import Batch
from .flatbuffer import DamagedError, FlatBuffer, I32, I64
from .header import check_sensor_size
from .reader import Reader, Summary

MAGIC = b"#!AER-DAT4.0\r\n"
# Decompressed bytes that a thread takes at a time. Bounds memory for decompression bombs split over many
# packets.
_GROUP_BYTES = 1 << 21
# Decompressed bytes that are decoded at a time: a quarter of the second cache of a core, or half.
_CACHED_BYTES = 1 << 19
# Packets of LZ4 that have fewer bytes in the file are decompressed by one thread.
_SMALL_LZ4_BYTES = 1 << 16
# Counted for each packet of a group besides its data, which may be empty.
_PACKET_OVERHEAD = 256


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
        self._layout = RecordLayout()

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

    def _runs(self) -> Iterator[PacketRun]:
        return PacketReader(self.source, self.start, self.table, self.stream, list(self.streams)).runs()

    def packets(self) -> Iterator[Packet]:
        """Read the packets of the stream of events, in order.

        Raises:
            EventFileError: If one is truncated or of a stream that the header does not name, or the
                file ends early.
        """
        for run in self._runs():
            yield from run

    def packet_groups(self) -> Iterator[list[Packet | EventFileError]]:
        """Group packets by about `_GROUP_BYTES` of decompressed data; the error that `packets` raises comes last."""
        group: list[Packet | EventFileError] = []
        size = 0
        try:
            for packet in self.packets():
                group.append(packet)
                size += estimate_size(packet.data, self.compression) + _PACKET_OVERHEAD
                if size >= _GROUP_BYTES:
                    yield group
                    group, size = [], 0
        except EventFileError as error:
            group.append(error)
        if group:
            yield group

    def _decompress(self, packets: Iterable[Packet | EventFileError]) -> Iterator[PacketList]:
        """Decompress packets, as many at a time as the processor's cache holds until they have been decoded.

        Raises:
            EventFileError: Where a packet is invalid, or the error among the packets.
        """
        taken: list[Packet] = []
        contents: list[bytes] = []
        size, error, decompress = 0, None, self.decompress
        for packet in packets:
            if isinstance(packet, EventFileError):
                error = packet
                break
            try:
                content = decompress(packet.data)
            except MemoryError:
                raise
            except Exception as damage:
                error = self.source.error(f"packet {packet.number} {_describe_damage(damage)}", packet.offset)
                break
            taken.append(packet)
            contents.append(bytes(content))
            size += len(content)
            del content  # not held while it is decoded
            if size >= _CACHED_BYTES or len(taken) == MAX_LISTED:
                yield PacketList(taken, contents, size)
                taken, contents, size = [], [], 0
        if taken:
            yield PacketList(taken, contents, size)
        if error:
            raise error

    def _columns(self, expected_bytes: int) -> PacketColumns:
        return PacketColumns(self.source, self.sensor_size, self._layout, expected_bytes)

    def _decode_group(self, group: list[Packet | EventFileError]) -> DecodedGroup:
        columns = self._columns(_GROUP_BYTES)
        try:
            for packets in self._decompress(group):
                columns.decode(packets)
                del packets
        except EventFileError as error:
            return columns.finish(error)
        return columns.finish()

    def _decode_in_turn(self) -> Iterator[DecodedGroup]:
        """Decode all packets; each piece of the file is read after the one before it has been decoded."""
        # Twice as many together as in a thread, because no packets are held.
        columns = self._columns(2 * _GROUP_BYTES)
        try:
            for run in self._runs():
                for packets in [run] if self.compression == Compression.NONE else self._decompress(run):
                    columns.decode(packets)
                    # Their memory is used for the next ones.
                    del packets
                    if columns.is_full:
                        yield columns.finish()
        except EventFileError as error:
            yield columns.finish(error)
        else:
            yield columns.finish()

    def _is_worth_threads(self) -> bool:
        """Whether two threads are faster than one.

        Without decompression they were not, and took half as much processor time again. Nor were they with
        small packets of LZ4: decompressing one takes so little time that threads wait for the interpreter's lock.
        """
        if self.compression in (Compression.LZ4, Compression.LZ4_HIGH):
            # Invalid packets raise their error later.
            with contextlib.suppress(EventFileError):
                for run in self._runs():
                    return run.bytes >= _SMALL_LZ4_BYTES * len(run)
        return self.compression != Compression.NONE

    def _decode_groups(self) -> Iterator[DecodedGroup]:
        """Decode all groups, in threads that work ahead of the caller.

        The queue holds at most one group more than there are threads, so memory is bounded however
        slow the caller is. The order of the file is kept, because results are taken from the queue
        in the order in which the groups were submitted.
        """
        threads = torch.get_num_threads()
        if threads == 1 or not self._is_worth_threads():
            yield from self._decode_in_turn()
            return
        waiting: collections.deque[Future[DecodedGroup]] = collections.deque()
        pool = ThreadPoolExecutor(threads)
        try:
            for group in self.packet_groups():
                waiting.append(pool.submit(self._decode_group, group))
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
            content = self.decompress(data)
        except MemoryError:
            raise
        except Exception as error:
            raise self.source.error(f"the file table {_describe_damage(error)}", self.table) from None
        try:
            table = parse_table(FlatBuffer(bytes(content), b"FTAB"))
        except DamagedError as error:
            raise self.source.error(f"the file table {error}", self.table) from None
        own = (table.stream == self.stream) & (table.events > 0)
        summary: Summary = {"events": int(table.events[own].sum())}
        if own.any():
            summary["start"] = int(table.start[own].min())
            summary["stop"] = int(table.stop[own].max())
        return summary


def _describe_damage(error: Exception) -> str:
    """Describe an error of decompression: ours, or one of the package's own, which may be a RuntimeError."""
    return str(error) if isinstance(error, DamagedError) else f"cannot be decompressed: {error}"


def _names_of(stream: ElementTree.Element) -> set[str]:
    """Return the names of the camera and of the output of a stream, as far as the description states them."""
    attributes = {attribute.get("key", ""): attribute.text or "" for attribute in stream.iter("attr")}
    return {attributes[key] for key in ("source", "originalOutputName") if attributes.get(key)}


def _type_of(stream: ElementTree.Element) -> str:
    """Return the type that the description states for a stream."""
    attributes = stream.findall("attr")
    return next((a.text or "" for a in attributes if a.get("key") == "typeIdentifier"), "")
