"""Columns of events as decoders fill them: allocation, conversion and validation."""

import ctypes
from typing import Any, NamedTuple, TypeAlias

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..._runtime import memory
from .. import _native
from ..store import COLUMNS

Bytes: TypeAlias = NDArray[numpy.uint8]

# Microseconds by which an event may be earlier than one before it. Cameras send simultaneous events
# in an order that is not quite that of time; a larger step means that the file is damaged.
MAX_BACKWARD_STEP_US = 1000
# Times in microseconds further from 0 are invalid. The bound leaves room for differences of times in 64 bits.
MAX_ABS_TIME = 1 << 62


# Invalid values of columns, which stand for numbers in a file that the column cannot hold.
UNFIT = {"t": -1 << 63, "x": -1 << 15, "y": -1 << 15, "p": 255}


class ColumnPointers(ctypes.Structure):
    """`EventColumns` in C."""

    _fields_ = [
        ("t", ctypes.c_void_p),
        ("x", ctypes.c_void_p),
        ("y", ctypes.c_void_p),
        ("p", ctypes.c_void_p),
        ("capacity", ctypes.c_int64),
    ]

    # For type checkers; ctypes defines the attribute.
    capacity: int


class ValidityLimits(ctypes.Structure):
    """The conditions on valid events; `ValidityLimits` in C."""

    _fields_ = [
        ("width", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("max_backward_step", ctypes.c_int64),
        ("max_abs_time", ctypes.c_int64),
    ]


class CheckedEvents(ctypes.Structure):
    """The result of checking events right after decoding; the same fields as in columns.c.

    Attributes:
        valid: 1 if all of them are valid among themselves, 0 if that is not known.
        earliest: Their earliest time.
        latest: Their latest time.
    """

    _fields_ = [("valid", ctypes.c_int64), ("earliest", ctypes.c_int64), ("latest", ctypes.c_int64)]

    # For type checkers; ctypes defines the attributes.
    valid: int
    earliest: int
    latest: int

    @classmethod
    def start(cls) -> "CheckedEvents":
        """Before the first event."""
        return cls(1, MAX_ABS_TIME, -MAX_ABS_TIME)

    def follow(self, latest: int) -> bool:
        """Whether they are also valid after events up to the time `latest`."""
        return bool(self.valid) and self.earliest >= latest - MAX_BACKWARD_STEP_US


class EventColumns(NamedTuple):
    """Times in microseconds, coordinates and polarities as decoded, not validated yet.

    The columns are contiguous, on the CPU, and of the dtypes of `COLUMNS`.
    """

    t: Tensor
    x: Tensor
    y: Tensor
    p: Tensor

    @classmethod
    def allocate(cls, size: int) -> "EventColumns":
        """Allocate uninitialized columns for `size` events, in one piece of memory."""
        widths = [dtype.itemsize for dtype in COLUMNS.values()]
        whole = memory.empty([size * sum(widths)], torch.empty(0), torch.uint8)
        pieces = whole.split([size * width for width in widths])
        return cls(*(piece.view(dtype) for piece, dtype in zip(pieces, COLUMNS.values(), strict=True)))

    def copied(self, count: int, size: int) -> "EventColumns":
        """Copy the first `count` events to columns that have room for `size`."""
        copy = EventColumns.allocate(size)
        for old, new in zip(self, copy, strict=True):
            new[:count] = old[:count]
        return copy

    @property
    def size(self) -> int:
        """Number of events for which there is room."""
        return len(self.t)

    def part(self, first: int, last: int | None = None) -> "EventColumns":
        """Select events `first` to `last` (exclusive), which share memory."""
        if not first and last == self.size:
            return self
        return EventColumns(*(column[first:last] for column in self))

    def pointers(self, first: int = 0) -> ColumnPointers:
        """Return pointers to event `first` for C. The columns must be kept alive while C uses them."""
        addresses = (column.data_ptr() + first * column.itemsize for column in self)
        return ColumnPointers(*addresses, self.size - first)


class EventCheck:
    """Check of events right after decoding, a few thousand at a time, while they are in the processor's cache.

    Args:
        sensor_size: Width and height in pixels.
        first_time: Microseconds that are added to the times of the records before.

    Attributes:
        library: The check in C, or None without a compiler.
        limits: The conditions that it checks.
        checked: Its result so far.
    """

    def __init__(self, sensor_size: tuple[int, int], first_time: int = 0):
        self.limits = ValidityLimits(*sensor_size, MAX_BACKWARD_STEP_US, MAX_ABS_TIME)
        self._first_time = first_time
        self.library = _native.load("formats/columns.c")
        self.checked = CheckedEvents.start()

    def decode(
        self, function: Any, records: Bytes, count: int, record_size: int, out: ColumnPointers, state: ctypes.Structure
    ) -> None:
        """Decode records with a function in C as decoder.h describes it, and check their events."""
        assert self.library is not None, "without a compiler, `skip` is called instead"
        self.library.decode_checked(
            function,
            ctypes.c_void_p(records.ctypes.data),
            ctypes.c_int64(count),
            ctypes.c_int64(record_size),
            ctypes.byref(out),
            ctypes.byref(state),
            ctypes.c_int64(self._first_time),
            ctypes.byref(self.limits),
            ctypes.byref(self.checked),
        )

    def skip(self, columns: EventColumns) -> None:
        """Leave decoded events unchecked, where there is no compiler; `valid_prefix` will check them."""
        if self._first_time:
            columns.t.add_(self._first_time)
        self.checked.valid = 0

    def finish(self) -> CheckedEvents:
        """End a batch of events, and return the result of its check."""
        checked, self.checked = self.checked, CheckedEvents.start()
        return checked


class ValidPrefix(NamedTuple):
    """The events of a batch before the first invalid one."""

    length: int
    latest: int  # the latest time so far, in microseconds


def valid_prefix(
    columns: EventColumns, sensor_size: tuple[int, int], max_backward_step: int, latest: int
) -> ValidPrefix:
    """Find the first event that is outside the sensor, has an invalid time, or steps back in time too far.

    Args:
        columns: The events.
        sensor_size: Width and height in pixels.
        max_backward_step: Microseconds by which an event may be earlier than one before it.
        latest: The latest time of the events before these; ``-MAX_ABS_TIME`` if there were none.

    Returns:
        The number of events before it, and the latest time among these and the events before them.
    """
    limits = ValidityLimits(*sensor_size, max_backward_step, MAX_ABS_TIME)
    library = _native.load("formats/columns.c")
    if library is None:
        return reference_valid_prefix(columns, limits, latest)
    library.valid_prefix.restype = ctypes.c_int64
    first, last = ctypes.c_int64(MAX_ABS_TIME), ctypes.c_int64(latest)
    count = library.valid_prefix(
        ctypes.byref(columns.pointers()),
        ctypes.c_int64(columns.size),
        ctypes.byref(limits),
        ctypes.byref(first),
        ctypes.byref(last),
    )
    return ValidPrefix(count, last.value)


def reference_valid_prefix(columns: EventColumns, limits: ValidityLimits, latest: int) -> ValidPrefix:
    """Do the same as `valid_prefix` in columns.c, in NumPy."""
    t, x, y, p = (column.numpy() for column in columns)
    # The latest time before each event, and after the last one.
    late = numpy.maximum.accumulate(numpy.concatenate([[latest], t]))
    valid = (x >= 0) & (x < limits.width) & (y >= 0) & (y < limits.height) & (p <= 1)
    valid &= t >= late[:-1] - limits.max_backward_step
    valid &= (t >= -limits.max_abs_time) & (t <= limits.max_abs_time)
    count = len(t) if valid.all() else int(valid.argmin())
    return ValidPrefix(count, int(late[count]))
