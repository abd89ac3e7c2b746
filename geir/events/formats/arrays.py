"""Arrays of other programs as columns of events: any type of numbers, units of time and signs."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy
from numpy.typing import NDArray

from ..errors import EventFileError
from .columns import EventColumns, MAX_ABS_TIME, UNFIT
from .fields import TIME_EXPONENTS, TimeUnit
from .source import Source

_COORDINATES = numpy.iinfo(numpy.int16)

# Of any type of numbers, or records of them.
Numbers: TypeAlias = NDArray[Any]


class TimeScale(NamedTuple):
    """How times become microseconds.

    Attributes:
        unit: Unit of the times.
        rounds: Whether times may have decimals of a microsecond, which are rounded.
        offset: Microseconds added.
    """

    unit: TimeUnit
    rounds: bool
    offset: int = 0


def time_scale(stated: TimeUnit | None, first_times: Numbers) -> TimeScale:
    """Return the unit that is stated; otherwise seconds if there are decimals, and microseconds if there are none.

    Args:
        stated: The unit if the caller or the file states it.
        first_times: Times at the start of the file.
    """
    if stated is not None:
        return TimeScale(stated, rounds=True)
    has_decimals = first_times.dtype.kind == "f" and bool((first_times != numpy.rint(first_times)).any())
    return TimeScale("s" if has_decimals else "us", rounds=has_decimals)


class Converted(NamedTuple):
    """Events, and the error of the first row with a number of `UNFIT`, if there is one."""

    columns: EventColumns
    error: EventFileError | None


def convert(source: Source, arrays: Mapping[str, Numbers], scale: TimeScale, first_row: int) -> Converted:
    """Convert arrays of one length, in any types of numbers. A polarity of -1 becomes 0.

    A number that is not valid for its column is replaced by that of `UNFIT`, so that no other event
    is lost.

    Args:
        source: The file, for error messages.
        arrays: t, x, y and p, each of shape (events,).
        scale: How times become microseconds.
        first_row: Row of the file at which they begin, for error messages.
    """
    count = len(arrays["t"])
    columns = EventColumns.allocate(count)
    with numpy.errstate(invalid="ignore", over="ignore"):
        valid = {
            "t": _convert_times(arrays["t"], columns.t.numpy(), scale),
            "x": _convert_integers(arrays["x"], columns.x.numpy(), _COORDINATES.min, _COORDINATES.max),
            "y": _convert_integers(arrays["y"], columns.y.numpy(), _COORDINATES.min, _COORDINATES.max),
            "p": _convert_polarities(arrays["p"], columns.p.numpy()),
        }
    for name, mask in valid.items():
        if not mask.all():
            getattr(columns, name).numpy()[~mask] = UNFIT[name]
    ends = {name: count if mask.all() else int(mask.argmin()) for name, mask in valid.items()}
    name = min(ends, key=lambda name: ends[name])
    end = ends[name]
    if end == count:
        return Converted(columns, None)
    value = arrays[name][end].item()
    match name:
        case "t":
            expected = f"a time in {scale.unit}"
            if not scale.rounds and isinstance(value, float):
                expected += ' without decimals, as in the first rows (if it is in seconds, pass time_unit="s")'
        case "p":
            expected = "a polarity of 0, 1 or -1"
        case _:
            expected = f"an integer from {_COORDINATES.min:,} to {_COORDINATES.max:,}"
    reason = f"row {first_row + end:,}: column {name} must hold {expected}, got {value!r}"
    return Converted(columns, source.error(reason))


def check_numbers(source: Source, name: str, dtype: numpy.dtype) -> None:
    """Check that a column holds numbers or booleans.

    Raises:
        EventFileError: If it holds something else.
    """
    # Floats wider than 8 bytes are rare, and conversions of them are slow and depend on the machine.
    if dtype.kind not in "iubf" or dtype.itemsize > 8:
        raise source.error(f"column {name} must hold numbers, got {dtype}")


def _convert_times(values: Numbers, target: NDArray[numpy.int64], scale: TimeScale) -> NDArray[numpy.bool_]:
    """Write times in microseconds and return which are valid."""
    factor = 10.0 ** TIME_EXPONENTS[scale.unit]
    limit = MAX_ABS_TIME - abs(scale.offset)
    if values.dtype.kind == "f":
        exact = values.astype(numpy.float64) * factor
        rounded = numpy.rint(exact)
        valid = numpy.abs(rounded) <= limit
        if not scale.rounds:
            valid &= rounded == exact
        target[:] = numpy.where(valid, rounded, 0).astype(numpy.int64) + scale.offset
        return valid
    whole_factor, divisor = max(round(factor), 1), max(round(1 / factor), 1)
    bound = min(limit // whole_factor, MAX_ABS_TIME)
    valid = numpy.ones(len(values), bool)
    if values.dtype.itemsize == 8 or whole_factor > 1:
        valid = values <= numpy.array(bound).astype(numpy.uint64 if values.dtype.kind == "u" else numpy.int64)
        if values.dtype.kind == "i":
            valid &= values >= -bound
    target[:] = numpy.where(valid, values, numpy.zeros((), values.dtype)).astype(numpy.int64) * whole_factor
    if divisor > 1:
        target[:] = (target + divisor // 2) // divisor
    target += scale.offset
    return valid


def _convert_integers(
    values: Numbers, target: NDArray[numpy.int16] | NDArray[numpy.uint8], low: int, high: int
) -> NDArray[numpy.bool_]:
    """Write integers and return which are valid."""
    if values.dtype.kind == "b":
        target[:] = values
        return numpy.ones(len(values), bool)
    if values.dtype.kind == "f":
        values = values.astype(numpy.float64)
    valid = (values >= low) if values.dtype.kind != "u" else numpy.ones(len(values), bool)
    # A type of a single byte cannot even hold the limits.
    if values.dtype.itemsize > 1:
        valid &= values <= numpy.array(high).astype(values.dtype)
    if values.dtype.kind == "f":
        valid &= values == numpy.rint(values)
    target[:] = numpy.where(valid, values, numpy.zeros((), values.dtype)).astype(target.dtype)
    return valid


def _convert_polarities(values: Numbers, target: NDArray[numpy.uint8]) -> NDArray[numpy.bool_]:
    """Write 1 where polarities are positive, 0 elsewhere, and return which are valid."""
    target[:] = values > 0
    valid = (values == 0) | (values == 1)
    if values.dtype.kind in "if":
        valid |= values == -1
    return valid
