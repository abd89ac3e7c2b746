"""Text: one event a line."""

import re
from collections.abc import Iterator

import numpy

from ..store import ALIASES
from .decode import READ, WRITTEN, WRONG, Array, Columns, decode, new_state
from .reader import BLOCK, Parts, Reader, Target, checked_size, new_columns, part

# No line is longer.
_LONGEST = 1 << 12


class Csv(Reader):
    """Whole numbers t, x, y, p, separated by commas, semicolons, tabs or spaces.

    A first line may name the fields, whose order it then says; there may be more than these, of numbers before the last of them and of
    anything after. ``x@640,y@480`` in it, as faery writes it, says the sensor's size. A polarity of -1 is one of 0. Lines beginning with # are
    comments.
    """

    name, suffixes = "csv", (".csv", ".txt")

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return suffix in cls.suffixes

    def open(self) -> None:
        head = self.source.read(0, min(self.source.size, 1 << 16), "the head")
        self.start, line = 0, b""
        while self.start < len(head):
            end = head.find(b"\n", self.start) + 1 or len(head)
            line = head[self.start : end].strip()
            if line and not line.startswith(b"#"):
                break
            self.start = end
        text = line[:_LONGEST].decode("latin-1")
        self.separator = next((s for s in ",;\t" if s in text), " ")
        names = [name.strip() for name in (text.split() if self.separator in "\t " else text.split(self.separator))]
        self.separator = " " if self.separator == "\t" else self.separator
        sizes = [name.partition("@")[2] for name in names]
        names = [name.partition("@")[0] for name in names]
        self.fields, self._size = [0, 1, 2, 3], None
        if names and re.fullmatch(r"[A-Za-z_]\w*", names[0]):
            self.start += len(head[self.start :].split(b"\n", 1)[0]) + 1
            places = [
                next((names.index(alias) for alias in aliases if alias in names), -1) for aliases in ALIASES.values()
            ]
            if min(places) < 0 or max(places) > 15:
                raise self.source.error(f"the first line should name the fields t, x, y and p, got {text[:80]!r}", 0)
            self.fields = places
            if all(re.fullmatch(r"\d{1,5}", sizes[k]) for k in places[1:3]):
                self._size = checked_size(self.source, int(sizes[places[1]]), int(sizes[places[2]]))

    def stated_size(self) -> tuple[int, int] | None:
        return self._size

    def batches(self, size: int) -> Iterator[tuple[int | None, Columns]]:
        numbers = [*self.fields, max(self.fields) + 1, ord(self.separator)]
        state, columns, filled, begin = new_state(), new_columns(size), 0, self.start
        # The last line of a block is whole only in the next one.
        text = numpy.empty(0, numpy.uint8)
        for offset, block in self.source.blocks(self.start, BLOCK):
            offset -= len(text)
            last = offset + len(text) + len(block) == self.source.size
            text = numpy.concatenate([text, block, numpy.array([10] if last else [], numpy.uint8)])
            end = text[-_LONGEST:].tobytes().rfind(b"\n")
            whole = end + 1 + max(0, len(text) - _LONGEST) if end >= 0 else 0
            at = 0
            while at < whole:
                decode("csv", text[at:], whole - at, part(columns, filled), state, numbers)
                at += int(state[READ])
                filled += int(state[WRITTEN])
                if state[WRONG]:
                    yield begin, part(columns, 0, filled)
                    raise self.source.error(f"this is no line of an event: {self._line(text, at)}", offset + at)
                if at < whole:
                    yield begin, part(columns, 0, filled)
                    columns, filled, begin = new_columns(size), 0, offset + at
            text = text[whole:]
            if len(text) > _LONGEST:
                yield begin, part(columns, 0, filled)
                raise self.source.error(f"a line has more than {_LONGEST:,} characters", offset + whole)
        if filled:
            yield begin, part(columns, 0, filled)

    def _line(self, text: Array, at: int) -> str:
        return repr(text[at : at + 80].tobytes().split(b"\n")[0].decode("latin-1"))


def write(file: Target, parts: Parts, sensor_size: tuple[int, int]) -> None:
    """Write events, below a line that names the fields."""
    file.write(f"t,x@{sensor_size[0]},y@{sensor_size[1]},p\n".encode())
    for some in parts:
        for first in range(0, len(some), 1 << 16):
            rows = zip(*(column[first : first + (1 << 16)].tolist() for column in some.columns()), strict=True)
            file.write("".join([f"{t},{x},{y},{p}\n" for t, x, y, p in rows]).encode())
