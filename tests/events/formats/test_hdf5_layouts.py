"""HDF5 in the layouts of other programs. No recording of these is at hand; the files are made as the layouts are described."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
from event_samples import random_events, read_outcome, rows, SIZE, write_sample

from geir.events import describe, EventFileError, open_events, read_events

T, X, Y, P = [3811, 5000, 2_000_000], [1, 2, 345], [3, 4, 239], [1, 0, 1]
EXPECTED = list(zip(T, X, Y, P, strict=True))
SIGNS = [1, -1, 1]
WIDE = (346, 240)


def mvsec_rows():
    return np.stack([np.array(X), np.array(Y), np.array(T) * 1e-6, np.array(SIGNS)], 1).astype(float)


def write_mvsec(file, sides=("left",), images=True):
    for side in sides:
        file[f"davis/{side}/events"] = mvsec_rows()
        file[f"davis/{side}/imu"] = np.zeros((5, 6))
        if images:
            file[f"davis/{side}/image_raw"] = np.zeros((2, 260, 346), np.uint8)


def write_prophesee(file):
    dtype = np.dtype(
        {
            "names": ["x", "y", "p", "t"],
            "formats": ["<u2", "<u2", "<i2", "<i8"],
            "offsets": [0, 2, 4, 8],
            "itemsize": 16,
        }
    )
    file["CD/events"] = np.array(list(zip(X, Y, P, T, strict=True)), dtype)
    file["CD/indexes"] = np.zeros(4, [("id", "<u8"), ("ts", "<i8")])
    file["EXT_TRIGGER/events"] = np.zeros(2, [("p", "<i2"), ("t", "<i8"), ("id", "<i2")])
    file.attrs["geometry"] = "1280x720"


def write_e2vid(file):
    file["events/xs"], file["events/ys"] = np.array(X, "u2"), np.array(Y, "u2")
    file["events/ts"], file["events/ps"] = np.array(T) * 1e-6, np.array(P, bool)
    file.attrs["sensor_resolution"] = (240, 346)


def write_dsec(file, offset=49_599_300_523):
    for name, values, dtype in (("t", T, "u4"), ("x", X, "u2"), ("y", Y, "u2"), ("p", P, "u1")):
        file[f"events/{name}"] = np.array(values, dtype)
    file["ms_to_idx"] = np.zeros(2001, "u8")
    file["t_offset"] = offset


def write_names(file):
    file["Timestamps"], file["X"], file["Y"], file["polarities"] = T, X, Y, SIGNS


# Layout: function that writes it, options, time of the first event, and the sensor size that it states.
LAYOUTS = {
    "MVSEC": (write_mvsec, {}, 3811, (346, 260)),
    "MVSEC without images": (lambda file: write_mvsec(file, images=False), {"sensor_size": WIDE}, 3811, WIDE),
    "MVSEC, right": (lambda file: write_mvsec(file, ("left", "right")), {"stream": "davis/right/events"}, 3811, (346, 260)),
    "Prophesee": (write_prophesee, {}, 3811, (1280, 720)),
    "e2vid": (write_e2vid, {}, 3811, (346, 240)),
    "DSEC": (write_dsec, {"sensor_size": WIDE}, 49_599_304_334, WIDE),
    "names in capitals, signs": (write_names, {"sensor_size": WIDE}, 3811, WIDE),
    "rows with columns=": (
        lambda file: file.create_dataset("events", data=mvsec_rows()[:, [2, 0, 1, 3]]),
        {"columns": "txyp", "sensor_size": WIDE},
        3811,
        WIDE,
    ),
    "milliseconds": (
        lambda file: [file.create_dataset(f"events/{n}", data=v) for n, v in (("t", np.array(T) / 1000), ("x", X), ("y", Y), ("p", P))],
        {"time_unit": "ms", "sensor_size": WIDE},
        3811,
        WIDE,
    ),
    "two groups": (
        lambda file: [write_e2vid(file.create_group("a")), write_e2vid(file.create_group("b"))],
        {"stream": "b/events", "sensor_size": WIDE},
        3811,
        WIDE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("size", [2, 1 << 20])
def test_layouts_of_other_programs_are_read(tmp_path, name, size):
    write, options, first, sensor_size = LAYOUTS[name]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write(file)
    expected = [(t + first - T[0], x, y, p) for t, x, y, p in EXPECTED]
    assert read_outcome(tmp_path / "a.h5", size, **options) == (expected, None, None)
    description = describe(tmp_path / "a.h5", **options)
    assert (description["sensor_size"], description["events"]) == (sensor_size, 3)


# Function that writes a file, options and the error.
INVALID = {
    "two streams": (
        lambda file: write_mvsec(file, ("left", "right")),
        {},
        "events are at stream='davis/left/events', stream='davis/right/events'",
    ),
    "no such stream": (write_mvsec, {"stream": "davis/up"}, "stream='davis/up' has no events; events are at stream='davis/left"),
    "rows without names": (
        lambda file: file.create_dataset("events", data=mvsec_rows()),
        {},
        'events has 4 columns without names; pass columns="txyp", in the order of the file',
    ),
    "too few columns": (
        lambda file: file.create_dataset("events", data=mvsec_rows()[:, :3]),
        {"columns": "txyp"},
        "events has only 3 columns",
    ),
    "text": (
        lambda file: [file.create_dataset(f"events/{name}", data=["a", "b"]) for name in "txyp"],
        {},
        "column t must hold numbers, got object",
    ),
    "an offset that is no integer": (lambda file: write_dsec(file, offset=0.5), {}, "t_offset must be an integer in microseconds"),
    "spike trains": (
        lambda file: [file.create_dataset("spikes/units", data=[1]), file.create_dataset("spikes/times", data=[1])],
        {},
        r"it has spike trains instead of events; read it with geir\.events\.SpikeTrains",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INVALID)
def test_layouts_that_cannot_be_read_are_rejected(tmp_path, name):
    write, options, message = INVALID[name]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write(file)
    with pytest.raises(EventFileError, match=message):
        read_events(tmp_path / "a.h5", sensor_size=SIZE, **options)


@pytest.mark.parametrize("bad", [0, 1, 70_000, 2_999_999])
def test_all_rows_before_an_invalid_one_are_read(tmp_path, bad):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in "txyp":
            file[f"events/{name}"] = np.zeros(3_000_000, "i4")
        file["events/x"][bad] = 70_000
    message = f"row {bad:,}: column x must hold an integer from -32,768 to 32,767, got 70000"
    with pytest.warns(RuntimeWarning, match=f"{message}; only the {bad:,} events before it were read"):
        assert len(read_events(tmp_path / "a.h5", errors="truncate", sensor_size=SIZE)) == bad


def test_all_rows_before_a_damaged_chunk_are_read(tmp_path):
    events = random_events(300_000, step=3)
    path = write_sample(tmp_path, "hdf5", events)
    with h5py.File(path) as file:
        chunk = file["events/y"].id.get_chunk_info(2)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + 100] ^= 1
    path.write_bytes(content)
    with pytest.warns(RuntimeWarning, match="the file is damaged"):
        assert read_events(path, errors="truncate").equal(events[: chunk.chunk_offset[0]])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (32001, r"events/t is compressed with Blosc \(HDF5 filter 32001\), which is not installed: pip install hdf5plugin"),
        (36559, r"compressed with Prophesee's ECF \(HDF5 filter 36559\), .*hdf5_ecf plugin, .* set HDF5_PLUGIN_PATH"),
        (400, r"compressed with an unknown filter \(HDF5 filter 400\), which is not installed: install its plugin"),
    ],
)  # fmt: skip
def test_a_missing_filter_is_named_with_its_cure(tmp_path, monkeypatch, code, message):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    if h5py.h5z.filter_avail(code):
        pytest.skip("the filter is installed")
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((3,))
    plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL, ())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_dsec(file)
        del file["events/t"]
        space = h5py.h5s.create_simple((3,))
        data = h5py.h5d.create(file["events"].id, b"t", h5py.h5t.STD_U32LE, space, plist)
        # A filter mask of 0 says that the chunk is compressed.
        data.write_direct_chunk((0,), np.array(T, "<u4").tobytes(), filter_mask=0)
    with pytest.raises(EventFileError, match=message):
        open_events(tmp_path / "a.h5", errors="truncate", sensor_size=WIDE)


def test_blosc_is_read_with_hdf5plugin(tmp_path):
    pytest.importorskip("hdf5plugin")
    # In other processes, because the import registers the filter in this one.
    path = tmp_path / "a.h5"
    write = (
        "import h5py, hdf5plugin, numpy\n"
        f"file = h5py.File({str(path)!r}, 'w')\n"
        f"for name, values in dict(t={T}, x={X}, y={Y}, p={P}).items():\n"
        "    file.create_dataset('events/' + name, data=numpy.array(values, 'u4'), **hdf5plugin.Blosc(cname='zstd'))\n"
        "file['t_offset'] = 10**9\n"
        "file.close()\n"
    )
    subprocess.run([sys.executable, "-c", write], check=True)
    read = f"from geir.events import read_events; print(read_events({str(path)!r}, sensor_size={WIDE}).t.tolist())"
    done = subprocess.run([sys.executable, "-c", read], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str([t + 10**9 for t in T])


def test_prophesee_files_with_ecf_are_read_where_the_plugin_is_installed(tmp_path):
    if not h5py.h5z.filter_avail(36559):
        pytest.skip("Prophesee's plugin hdf5_ecf is not installed")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_prophesee(file)
        data = file["CD/events"][:]
        del file["CD/events"]
        file["CD"].create_dataset("events", data=data, chunks=(3,), compression=36559)
    assert rows(read_events(tmp_path / "a.h5")) == EXPECTED
