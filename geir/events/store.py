"""Events of an event camera: when, where, and whether the pixel became brighter or darker."""

import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, SupportsIndex

import numpy
import torch
from numpy.typing import ArrayLike
from torch import Tensor

COLUMNS = {"t": torch.int64, "x": torch.int16, "y": torch.int16, "p": torch.uint8}
# Names of the columns in other libraries.
ALIASES = {"t": ("t", "timestamp", "ts"), "x": ("x",), "y": ("y",), "p": ("p", "on", "polarity")}

_MAX_SENSOR_SIDE = 1 << 15


@dataclass(frozen=True, eq=False, repr=False)
class Events:
    """Events as contiguous columns. A sequence of single events; slices share memory.

    Args:
        t: Times in microseconds, int64, shape (events,).
        x: Columns of the sensor from the left, int16, shape (events,).
        y: Rows of the sensor from the top, int16, shape (events,).
        p: Polarities, uint8, shape (events,): 1 if the pixel became brighter, 0 if darker. Given as
            signed integers, -1 is converted to 0.
        sensor_size: Width and height of the sensor in pixels.

    Raises:
        TypeError: If a column does not hold integers (`p` may hold booleans), or `sensor_size` is
            not a pair of positive integers.
        ValueError: If columns differ in length, or an event is outside the sensor.

    >>> events = Events(t=[10, 20, 30], x=[0, 1, 2], y=[5, 5, 6], p=[1, 0, 1], sensor_size=(3, 7))
    >>> events
    Events(3 events of a 3x7 sensor, 10 to 30 us)
    >>> events.slice_time(15, 30).x
    tensor([1], dtype=torch.int16)
    """

    t: Tensor
    x: Tensor
    y: Tensor
    p: Tensor
    sensor_size: tuple[int, int]

    def __post_init__(self) -> None:
        size = tuple(self.sensor_size) if isinstance(self.sensor_size, Sequence) else ()
        if len(size) != 2 or not all(isinstance(side, int) and 0 < side <= _MAX_SENSOR_SIDE for side in size):
            raise TypeError(
                f"Events.sensor_size must be the width and the height in pixels, got {self.sensor_size!r}; "
                f"both must be integers from 1 to {_MAX_SENSOR_SIDE:,}."
            )
        object.__setattr__(self, "sensor_size", size)
        for name, dtype in COLUMNS.items():
            object.__setattr__(self, name, _as_column(name, getattr(self, name), dtype))
            if len(getattr(self, name)) != len(self.t):
                raise ValueError(
                    f"Events.{name} has {len(getattr(self, name))} entries, but Events.t has {len(self.t)}."
                )
        for name, limit in (("x", size[0]), ("y", size[1]), ("p", 2)):
            column = getattr(self, name)
            if len(column) and not (column.min() >= 0 and column.max() < limit):
                outside = int(column.max() if column.min() >= 0 else column.min())
                raise ValueError(
                    f"Events.{name} must be in [0, {limit}), got {outside}; the sensor has {size[0]}x{size[1]} pixels."
                )

    @classmethod
    def unchecked(cls, t: Tensor, x: Tensor, y: Tensor, p: Tensor, sensor_size: tuple[int, int]) -> "Events":
        """Construct events from columns that are known to be valid, without checks or conversions."""
        events = object.__new__(cls)
        for field, value in zip(fields(cls), (t, x, y, p, sensor_size), strict=True):
            object.__setattr__(events, field.name, value)
        return events

    @classmethod
    def empty(cls, sensor_size: tuple[int, int]) -> "Events":
        """Return no events.

        Raises:
            TypeError: If `sensor_size` is not a pair of positive integers.
        """
        return cls(*(torch.empty(0, dtype=dtype) for dtype in COLUMNS.values()), sensor_size=sensor_size)

    def __len__(self) -> int:
        return len(self.t)

    def __repr__(self) -> str:
        span = f", {int(self.t[0]):,} to {int(self.t[-1]):,} us" if len(self) else ""
        device = "" if self.t.device.type == "cpu" else f", on {self.t.device}"
        width, height = self.sensor_size
        return f"Events({len(self):,} events of a {width}x{height} sensor{span}{device})"

    def __getitem__(self, index: SupportsIndex | slice | Tensor | numpy.ndarray | Sequence[int | bool]) -> "Events":
        """Select one event by its index, or several by a slice, a mask or indices. Slices share memory.

        Raises:
            IndexError: If an index is out of range, or a mask does not have one entry per event.
            TypeError: If `index` is none of these.
            ValueError: If the step of a slice is not positive.
        """
        selection = index if isinstance(index, slice) else _as_selection(index, len(self))
        # A slice with a step is copied, because C code expects contiguous columns.
        columns = (column[selection].contiguous() for column in self.columns())
        return Events.unchecked(*columns, sensor_size=self.sensor_size)

    def __iter__(self) -> Iterator["Events"]:
        """Iterate over single events, each as `Events` of length 1."""
        return (self[index] for index in range(len(self)))

    def __contains__(self, event: object) -> bool:
        """Whether there is an event with the same time, coordinates and polarity as a single event."""
        if not isinstance(event, Events) or len(event) != 1:
            return False
        same = [ours == theirs for ours, theirs in zip(self.columns(), event.columns(), strict=True)]
        return bool((same[0] & same[1] & same[2] & same[3]).any())

    def columns(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return t, x, y and p."""
        return self.t, self.x, self.y, self.p

    def equal(self, other: "Events") -> bool:
        """Whether both have the same events in the same order and the same sensor size."""
        return self.sensor_size == other.sensor_size and all(
            a.equal(b) for a, b in zip(self.columns(), other.columns(), strict=True)
        )

    @property
    def duration(self) -> int:
        """Microseconds from the first event to the last."""
        return int(self.t[-1] - self.t[0]) if len(self) else 0

    @property
    def is_sorted(self) -> bool:
        """Whether times never decrease."""
        return bool((self.t[1:] >= self.t[:-1]).all())

    def sorted(self) -> "Events":
        """Return the events in the order of time; simultaneous events keep their order."""
        return self if self.is_sorted else self[torch.argsort(self.t, stable=True)]

    def slice_time(self, start: int | None = None, stop: int | None = None) -> "Events":
        """Return the events at `start` <= t < `stop` microseconds, which share memory.

        The events must be sorted.

        Raises:
            ValueError: If `stop` is before `start`.
        """
        if start is not None and stop is not None and stop < start:
            raise ValueError(f"Events.slice_time: stop must not be before start, got start={start} and stop={stop}.")
        first, last = (None if limit is None else int(torch.searchsorted(self.t, limit)) for limit in (start, stop))
        return self[first:last]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Events":
        """Return the events on a device."""
        return Events.unchecked(
            *(column.to(device, non_blocking=non_blocking) for column in self.columns()),
            sensor_size=self.sensor_size,
        )

    def pin_memory(self) -> "Events":
        """Return the events in pinned memory, from which copies to a GPU are faster."""
        return Events.unchecked(*(column.pin_memory() for column in self.columns()), sensor_size=self.sensor_size)

    @staticmethod
    def cat(parts: Iterable["Events"]) -> "Events":
        """Concatenate events of one sensor.

        Raises:
            ValueError: If `parts` is empty, or the sensor sizes differ.
        """
        parts = list(parts)
        sizes = {part.sensor_size for part in parts}
        if len(sizes) != 1:
            raise ValueError(
                "Events.cat needs at least one part, all with the same sensor size, "
                f"got {len(parts)} parts of sizes {sorted(sizes)}."
            )
        columns = zip(*(part.columns() for part in parts), strict=True)
        return Events.unchecked(*map(torch.cat, columns), sensor_size=sizes.pop())

    @staticmethod
    def from_structured(array: Any, sensor_size: tuple[int, int]) -> "Events":
        """Convert a structured NumPy array or a data frame.

        tonic, faery, aedat and expelliarmus return structured arrays.

        Args:
            array: With fields or columns for time in microseconds (`t`, `timestamp` or `ts`), `x`,
                `y` and polarity (`p`, `on` or `polarity`).
            sensor_size: Width and height of the sensor in pixels.

        Raises:
            TypeError: If a field does not hold integers.
            ValueError: If a field is missing, or an event is outside the sensor.
        """
        names = list(array.dtype.names or ()) if hasattr(array, "dtype") else list(array.columns)
        columns = {}
        for column, aliases in ALIASES.items():
            name = next((alias for alias in aliases if alias in names), None)
            if name is None:
                raise ValueError(
                    f"Events.from_structured needs a field {' or '.join(aliases)}, got {', '.join(names) or 'none'}."
                )
            columns[column] = numpy.ascontiguousarray(array[name])
        return Events(**columns, sensor_size=sensor_size)

    def to_structured(self, order: Sequence[str] = ("t", "x", "y", "p")) -> numpy.ndarray:
        """Convert to a structured NumPy array, which `pandas.DataFrame` accepts.

        Args:
            order: Names of the fields, which may be those of other libraries: ``"xytp"`` is tonic's
                order, and faery calls `p` ``on``.

        Raises:
            KeyError: If a name is unknown.

        >>> Events([10], [1], [2], [1], (3, 3)).to_structured("xytp")
        array([(1, 2, 10, 1)], dtype=[('x', '<i2'), ('y', '<i2'), ('t', '<i8'), ('p', 'u1')])
        """
        column_of = {alias: column for column, aliases in ALIASES.items() for alias in aliases}
        columns = {name: getattr(self, column_of[name]).cpu().numpy() for name in order}
        array = numpy.empty(len(self), [(name, column.dtype) for name, column in columns.items()])
        for name, column in columns.items():
            array[name] = column
        return array


def _as_selection(index: SupportsIndex | Tensor | numpy.ndarray | Sequence[int | bool], count: int) -> slice | Tensor:
    """Convert an index to a slice of one event, and a mask or indices to indices."""
    if isinstance(index, Tensor | numpy.ndarray | Sequence) and not isinstance(index, str | bytes):
        chosen = index if isinstance(index, Tensor) else torch.as_tensor(_integers_if_empty(numpy.asarray(index)))
        if chosen.dim() != 0:
            return _as_indices(chosen, count)
    try:
        position = operator.index(index)  # pyright: ignore[reportArgumentType]  (checked by catching the error)
    except TypeError:
        position = None
    if position is None or isinstance(index, bool):
        raise TypeError(f"Events expected an index, a slice, a mask or indices, got {index!r}.")
    if not -count <= position < count:
        raise IndexError(f"Events: there are {count} events, got index {position}.")
    return slice(position, position + 1 or None)


def _integers_if_empty(array: numpy.ndarray) -> numpy.ndarray:
    """Undo that NumPy gives an empty list a floating-point dtype."""
    return array if array.size else array.astype(numpy.int64)


def _as_indices(chosen: Tensor, count: int) -> Tensor:
    if chosen.dim() != 1 or chosen.is_floating_point() or chosen.is_complex() or chosen.dtype == torch.uint8:
        hint = "; for a mask, compare first, as in events.p == 1" if chosen.dtype == torch.uint8 else ""
        raise TypeError(
            "Events expected a one-dimensional mask of booleans, or indices of a signed integer type, "
            f"got {chosen.dtype} of shape {tuple(chosen.shape)}{hint}."
        )
    if chosen.dtype == torch.bool:
        if len(chosen) != count:
            raise IndexError(f"Events: a mask must have one entry per event, {count}, got {len(chosen)}.")
        # Converted to indices once instead of once per column.
        return chosen.nonzero().squeeze(1)
    return chosen.long()


def _as_column(name: str, values: Tensor | ArrayLike, dtype: torch.dtype) -> Tensor:
    """Convert values to a contiguous tensor of a dtype, or raise an error if that would change them."""
    if not isinstance(values, Tensor):
        values = _as_tensor(name, numpy.asarray(values), dtype)
    if values.dim() != 1 or values.is_floating_point() or values.is_complex():
        raise TypeError(
            f"Events.{name} must be a one-dimensional sequence of integers, "
            f"got {values.dtype} of shape {tuple(values.shape)}{_unit(name)}."
        )
    if name == "p" and values.dtype.is_signed and len(values) and values.min() >= -1 and values.max() <= 1:
        values = values > 0
    if values.dtype not in (dtype, torch.bool) and len(values):
        limits = torch.iinfo(dtype)
        if not limits.min <= int(values.min()) <= int(values.max()) <= limits.max:
            raise ValueError(f"Events.{name} must fit {dtype}, got {int(values.min())} to {int(values.max())}.")
    return values.to(dtype).contiguous()


def _unit(name: str) -> str:
    return "; times are in microseconds" if name == "t" else ""


def _as_tensor(name: str, array: numpy.ndarray, dtype: torch.dtype) -> Tensor:
    if array.size == 0:
        # NumPy gives an empty list a floating-point dtype.
        return torch.empty(0, dtype=dtype)
    if array.dtype.kind not in "iub":
        raise TypeError(
            f"Events.{name} must be a one-dimensional sequence of integers, got {array.dtype} of shape {array.shape}"
            f"{_unit(name)}."
        )
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        # PyTorch has no arithmetic for the larger unsigned types.
        if array.max() > torch.iinfo(torch.int64).max:
            raise ValueError(f"Events.{name} must fit {dtype}, got {array.min()} to {array.max()}.")
        array = array.astype(numpy.int64)
    return torch.from_numpy(array)
