"""FlatBuffers: enough of them for AEDAT 4.

A FlatBuffer is: its size, where its table is, its type; the table's layout (sizes of layout and table, and where each field is), the table (where its
layout is, and the fields), and what fields refer to. All offsets are from where they stand.
"""

import struct

import numpy

from .decode import Array

U16, I32, U32, I64 = (struct.Struct(kind) for kind in ("<H", "<i", "<I", "<q"))


class DamagedError(Exception):
    """Bytes are not what they should be."""


class Buffer:
    """A FlatBuffer, of which nothing is read before it is known to be there."""

    def __init__(self, data: bytes, kind: bytes):
        self.data = data
        if self.number(U32, 0) + 4 > len(data):
            raise DamagedError("is cut short")
        if data[8:12] != kind:
            raise DamagedError(f"should be of type {kind.decode()}, got {data[8:12]!r}")
        self.root = self.follow(4)

    def number(self, kind: struct.Struct, at: int) -> int:
        # Counted from the end if negative.
        if at < 0 or at + kind.size > len(self.data):
            raise DamagedError(f"refers to its byte {at:,} of {len(self.data):,}")
        return kind.unpack_from(self.data, at)[0]

    def numbers(self, kind: str, at: Array) -> Array:
        """As `number`, many of them."""
        size = numpy.dtype(kind).itemsize
        if len(at) and not 0 <= at.min() <= at.max() <= len(self.data) - size:
            raise DamagedError(f"refers to its bytes {at.min():,} to {at.max():,} of {len(self.data):,}")
        data = numpy.frombuffer(self.data, numpy.uint8)
        return data[at[:, None] + numpy.arange(size)].view(kind)[:, 0].astype(numpy.int64)

    def follow(self, at: int) -> int:
        return at + self.number(U32, at)

    def field(self, table: int, index: int) -> int | None:
        """Where a field of a table is, if the table has it."""
        layout = table - self.number(I32, table)
        if 4 + 2 * index + 2 > self.number(U16, layout):
            return None
        offset = self.number(U16, layout + 4 + 2 * index)
        return table + offset if offset else None

    def vector(self, table: int, index: int, size: int) -> tuple[int, int]:
        """Where a vector begins and how many parts of some size it has."""
        at = self.field(table, index)
        if at is None:
            return 0, 0
        at = self.follow(at)
        count = self.number(U32, at)
        if count * size > len(self.data) - at - 4:
            raise DamagedError(f"says that it has {count:,} parts, for which it is too short")
        return at + 4, count


def flatbuffer(kind: bytes, count: int, content: bytes) -> bytes:
    """A table with one field, a vector."""
    body = struct.pack("<I4s3H2xiII", 16, kind, 6, 8, 4, 8, 4, count) + content
    return struct.pack("<I", len(body)) + body
