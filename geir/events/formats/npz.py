"""NumPy archives of events."""

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy
from numpy.lib import format as npy

from ..store import COLUMNS
from .arrays import check_numbers, convert, Numbers, time_scale
from .decoder import Batch
from .fields import find_fields, TimeUnit
from .header import check_sensor_size
from .npy import ArrayHeader, NUMPY_ERRORS, read_header, row_fields, RowFields, SAMPLE_ROWS
from .reader import BinaryFile, EventChunks, Reader, Summary

_SIZE_MEMBER = "sensor_size.npy"


class Member(NamedTuple):
    """An array in the archive, opened at its first number."""

    file: IO[bytes]
    header: ArrayHeader

    def read(self, count: int) -> Numbers:
        """Read the next rows, fewer if the file ends before."""
        return self.header.rows(self.file.read(count * self.header.row_bytes))


class Npz(Reader):
    """Arrays t, x, y and p, and the width and height as sensor_size; compressed or not.

    Or one array with these fields, as in NPY files; the option `stream` is its name if there are
    several.
    """

    name, suffixes = "npz", (".npz",)
    accepts = ("stream", "columns", "time_unit")

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return head.startswith(b"PK\x03\x04")

    def open(self) -> None:
        try:
            self.archive = zipfile.ZipFile(self.source.file)
            self._names = [name for name in self.archive.namelist() if name.endswith(".npy")]
            self._find_members()
            self._size = self._read_size() if _SIZE_MEMBER in self._names else None
            members = self._open_members()
            first = {name: member.read(min(SAMPLE_ROWS, member.header.length)) for name, member in members.items()}
            self._scale = time_scale(self.options.get("time_unit", self._time_unit), self._columns(first)["t"])
        except NUMPY_ERRORS as error:
            raise self.file_error(error) from None
        self.metadata["time_unit"] = self._scale.unit

    def _find_members(self) -> None:
        """Find four arrays by their names, or one array with four fields."""
        plain = [name.removesuffix(".npy") for name in self._names]
        fields = None if "stream" in self.options else find_fields(plain)
        self._row_fields: RowFields | None = None
        self._time_unit: TimeUnit | None
        if fields is not None:
            self._time_unit = fields.time_unit
            self._members = {name: self._names[index] for name, index in zip("txyp", fields.indices(), strict=True)}
            return
        candidates = [name for name in plain if name != "sensor_size"]
        stated = self.options.get("stream")
        if (stated is not None and str(stated) not in candidates) or (stated is None and len(candidates) != 1):
            raise self.source.error(
                "an archive of events must have the arrays t, x, y and p, or one array with these fields, which "
                f"stream= selects, got {', '.join(sorted(plain))[:200]}"
            )
        name = candidates[0] if stated is None else str(stated)
        self._members = {"rows": f"{name}.npy"}
        with self.archive.open(f"{name}.npy") as file:
            self._row_fields = row_fields(self.source, name, read_header(file, name), self.options)
        self._time_unit = self._row_fields.time_unit

    def _open_member(self, member: str, name: str) -> Member:
        file = self.archive.open(member)
        return Member(file, read_header(file, name))

    def _read_size(self) -> tuple[int, int]:
        member = self._open_member(_SIZE_MEMBER, "sensor_size")
        with member.file:
            if member.header.shape != (2,) or member.header.dtype.kind not in "iu":
                raise ValueError(
                    f"sensor_size must be two integers, got {member.header.length} of type {member.header.dtype}"
                )
            width, height = member.read(2).tolist()
        return check_sensor_size(self.source, int(width), int(height))

    def stated_size(self) -> tuple[int, int] | None:
        return self._size

    def _open_members(self) -> dict[str, Member]:
        members = {name: self._open_member(member, name) for name, member in self._members.items()}
        if self._row_fields is None:
            for name, member in members.items():
                if len(member.header.shape) != 1:
                    raise ValueError(f"{name} must be a one-dimensional array, got shape {member.header.shape}")
                check_numbers(self.source, name, member.header.dtype)
        lengths = {member.header.length for member in members.values()}
        if len(lengths) != 1:
            raise ValueError(f"its arrays differ in length: {sorted(lengths)}")
        return members

    def _columns(self, arrays: dict[str, Numbers]) -> dict[str, Numbers]:
        """Return t, x, y and p of what was read from the members."""
        return arrays if self._row_fields is None else self._row_fields.arrays(arrays["rows"])

    def batches(self, size: int) -> Iterator[Batch]:
        try:
            members = self._open_members()
            length = next(iter(members.values())).header.length
            for first in range(0, length, size):
                count = min(size, length - first)
                arrays = {name: member.read(count) for name, member in members.items()}
                shortest = min(arrays, key=lambda name: len(arrays[name]))
                got = len(arrays[shortest])
                whole = {name: array[:got] for name, array in arrays.items()}
                columns, unfit = convert(self.source, self._columns(whole), self._scale, first)
                if columns.size:
                    yield Batch(None, columns, unfit)
                if got < count:
                    raise ValueError(f"{shortest} has fewer numbers than it states")
            # zipfile checks the checksum of a member when it reads its end.
            if any(member.file.read(1) for member in members.values()):
                raise ValueError("an array is longer than it states")
        except NUMPY_ERRORS as error:
            raise self.file_error(error) from None

    def summary(self) -> Summary:
        try:
            return {"events": next(iter(self._open_members().values())).header.length}
        except NUMPY_ERRORS as error:
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
