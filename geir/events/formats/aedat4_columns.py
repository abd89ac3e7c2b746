"""Columns of the events in packets of AEDAT 4."""

import numpy

from .. import _native
from .columns import Bytes, EventCheck, EventColumns
from .decoder import Batch

RECORD = numpy.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1"), ("padding", "u1", 3)])
# Decompressed bytes that are decoded at a time: half of the second cache of a core.
_CACHED_BYTES = 1 << 19


class PacketColumns:
    """Columns of the events of packets that arrive one after another, checked as they are decoded.

    Args:
        sensor_size: Width and height in pixels.
        expected_bytes: Bytes of records that are expected together, or up to one packet more.
    """

    def __init__(self, sensor_size: tuple[int, int], expected_bytes: int):
        self._expected_bytes = expected_bytes
        self._columns = EventColumns.allocate(0)
        self._room = 0  # events for which the columns have room
        self._filled = 0
        self._waiting: list[Bytes] = []  # records that have not been decoded
        self._waiting_bytes = 0
        self._check = EventCheck(sensor_size)

    def add(self, records: Bytes) -> None:
        """Append the events of a packet."""
        if not self._room:
            # Packets are mostly of similar size.
            packets = -(-self._expected_bytes // max(1, len(records)))
            self._room = packets * len(records) // RECORD.itemsize * 9 // 8
            self._columns = EventColumns.allocate(self._room)
        self._waiting.append(records)
        self._waiting_bytes += len(records)
        if self._waiting_bytes >= _CACHED_BYTES:
            self._decode()

    def finish(self, offset: int | None) -> Batch:
        """Return all events, which begin at a byte of the file."""
        self._decode()
        return Batch(offset, self._columns.part(0, self._filled), checked=self._check.finish())

    def _decode(self) -> None:
        end = self._filled + self._waiting_bytes // RECORD.itemsize
        if end > self._room:
            self._room = 2 * end
            self._columns = self._columns.copied(self._filled, self._room)
        library = _native.load("formats/aedat4.c")
        if library is None or self._check.library is None:
            part = self._columns.part(self._filled, end)
            reference_aedat4(numpy.concatenate([numpy.empty(0, numpy.uint8), *self._waiting]), part)
            self._check.skip(part)
        else:
            out = self._columns.pointers(self._filled)
            self._check.decode_packets(library.decode_aedat4, self._waiting, RECORD.itemsize, out)
        self._filled, self._waiting, self._waiting_bytes = end, [], 0


def reference_aedat4(records: Bytes, columns: EventColumns) -> None:
    """Do the same as `decode_aedat4` in aedat4.c, in NumPy."""
    events = records.view(RECORD)
    columns.t.numpy()[:] = events["t"]
    columns.x.numpy()[:] = events["x"]
    columns.y.numpy()[:] = events["y"]
    columns.p.numpy()[:] = events["p"] != 0
