"""Text: one event per line."""

import ctypes
import functools
import re
from collections.abc import Iterator

import numpy

from ..errors import EventFileError
from ..store import ALIASES
from .decoder import Batch, decode_blocks, Decoder, DecoderState, Row
from .header import check_sensor_size
from .reader import BinaryFile, EventChunks, Reader
from .source import Block, BLOCK_BYTES

_MAX_LINE_BYTES = 1 << 12
_MAX_HEAD_BYTES = 1 << 16
# As in csv.c.
_MAX_FIELDS = 16
_COORDINATE_RANGE = range(-(1 << 15), 1 << 15)
# Lines that are formatted at a time.
_WRITE_LINES = 1 << 16


class LineLayout(ctypes.Structure):
    """Layout of a line; `LineLayout` in csv.c.

    Attributes:
        t_field: Index of the time among the fields of a line; likewise `x_field`, `y_field`, `p_field`.
        field_count: Number of fields that a line must have, all of them integers; further ones are
            ignored.
        separator: Code of the character between fields; a space stands for any run of spaces and tabs.
    """

    _fields_ = [
        ("t_field", ctypes.c_int64),
        ("x_field", ctypes.c_int64),
        ("y_field", ctypes.c_int64),
        ("p_field", ctypes.c_int64),
        ("field_count", ctypes.c_int64),
        ("separator", ctypes.c_int64),
    ]

    # For type checkers; ctypes defines the attributes.
    t_field: int
    x_field: int
    y_field: int
    p_field: int
    field_count: int
    separator: int


def reference_csv(text: bytes, count: int, capacity: int, state: DecoderState, layout: LineLayout) -> list[Row]:
    """Decode whole lines, each with its newline.

    Empty lines and lines that begin with # are skipped. The state counts bytes.
    """
    rows: list[Row] = []
    position = 0
    while position < count and len(rows) < capacity:
        end = text.index(b"\n", position) + 1
        line = text[position:end].strip(b" \t\r\n")
        if line and not line.startswith(b"#"):
            row = _parse_line(line, layout)
            if row is None:
                state.invalid = 1
                break
            rows.append(row)
        position = end
    state.records_read = position
    return rows


def _parse_line(line: bytes, layout: LineLayout) -> Row | None:
    """Return the event of a line, or None if the line is invalid."""
    separator = bytes([layout.separator])
    cells = re.split(rb"[ \t\r]+" if separator == b" " else re.escape(separator), line)[: layout.field_count]
    cells = [cell.strip(b" \t\r") for cell in cells]
    if len(cells) < layout.field_count or not all(re.fullmatch(rb"-?[0-9]{1,18}", cell) for cell in cells):
        return None
    fields = layout.t_field, layout.x_field, layout.y_field, layout.p_field
    t, x, y, p = (int(cells[field]) for field in fields)
    if x not in _COORDINATE_RANGE or y not in _COORDINATE_RANGE or p not in (-1, 0, 1):
        return None
    return t, x, y, int(p > 0)


def csv_decoder(layout: LineLayout) -> Decoder:
    """Return a decoder of lines with a layout."""
    reference = functools.partial(reference_csv, layout=layout)
    return Decoder("csv.c", "decode_csv", reference, record_size=1, parameters=layout)


