"""Decoders in C and, where there is no compiler, in NumPy, which do the same to the bit."""

import ctypes
import functools
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..._runtime import native

Columns = tuple[Tensor, Tensor, Tensor, Tensor]
Array = NDArray[Any]

# What a decoder keeps in its state, as decode.c says it too.
READ, WRITTEN, WRONG, TIMED, UNTIMED, HIGH, LOW, ROW, BASE, BRIGHTER = range(10)
# Times further from 0 are taken for nonsense, microseconds or not; and what stands for a time before all others.
FAR = 1 << 62


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        return native.load(files(__package__ or "").joinpath("decode.c").read_text())
    except native.NoCompilerError:
        return None


def new_state() -> Tensor:
    """What a decoder knows at the beginning: nothing."""
    return torch.zeros(BRIGHTER + 1, dtype=torch.int64)


def decode(name: str, block: Array, count: int, columns: Columns, state: Tensor, numbers: Sequence[int] = ()) -> None:
    """Decode records into columns, as far as there is room, and say in `state` how many were read and events written.

    Args:
        name: Of the decoder.
        block: Bytes.
        count: How many records they are; for text, bytes.
        columns: Where events are written to.
        state: What the decoder keeps from call to call.
        numbers: What else it wants to know.
    """
    room = len(columns[0])
    if library := _library():
        native.call(getattr(library, name), [block, *columns, state], [count, room, *numbers], 1, 1)
        return
    s = state.numpy()
    s[WRONG] = 0
    decoded = _DECODERS[name](block, count, room, s, *numbers)
    s[WRITTEN] = len(decoded[0])
    for column, values in zip(columns, decoded, strict=True):
        column.numpy()[: len(values)] = values


def gather(parts: Sequence[Array], columns: Columns) -> None:
    """Columns from AEDAT 4's records, in several parts of bytes, for which there is just enough room."""
    if library := _library():
        table = numpy.array([(some.ctypes.data, len(some)) for some in parts], numpy.int64)
        native.call(library.aedat4, [table, *columns], [len(parts)], 1, 1)
        return
    record = numpy.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1"), ("nothing", "u1", 3)])
    at = 0
    for events in (some.view(record) for some in parts):
        for column, name in zip(columns, "txyp", strict=True):
            column.numpy()[at : at + len(events)] = events[name] != 0 if name == "p" else events[name]
        at += len(events)


def sound(columns: Columns, sensor_size: tuple[int, int], back: int, latest: int) -> tuple[int, int]:
    """How many events there are before the first that lies outside of the sensor or steps back in time, and the latest time among them.

    Args:
        columns: t, x, y, p.
        sensor_size: Width and height.
        back: By how many microseconds an event may be earlier than one before it.
        latest: The latest time of what came before; ``-FAR`` if nothing did.
    """
    if library := _library():
        found = torch.tensor([0, latest])
        native.call(library.sound, [*columns, found], [len(columns[0]), *sensor_size, back], 1, 1)
        return int(found[0]), int(found[1])
    t, x, y, p = (c.numpy() for c in columns)
    late = numpy.maximum.accumulate(numpy.concatenate([[latest], t]))
    right = (x >= 0) & (x < sensor_size[0]) & (y >= 0) & (y < sensor_size[1]) & (p <= 1)
    right &= (t >= late[:-1] - back) & (t >= -FAR) & (t <= FAR)
    first = len(t) if right.all() else int(right.argmin())
    return first, int(late[first])


def _first_wrong(wrong: Array, s: Array) -> int:
    """The index of the first wrong record, which the state then tells of, else the number of records."""
    s[WRONG] = wrong.any()
    return int(wrong.argmax()) if s[WRONG] else len(wrong)


def _filled(where: Array, values: Array, before: int) -> Array:
    """At each record the value of the last one at which there was one."""
    last = numpy.maximum.accumulate(numpy.where(where, numpy.arange(len(where)), -1))
    return numpy.where(last < 0, before, values[last])


