"""AEDAT 2.0, of jAER and v2e: records of an address, whose bits depend on the camera, and a time."""

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy

from .columns import Bytes, EventColumns
from .decoder import Decoder, DecoderState, Row
from .reader import RecordReader, Summary

MAGIC = b"#!AER-DAT2.0"
_RECORD = numpy.dtype([("address", ">u4"), ("stamp", ">u4")])
_MAX_HEADER_BYTES = 1 << 16
# Records by which a camera is recognized that the header does not name.
_SAMPLE_RECORDS = 1 << 13


class AddressLayout(NamedTuple):
    """Where an address has the column, the row and the polarity of an event.

    Columns are counted from the right and rows from the bottom, as jAER displays them.
    """

    x_shift: int
    x_bits: int
    y_shift: int
    y_bits: int
    polarity_shift: int
    # Polarity of the bit 1: a DVS128 sets it where the pixel became darker.
    polarity_of_one: int
    # Addresses with one of these bits are no changes of brightness.
    other_bits: int


_DVS128 = AddressLayout(1, 7, 8, 7, 0, 0, 1 << 15)
# Bit 31 is that of frames and inertial measurements, bit 10 that of triggers.
_DAVIS = AddressLayout(12, 10, 22, 9, 11, 1, 1 << 31 | 1 << 10)

# Names of cameras in headers, in lower case, with their layout and their sensor size.
CAMERAS = {
    "dvs128": (_DVS128, (128, 128)),
    "tmpdiff128": (_DVS128, (128, 128)),
    "davis128": (_DAVIS, (128, 128)),
    "davis208": (_DAVIS, (208, 192)),
    "davis240": (_DAVIS, (240, 180)),
    "sbret10": (_DAVIS, (240, 180)),
    "davis346": (_DAVIS, (346, 260)),
    "davis640": (_DAVIS, (640, 480)),
}


def find_camera(text: str) -> str | None:
    """Return the key of `CAMERAS` that a text contains, or None."""
    return next((camera for camera in CAMERAS if camera in text.lower()), None)


@dataclass(frozen=True)
class Aedat2Decoder(Decoder):
    """Decodes records in NumPy, with or without a compiler."""

    layout: AddressLayout = _DVS128
    sensor_size: tuple[int, int] = (128, 128)

    def __call__(self, records: Bytes, count: int, columns: EventColumns, state: DecoderState) -> None:
        count = min(count, columns.size)
        values = records[: count * _RECORD.itemsize].view(_RECORD)
        address, stamp = values["address"].astype(numpy.int64), values["stamp"].astype(numpy.int64)
        layout, (width, height) = self.layout, self.sensor_size
        if count:
            previous = state.time_high if state.has_time else stamp[0]
            # Differences of 32 bits with a sign, because the counter of time wraps around.
            steps = (numpy.diff(stamp, prepend=previous) + (1 << 31)) % (1 << 32) - (1 << 31)
            times = previous + numpy.cumsum(steps)
            state.time_high, state.has_time = int(times[-1]), 1
            kept = address & layout.other_bits == 0
            address, times = address[kept], times[kept]
            written = len(address)
            columns.t.numpy()[:written] = times
            columns.x.numpy()[:written] = width - 1 - (address >> layout.x_shift & ((1 << layout.x_bits) - 1))
            columns.y.numpy()[:written] = height - 1 - (address >> layout.y_shift & ((1 << layout.y_bits) - 1))
            bit = address >> layout.polarity_shift & 1
            columns.p.numpy()[:written] = bit if layout.polarity_of_one else 1 - bit
            state.events_written = written
        else:
            state.events_written = 0
        state.records_read, state.invalid = count, 0


def _no_reference(records: bytes, count: int, capacity: int, state: DecoderState) -> list[Row]:
    raise NotImplementedError  # Aedat2Decoder decodes in NumPy


class Aedat2(RecordReader):
    """AEDAT 2.0 of a DVS128 or a DAVIS, which the header names.

    A file that names no camera is of a DVS128 if its addresses have 16 bits, as those of CIFAR10-DVS
    and of early versions of jAER; otherwise `sensor_size` must be given, and it is of a DAVIS.
    Frames, inertial measurements and triggers are skipped.
    """

    name, suffixes = "aedat2", (".aedat",)

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return head.startswith(MAGIC)

    def open(self) -> None:
        head = self.source.read(0, min(_MAX_HEADER_BYTES, self.source.size), "the header")
        # A record can begin with the byte of #, but is not a line of text.
        found = re.match(rb"(?:#[\t -~\x80-\xff]*\r?\n)*", head)
        self.start = found.end() if found else 0
        if not self.start:
            raise self.source.error("a line of the header does not end", 0)
        text = head[: self.start].decode("latin-1")
        self.metadata["header"] = text
        chip = re.search(r"# *AEChip:? *(\S+)", text)
        camera = find_camera(chip[1] if chip else text)
        if chip and camera is None:
            raise self.source.error(
                f"geir does not know the addresses of the camera {chip[1][-60:]!r}; it knows {', '.join(CAMERAS)}", 0
            )
        layout, self._size = CAMERAS[camera] if camera else (_DAVIS, None)
        if camera is None:
            count = min(_SAMPLE_RECORDS, (self.source.size - self.start) // _RECORD.itemsize)
            records = self.source.read(self.start, count * _RECORD.itemsize, "the events")
            if count and int(numpy.frombuffer(records, _RECORD)["address"].max()) < 1 << 16:
                layout, self._size = CAMERAS["dvs128"]
        self._layout = layout
        self.metadata["camera"] = camera

    def stated_size(self) -> tuple[int, int] | None:
        return self._size

    @property
    def decoder(self) -> Decoder:  # pyright: ignore[reportIncompatibleVariableOverride]  (needs the sensor size)
        """The decoder of the camera's addresses."""
        size = self._size or self.sensor_size
        return Aedat2Decoder("", "", _no_reference, _RECORD.itemsize, layout=self._layout, sensor_size=size)

    def summary(self) -> Summary:
        return {}
