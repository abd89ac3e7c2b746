"""Text: one event per line."""

import codecs
import re
from collections.abc import Iterator

import numpy

from ..errors import EventFileError
from .columns import EventCheck
from .csv_lines import csv_decoder, LineLayout, parse_number, split_line
from .decoder import Batch, decode_blocks, DecoderState
from .fields import Fields, find_fields, parse_columns, TIME_EXPONENTS
from .header import check_sensor_size
from .reader import BinaryFile, EventChunks, Reader
from .source import Block, BLOCK_BYTES

_MAX_LINE_BYTES = 1 << 12
_MAX_HEAD_BYTES = 1 << 16
# As in csv.c.
_MAX_FIELDS = 16
# Lines that are formatted at a time.
_WRITE_LINES = 1 << 16


def _split_names(text: str) -> tuple[str, list[str]]:
    """Return the separator of a line, and its fields without blanks around them."""
    separator = next((character for character in ",;\t" if character in text), " ")
    cells = text.split() if separator == " " else text.split(separator)
    return separator, [cell.strip() for cell in cells]


def _is_header(names: list[str]) -> bool:
    """Whether the fields of a line are names instead of numbers. The name of an index may be empty."""
    first = next((name for name in (name.strip("'\"") for name in names) if name), "")
    return bool(re.match(r"[A-Za-z_]", first)) and first.lower() not in ("true", "false")


