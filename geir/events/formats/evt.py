"""Prophesee's raw formats EVT 2.0, 2.1 and 3.0: words of events and of the upper bits of time."""

import re
import struct
from collections.abc import Iterable
from typing import ClassVar

from .decoder import Decoder, DecoderState, Row
from .header import check_sensor_size, parse_integer, read_text_header, stated_sensor_size
from .reader import RecordReader

# Sensor sizes of recordings that name only the plugin with which they were made.
_PLUGIN_SIZES = {
    "gen3": (640, 480),
    "gen4": (1280, 720),
    "imx636": (1280, 720),
    "imx646": (1280, 720),
    "genx320": (320, 320),
}

# Types of words, in their most significant 4 bits. Triggers and the other words beside events and times are
# skipped.
EVT2_OFF, EVT2_ON, EVT2_TIME_HIGH = 0, 1, 8
EVT2_SKIPPED = {10, 14, 15}
EVT3_ROW, EVT3_EVENT, EVT3_VECTOR_BASE, EVT3_VECTOR_12, EVT3_VECTOR_8, EVT3_TIME_LOW, EVT3_TIME_HIGH = (
    0,
    2,
    3,
    4,
    5,
    6,
    8,
)
EVT3_SKIPPED = {7, 10, 14, 15}
# Coordinates have 11 bits.
COORDINATE_LIMIT = 2048


def _unwrap(last: int, bits_now: int, bits: int) -> int:
    """Continue a counter of which only the lowest `bits` are known.

    Of all values with these bits, return the one nearest to the last value.
    """
    half = 1 << (bits - 1)
    return last + (bits_now - last + half) % (1 << bits) - half


def _next_time_high(state: DecoderState, last: int, bits_now: int, bits: int) -> int:
    """Return the upper bits of time after a time word.

    The first word of a file is taken as it is, because there is no time before it.
    """
    high = _unwrap(last, bits_now, bits) if state.has_time else bits_now
    state.has_time = 1
    return high


def _set_bits(mask: int) -> list[int]:
    """Return the positions of the set bits of a mask, in order."""
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]


def reference_evt2(records: bytes, count: int, capacity: int, state: DecoderState) -> list[Row]:
    """Decode EVT 2.0.

    Event word: type (4 bits), lower bits of time (6), x (11), y (11). Time word: type (4),
    upper bits (28).
    """
    rows: list[Row] = []
    read = 0
    for (word,) in struct.iter_unpack("<I", records):
        if len(rows) == capacity:
            break
        kind = word >> 28
        if kind in (EVT2_OFF, EVT2_ON):
            if state.has_time:
                rows.append((state.time_high << 6 | word >> 22 & 63, word >> 11 & 2047, word & 2047, kind))
            else:
                state.untimed_events += 1
        elif kind == EVT2_TIME_HIGH:
            state.time_high = _next_time_high(state, state.time_high, word & 0xFFFFFFF, 28)
        elif kind not in EVT2_SKIPPED:
            state.invalid = 1
            break
        read += 1
    state.records_read = read
    return rows


def reference_evt21(records: bytes, count: int, capacity: int, state: DecoderState) -> list[Row]:
    """Decode EVT 2.1.

    The upper 32 bits of a word are those of EVT 2.0; the lower 32 bits are a mask of the pixels from
    x on that fired.
    """
    words = ((upper, mask) for mask, upper in struct.iter_unpack("<II", records))
    return _reference_evt21_words(words, capacity, state)


def reference_evt21_legacy(records: bytes, count: int, capacity: int, state: DecoderState) -> list[Row]:
    """Decode EVT 2.1 with the halves of a word swapped."""
    return _reference_evt21_words(struct.iter_unpack("<II", records), capacity, state)


def _reference_evt21_words(words: Iterable[tuple[int, ...]], capacity: int, state: DecoderState) -> list[Row]:
    rows: list[Row] = []
    read = 0
    for upper, mask in words:
        if len(rows) + 32 > capacity:
            break
        kind = upper >> 28
        if kind in (EVT2_OFF, EVT2_ON):
            time, first, y = state.time_high << 6 | upper >> 22 & 63, upper >> 11 & 2047, upper & 2047
            if state.has_time:
                rows += [(time, first + bit, y, kind) for bit in _set_bits(mask)]
            else:
                state.untimed_events += mask.bit_count()
        elif kind == EVT2_TIME_HIGH:
            state.time_high = _next_time_high(state, state.time_high, upper & 0xFFFFFFF, 28)
        elif kind not in EVT2_SKIPPED:
            state.invalid = 1
            break
        read += 1
    state.records_read = read
    return rows


