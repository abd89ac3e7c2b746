"""Lines of text, decoded as csv.c does it."""

import ctypes
import functools
import re

from .decoder import Decoder, DecoderState, Row

_COORDINATE_RANGE = range(-(1 << 15), 1 << 15)
_NUMBER = re.compile(rb"([-+]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([-+]?[0-9]{1,3}))?")
_WORDS = {b"True": 1, b"true": 1, b"False": 0, b"false": 0}
# An integer of the result must have at most 18 digits.
_MAX_VALUE = 10**18


class LineLayout(ctypes.Structure):
    """Layout of a line; `LineLayout` in csv.c.

    Attributes:
        t_field: Index of the time among the fields of a line; likewise `x_field`, `y_field`, `p_field`.
        field_count: Number of fields that a line must have; further ones are ignored.
        separator: Code of the character between fields; a space stands for any run of spaces and tabs.
        time_exponent: Power of ten by which times are multiplied to give microseconds.
        rounds_times: Whether times may have further decimals, which are rounded.
    """

    _fields_ = [
        ("t_field", ctypes.c_int64),
        ("x_field", ctypes.c_int64),
        ("y_field", ctypes.c_int64),
        ("p_field", ctypes.c_int64),
        ("field_count", ctypes.c_int64),
        ("separator", ctypes.c_int64),
        ("time_exponent", ctypes.c_int64),
        ("rounds_times", ctypes.c_int64),
    ]

    # For type checkers; ctypes defines the attributes.
    t_field: int
    x_field: int
    y_field: int
    p_field: int
    field_count: int
    separator: int
    time_exponent: int
    rounds_times: int


def reference_csv(text: bytes, count: int, capacity: int, state: DecoderState, layout: LineLayout) -> list[Row]:
    """Decode whole lines, each with its newline.

    Empty lines and lines that begin with # are skipped. The state counts bytes.
    """
    rows: list[Row] = []
    position = 0
    while position < count and len(rows) < capacity:
        end = text.index(b"\n", position) + 1
        line = text[position:end].lstrip(b" \t\r")
        if not line.startswith((b"\n", b"#")):
            row = _parse_line(line, layout)
            if row is None:
                state.invalid = 1
                break
            rows.append(row)
        position = end
    state.records_read = position
    return rows


def _parse_line(line: bytes, layout: LineLayout) -> Row | None:
    """Return the event of a line that ends with a newline, or None if the line is invalid."""
    cells = split_line(line, layout.separator, layout.field_count)
    if cells is None:
        return None
    t = parse_number(cells[layout.t_field], layout.time_exponent, bool(layout.rounds_times))
    x = parse_number(cells[layout.x_field])
    y = parse_number(cells[layout.y_field])
    p = parse_number(cells[layout.p_field], words=True)
    if t is None or x is None or y is None or p is None:
        return None
    if x not in _COORDINATE_RANGE or y not in _COORDINATE_RANGE or p not in (-1, 0, 1):
        return None
    return t, x, y, int(p > 0)


def split_line(line: bytes, separator: int, field_count: int) -> list[bytes] | None:
    """Return the first fields of a line that ends with a newline, or None if it has fewer."""
    character = re.escape(bytes([separator]))
    # A field in quotes may contain the separator.
    if separator == ord(" "):
        pattern = re.compile(rb'((?:"[^"\n]*"?)?[^ \t\r\n]*)([ \t\r]*)')
    else:
        pattern = re.compile(rb'((?:"[^"\n]*"?)?[^\n' + character + rb"]*)(" + character + rb"?)[ \t\r]*")
    cells: list[bytes] = []
    position = 0
    while len(cells) < field_count:
        found = pattern.match(line, position)
        assert found is not None  # the pattern matches the empty string
        cells.append(found[1].rstrip(b" \t\r"))
        position = found.end()
        if not found[2] or (separator == ord(" ") and line[position : position + 1] == b"\n"):
            break
    return cells if len(cells) == field_count else None


def parse_number(cell: bytes, exponent: int = 0, rounds: bool = False, words: bool = False) -> int | None:
    """Parse a number, which may be in quotes, as an integer.

    Args:
        cell: The text.
        exponent: Power of ten by which the number is multiplied.
        rounds: Whether decimals are rounded, half away from zero; otherwise they must be zeros.
        words: Whether True and False are numbers.

    Returns:
        The integer, or None if the number is invalid or has more than 18 digits.
    """
    if len(cell) >= 2 and cell[:1] == cell[-1:] == b'"':
        cell = cell[1:-1]
    if words and cell in _WORDS:
        return _WORDS[cell]
    found = _NUMBER.fullmatch(cell)
    if not found:
        return None
    sign, whole, decimals, power = (group or b"" for group in found.groups())
    digits = whole + decimals
    if not digits:
        return None
    # The decimal point of the result lies after this many of the digits.
    point = len(whole) + exponent + int(power or 0)
    kept, rest = digits[: max(point, 0)], digits[max(point, 0) :]
    if not rounds and rest.strip(b"0"):
        return None
    value = int(kept or 0)
    if value:
        value *= 10 ** max(point - len(digits), 0)
    if value >= _MAX_VALUE:
        return None
    value += int(0 <= point < len(digits) and digits[point : point + 1] >= b"5")
    return -value if sign == b"-" else value


def csv_decoder(layout: LineLayout) -> Decoder:
    """Return a decoder of lines with a layout."""
    reference = functools.partial(reference_csv, layout=layout)
    return Decoder("csv.c", "decode_csv", reference, record_size=1, parameters=layout)
