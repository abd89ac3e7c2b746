"""Events of an event camera: when, where, and whether it became brighter or darker."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy
import torch
from torch import Tensor

COLUMNS = {"t": torch.int64, "x": torch.int16, "y": torch.int16, "p": torch.uint8}
# What others call them.
ALIASES = {"t": ("t", "timestamp", "ts"), "x": ("x",), "y": ("y",), "p": ("p", "on", "polarity")}


@dataclass(frozen=True, eq=False, repr=False)
class Events:
    """Events as contiguous columns, which slices share.

    Args:
        t: Times in microseconds, int64, shape (events,).
        x: Columns of the sensor from the left, int16.
        y: Rows of the sensor from the top, int16.
        p: Polarities, uint8: 1 where it became brighter, 0 where darker.
        sensor_size: Width and height of the sensor in pixels.

    Raises:
        TypeError: If a column is not of whole numbers (or, `p`, truth values), or `sensor_size` not two of them.
        ValueError: If columns differ in length, or an event lies outside of the sensor.

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
        if len(size) != 2 or not all(isinstance(n, int) and 0 < n <= 1 << 15 for n in size):
            raise TypeError(f"Events.sensor_size must be the width and the height in pixels, got {self.sensor_size!r}.")
        object.__setattr__(self, "sensor_size", size)
        for name, dtype in COLUMNS.items():
            object.__setattr__(self, name, _column(name, getattr(self, name), dtype))
            if len(getattr(self, name)) != len(self.t):
                raise ValueError(
                    f"Events.{name} has {len(getattr(self, name))} entries, but Events.t has {len(self.t)}."
                )
        for name, limit in (("x", size[0]), ("y", size[1]), ("p", 2)):
            column = getattr(self, name)
            if len(column) and not (column.min() >= 0 and column.max() < limit):
                wrong = int(column.max() if column.min() >= 0 else column.min())
                raise ValueError(
                    f"Events.{name} must lie in [0, {limit}), got {wrong}; the sensor has {size[0]}x{size[1]} pixels."
                )

    @classmethod
    def unchecked(cls, t: Tensor, x: Tensor, y: Tensor, p: Tensor, sensor_size: tuple[int, int]) -> "Events":
        """From columns that are known to be right: as the constructor, without looking at them."""
        events = object.__new__(cls)
        for field, value in zip(fields(cls), (t, x, y, p, sensor_size), strict=True):
            object.__setattr__(events, field.name, value)
        return events

    @classmethod
    def empty(cls, sensor_size: tuple[int, int]) -> "Events":
        """No events."""
        return cls(*(torch.empty(0, dtype=dtype) for dtype in COLUMNS.values()), sensor_size=sensor_size)

    def __len__(self) -> int:
        return len(self.t)

    def __repr__(self) -> str:
        span = f", {int(self.t[0]):,} to {int(self.t[-1]):,} us" if len(self) else ""
        where = "" if self.t.device.type == "cpu" else f", on {self.t.device}"
        return f"Events({len(self):,} events of a {self.sensor_size[0]}x{self.sensor_size[1]} sensor{span}{where})"

    def __getitem__(self, which: slice | Tensor | Sequence[int]) -> "Events":
        """Some of the events, by a slice (which shares memory), a mask or indices."""
        if isinstance(which, int):
            which = slice(which, which + 1 or None)
        elif isinstance(which, Tensor) and which.dtype == torch.bool:
            # Found once, not once a column.
            which = which.nonzero().squeeze(1)
        return Events.unchecked(*(column[which] for column in self.columns()), sensor_size=self.sensor_size)

    def columns(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """t, x, y and p."""
        return self.t, self.x, self.y, self.p

    def equal(self, other: "Events") -> bool:
        """Whether both have the same events in the same order, of sensors of the same size."""
        return self.sensor_size == other.sensor_size and all(
            a.equal(b) for a, b in zip(self.columns(), other.columns(), strict=True)
        )

    @property
    def duration(self) -> int:
        """Microseconds from the first event to the last."""
        return int(self.t[-1] - self.t[0]) if len(self) else 0

    @property
    def is_sorted(self) -> bool:
        """Whether no event comes before an earlier one."""
        return bool((self.t[1:] >= self.t[:-1]).all())

    def sorted(self) -> "Events":
        """The same in the order of time; events of one time stay in their order."""
        return self if self.is_sorted else self[torch.argsort(self.t, stable=True)]

    def slice_time(self, start: int | None = None, stop: int | None = None) -> "Events":
        """The events at `start` <= t < `stop` microseconds, which must be sorted; they share memory.

        Raises:
            ValueError: If `stop` lies before `start`.
        """
        if start is not None and stop is not None and stop < start:
            raise ValueError(f"Events.slice_time: stop must not lie before start, got {start} and {stop}.")
        first, last = (None if limit is None else int(torch.searchsorted(self.t, limit)) for limit in (start, stop))
        return self[first:last]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Events":
        """The same on a device."""
        return Events.unchecked(
            *(c.to(device, non_blocking=non_blocking) for c in self.columns()), sensor_size=self.sensor_size
        )

    def pin_memory(self) -> "Events":
        """The same in memory from which a GPU copies quickly."""
        return Events.unchecked(*(c.pin_memory() for c in self.columns()), sensor_size=self.sensor_size)

    @staticmethod
    def cat(parts: Iterable["Events"]) -> "Events":
        """Events one after another, of one sensor.

        Raises:
            ValueError: If there is none, or sensors differ in size.
        """
        parts = list(parts)
        sizes = {part.sensor_size for part in parts}
        if len(sizes) != 1:
            raise ValueError(f"Events.cat takes events of one sensor, got {len(parts)} parts of sizes {sorted(sizes)}.")
        return Events.unchecked(
            *(torch.cat(columns) for columns in zip(*(p.columns() for p in parts), strict=True)),
            sensor_size=sizes.pop(),
        )

    @staticmethod
    def from_structured(array: Any, sensor_size: tuple[int, int]) -> "Events":
        """From a structured NumPy array, as tonic, faery, aedat and expelliarmus make them, or a data frame.

        Args:
            array: With fields or columns for time in microseconds (`t`, `timestamp`, `ts`), `x`, `y` and polarity (`p`, `on`, `polarity`).
            sensor_size: Width and height of the sensor in pixels.

        Raises:
            ValueError: If one of them is missing.
        """
        names = list(array.dtype.names or ()) if hasattr(array, "dtype") else list(array.columns)
        columns = {}
        for column, aliases in ALIASES.items():
            name = next((a for a in aliases if a in names), None)
            if name is None:
                raise ValueError(
                    f"Events.from_structured needs a field {' or '.join(aliases)}, got {', '.join(names) or 'none'}."
                )
            columns[column] = numpy.ascontiguousarray(array[name])
        return Events(**columns, sensor_size=sensor_size)

    def to_structured(self, order: Sequence[str] = ("t", "x", "y", "p")) -> numpy.ndarray:
        """As a structured NumPy array, from which `pandas.DataFrame` makes a data frame; ``order="xytp"`` is tonic's, ``on`` faery's name of `p`.

        >>> Events([10], [1], [2], [1], (3, 3)).to_structured("xytp")
        array([(1, 2, 10, 1)], dtype=[('x', '<i2'), ('y', '<i2'), ('t', '<i8'), ('p', 'u1')])
        """
        known = {alias: column for column, aliases in ALIASES.items() for alias in aliases}
        columns = {name: getattr(self, known[name]).cpu().numpy() for name in order}
        array = numpy.empty(len(self), [(name, c.dtype) for name, c in columns.items()])
        for name, column in columns.items():
            array[name] = column
        return array


def _column(name: str, values: Any, dtype: torch.dtype) -> Tensor:
    """Values as a contiguous tensor of a dtype, refused if they would change."""
    if not isinstance(values, Tensor):
        array = numpy.asarray(values)
        # PyTorch has no arithmetic for the other unsigned numbers.
        array = array.astype(numpy.int64) if array.dtype.kind == "u" and array.dtype.itemsize > 1 else array
        values = (
            torch.empty(0, dtype=dtype)
            if array.size == 0
            else torch.from_numpy(array)
            if array.dtype.kind in "iub"
            else torch.empty(0, 0)
        )
    if values.dim() != 1 or values.is_floating_point() or values.is_complex():
        raise TypeError(
            f"Events.{name} must be one row of whole numbers, got {values.dtype} of shape {tuple(values.shape)}."
        )
    if values.dtype not in (dtype, torch.bool) and len(values):
        limits = torch.iinfo(dtype)
        if not limits.min <= int(values.min()) <= int(values.max()) <= limits.max:
            raise ValueError(f"Events.{name} must fit {dtype}, got {int(values.min())} to {int(values.max())}.")
    return values.to(dtype).contiguous()
