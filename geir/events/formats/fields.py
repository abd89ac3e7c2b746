"""Names of the fields of an event in other programs' files, and units of time."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, TypedDict

TimeUnit: TypeAlias = Literal["s", "ms", "us", "ns"]

# Powers of ten by which a time is multiplied to give microseconds.
TIME_EXPONENTS: dict[str, int] = {"s": 6, "ms": 3, "us": 0, "ns": -3}

# In lower case.
FIELD_NAMES = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
# The name of a time may end with its unit: t_us, time_s, timestamp [us], t(ns).
_NAME_WITH_UNIT = re.compile(r"(\w+?)(?:[ _]?[\[(]|[ _])(s|sec|ms|us|ns)[\])]?")


class ReadOptions(TypedDict, total=False):
    """How to read files that do not say it themselves.

    Attributes:
        stream: Which of several streams of events: its number in AEDAT 3.1 and 4, the path of its
            group or dataset in HDF5, the name of its array in NPZ.
        columns: Order of the columns where they have no names, or instead of their names: the letters
            t, x, y and p, and _ for a column that is skipped, such as ``"xypt"`` or ``"_txyp"``.
        time_unit: Unit of the times in text and in arrays: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``.
            Default: what the names of the columns say; otherwise seconds if times have decimals, and
            microseconds if they are integers.
    """

    stream: int | str
    columns: str
    time_unit: TimeUnit


class Fields(NamedTuple):
    """Positions of t, x, y and p among the fields of an event, and the unit of time, if its name states it."""

    t: int
    x: int
    y: int
    p: int
    time_unit: TimeUnit | None = None

    def indices(self) -> tuple[int, int, int, int]:
        """Return the positions without the unit."""
        return self.t, self.x, self.y, self.p


def find_fields(names: Sequence[str]) -> Fields | None:
    """Find t, x, y and p by the names that other programs give them, in upper or lower case.

    Returns:
        Their positions, or None if one is missing.
    """
    plain = [name.strip().strip("'\"").strip().lower() for name in names]
    units: dict[int, TimeUnit] = {}
    for index, name in enumerate(plain):
        found = _NAME_WITH_UNIT.fullmatch(name)
        if found and found[1] in FIELD_NAMES["t"]:
            plain[index] = found[1]
            units[index] = "s" if found[2] == "sec" else found[2]  # pyright: ignore[reportArgumentType]  (the pattern)
    t, x, y, p = (next((plain.index(name) for name in known if name in plain), -1) for known in FIELD_NAMES.values())
    return None if min(t, x, y, p) < 0 else Fields(t, x, y, p, units.get(t))


def parse_columns(columns: str) -> Fields:
    """Return the positions that the option ``columns`` states.

    Raises:
        ValueError: If it does not have each of t, x, y and p once.
    """
    if not isinstance(columns, str) or set(columns) - set("txyp_") or any(columns.count(name) != 1 for name in "txyp"):
        raise ValueError(
            "open_events: columns must have each of the letters t, x, y and p once, and _ for a column to skip, "
            f"such as 'xypt', got {columns!r}."
        )
    t, x, y, p = (columns.index(name) for name in "txyp")
    return Fields(t, x, y, p)


def check_options(options: ReadOptions) -> None:
    """Check options that are the same for all formats.

    Raises:
        TypeError: If there is an unknown option, or `stream` is neither an integer nor a string.
        ValueError: If `columns` or `time_unit` is invalid.
    """
    unknown = sorted(set(options) - set(ReadOptions.__annotations__))
    if unknown:
        raise TypeError(
            f"open_events got an unexpected argument {unknown[0]!r}; "
            f"the further arguments are {', '.join(ReadOptions.__annotations__)}."
        )
    stream = options.get("stream", 0)
    if isinstance(stream, bool) or not isinstance(stream, int | str):
        raise TypeError(f"open_events: stream must be a number or a name, got {stream!r}.")
    if "columns" in options:
        parse_columns(options["columns"])
    unit = options.get("time_unit", "us")
    if unit not in TIME_EXPONENTS:
        raise ValueError(f"open_events: time_unit must be one of {', '.join(TIME_EXPONENTS)}, got {unit!r}.")