class Csv(Reader):
    """Numbers t, x, y and p, separated by commas, semicolons, tabs or spaces.

    The first line, or a comment before it, may name the fields, in any order and with the names of
    `FIELD_NAMES`; there may be further fields. ``x@640,y@480`` in the first line, as faery writes it,
    or a first line of two integers, states the sensor size. Polarities are 0 and 1, -1 and 1, or
    False and True. Lines beginning with # are comments.

    Times are in microseconds if they are integers, also where they are written as ``12.0``, and in
    seconds if they have decimals, unless the option `time_unit` or the name of the field states
    the unit. A file does not change from one to the other: the lines of its first 64 KiB decide.
    """

    name, suffixes = "csv", (".csv", ".txt")
    accepts = ("columns", "time_unit")

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return suffix in cls.suffixes

    def open(self) -> None:
        head = self.source.read(0, min(self.source.size, _MAX_HEAD_BYTES), "the head")
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise self.source.error("the text is in UTF-16; save it as UTF-8", 0)
        self._size: tuple[int, int] | None = None
        fields: Fields | None = None
        self.start = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
        separator = " "
        while self.start < len(head):
            line, end = self._line(head)
            text = line.decode("latin-1")
            comment = text.startswith("#")
            separator, names = _split_names(text.lstrip("# \t") if comment else text)
            if not text or comment:
                # NumPy writes the names of the columns as a comment.
                fields = find_fields(names) or fields
            elif self._size is None and re.fullmatch(r"[0-9]{1,5}[ \t,;]+[0-9]{1,5}", text):
                width, height = re.findall("[0-9]+", text)
                self._size = check_sensor_size(self.source, int(width), int(height))
            elif _is_header(names):
                fields = self._parse_names(names, text)
                self.start = end
                # The separator of the names is that of the lines.
                break
            else:
                break
            self.start = end
        if "columns" in self.options:
            fields = parse_columns(self.options["columns"])
        fields = fields or Fields(0, 1, 2, 3)
        indices = fields.indices()
        if max(indices) >= _MAX_FIELDS:
            raise self.source.error(
                f"t, x, y and p must be among the first {_MAX_FIELDS} fields, got field {max(indices) + 1}"
            )
        self.layout = LineLayout(*indices, max(indices) + 1, ord(" " if separator == "\t" else separator))
        unit = self.options.get("time_unit", fields.time_unit)
        if unit is None:
            unit = "s" if self._has_decimals(head) else "us"
            self.layout.rounds_times = unit == "s"
        else:
            self.layout.rounds_times = True
        self.layout.time_exponent = TIME_EXPONENTS[unit]
        self.metadata["time_unit"] = unit

    def _line(self, head: bytes) -> tuple[bytes, int]:
        """Return the line at `start` without blanks around it, and the byte after it."""
        end = head.find(b"\n", self.start) + 1 or len(head)
        return head[self.start : end].strip()[:_MAX_LINE_BYTES], end

    def _parse_names(self, names: list[str], text: str) -> Fields:
        """Return the positions of t, x, y and p in a line of names, which may also state the sensor size."""
        sizes = [name.partition("@")[2] for name in names]
        fields = find_fields([name.partition("@")[0] for name in names])
        if fields is None:
            if "columns" in self.options:
                return parse_columns(self.options["columns"])
            raise self.source.error(
                f"the first line must name the fields t, x, y and p, got {text[:80]!r}; "
                'if it has other names, pass columns="txyp", in the order of the file, with _ for fields to skip',
                0,
            )
        if re.fullmatch(r"\d{1,5}", sizes[fields.x]) and re.fullmatch(r"\d{1,5}", sizes[fields.y]):
            self._size = check_sensor_size(self.source, int(sizes[fields.x]), int(sizes[fields.y]))
        return fields

    def _has_decimals(self, head: bytes) -> bool:
        """Whether the times of the first lines have decimals: parts of a unit, or several digits after the point."""
        whole = len(head) == self.source.size
        lines = head[self.start :].split(b"\n")
        for line in lines if whole else lines[:-1]:
            stripped = line.strip(b" \t\r")
            if not stripped or stripped.startswith(b"#"):
                continue
            cells = split_line(stripped + b"\n", self.layout.separator, self.layout.t_field + 1)
            if cells is None:
                return False
            cell = cells[self.layout.t_field].strip(b'"')
            if b"." not in cell and b"e" not in cell and b"E" not in cell:
                continue
            if re.fullmatch(rb"[-+]?[0-9]*\.[0-9]{2,}", cell):
                return True
            if parse_number(cell, rounds=True) is not None and parse_number(cell) is None:
                return True
        return False

    def stated_size(self) -> tuple[int, int] | None:
        return self._size

    def batches(self, size: int) -> Iterator[Batch]:
        decoder = csv_decoder(self.layout)
        skip = self._skip_line if self.skips_invalid else None
        check = EventCheck(self.sensor_size)
        return decode_blocks(decoder, self._blocks_of_lines(), size, DecoderState(), self._invalid_line, check, skip)

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

    def _skip_line(self, block: Block, position: int) -> int:
        self.invalid_records += 1
        newlines = block.data[position:] == ord("\n")
        return position + int(newlines.argmax()) + 1

    def _invalid_line(self, block: Block, position: int) -> EventFileError:
        line = block.data[position : position + 80].tobytes().split(b"\n")[0].decode("latin-1")
        unit = self.metadata["time_unit"]
        expected = f"a time in {unit} and integers x, y and p" if self.layout.rounds_times else "integers t, x, y and p"
        hint = ""
        if not self.layout.rounds_times and "." in line:
            hint = '; if times are not in microseconds, pass time_unit="s"'
        return self.source.error(f"invalid line, expected {expected}: {line!r}{hint}", block.offset + position)


def write(file: BinaryFile, chunks: EventChunks, sensor_size: tuple[int, int]) -> None:
    """Write events, below a line that names the fields and states the sensor size."""
    width, height = sensor_size
    file.write(f"t,x@{width},y@{height},p\n".encode())
    for events in chunks:
        for first in range(0, len(events), _WRITE_LINES):
            columns = (column[first : first + _WRITE_LINES].tolist() for column in events.columns())
            lines = [f"{t},{x},{y},{p}\n" for t, x, y, p in zip(*columns, strict=True)]
            file.write("".join(lines).encode())
