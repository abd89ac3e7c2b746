"""N-MNIST's format, which is also that of N-Caltech101: records of 40 bits and nothing else."""

from .decoder import Decoder, DecoderState, Row
from .reader import RecordReader

_RECORD_SIZE = 5
# A record with this y is no event: it means that the counter of time, of 13 bits, has wrapped around.
_OVERFLOW_ROW = 240


def reference_nmnist(records: bytes, count: int, capacity: int, state: DecoderState) -> list[Row]:
    """Decode records of x (8 bits), y (8), polarity (1) and time (23), most significant byte first."""
    rows: list[Row] = []
    read = 0
    while read < count and len(rows) < capacity:
        record = records[read * _RECORD_SIZE : (read + 1) * _RECORD_SIZE]
        x, y = record[0], record[1]
        polarity, stamp = record[2] >> 7, int.from_bytes(record[2:], "big") & 0x7FFFFF
        if y == _OVERFLOW_ROW:
            state.time_high += 1 << 13
        else:
            rows.append((state.time_high + stamp, x, y, polarity))
        read += 1
    state.records_read = read
    return rows


class NMnist(RecordReader):
    """Records of 40 bits.

    The files state nothing about themselves: they are recognized by their names, and taken to have
    the size of N-MNIST's.

    Reference:
        Orchard, Jayawant, Cohen & Thakor, "Converting static image datasets to spiking neuromorphic
        datasets using saccades" (2015).
    """

    name, suffixes = "nmnist", (".bin", ".bs2")
    decoder = Decoder("nmnist.c", "decode_nmnist", reference_nmnist, record_size=_RECORD_SIZE)

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return suffix in cls.suffixes

    def open(self) -> None:
        pass

    def stated_size(self) -> tuple[int, int]:
        return 34, 34