def _times(is_time: Array, values: Array, bits: int, s: Array) -> tuple[Array, Array]:
    """The time words' counter, which wraps around, at each record and before the first one; and which records know it."""
    seen = values[is_time]
    first = int(s[HIGH]) if s[TIMED] else int(seen[0]) if len(seen) else 0
    steps = numpy.diff(numpy.concatenate([[first], seen])) << (64 - bits) >> (64 - bits)
    number = numpy.cumsum(is_time)
    highs = numpy.concatenate([s[HIGH : HIGH + 1], first + numpy.cumsum(steps)])
    return highs[numpy.concatenate([[0], number])], (number > 0) | bool(s[TIMED])


def _spread(masks: Array, bits: int) -> tuple[Array, Array]:
    """Which record and which bit each event comes from."""
    some = numpy.flatnonzero(masks)
    record, bit = numpy.nonzero(masks[some, None] >> numpy.arange(bits) & 1)
    return some[record], bit


def _evt2(block: Array, n: int, room: int, s: Array) -> tuple[Array, ...]:
    word = block[: 4 * min(n, room)].view("<u4").astype(numpy.int64)
    kind = word >> 28
    word, kind = (a[: _first_wrong(~numpy.isin(kind, [0, 1, 8, 10, 14, 15]), s)] for a in (word, kind))
    high, timed = _times(kind == 8, word & 0xFFFFFFF, 28, s)
    event = numpy.flatnonzero((kind <= 1) & timed)
    s[READ], s[HIGH], s[UNTIMED] = len(word), high[-1], s[UNTIMED] + ((kind <= 1) & ~timed).sum()
    s[TIMED] = s[TIMED] or (kind == 8).any()
    word = word[event]
    return high[1:][event] << 6 | (word >> 22 & 63), word >> 11 & 2047, word & 2047, kind[event]


