"""NPY and NPZ files of other programs: structured arrays, any order and names of fields."""

import io
import zipfile

import numpy as np
import pytest
from event_samples import random_events, read_outcome, rows, SIZE

from geir.events import describe, EventFileError, open_events, read_events

EXPECTED = [(10, 1, 2, 1), (11, 3, 4, 0), (12, 5, 6, 1)]
XYTP = [(1, 2, 10, 1), (3, 4, 11, 0), (5, 6, 12, 1)]
SIGNED = [(p * 2 - 1, x, y, t / 1e6) for x, y, t, p in XYTP]

ARRAYS = {
    "tonic": (np.array(XYTP, [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")]), {}),
    "big-endian, other names": (
        np.array(SIGNED, [("Polarity", ">i2"), ("X", ">u2"), ("Y", ">u4"), ("timestamp", ">f8")]),
        {},
    ),
    "padded": (np.array(XYTP, np.dtype([("x", "u2"), ("y", "u2"), ("ts", "u8"), ("on", "u1")], align=True)), {}),
    "a unit in a name": (np.array([(x, y, 1000 * t, p) for x, y, t, p in XYTP], [("x", int), ("y", int), ("t_ns", int), ("p", int)]), {}),
    "columns=": (np.array(XYTP), {"columns": "xytp"}),
    "columns= of floats in seconds": (np.array(SIGNED), {"columns": "pxyt"}),
    "columns= and a column more": (np.array([(9, *row) for row in XYTP], "f4"), {"columns": "_xytp"}),
    "time_unit=": (np.array([(x, y, t / 1000, p) for x, y, t, p in XYTP]), {"columns": "xytp", "time_unit": "ms"}),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("file", ["npy", "npz", "npz, compressed", "npz, one of two"])
def test_arrays_of_events_are_read(tmp_path, name, file):
    array, options = ARRAYS[name]
    path = tmp_path / f"a.{file[:3]}"
    if file == "npy":
        np.save(path, array)
    elif file == "npz, one of two":
        np.savez(path, events=array, other=np.zeros(3))
        options = {**options, "stream": "events"}
    else:
        (np.savez if file == "npz" else np.savez_compressed)(path, array)
    for size in (2, 1 << 20):
        assert read_outcome(path, size, sensor_size=SIZE, **options) == (EXPECTED, None, None)
    assert describe(path, sensor_size=SIZE, **options)["events"] == 3


def test_columns_of_other_programs_in_an_archive_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", TS=np.array([0.00001, 0.000011]), xs=[1.0, 3.0], ys=[2, 4], pol=[1, -1])
    assert rows(read_events(tmp_path / "a.npz", sensor_size=SIZE)) == EXPECTED[:2]


# An array, options and the error.
INVALID = {
    "no names": (np.array(XYTP), {}, 'has 4 columns without names; pass columns="txyp", in the order of the file'),
    "too few columns": (np.array(XYTP)[:, :3], {"columns": "xytp"}, "has only 3 columns"),
    "missing fields": (np.zeros(3, [("t", int), ("x", int)]), {}, "must have the fields t, x, y and p, got t, x"),
    "text": (np.zeros(3, [("t", "U3"), ("x", int), ("y", int), ("p", int)]), {}, "column t must hold numbers, got <U3"),
    "objects": (np.array([None, 1]), {}, "contains Python objects, which are not read"),
    "one column": (np.zeros(3), {}, "or a column for each, got one column"),
    "three dimensions": (np.zeros((2, 2, 2)), {}, r"must have one or two dimensions, got shape \(2, 2, 2\)"),
    "Fortran order": (np.asfortranarray(np.array(XYTP)), {"columns": "xytp"}, "is stored column by column"),
    "nan": (np.array([(1, 2, np.nan, 1)]), {"columns": "xytp"}, "row 0: column t must hold a time in s, got nan"),
    "huge rows": (np.zeros((1, 500)), {"columns": "txyp"}, "must have rows of 1 to 256 bytes, got 4,000"),
}


@pytest.mark.parametrize("name", INVALID)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_without_events_are_rejected(tmp_path, name, suffix):
    array, options, message = INVALID[name]
    (np.save if suffix == "npy" else np.savez)(tmp_path / f"a.{suffix}", array)
    with pytest.raises(EventFileError, match=message):
        read_events(tmp_path / f"a.{suffix}", sensor_size=SIZE, **options)


def test_truncated_arrays_are_readable_up_to_the_truncation(tmp_path):
    events = random_events(1000)
    np.save(tmp_path / "a.npy", events.to_structured())
    content = (tmp_path / "a.npy").read_bytes()
    row_bytes = events.to_structured().dtype.itemsize
    for left in (1, row_bytes, 300 * row_bytes + 1):
        (tmp_path / "a.npy").write_bytes(content[:-left])
        with pytest.warns(RuntimeWarning, match="the array is truncated: it states 1,000 rows, got"):
            part = read_events(tmp_path / "a.npy", errors="truncate", sensor_size=SIZE)
        assert part.equal(events[: 1000 - -(-left // row_bytes)])
    (tmp_path / "a.npy").write_bytes(content + b"more")
    with pytest.raises(EventFileError, match="the array is longer than it states; the 1,000 events before it"):
        read_events(tmp_path / "a.npy", sensor_size=SIZE)


def test_a_short_member_of_an_archive_is_readable_up_to_its_end(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, ARRAYS["tonic"][0])
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("events.npy", buffer.getvalue()[:-14])
    events, _, reason = read_outcome(tmp_path / "a.npz", sensor_size=SIZE)
    assert (events, reason) == (EXPECTED[:1], "the file is damaged: rows has fewer numbers than it states")


def test_an_unknown_array_of_an_archive_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", one=np.zeros(3), two=np.zeros(3))
    for options in ({}, {"stream": "three"}):
        with pytest.raises(EventFileError, match="one array with these fields, which stream= selects, got one, two"):
            open_events(tmp_path / "a.npz", sensor_size=SIZE, **options)
