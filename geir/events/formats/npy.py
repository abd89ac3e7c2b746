"""NumPy arrays: the headers of NPY, which NPZ contains too, and NPY files of events."""

import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, NamedTuple

import numpy
from numpy.lib import format as npy

from .arrays import check_numbers, convert, Numbers, time_scale, TimeScale
from .decoder import Batch
from .fields import find_fields, parse_columns, ReadOptions, TimeUnit
from .npy_header import read_raw_header
from .reader import Reader, Summary
from .source import Source

# Rows by which the unit of the times is decided.
SAMPLE_ROWS = 1 << 12
# A row is at most this large, so that a batch of rows fits into memory.
_MAX_ROW_BYTES = 256
# Errors that zipfile and NumPy raise on damaged files.
NUMPY_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    ValueError,
    OverflowError,
    TypeError,
    AttributeError,
    MemoryError,
)


class ArrayHeader(NamedTuple):
    """The header of an array: its shape and dtype."""

    shape: tuple[int, ...]
    dtype: numpy.dtype

    @property
    def length(self) -> int:
        """Number of rows."""
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    def rows(self, data: bytes) -> Numbers:
        """Return the whole rows that are in some bytes."""
        count = len(data) // self.row_bytes
        return numpy.frombuffer(data[: count * self.row_bytes], self.dtype).reshape(count, *self.shape[1:])


def read_header(file: IO[bytes], name: str) -> ArrayHeader:
    """Read the header of an array, and leave the file at its first number.

    Raises:
        ValueError: If it is not an array of rows of numbers, or damaged; likewise the other `NUMPY_ERRORS`.
    """
    shape, fortran_order, dtype = read_raw_header(file)
    header = ArrayHeader(shape, dtype)
    if dtype.hasobject:
        raise ValueError(f"{name} contains Python objects, which are not read")
    if len(shape) not in (1, 2) or any(side < 0 for side in shape):
        raise ValueError(f"{name} must have one or two dimensions, got shape {shape}")
    if not 0 < header.row_bytes <= _MAX_ROW_BYTES:
        raise ValueError(f"{name} must have rows of 1 to {_MAX_ROW_BYTES} bytes, got {header.row_bytes:,}")
    if fortran_order and len(shape) == 2 and min(shape) > 1:
        raise ValueError(f"{name} is stored column by column; save numpy.ascontiguousarray of it")
    return header


class RowFields(NamedTuple):
    """Where t, x, y and p are in the rows of one array, and the unit of time, if a name states it."""

    keys: Mapping[str, str | int]
    time_unit: TimeUnit | None

    def arrays(self, rows: Numbers) -> dict[str, Numbers]:
        """Return the columns of rows."""
        return {column: rows[key] if isinstance(key, str) else rows[:, key] for column, key in self.keys.items()}


def row_fields(source: Source, name: str, header: ArrayHeader, options: ReadOptions) -> RowFields:
    """Find the fields of the rows of one array.

    Raises:
        EventFileError: If the array has no fields t, x, y and p, and no option names its columns.
    """
    dtype = header.dtype
    keys: dict[str, str | int]
    if dtype.names:
        fields = find_fields(dtype.names)
        if fields is None or len(header.shape) != 1:
            raise source.error(f"{name} must have the fields t, x, y and p, got {', '.join(dtype.names)[:200]}")
        keys = {column: dtype.names[index] for column, index in zip("txyp", fields.indices(), strict=True)}
        for column, key in keys.items():
            check_numbers(source, column, dtype[key])
        return RowFields(keys, fields.time_unit)
    if len(header.shape) != 2:
        raise source.error(f"{name} must have the fields t, x, y and p, or a column for each, got one column")
    if "columns" not in options:
        raise source.error(
            f"{name} has {header.shape[1]} columns without names; "
            'pass columns="txyp", in the order of the file, with _ for columns to skip'
        )
    fields = parse_columns(options["columns"])
    if max(fields.indices()) >= header.shape[1]:
        raise source.error(f"{name} has only {header.shape[1]} columns")
    check_numbers(source, "t, x, y and p", dtype)
    return RowFields(dict(zip("txyp", fields.indices(), strict=True)), None)


class Npy(Reader):
    """A structured array with the fields t, x, y and p, in any order and with the names of `FIELD_NAMES`.

    Or an array of shape (events, columns), with the option `columns`.
    """

    name, suffixes = "npy", (".npy",)
    accepts = ("columns", "time_unit")

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return head.startswith(npy.MAGIC_PREFIX)

    def open(self) -> None:
        try:
            self.source.file.seek(0)
            self.header = read_header(self.source.file, "the array")
            self.start = self.source.file.tell()
            self.fields = row_fields(self.source, "the array", self.header, self.options)
            stated = self.options.get("time_unit", self.fields.time_unit)
            first = self._read_rows(0, min(SAMPLE_ROWS, self._rows_in_file()))
            self._scale: TimeScale = time_scale(stated, self.fields.arrays(first)["t"])
        except NUMPY_ERRORS as error:
            raise self.file_error(error) from None
        self.metadata["time_unit"] = self._scale.unit

    def stated_size(self) -> None:
        return None

    def _rows_in_file(self) -> int:
        return min(self.header.length, (self.source.size - self.start) // self.header.row_bytes)

    def _read_rows(self, first: int, last: int) -> Numbers:
        row_bytes = self.header.row_bytes
        data = self.source.read(self.start + first * row_bytes, (last - first) * row_bytes, f"row {first:,}")
        return self.header.rows(data)

    def batches(self, size: int) -> Iterator[Batch]:
        count = self._rows_in_file()
        for first in range(0, count, size):
            rows = self._read_rows(first, min(first + size, count))
            columns, unfit = convert(self.source, self.fields.arrays(rows), self._scale, first)
            if columns.size:
                yield Batch(self.start + first * self.header.row_bytes, columns, unfit)
        end = self.start + self.header.length * self.header.row_bytes
        if end > self.source.size:
            stated = f"it states {self.header.length:,} rows"
            raise self.source.error(f"the array is truncated: {stated}, got {count:,}", self.source.size)
        if end < self.source.size:
            raise self.source.error("the array is longer than it states", end)

    def summary(self) -> Summary:
        return {"events": self.header.length}