def reference_evt3(records: bytes, count: int, capacity: int, state: DecoderState) -> list[Row]:
    """Decode EVT 3.0. Words of 16 bits: type (4 bits) and the new value of whatever changed (12 bits)."""
    rows: list[Row] = []
    read = 0
    for (word,) in struct.iter_unpack("<H", records):
        if len(rows) + 16 > capacity:
            break
        kind, value = word >> 12, word & 4095
        coordinate, polarity = word & 2047, word >> 11 & 1
        time = state.time_high << 12 | state.time_low
        events: list[Row] = []
        if kind == EVT3_ROW:
            state.row = coordinate
        elif kind == EVT3_TIME_LOW:
            state.time_low = value
        elif kind == EVT3_TIME_HIGH:
            high = _next_time_high(state, state.time_high, value, 12)
            if high != state.time_high:
                # The lower bits are unknown until their word follows. Taken as 0, they do not make time step
                # back.
                state.time_high = high
                state.time_low = 0
        elif kind == EVT3_EVENT:
            events = [(time, coordinate, state.row, polarity)]
        elif kind == EVT3_VECTOR_BASE:
            state.vector_x = coordinate
            state.vector_polarity = polarity
        elif kind in (EVT3_VECTOR_12, EVT3_VECTOR_8):
            width = 12 if kind == EVT3_VECTOR_12 else 8
            pixels = _set_bits(value & ((1 << width) - 1))
            if pixels and state.vector_x >= COORDINATE_LIMIT:
                state.invalid = 1
                break
            events = [(time, state.vector_x + pixel, state.row, state.vector_polarity) for pixel in pixels]
            state.vector_x = min(state.vector_x + width, COORDINATE_LIMIT)
        elif kind not in EVT3_SKIPPED:
            state.invalid = 1
            break
        if state.has_time:
            rows += events
        else:
            state.untimed_events += len(events)
        read += 1
    state.records_read = read
    return rows


class EvtReader(RecordReader):
    """Words after a header of text that names the format.

    For example ``% evt 3.0`` or ``% format EVT3;height=720;width=1280``.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".raw",)
    version: ClassVar[str]

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        if not head.startswith(b"%"):
            return False
        stated = re.search(rb"^% *(?:evt|format) +(?:EVT)?([0-9.]+)", head, re.MULTILINE | re.IGNORECASE)
        return stated is not None and stated[1].replace(b".", b"").rstrip(b"0").decode() == cls.version

    def open(self) -> None:
        lines, self.start = read_text_header(self.source)
        _, *options = lines.get("format", "").split(";")
        self.header = lines | {key: value for key, _, value in (option.partition("=") for option in options)}
        self.metadata |= self.header
        self.first_time = parse_integer(self.source, self.header, "t0")

    def stated_size(self) -> tuple[int, int] | None:
        if size := stated_sensor_size(self.source, self.header, "width", "height"):
            return size
        if geometry := re.fullmatch(r"(\d{1,5})x(\d{1,5})", self.header.get("geometry", "")):
            return check_sensor_size(self.source, int(geometry[1]), int(geometry[2]))
        plugin = self.header.get("plugin_name", "")
        if "hvga" in plugin:
            return None
        return next((size for sensor, size in _PLUGIN_SIZES.items() if sensor in plugin), None)


class Evt2(EvtReader):
    """EVT 2.0: words of 32 bits, one event each, with the lower 6 bits of its time."""

    name, version = "evt2", "2"
    decoder = Decoder("evt.c", "decode_evt2", reference_evt2, record_size=4)


class Evt21(EvtReader):
    """EVT 2.1: words of 64 bits, up to 32 events of one row each.

    Some cameras write the halves of a word in the other order.
    """

    name, version = "evt21", "21"

    def open(self) -> None:
        super().open()
        # Recordings that do not state it are from before there were two orders.
        if self.header.get("endianness", "legacy") == "little":
            self.decoder = Decoder("evt.c", "decode_evt21", reference_evt21, record_size=8, max_events_per_record=32)
        else:
            self.decoder = Decoder(
                "evt.c", "decode_evt21_legacy", reference_evt21_legacy, record_size=8, max_events_per_record=32
            )


class Evt3(EvtReader):
    """EVT 3.0: words of 16 bits, each with the new value of whatever changed since the word before."""

    name, version = "evt3", "3"
    decoder = Decoder("evt.c", "decode_evt3", reference_evt3, record_size=2, max_events_per_record=16)
