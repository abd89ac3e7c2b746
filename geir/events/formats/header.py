"""Headers of text and the numbers in them."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from .source import Source

_MAX_HEADER_BYTES = 1 << 16
_MAX_SENSOR_SIDE = 1 << 15


# The line that ends a header, after other lines of it.
_END_LINE = re.compile(rb"\A(?:%[^\n]*\n)*?% *end *\r?\n")
# A line of a header: a name and its value.
_TEXT_LINE = re.compile(r"% +[^\W\d_][^\x00-\x08\x0a-\x1f\x7f-\x9f]*")


class TextHeader(NamedTuple):
    """Lines by their first words, and the byte after the last of them."""

    lines: dict[str, str]
    end: int


def read_text_header(source: Source) -> TextHeader:
    """Read the lines of text that begin with "% " at the start of a file, as Prophesee's formats have them.

    The line ``% end`` ends the header. Older files lack it; in these, the header ends before the
    first line that is not text, because events may begin with the same bytes as a line.

    Raises:
        EventFileError: If a line does not end.
    """
    head = source.read(0, min(_MAX_HEADER_BYTES, source.size), "the header")
    has_end = _END_LINE.search(head) is not None
    lines: dict[str, str] = {}
    position = 0
    while head.startswith(b"%", position) and (has_end or _is_text_line(head, position)):
        end = head.find(b"\n", position)
        if end < 0:
            raise source.error("a line of the header does not end", position)
        key, _, value = head[position + 1 : end].decode("latin-1").strip().partition(" ")
        position = end + 1
        if key == "end":
            break
        lines[key] = value.strip()
    return TextHeader(lines, position)


def _is_text_line(head: bytes, position: int) -> bool:
    """Whether a line of a header begins here, and not events.

    The first word of EVT 2.0 data is mostly a time word, whose fourth byte is 0x80 to 0x8f. After
    "% " and a letter this is no valid UTF-8, so that such a word is never mistaken for text.
    """
    line = head[position:].partition(b"\n")[0].rstrip(b"\r")
    try:
        return _TEXT_LINE.fullmatch(line.decode()) is not None
    except UnicodeDecodeError:
        return False


def parse_integer(source: Source, header: Mapping[str, str], key: str, default: int = 0) -> int:
    """Parse an integer of a header.

    Raises:
        EventFileError: If it is not an integer, or not within 2**61.
    """
    text = header.get(key, str(default))
    try:
        value = int(text) if len(text) < 20 else None
    except ValueError:
        value = None
    if value is None or abs(value) >= 1 << 61:
        raise source.error(f"the header's {key} must be an integer, got {text[:40]!r}")
    return value


def check_sensor_size(source: Source, width: int, height: int) -> tuple[int, int]:
    """Check a sensor size that a file states, and return it.

    Raises:
        EventFileError: If it is not positive or too large.
    """
    if not (0 < width <= _MAX_SENSOR_SIDE and 0 < height <= _MAX_SENSOR_SIDE):
        raise source.error(
            f"the stated sensor size of {width}x{height} pixels is invalid; each side must be 1 to {_MAX_SENSOR_SIDE:,}"
        )
    return width, height


def stated_sensor_size(
    source: Source, header: Mapping[str, str], width_key: str, height_key: str
) -> tuple[int, int] | None:
    """Return the sensor size that a header states in two of its lines, or None if it has neither.

    Raises:
        EventFileError: If it has only one of them, or the size is invalid.
    """
    if width_key not in header and height_key not in header:
        return None
    width, height = (parse_integer(source, header, key) for key in (width_key, height_key))
    return check_sensor_size(source, width, height)
