"""Events and files for the tests of event files."""

import struct
import warnings

import numpy as np
import pytest

from geir.events import Compression, EventFileError, Events, open_events, write_events
from geir.events.formats.aedat4_writer import build_header

SIZE = (320, 240)

# Formats that geir writes: name of the file, and options.
WRITTEN = {
    "aedat4, plain": ("a.aedat4", {"compression": Compression.NONE}),
    "aedat4, LZ4": ("a.aedat4", {}),
    "aedat4, LZ4 high": ("a.aedat4", {"compression": Compression.LZ4_HIGH}),
    "aedat4, Zstandard": ("a.aedat4", {"compression": Compression.ZSTD}),
    "aedat4, Zstandard high": ("a.aedat4", {"compression": Compression.ZSTD_HIGH}),
    "evt2": ("a.raw", {"format": "evt2"}),
    "evt3": ("a.raw", {}),
    "dat": ("a.dat", {}),
    "hdf5": ("a.h5", {}),
    "hdf5, gzip": ("a.hdf5", {"compression": "gzip"}),
    "csv": ("a.csv", {}),
    "npz": ("a.npz", {}),
    "npz, stored": ("a.npz", {"compressed": False}),
}
every_format = pytest.mark.parametrize("name", WRITTEN)


def random_events(count=3000, size=SIZE, start=123_456, step=40, seed=0):
    random = np.random.default_rng(seed)
    t = start + np.cumsum(random.integers(0, step, count))
    x, y = (random.integers(0, n, count) for n in size)
    return Events(t, x, y, random.integers(0, 2, count), size)


def write_sample(folder, name, events):
    """Write events in a format of `WRITTEN` and return the path."""
    file, options = WRITTEN[name]
    write_events(events, folder / file, **options)
    return folder / file


def rows(events):
    return [tuple(row) for row in zip(*(column.tolist() for column in events.columns()), strict=True)]


def read_outcome(path, size=1 << 20, **options):
    """Read all events, and return them with the byte and the reason of the error after them, if there is one."""
    events = []
    try:
        with warnings.catch_warnings(), open_events(path, **options) as recording:
            warnings.simplefilter("ignore")
            for chunk in recording.chunks(size):
                events += rows(chunk)
    except EventFileError as error:
        return events, error.offset, error.reason.split(";")[0]
    return events, None, None


def evt2_word(kind, low=0, x=0, y=0):
    return struct.pack("<I", kind << 28 | low << 22 | x << 11 | y)


def time_high(high):
    return struct.pack("<I", 8 << 28 | high)


def evt21_word(kind, low, x, y, mask, legacy):
    upper = kind << 28 | low << 22 | x << 11 | y
    return struct.pack("<II", *((upper, mask) if legacy else (mask, upper)))


def evt3_words(*pairs):
    return b"".join(struct.pack("<H", kind << 12 | value) for kind, value in pairs)


def aedat4_file(*packets, compression=Compression.NONE, table=-1):
    """An AEDAT 4 file of packets (stream, data, stated size or None), with the stated position of its file table."""
    header = build_header(SIZE, compression)
    content = bytearray(header.data)
    content[header.table_position : header.table_position + 8] = struct.pack("<q", table)
    for stream, data, size in packets:
        content += struct.pack("<ii", stream, len(data) if size is None else size) + data
    return bytes(content)
