"""Prophesee's DAT: records of 8 bytes, decoded from what the camera sent."""

import functools
import struct

import numpy

from .decoder import Decoder, DecoderState, Row
from .header import parse_integer, read_text_header, stated_sensor_size
from .reader import BinaryFile, EventChunks, RecordReader, Summary

_RECORD_SIZE = 8
# Event types with this layout: "2D" and "contrast detection"; both are changes of brightness.
_EVENT_TYPES = (0, 12)
_WRITTEN_TYPE = 12


def reference_dat(
    records: bytes, count: int, capacity: int, state: DecoderState, x_bits: int, y_bits: int, p_bits: int
) -> list[Row]:
    """Decode records of two words: time (32 bits), and x, y and polarity from the least significant bit on."""
    rows: list[Row] = []
    for stamp, fields in struct.iter_unpack("<II", records[: capacity * _RECORD_SIZE]):
        if state.has_time:
            # A difference of 32 bits with a sign, because the counter of time wraps around.
            state.time_high += (stamp - state.time_high + (1 << 31)) % (1 << 32) - (1 << 31)
        else:
            state.time_high = stamp
            state.has_time = 1
        x = fields & ((1 << x_bits) - 1)
        y = fields >> x_bits & ((1 << y_bits) - 1)
        p = fields >> (x_bits + y_bits) & ((1 << p_bits) - 1)
        rows.append((state.time_high, x, y, p))
    state.records_read = len(rows)
    return rows


reference_dat1 = functools.partial(reference_dat, x_bits=9, y_bits=8, p_bits=1)
reference_dat2 = functools.partial(reference_dat, x_bits=14, y_bits=14, p_bits=4)


class Dat(RecordReader):
    """DAT, versions 1 and 2, which differ in the number of bits of a coordinate."""

    name, suffixes = "dat", (".dat",)

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return suffix == ".dat" and head.startswith(b"%")

    def open(self) -> None:
        self.header, end = read_text_header(self.source)
        self.metadata |= self.header
        version = parse_integer(self.source, self.header, "Version", 1)
        if version not in (1, 2):
            raise self.source.error(f"unknown version {version} of DAT; geir reads versions 1 and 2")
        event_type, event_size = self.source.read(end, 2, "the event type")
        if event_type not in _EVENT_TYPES or event_size != _RECORD_SIZE:
            raise self.source.error(
                f"unsupported event type {event_type} with {event_size} bytes; "
                f"geir reads changes of brightness (type 0 or 12, {_RECORD_SIZE} bytes)",
                end,
            )
        self.start = end + 2
        reference = reference_dat1 if version == 1 else reference_dat2
        self.decoder = Decoder("dat.c", f"decode_dat{version}", reference, record_size=_RECORD_SIZE)
        self.first_time = parse_integer(self.source, self.header, "T0")

    def stated_size(self) -> tuple[int, int] | None:
        return stated_sensor_size(self.source, self.header, "Width", "Height")

    def summary(self) -> Summary:
        return {"events": (self.source.size - self.start) // _RECORD_SIZE}


def write(file: BinaryFile, chunks: EventChunks, sensor_size: tuple[int, int]) -> None:
    """Write events as DAT 2.

    Raises:
        ValueError: If the sensor is too large, or two successive events are more than 35 minutes apart.
    """
    width, height = sensor_size
    if max(sensor_size) > 1 << 14:
        raise ValueError(f"dat has 14 bits per coordinate, which are too few for a sensor of {width}x{height} pixels.")
    header = f"% Data file containing CD events\n% Version 2\n% Width {width}\n% Height {height}\n"
    event_type = bytes([_WRITTEN_TYPE, _RECORD_SIZE])
    previous, origin = None, 0
    for events in chunks:
        if not len(events):
            continue
        t, x, y, p = (column.numpy().astype(numpy.int64) for column in events.columns())
        if previous is None:
            # The header states the part of the first time that 32 bits cannot hold, as faery's files do.
            origin = int(t[0]) >> 32 << 32
            file.write(f"{header}% T0 {origin}\n".encode() + event_type)
            previous = t[0]
        if abs(numpy.diff(t, prepend=previous)).max() >= 1 << 31:
            raise ValueError("dat cannot hold successive events that are more than 35 minutes apart.")
        words = numpy.stack([t - origin, p << 28 | y << 14 | x], 1) & 0xFFFFFFFF
        file.write(words.astype("<u4").tobytes())
        previous = t[-1]
    if previous is None:
        file.write(header.encode() + event_type)
