"""NumPy's archives of columns."""

import contextlib
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy
from numpy.lib import format as npy

from ..store import ALIASES, COLUMNS
from .decode import Columns
from .reader import Parts, Reader, Target, as_column, checked_size

# What a damaged archive makes its readers raise.
_DAMAGED = (
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


class Npz(Reader):
    """Arrays t, x, y, p and, with the width and the height, sensor_size, compressed or not."""

    name, suffixes = "npz", (".npz",)

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return head.startswith(b"PK\x03\x04")

    def open(self) -> None:
        names = set()
        try:
            self.archive = zipfile.ZipFile(self.source.file)
            names = set(self.archive.namelist())
            self._names = {
                column: next(n for a in aliases if (n := f"{a}.npy") in names) for column, aliases in ALIASES.items()
            }
            self._size = self._small("sensor_size.npy") if "sensor_size.npy" in names else None
        except StopIteration:
            raise self.source.error(
                f"an archive of events has the arrays t, x, y, p, got {', '.join(sorted(names))[:200]}"
            ) from None
        except _DAMAGED as error:
            raise self.source.error(f"the archive is damaged: {error}") from None

    def _small(self, name: str) -> tuple[int, int]:
        with self.archive.open(name) as file:
            dtype, count = self._header(file, name)
            values = numpy.frombuffer(file.read(2 * dtype.itemsize), dtype).tolist() if count == 2 else []
        if len(values) != 2:
            raise ValueError("sensor_size should be two numbers")
        return checked_size(self.source, *(int(v) for v in values))

    def _header(self, file: IO[bytes], name: str) -> tuple[numpy.dtype, int]:
        version = npy.read_magic(file)
        shape, _, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
        if len(shape) != 1 or dtype.kind not in "iub":
            raise ValueError(f"{name} should be one row of whole numbers, got {dtype} of shape {shape}")
        return dtype, shape[0]

    def stated_size(self) -> tuple[int, int] | None:
        return self._size

    def _members(self) -> dict[str, tuple[IO[bytes], numpy.dtype, int]]:
        opened = {column: self.archive.open(name) for column, name in self._names.items()}
        members = {column: (file, *self._header(file, column)) for column, file in opened.items()}
        counts = {count for _, _, count in members.values()}
        if len(counts) != 1:
            raise ValueError(f"its arrays differ in length: {sorted(counts)}")
        return members

    def batches(self, size: int) -> Iterator[tuple[int | None, Columns]]:
        try:
            members = self._members()
            left = next(count for _, _, count in members.values())
            while left:
                arrays = {}
                for column, (file, dtype, _) in members.items():
                    data = file.read(min(size, left) * dtype.itemsize)
                    if len(data) < min(size, left) * dtype.itemsize:
                        raise ValueError(f"{column} has fewer numbers than it says")
                    arrays[column] = as_column(self.source, column, numpy.frombuffer(data, dtype))
                left -= min(size, left)
                yield None, (arrays["t"], arrays["x"], arrays["y"], arrays["p"])
            # The sum of an array is checked where it ends.
            if any(file.read(1) for file, _, _ in members.values()):
                raise ValueError("an array is longer than it says")
        except _DAMAGED as error:
            if error.__class__.__module__.startswith("geir"):
                raise
            raise self.source.error(f"the archive is damaged: {error}") from None

    def summary(self) -> dict[str, Any]:
        try:
            return {"events": next(count for _, _, count in self._members().values())}
        except _DAMAGED as error:
            raise self.source.error(f"the archive is damaged: {error}") from None


def write(file: Target, parts: Parts, sensor_size: tuple[int, int], compressed: bool = True) -> None:
    """Write events, compressed or not."""
    with contextlib.ExitStack() as stack:
        # An array begins with its length, which is known at the end.
        count, columns = 0, {name: stack.enter_context(tempfile.TemporaryFile()) for name in COLUMNS}
        for part in parts:
            count += len(part)
            for to, column in zip(columns.values(), part.columns(), strict=True):
                to.write(column.numpy().tobytes())
        archive = stack.enter_context(
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED)
        )
        for name, content in columns.items():
            dtype = numpy.dtype(str(COLUMNS[name]).removeprefix("torch."))
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array_header_1_0(
                    member, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
                )
                content.seek(0)
                shutil.copyfileobj(content, member, 1 << 20)
        with archive.open("sensor_size.npy", "w") as member:
            npy.write_array(member, numpy.array(sensor_size))
