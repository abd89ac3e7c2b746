"""NumPy archives of columns."""

import contextlib
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..store import ALIASES, COLUMNS
from .columns import EventColumns, to_column
from .decoder import Batch
from .header import check_sensor_size
from .reader import BinaryFile, EventChunks, Reader, Summary

_SIZE_MEMBER = "sensor_size.npy"
# Errors that zipfile and NumPy raise on damaged archives.
_ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    SyntaxError,
    ValueError,
    OverflowError,
)


class Member(NamedTuple):
    """An array in the archive, opened at its first number."""

    file: IO[bytes]
    dtype: numpy.dtype
    length: int

    def read(self, name: str, count: int) -> NDArray[numpy.generic]:
        """Read the next numbers."""
        data = self.file.read(count * self.dtype.itemsize)
        if len(data) < count * self.dtype.itemsize:
            raise ValueError(f"{name} has fewer numbers than it states")
        return numpy.frombuffer(data, self.dtype)


def open_member(archive: zipfile.ZipFile, member: str, name: str) -> Member:
    """Open a one-dimensional array of integers.

    Raises:
        ValueError: If it is another kind of array, or damaged; likewise the other `_ARCHIVE_ERRORS`.
    """
    file = archive.open(member)
    read_header = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if len(shape) != 1 or dtype.kind not in "iub":
        raise ValueError(f"{name} must be a one-dimensional array of integers, got {dtype} of shape {shape}")
    return Member(file, dtype, shape[0])


class Npz(Reader):
    """Arrays t, x, y and p, and the width and height as sensor_size; compressed or not."""

    name, suffixes = "npz", (".npz",)

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return head.startswith(b"PK\x03\x04")

    def open(self) -> None:
        try:
            self.archive = zipfile.ZipFile(self.source.file)
            names = set(self.archive.namelist())
            self._members = {column: self._find_member(names, column) for column in COLUMNS}
            self._size = self._read_size() if _SIZE_MEMBER in names else None
        except _ARCHIVE_ERRORS as error:
            raise self.file_error(error) from None

    def _find_member(self, names: set[str], column: str) -> str:
        found = next((member for alias in ALIASES[column] if (member := f"{alias}.npy") in names), None)
        if found is None:
            raise self.source.error(
                f"an archive of events must have the arrays t, x, y and p, got {', '.join(sorted(names))[:200]}"
            )
        return found

    def _read_size(self) -> tuple[int, int]:
        member = open_member(self.archive, _SIZE_MEMBER, "sensor_size")
        with member.file:
            if member.length != 2:
                raise ValueError(f"sensor_size must be two integers, got {member.length}")
            width, height = member.read("sensor_size", 2).tolist()
        return check_sensor_size(self.source, int(width), int(height))

    def stated_size(self) -> tuple[int, int] | None:
        return self._size

    def _open_members(self) -> dict[str, Member]:
        members = {name: open_member(self.archive, member, name) for name, member in self._members.items()}
        lengths = {member.length for member in members.values()}
        if len(lengths) != 1:
            raise ValueError(f"its arrays differ in length: {sorted(lengths)}")
        return members

    def batches(self, size: int) -> Iterator[Batch]:
        try:
            members = self._open_members()
            left = members["t"].length
            while left:
                count = min(size, left)
                columns = [to_column(self.source, name, member.read(name, count)) for name, member in members.items()]
                left -= count
                yield Batch(None, EventColumns(*columns))
            # zipfile checks the checksum of a member when it reads its end.
            if any(member.file.read(1) for member in members.values()):
                raise ValueError("an array is longer than it states")
        except _ARCHIVE_ERRORS as error:
            raise self.file_error(error) from None

    def summary(self) -> Summary:
        try:
            return {"events": self._open_members()["t"].length}
        except _ARCHIVE_ERRORS as error:
            raise self.file_error(error) from None


def write(file: BinaryFile, chunks: EventChunks, sensor_size: tuple[int, int], compressed: bool = True) -> None:
    """Write events.

    Args:
        file: Opened for writing.
        chunks: The events.
        sensor_size: Width and height in pixels.
        compressed: Whether to compress the arrays.
    """
    with contextlib.ExitStack() as stack:
        # An array begins with its length, which is known only at the end, so the columns are collected in
        # temporary files.
        columns = {name: stack.enter_context(tempfile.TemporaryFile()) for name in COLUMNS}
        count = 0
        for events in chunks:
            count += len(events)
            for target, column in zip(columns.values(), events.columns(), strict=True):
                target.write(column.numpy().tobytes())
        method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        archive = stack.enter_context(zipfile.ZipFile(file, "w", method))
        for name, content in columns.items():
            dtype = numpy.dtype(str(COLUMNS[name]).removeprefix("torch."))
            header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array_header_1_0(member, header)
                content.seek(0)
                shutil.copyfileobj(content, member, 1 << 20)
        with archive.open(_SIZE_MEMBER, "w") as member:
            npy.write_array(member, numpy.array(sensor_size))