class Csv(Reader):
    """Integers t, x, y and p, separated by commas, semicolons, tabs or spaces.

    The first line may name the fields, in any order. There may be more fields than these four:
    those before the last of the four must be integers too, those after it can be anything.
    ``x@640,y@480`` in the first line, as faery writes it, states the sensor size. A polarity of -1
    is read as 0. Lines beginning with # are comments.
    """

    name, suffixes = "csv", (".csv", ".txt")

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return suffix in cls.suffixes

    def open(self) -> None:
        head = self.source.read(0, min(self.source.size, _MAX_HEAD_BYTES), "the head")
        line = self._skip_comments(head)
        text = line[:_MAX_LINE_BYTES].decode("latin-1")
        separator = next((character for character in ",;\t" if character in text), " ")
        cells = [cell.strip() for cell in (text.split() if separator in "\t " else text.split(separator))]
        fields = (0, 1, 2, 3)
        self._size: tuple[int, int] | None = None
        if cells and re.fullmatch(r"[A-Za-z_]\w*", cells[0].partition("@")[0]):
            self.start += len(head[self.start :].split(b"\n", 1)[0]) + 1
            fields = self._parse_names(cells, text)
        self.layout = LineLayout(*fields, max(fields) + 1, ord(" " if separator == "\t" else separator))

    def _skip_comments(self, head: bytes) -> bytes:
        """Set `start` to the first line that is neither empty nor a comment, and return the line."""
        self.start, line = 0, b""
        while self.start < len(head):
            end = head.find(b"\n", self.start) + 1 or len(head)
            line = head[self.start : end].strip()
            if line and not line.startswith(b"#"):
                break
            self.start = end
        return line

    def _parse_names(self, cells: list[str], text: str) -> tuple[int, int, int, int]:
        """Return the indices of t, x, y and p in a line of names, which may also state the sensor size."""
        names = [cell.partition("@")[0] for cell in cells]
        sizes = [cell.partition("@")[2] for cell in cells]
        t, x, y, p = (
            next((names.index(alias) for alias in aliases if alias in names), -1) for aliases in ALIASES.values()
        )
        if min(t, x, y, p) < 0 or max(t, x, y, p) >= _MAX_FIELDS:
            raise self.source.error(f"the first line must name the fields t, x, y and p, got {text[:80]!r}", 0)
        if re.fullmatch(r"\d{1,5}", sizes[x]) and re.fullmatch(r"\d{1,5}", sizes[y]):
            self._size = check_sensor_size(self.source, int(sizes[x]), int(sizes[y]))
        return t, x, y, p

    def stated_size(self) -> tuple[int, int] | None:
        return self._size

    def batches(self, size: int) -> Iterator[Batch]:
        decoder = csv_decoder(self.layout)
        return decode_blocks(decoder, self._blocks_of_lines(), size, DecoderState(), self._invalid_line)

    def _blocks_of_lines(self) -> Iterator[Block]:
        """Read blocks of whole lines: bytes after the last newline of a block are moved to the next one."""
        text = numpy.empty(0, numpy.uint8)
        for offset, data in self.source.blocks(self.start, BLOCK_BYTES):
            begin = offset - len(text)
            # The last line of a file may lack its newline.
            is_last = offset + len(data) == self.source.size
            text = numpy.concatenate([text, data, numpy.array([ord("\n")] if is_last else [], numpy.uint8)])
            newline = text[-_MAX_LINE_BYTES:].tobytes().rfind(b"\n")
            end = newline + 1 + max(0, len(text) - _MAX_LINE_BYTES) if newline >= 0 else 0
            yield Block(begin, text[:end])
            text = text[end:]
            if len(text) > _MAX_LINE_BYTES:
                raise self.source.error(f"a line has more than {_MAX_LINE_BYTES:,} characters", begin + end)

    def _invalid_line(self, block: Block, position: int) -> EventFileError:
        line = block.data[position : position + 80].tobytes().split(b"\n")[0].decode("latin-1")
        return self.source.error(f"invalid line, expected integers t, x, y and p: {line!r}", block.offset + position)


def write(file: BinaryFile, chunks: EventChunks, sensor_size: tuple[int, int]) -> None:
    """Write events, below a line that names the fields and states the sensor size."""
    width, height = sensor_size
    file.write(f"t,x@{width},y@{height},p\n".encode())
    for events in chunks:
        for first in range(0, len(events), _WRITE_LINES):
            columns = (column[first : first + _WRITE_LINES].tolist() for column in events.columns())
            lines = [f"{t},{x},{y},{p}\n" for t, x, y, p in zip(*columns, strict=True)]
            file.write("".join(lines).encode())
