"""Prophesee's raw formats: words of 32, 64 and 16 bits, of events and of the upper bits of time."""

import re
from collections.abc import Callable
from typing import ClassVar

import numpy

from .decode import Array
from .reader import checked_size, Parts, RecordReader, Target, text_header, whole_number

# Of sensors whose recordings do not say their size, by the plugin that made them.
_SIZES = {"gen3": (640, 480), "gen4": (1280, 720), "imx636": (1280, 720), "imx646": (1280, 720), "genx320": (320, 320)}


class _Evt(RecordReader):
    """Words after a header of text, which names the format as ``% evt 3.0`` or ``% format EVT3;height=720;width=1280``."""

    suffixes: ClassVar[tuple[str, ...]] = (".raw",)
    version: ClassVar[str]

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        stated = (
            re.search(rb"^% *(?:evt|format) +(?:EVT)?([0-9.]+)", head, re.MULTILINE | re.IGNORECASE)
            if head.startswith(b"%")
            else None
        )
        return stated is not None and stated[1].replace(b".", b"").rstrip(b"0").decode() == cls.version

    def open(self) -> None:
        self.metadata, self.start = text_header(self.source)
        _, *options = self.metadata.get("format", "").split(";")
        self.metadata |= {key: value for key, _, value in (option.partition("=") for option in options)}
        self.first_time = whole_number(self.source, self.metadata, "t0")

    def stated_size(self) -> tuple[int, int] | None:
        if "width" in self.metadata or "height" in self.metadata:
            return checked_size(
                self.source, *(whole_number(self.source, self.metadata, key) for key in ("width", "height"))
            )
        if size := re.fullmatch(r"(\d{1,5})x(\d{1,5})", self.metadata.get("geometry", "")):
            return checked_size(self.source, int(size[1]), int(size[2]))
        plugin = self.metadata.get("plugin_name", "")
        return next((size for sensor, size in _SIZES.items() if sensor in plugin and "hvga" not in plugin), None)


class Evt2(_Evt):
    """EVT 2.0: words of 32 bits, an event each, with the lower 6 bits of its time."""

    name, version, decoder, record = "evt2", "2", "evt2", 4


class Evt21(_Evt):
    """EVT 2.1: words of 64 bits, up to 32 events of one row each; some cameras write their halves the other way round."""

    name, version, decoder, record, most = "evt21", "21", "evt21", 8, 32

    def open(self) -> None:
        super().open()
        # Recordings that do not say so are from before there were two ways.
        self.decoder = "evt21" if self.metadata.get("endianness", "legacy") == "little" else "evt21_legacy"


class Evt3(_Evt):
    """EVT 3.0: words of 16 bits, each of what has changed since the one before."""

    name, version, decoder, record, most = "evt3", "3", "evt3", 2, 16


# Of one event: the lower bits of its time, x, y, p.
Fields = tuple[Array, Array, Array, Array]


def _write(
    file: Target,
    parts: Parts,
    sensor_size: tuple[int, int],
    version: str,
    low: int,
    bits: int,
    words: Callable[[Array, Array, Fields, Fields], Array],
) -> None:
    if max(sensor_size) > 2048:
        raise ValueError(
            f"evt{version[0]} has 11 bits for a coordinate, which are too few for a sensor of {sensor_size[0]}x{sensor_size[1]} pixels."
        )
    number, (width, height) = version.replace(".0", "").replace(".", ""), sensor_size
    head = f"% evt {version}\n% format EVT{number};height={height};width={width}\n% geometry {width}x{height}\n"
    previous, first = None, 0
    none = numpy.array([-1])
    last: Fields = (none, none, none, none)
    for part in parts:
        if not len(part):
            continue
        t, x, y, p = (column.numpy().astype(numpy.int64) for column in part.columns())
        if previous is None:
            # What the words' counter cannot tell, the header does, as faery's do.
            first = int(t[0]) >> (low + bits) << (low + bits)
            file.write(f"{head}% t0 {first}\n% end\n".encode())
            previous = (int(t[0]) - first >> low) - 1
        t -= first
        counts, times = _time_words(t >> low, previous, bits)
        fields = (t & ((1 << low) - 1), x, y, p)
        file.write(words(counts, times, fields, last).tobytes())
        previous, last = int(t[-1]) >> low, (fields[0][-1:], x[-1:], y[-1:], p[-1:])
    if previous is None:
        file.write(f"{head}% end\n".encode())


def _time_words(high: Array, previous: int, bits: int) -> tuple[Array, Array]:
    """How many words of time come before each event, and their values; one cannot say a step of half the range or more."""
    most = (1 << (bits - 1)) - 1
    steps: Array = numpy.diff(high, prepend=previous)
    counts: Array = -(-abs(steps) // most)
    if counts.sum() > len(high) + (1 << 20):
        raise ValueError(f"the times of events lie too far apart for this format, which counts to 2**{bits}.")
    event = numpy.repeat(numpy.arange(len(high)), counts)
    # From the event: the last word says its time, those before go there in steps.
    left = numpy.repeat(numpy.cumsum(counts), counts) - 1 - numpy.arange(len(event))
    before = (high - steps)[event] + numpy.sign(steps[event]) * most * (counts[event] - left)
    return counts, numpy.where(left == 0, high[event], before) & ((1 << bits) - 1)


def _evt2_words(counts: Array, times: Array, fields: Fields, last: Fields) -> Array:
    low, x, y, p = fields
    at = numpy.cumsum(counts + 1) - 1
    words = numpy.empty(len(counts) + len(times), "<u4")
    is_time = numpy.ones(len(words), bool)
    is_time[at] = False
    words[at] = p << 28 | low << 22 | x << 11 | y
    words[is_time] = 8 << 28 | times
    return words


def _evt3_words(counts: Array, times: Array, fields: Fields, last: Fields) -> Array:
    low, x, y, p = fields
    new_row = numpy.diff(numpy.concatenate([last[2], y])) != 0
    new_low = (numpy.diff(numpy.concatenate([last[0], low])) != 0) | (counts > 0)
    at = numpy.cumsum(counts + new_low + new_row + 1) - 1
    words = numpy.empty(at[-1] + 1, "<u2")
    is_time = numpy.ones(len(words), bool)
    for kind, values, where, which in (
        (2, p << 11 | x, at, slice(None)),
        (0, y, at - 1, new_row),
        (6, low, at - 1 - new_row, new_low),
    ):
        words[where[which]] = kind << 12 | values[which]
        is_time[where[which]] = False
    words[is_time] = 8 << 12 | times
    return words


def write_evt2(file: Target, parts: Parts, sensor_size: tuple[int, int]) -> None:
    """Write events."""
    _write(file, parts, sensor_size, "2.0", 6, 28, _evt2_words)


def write_evt3(file: Target, parts: Parts, sensor_size: tuple[int, int]) -> None:
    """Write events, each as a word of its own (no vectors)."""
    _write(file, parts, sensor_size, "3.0", 12, 12, _evt3_words)
