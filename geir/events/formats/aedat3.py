"""AEDAT 3.1, of cAER: packets of events of several sources, such as DVS128 Gesture."""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

from ..errors import EventFileError
from .aedat2 import CAMERAS, find_camera
from .columns import EventColumns
from .decoder import Batch
from .reader import Reader

MAGIC = b"#!AER-DAT3."
_END = b"#!END-HEADER"
_MAX_HEADER_BYTES = 1 << 16
# Type, source, bytes of an event, position of its time, wraparounds of the time, capacity, number, valid events.
_PACKET_HEADER = struct.Struct("<hhiiiiii")
_POLARITY = 1
_RECORD = numpy.dtype([("data", "<u4"), ("stamp", "<i4")])
# Events that are read at a time.
_PART_EVENTS = 1 << 16


class Packet(NamedTuple):
    """The header of a packet."""

    number: int
    offset: int  # byte of the file at which it begins
    type: int
    source: int
    event_bytes: int
    overflows: int  # times that the counter of time, of 31 bits, has wrapped around
    capacity: int
    events: int

    @property
    def begin(self) -> int:
        """Byte of the file at which its events begin."""
        return self.offset + _PACKET_HEADER.size


class Aedat3(Reader):
    """AEDAT 3.1, uncompressed. Frames, inertial measurements and triggers are skipped.

    If there are several cameras, the option `stream` is the number of one of them.
    """

    name, suffixes = "aedat3", (".aedat",)
    accepts = ("stream",)

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return head.startswith(MAGIC)

    def open(self) -> None:
        head = self.source.read(0, min(_MAX_HEADER_BYTES, self.source.size), "the header")
        version = head[len(MAGIC) : len(MAGIC) + 1]
        if version != b"1":
            raise self.source.error(f"unsupported version 3.{version.decode('latin-1')} of AEDAT; geir reads 3.1", 0)
        found = re.match(rb"(?:#[^\n]*\n)*?" + _END + rb"\r?\n", head)
        if not found:
            raise self.source.error("the header does not end", 0)
        self.start = found.end()
        lines = head[: self.start].decode("latin-1").splitlines()
        fields: dict[str, str] = {}
        for line in lines:
            key, colon, value = line[1:].partition(":")
            if colon:
                fields[key.strip()] = value.strip()
        self.metadata |= fields
        encoding = str(self.metadata.get("Format", "RAW"))
        if encoding != "RAW":
            raise self.source.error(f"the compression {encoding[:40]!r} of AEDAT 3.1 is not supported, only RAW", 0)
        self.sources = {
            int(key.split()[1]): value for key, value in fields.items() if re.fullmatch(r"Source [0-9]{1,4}", key)
        }
        self._stream = self._find_stream()

    def _find_stream(self) -> int | None:
        """Return the number of the source; None if the header names none."""
        if "stream" in self.options:
            stream = self.options["stream"]
            if stream not in self.sources:
                raise self.source.error(f"it has no stream={stream!r}; its sources are {self.sources}")
            return int(stream)
        if len(self.sources) > 1:
            raise self.source.error(f"it has several sources, {self.sources}; pass stream= and the number of one", 0)
        return next(iter(self.sources), None)

    def stated_size(self) -> tuple[int, int] | None:
        camera = None if self._stream is None else find_camera(self.sources[self._stream])
        return None if camera is None else CAMERAS[camera][1]

    def _packets(self) -> Iterator[Packet]:
        """Read the headers of all packets.

        Raises:
            EventFileError: If one is truncated or invalid.
        """
        offset, number = self.start, 0
        while offset < self.source.size:
            data = self.source.read(offset, _PACKET_HEADER.size, f"packet {number}")
            kind, source, event_bytes, stamp, overflows, capacity, events, valid = _PACKET_HEADER.unpack(data)
            packet = Packet(number, offset, kind, source, event_bytes, overflows, capacity, events)
            if event_bytes < 0 or not 0 <= valid <= events <= capacity or overflows < 0:
                raise self.source.error(
                    f"the header of packet {number} is invalid: {valid:,} of {events:,} events are valid, with room "
                    f"for {capacity:,} of {event_bytes:,} bytes",
                    offset,
                )
            if kind == _POLARITY and (event_bytes, stamp) != (_RECORD.itemsize, 4):
                raise self.source.error(f"packet {number} has events of {event_bytes} bytes, expected 8", offset)
            yield packet
            offset, number = packet.begin + capacity * event_bytes, number + 1
            if offset > self.source.size:
                raise self.source.error(f"packet {packet.number} is truncated", packet.offset)

    def _parts(self) -> Iterator[tuple[int, NDArray[numpy.void], int]]:
        """Read the records of the source's packets in parts, with their byte and the upper bits of their times."""
        for packet in self._packets():
            if packet.type != _POLARITY or (self._stream is not None and packet.source != self._stream):
                continue
            in_file = max(0, self.source.size - packet.begin) // _RECORD.itemsize
            count = min(packet.events, in_file)
            for first in range(0, count, _PART_EVENTS):
                begin = packet.begin + first * _RECORD.itemsize
                size = min(_PART_EVENTS, count - first) * _RECORD.itemsize
                data = self.source.read(begin, size, f"packet {packet.number}")
                yield begin, numpy.frombuffer(data, _RECORD), packet.overflows << 31

    def batches(self, size: int) -> Iterator[Batch]:
        waiting: list[NDArray[numpy.int64]] = []
        count, begin = 0, self.start
        failure: EventFileError | None = None
        parts = self._parts()
        while failure is None:
            try:
                offset, records, high = next(parts)
            except StopIteration:
                break
            except EventFileError as error:
                failure = error
                break
            negative = records["stamp"] < 0
            if negative.any():
                end = int(negative.argmax())
                at = offset + end * _RECORD.itemsize
                failure = self.source.error(f"invalid timestamp {int(records['stamp'][end]):,}", at)
                records = records[:end]
            data = records["data"].astype(numpy.int64)
            # Bit 0: valid; bit 1: polarity; then 15 bits of y and 15 of x.
            kept = data & 1 == 1
            data, stamp = data[kept], records["stamp"][kept].astype(numpy.int64) + high
            if not count:
                begin = offset
            waiting.append(numpy.stack([stamp, data >> 17 & 0x7FFF, data >> 2 & 0x7FFF, data >> 1 & 1]))
            count += len(data)
            if count >= size or count >= _PART_EVENTS:
                yield from _batches_of(waiting, begin, size)
                waiting, count = [], 0
        if count:
            yield from _batches_of(waiting, begin, size)
        if failure:
            raise failure


def _batches_of(parts: list[NDArray[numpy.int64]], begin: int, size: int) -> Iterator[Batch]:
    rows = numpy.concatenate(parts, 1)
    for first in range(0, rows.shape[1], size):
        part = rows[:, first : first + size]
        columns = EventColumns.allocate(part.shape[1])
        for column, values in zip(columns, part, strict=True):
            column.numpy()[:] = values
        yield Batch(begin, columns)