def _evt21(block: Array, n: int, room: int, s: Array, turn: bool = False) -> tuple[Array, ...]:
    low, upper = block[: 8 * min(n, room // 32)].view("<u4").astype(numpy.int64).reshape(-1, 2).T[:: -1 if turn else 1]
    kind = upper >> 28
    low, upper, kind = (a[: _first_wrong(~numpy.isin(kind, [0, 1, 8, 10, 14, 15]), s)] for a in (low, upper, kind))
    high, timed = _times(kind == 8, upper & 0xFFFFFFF, 28, s)
    masks = numpy.where(kind <= 1, low, 0)
    s[READ], s[HIGH], s[UNTIMED] = len(low), high[-1], s[UNTIMED] + len(_spread(numpy.where(timed, 0, masks), 32)[0])
    s[TIMED] = s[TIMED] or (kind == 8).any()
    event, bit = _spread(numpy.where(timed, masks, 0), 32)
    upper = upper[event]
    return high[1:][event] << 6 | (upper >> 22 & 63), (upper >> 11 & 2047) + bit, upper & 2047, kind[event]


def _evt3(block: Array, n: int, room: int, s: Array) -> tuple[Array, ...]:
    word = block[: 2 * min(n, room // 16)].view("<u2").astype(numpy.int64)
    kind, value = word >> 12, word & 2047
    vector = (kind == 4) | (kind == 5)
    masks = numpy.where(kind == 4, word & 4095, numpy.where(kind == 5, word & 255, 0))
    # The first column of a vector is what the last base said, and all vectors since.
    widths = numpy.concatenate([[0], numpy.cumsum(numpy.where(kind == 4, 12, numpy.where(kind == 5, 8, 0)))])
    base = _filled(kind == 3, value - widths[:-1], int(s[BASE])) + widths[:-1]
    end = _first_wrong(
        ~numpy.isin(kind, [0, 2, 3, 4, 5, 6, 7, 8, 10, 14, 15]) | (vector & (masks > 0) & (base > 2047)), s
    )
    word, kind, value, masks, base = (a[:end] for a in (word, kind, value, masks, base))
    high, timed = _times(kind == 8, word & 4095, 12, s)
    turned = high[1:] != high[:-1]
    low = _filled((kind == 6) | turned, numpy.where(kind == 6, word & 4095, 0), int(s[LOW]))
    row = _filled(kind == 0, value, int(s[ROW]))
    brighter = _filled(kind == 3, word >> 11 & 1, int(s[BRIGHTER]))
    masks, base = numpy.where(kind == 2, 1, masks), numpy.where(kind == 2, value, base)
    s[READ], s[UNTIMED] = end, s[UNTIMED] + len(_spread(numpy.where(timed, 0, masks), 12)[0])
    if end:
        last_base = _filled(kind == 3, value - widths[:end], int(s[BASE]))[-1] + widths[end]
        s[HIGH], s[LOW], s[ROW], s[BASE], s[BRIGHTER] = high[-1], low[-1], row[-1], min(last_base, 2048), brighter[-1]
    s[TIMED] = s[TIMED] or (kind == 8).any()
    event, bit = _spread(numpy.where(timed, masks, 0), 12)
    polarity = numpy.where(kind == 2, word >> 11 & 1, brighter)
    return (high[1:] << 12 | low)[event], base[event] + bit, row[event], polarity[event]


def _dat(block: Array, n: int, room: int, s: Array, across: int, down: int, polarity: int) -> tuple[Array, ...]:
    time, place = block[: 8 * min(n, room)].view("<u4").astype(numpy.int64).reshape(-1, 2).T
    high, _ = _times(numpy.ones(len(time), bool), time, 32, s)
    s[READ], s[HIGH], s[TIMED] = len(time), high[-1], s[TIMED] or len(time) > 0
    fields = place, place >> across, place >> (across + down)
    return high[1:], *(field & ((1 << bits) - 1) for field, bits in zip(fields, (across, down, polarity), strict=True))


def _nmnist(block: Array, n: int, room: int, s: Array) -> tuple[Array, ...]:
    x, y, *rest = block[: 5 * min(n, room)].reshape(-1, 5).T.astype(numpy.int64)
    wrapped = s[HIGH] + numpy.cumsum(numpy.where(y == 240, 1 << 13, 0))
    time = wrapped + ((rest[0] & 127) << 16 | rest[1] << 8 | rest[2])
    s[READ], s[HIGH] = len(x), wrapped[-1] if len(x) else s[HIGH]
    return tuple(column[y != 240] for column in (time, x, y, rest[0] >> 7))


def _csv(block: Array, n: int, room: int, s: Array, *numbers: int) -> tuple[Array, ...]:
    *places, fields, separator = numbers
    at, rows = 0, []
    for line in re.finditer(rb"[^\n]*\n?", block[:n].tobytes()):
        if len(rows) == room or not line[0]:
            break
        text = line[0].strip(b" \t\r\n")
        if text and not text.startswith(b"#"):
            cells = re.split(rb"[ \t\r]+" if separator == ord(" ") else re.escape(bytes([separator])), text)[:fields]
            cells = [cell.strip(b" \t\r") for cell in cells]
            whole = len(cells) == fields and all(re.fullmatch(rb"-?[0-9]{1,18}", cell) for cell in cells)
            t, x, y, p = (int(cells[k]) for k in places) if whole else (0, 0, 0, 2)
            if not (min(x, y) >= -1 << 15 and max(x, y) < 1 << 15 and -1 <= p <= 1):
                s[WRONG] = 1
                break
            rows.append((t, x, y, int(p > 0)))
        at = line.end()
    s[READ] = at
    return tuple(numpy.array(rows, numpy.int64).reshape(-1, 4).T)


_DECODERS: dict[str, Callable[..., tuple[Array, ...]]] = {
    "evt2": _evt2,
    "evt21": _evt21,
    "evt21_legacy": functools.partial(_evt21, turn=True),
    "evt3": _evt3,
    "dat1": functools.partial(_dat, across=9, down=8, polarity=1),
    "dat2": functools.partial(_dat, across=14, down=14, polarity=4),
    "nmnist": _nmnist,
    "csv": _csv,
}
