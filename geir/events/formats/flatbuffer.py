"""FlatBuffers: as much of the format as AEDAT 4 needs.

A FlatBuffer holds, in this order: its size; the offset of its root table; its type; the layout of
the table (the sizes of layout and table, and the offset of each field in the table); the table (the
offset of its layout, and the fields); and the content that the fields refer to. All offsets are
relative to the position where they are stored.
"""

import struct

import numpy
from numpy.typing import NDArray

U16, I32, U32, I64 = (struct.Struct(kind) for kind in ("<H", "<i", "<I", "<q"))


class DamagedError(Exception):
    """Bytes are invalid.

    The message is a predicate, such as "is truncated", whose subject the caller adds.
    """


class FlatBuffer:
    """A FlatBuffer that may be damaged: every access is checked against its size.

    Args:
        data: Its bytes.
        identifier: The type that it must state, four bytes.

    Attributes:
        root: Place of the root table.

    Raises:
        DamagedError: If it is truncated or of another type; likewise in all methods, if the position
            is outside the data.
    """

    def __init__(self, data: bytes, identifier: bytes):
        self.data = data
        if self.number(U32, 0) + 4 > len(data):
            raise DamagedError("is truncated")
        if data[8:12] != identifier:
            raise DamagedError(f"must be of type {identifier.decode()}, got {data[8:12]!r}")
        self.root = self.follow(4)

    def number(self, kind: struct.Struct, position: int) -> int:
        """Read one number."""
        # A negative position would count from the end.
        if position < 0 or position + kind.size > len(self.data):
            raise DamagedError(f"refers to byte {position:,} of its {len(self.data):,} bytes")
        return kind.unpack_from(self.data, position)[0]

    def numbers(self, dtype: str, positions: NDArray[numpy.int64]) -> NDArray[numpy.int64]:
        """Read numbers of a NumPy dtype from many positions at once."""
        size = numpy.dtype(dtype).itemsize
        if len(positions) and not 0 <= positions.min() <= positions.max() <= len(self.data) - size:
            raise DamagedError(
                f"refers to bytes {positions.min():,} to {positions.max():,} of its {len(self.data):,} bytes"
            )
        data = numpy.frombuffer(self.data, numpy.uint8)
        return data[positions[:, None] + numpy.arange(size)].view(dtype)[:, 0].astype(numpy.int64)

    def follow(self, position: int) -> int:
        """Return the position that the offset stored at `position` refers to."""
        return position + self.number(U32, position)

    def field(self, table: int, index: int) -> int | None:
        """Return the position of a field of a table, or None if the table does not have it."""
        layout = table - self.number(I32, table)
        # The layout begins with two numbers that are no fields.
        entry = 4 + 2 * index
        if entry + 2 > self.number(U16, layout):
            return None
        offset = self.number(U16, layout + entry)
        return table + offset if offset else None

    def vector(self, table: int, index: int, item_size: int) -> tuple[int, int]:
        """Return the position of the first item of a vector and the number of items.

        Both are 0 if the table does not have the vector.
        """
        field = self.field(table, index)
        if field is None:
            return 0, 0
        position = self.follow(field)
        count = self.number(U32, position)
        if count * item_size > len(self.data) - position - 4:
            raise DamagedError(f"states {count:,} items, for which it is too short")
        return position + 4, count


def build_flatbuffer(identifier: bytes, count: int, items: bytes) -> bytes:
    """Build a FlatBuffer whose table has one field, a vector of `count` items."""
    root, layout_size, table_size, field_offset = 16, 6, 8, 4
    layout_offset, vector_offset = 8, 4
    body = struct.pack(
        "<I4s3H2xiII",
        root,
        identifier,
        layout_size,
        table_size,
        field_offset,
        layout_offset,
        vector_offset,
        count,
    )
    return struct.pack("<I", len(body) + len(items)) + body + items
