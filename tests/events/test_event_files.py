"""Event files: what real recordings hold, what is written is read, what is damaged is refused, in C and in NumPy alike."""

import functools
import struct
import sys
import tracemalloc
import warnings
import zipfile

import h5py
import lz4.frame
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from geir._runtime.native import NoCompilerError
from geir.events import Compression, EventFileError, Events, info, open_events, read_events, write_events
from geir.events.formats import aedat4, decode, flatbuffer as flatbuffers
from geir.events.formats.compression import compressor_of, decompressor_of
from geir.events.formats.flatbuffer import DamagedError
from geir.events.formats.reader import BLOCK

SIZE = (320, 240)

# What geir writes: the file's name, and options.
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


def written(folder, name, events):
    file, options = WRITTEN[name]
    write_events(events, folder / file, **options)
    return folder / file


@pytest.fixture(params=["C", "NumPy"])
def way(request, monkeypatch):
    """Both ways to decode."""
    if request.param == "NumPy":
        monkeypatch.setattr(decode, "_library", lambda: None)
    elif decode._library() is None:
        pytest.skip("no C compiler")


def rows(events):
    return [tuple(row) for row in zip(*(column.tolist() for column in events.columns()), strict=True)]


def outcome(path, size=1 << 20, **options):
    """All events, and the byte and the kind of the error after them, if there is one."""
    parts = []
    try:
        with warnings.catch_warnings(), open_events(path, **options) as recording:
            warnings.simplefilter("ignore")
            for part in recording.chunks(size):
                parts.append(part)
    except EventFileError as error:
        return [row for part in parts for row in rows(part)], error.offset, error.reason.split(";")[0]
    return [row for part in parts for row in rows(part)], None, None


# What real recordings hold. The first and last times are those of faery for EVT 2 and AEDAT 4; for EVT 3, the lower bits are expelliarmus's.


@pytest.mark.parametrize(
    ("file", "count", "size", "duration"),
    [
        ("person_320x240.aedat4", 111_954, (320, 240), 589_917),
        ("evt2_640x480.raw", 521_252, (640, 480), 95_871),
        ("evt3_1280x720.raw", 219_596, (1280, 720), 8_801),
        ("nmnist_34x34.bin", 4_325, (34, 34), 310_521),
    ],
)
def test_real_recordings_hold_what_is_known_of_them(way, real_data, file, count, size, duration):
    events = read_events(real_data / "events" / file)
    assert (len(events), events.sensor_size, events.duration) == (count, size, duration)
    assert events.is_sorted
    assert Events(*events.columns(), size).equal(events)  # which looks at every one


@pytest.mark.parametrize("file", ["person_320x240.aedat4", "evt2_640x480.raw", "evt3_1280x720.raw"])
def test_faery_reads_the_same_events(real_data, file):
    faery = pytest.importorskip("faery")
    events = read_events(real_data / "events" / file)
    stream = faery.events_stream_from_file(real_data / "events" / file, dimensions_fallback=events.sensor_size)
    theirs = Events.from_structured(stream.to_array(), events.sensor_size)
    assert events[:].x.equal(theirs.x)
    assert events.y.equal(theirs.y)
    assert events.p.equal(theirs.p)
    # A word of EVT 3 that is 11 us ahead and is corrected by the next one, before any event, holds faery's clock for 11 us.
    assert (theirs.t - events.t).aminmax() == ((0, 11) if "evt3" in file else (0, 0))


@pytest.mark.parametrize(("file", "encoding"), [("evt2_640x480.raw", "evt2"), ("evt3_1280x720.raw", "evt3")])
def test_expelliarmus_reads_the_same_events(real_data, file, encoding):
    expelliarmus = pytest.importorskip("expelliarmus")
    events = read_events(real_data / "events" / file)
    theirs = Events.from_structured(
        expelliarmus.Wizard(encoding=encoding).read(real_data / "events" / file), events.sensor_size
    )
    assert all(ours.equal(other) for ours, other in zip(events.columns()[1:], theirs.columns()[1:], strict=True))
    # It takes the corrected words of EVT 3 for a counter that has wrapped around.
    bits = 12 if encoding == "evt3" else 63
    assert (events.t % (1 << bits)).equal(theirs.t % (1 << bits))


def test_dv_and_aedat_read_the_same_events(real_data):
    dv, aedat = pytest.importorskip("dv_processing"), pytest.importorskip("aedat")
    path = str(real_data / "events" / "person_320x240.aedat4")
    events = read_events(path)
    reader, batches = dv.io.MonoCameraRecording(path), []
    while (batch := reader.getNextEventBatch()) is not None:
        batches.append(batch.numpy())
    assert Events.from_structured(np.concatenate(batches), SIZE).equal(events)
    batches = [packet["events"] for packet in aedat.Decoder(path) if "events" in packet]
    assert Events.from_structured(np.concatenate(batches), SIZE).equal(events)


# Files made by hand, after the formats' descriptions.


def evt2_word(kind, low=0, x=0, y=0):
    return struct.pack("<I", kind << 28 | low << 22 | x << 11 | y)


def time_high(high, bits=28):
    return struct.pack("<I", 8 << 28 | high) if bits == 28 else struct.pack("<H", 8 << 12 | high)


def evt3_words(*pairs):
    return b"".join(struct.pack("<H", kind << 12 | value) for kind, value in pairs)


def evt21_word(kind, low, x, y, mask, legacy):
    upper = kind << 28 | low << 22 | x << 11 | y
    return struct.pack("<II", *((upper, mask) if legacy else (mask, upper)))


BY_HAND = {
    "evt2": (
        "a.raw",
        b"% evt 2.0\n% geometry 640x480\n% end\n"
        + time_high(5)
        + evt2_word(1, 63, 639, 479)
        + evt2_word(10, 3, 1, 1)  # a trigger
        + evt2_word(14)
        + evt2_word(15)
        + evt2_word(0, 0, 0, 0)[:0]
        + time_high(6)
        + evt2_word(0, 1, 7, 9),
        [(5 * 64 + 63, 639, 479, 1), (6 * 64 + 1, 7, 9, 0)],
    ),
    "evt2 wraps after 2**34 us": (
        "a.raw",
        b"% evt 2.0\n% geometry 640x480\n"
        + time_high((1 << 28) - 1)
        + evt2_word(1, 63, 1, 2)
        + time_high(0)
        + evt2_word(1, 0, 1, 2),
        [((1 << 34) - 1, 1, 2, 1), (1 << 34, 1, 2, 1)],
    ),
    "evt21, halves swapped": (
        "a.raw",
        b"% evt 2.1\n% format EVT21;endianness=legacy;height=720;width=1280\n% end\n"
        + evt21_word(8, 0, 0, 3, 0, True)
        + evt21_word(1, 2, 32, 9, 0x80000005, True),
        [(3 * 64 + 2, x, 9, 1) for x in (32, 34, 63)],
    ),
    "evt21": (
        "a.raw",
        b"% evt 2.1\n% format EVT21;endianness=little;height=320;width=320\n% end\n"
        + evt21_word(8, 0, 0, 3, 0, False)
        + evt21_word(0, 2, 64, 9, 3, False),
        [(3 * 64 + 2, 64, 9, 0), (3 * 64 + 2, 65, 9, 0)],
    ),
    "evt3": (
        "a.raw",
        b"% evt 3.0\n% format EVT3;height=720;width=1280\n% end\n"
        + evt3_words((8, 2), (6, 10), (0, 100), (2, 1 << 11 | 5), (2, 6))
        # a base for brighter pixels, twelve pixels from it, eight from there, of a new row, and one after them
        + evt3_words(
            (3, 1 << 11 | 200),
            (4, 0b100000000001),
            (0, 101),
            (5, 0b10000001),
            (5, 1),
            (10, 1),
            (14, 0),
            (7, 1),
            (15, 2),
        )
        # the upper bits of time change, then are said again, which changes nothing
        + evt3_words((8, 3), (2, 8), (6, 4095), (8, 3), (2, 9), (8, 4), (6, 0), (2, 10)),
        [
            *[
                (8202, 5, 100, 1),
                (8202, 6, 100, 0),
                (8202, 200, 100, 1),
                (8202, 211, 100, 1),
                (8202, 212, 101, 1),
                (8202, 219, 101, 1),
                (8202, 220, 101, 1),
            ],
            *[(12288, 8, 101, 0), (16383, 9, 101, 0), (16384, 10, 101, 0)],
        ],
    ),
    "evt3 wraps after 2**24 us, and steps back a little": (
        "a.raw",
        b"% evt 3.0\n% geometry 1280x720\n"
        + evt3_words(
            (8, 4095), (6, 4000), (2, 1), (8, 0), (6, 5), (2, 2), (8, 4095), (6, 4090), (2, 3), (8, 0), (6, 7), (2, 4)
        ),
        [((1 << 24) - 96, 1, 0, 0), ((1 << 24) + 5, 2, 0, 0), ((1 << 24) - 6, 3, 0, 0), ((1 << 24) + 7, 4, 0, 0)],
    ),
    "dat of version 2": (
        "a.dat",
        b"% Data file containing CD events\n% Version 2\n% Date 2020-09-14\n% Height 480\n% Width 640\n\x0c\x08"
        + struct.pack("<IIII", 7, 1 << 28 | 479 << 14 | 639, 0xFFFFFFFF - 5, 3)[:8]
        + struct.pack("<II", 9, 2 << 14 | 3),
        [(7, 639, 479, 1), (9, 3, 2, 0)],
    ),
    "dat wraps after 2**32 us": (
        "a.dat",
        b"% Version 2\n% Height 480\n% Width 640\n\x00\x08" + struct.pack("<IIII", 0xFFFFFFFE, 3, 4, 5),
        [((1 << 32) - 2, 3, 0, 0), ((1 << 32) + 4, 5, 0, 0)],
    ),
    "dat of version 1": (
        "a.dat",
        b"% Version 1\n% Height 240\n% Width 304\n\x0c\x08" + struct.pack("<II", 7, 1 << 17 | 239 << 9 | 303),
        [(7, 303, 239, 1)],
    ),
    "nmnist": (
        "a.bin",
        bytes([1, 2, 0x80 | 0x12, 0x34, 0x56, 33, 33, 0, 0, 0])
        + bytes([0, 240, 0x12, 0x40, 0, 5, 6, 0x12, 0x34, 0x57]),
        [(0x123456, 1, 2, 1)],
    ),
    "csv": (
        "a.csv",
        b"# a comment\n\n10, 1,2 ,1\r\n11,3,4,0\n  12,5,6,-1",
        [(10, 1, 2, 1), (11, 3, 4, 0), (12, 5, 6, 0)],
    ),
    "csv with names": (
        "a.csv",
        b"x,y,frame,p,t,note\n1,2,77,1,10,hello\n3,4,78,0,11,\n",
        [(10, 1, 2, 1), (11, 3, 4, 0)],
    ),
    "text with spaces": ("a.txt", b"10 1 2 1\n11  3\t4 0 \n", [(10, 1, 2, 1), (11, 3, 4, 0)]),
    "text with tabs": ("a.txt", b"t\tx\ty\tp\n10\t1\t2\t1\n", [(10, 1, 2, 1)]),
    "csv with semicolons, of faery": ("a.csv", b"t;x@640;y@480;on\r\n10;1;5;1\r\n", [(10, 1, 5, 1)]),
}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("size", [1, 2, 1 << 20])
def test_files_made_by_hand_are_read(way, tmp_path, name, size):
    file, content, expected = BY_HAND[name]
    (tmp_path / file).write_bytes(content)
    stated = (
        {}
        if "% " in content.decode("latin-1") or "@" in content.decode("latin-1") or file == "a.bin"
        else {"sensor_size": SIZE}
    )
    events, offset, reason = outcome(tmp_path / file, size, **stated)
    if (
        name == "nmnist"
    ):  # its second event is earlier by a second, and its last one again later, after the counter wrapped
        assert reason is not None
        (tmp_path / file).write_bytes(content[:5] + content[10:])
        events, offset, reason = outcome(tmp_path / file, size)
        expected = [*expected, (0x123457 + 8192, 5, 6, 0)]
    assert (events, offset, reason) == (expected, None, None)
    with open_events(tmp_path / file, **stated) as recording:
        size_said = {
            "evt21, halves swapped": (1280, 720),
            "evt3": (1280, 720),
            "dat of version 1": (304, 240),
            "evt2": (640, 480),
        }
        assert recording.sensor_size == size_said.get(name, recording.sensor_size)


def test_plugins_of_prophesee_tell_the_sensor(tmp_path):
    for plugin, size in (
        ("hal_plugin_gen3_fx3", (640, 480)),
        ("hal_plugin_imx636_evk4", (1280, 720)),
        ("hal_plugin_genx320", (320, 320)),
    ):
        (tmp_path / "a.raw").write_bytes(f"% evt 3.0\n% plugin_name {plugin}\n% end\n".encode())
        assert info(tmp_path / "a.raw")["sensor_size"] == size


# What is written is read.


@every_format
@pytest.mark.parametrize("count", [0, 1, 3000])
def test_what_is_written_is_read(way, tmp_path, name, count):
    events = random_events(count)
    path = written(tmp_path, name, events)
    assert read_events(path).equal(events)
    about = info(path)
    assert about["sensor_size"] == SIZE
    assert about["bytes"] == path.stat().st_size
    assert about["events"] in ({None} if about["format"] in ("evt2", "evt3", "csv") else {count})
    if about["start"] is not None:
        assert (about["start"], about["stop"]) == (int(events.t[0]), int(events.t[-1]))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@every_format
def test_parts_and_chunks_do_not_matter(tmp_path, name):
    events = random_events(150_000, step=3)
    whole = written(tmp_path, name, events)
    content = read_events(whole)
    assert content.equal(events)
    written(tmp_path, name, (events[first : first + 40_000] for first in range(0, len(events), 40_000)))
    for size in (1000, 65_537, 1 << 20):
        with open_events(whole) as recording:
            parts = list(recording.chunks(size))
        assert Events.cat(parts).equal(events)
        assert max(map(len, parts)) <= size


@every_format
@given(
    steps=st.lists(st.integers(-900, 900) | st.integers(0, 1 << 30), min_size=1, max_size=20),
    start=st.integers(-(1 << 40), 1 << 50),
    seed=st.integers(0, 9),
)
def test_any_times_survive(tmp_path_factory, name, steps, start, seed):
    latest, t = start, []
    for step in steps:  # at most 900 us before the latest one
        t.append(latest + step)
        latest = max(latest, t[-1])
    some = random_events(len(t), size=(2048, 1024), seed=seed)
    events = Events(t, some.x, some.y, some.p, some.sensor_size)
    assert read_events(written(tmp_path_factory.mktemp("a"), name, events)).equal(events)


@pytest.mark.parametrize("name", ["aedat4, plain", "aedat4, LZ4", "aedat4, Zstandard", "evt2", "evt3", "dat", "csv"])
def test_others_read_what_is_written(tmp_path, name):
    faery = pytest.importorskip("faery")
    events = random_events(100_000, start=0, step=3)
    path = written(tmp_path, name, events)
    theirs = Events.from_structured(faery.events_stream_from_file(path).to_array(), SIZE)
    assert theirs.equal(events)
    if path.suffix == ".aedat4":
        dv, aedat = pytest.importorskip("dv_processing"), pytest.importorskip("aedat")
        reader, batches = dv.io.MonoCameraRecording(str(path)), []
        while (batch := reader.getNextEventBatch()) is not None:
            batches.append(batch.numpy())
        assert Events.from_structured(np.concatenate(batches), SIZE).equal(events)
        assert reader.getEventResolution() == SIZE
        batches = [packet["events"] for packet in aedat.Decoder(path) if "events" in packet]
        assert Events.from_structured(np.concatenate(batches), SIZE).equal(events)


@pytest.mark.parametrize(
    "options",
    [{"version": v} for v in ("evt2", "evt3", "dat2")] + [{"compression": c} for c in (None, ("lz4", 1), ("zstd", 1))],
)
def test_what_others_write_is_read(tmp_path, options):
    faery = pytest.importorskip("faery")
    events = random_events(100_000, step=3)
    array = events.to_structured(("t", "x", "y", "on")).astype(faery.EVENTS_DTYPE)
    path = tmp_path / ("a.aedat4" if "compression" in options else "a.dat" if options["version"] == "dat2" else "a.raw")
    faery.events_stream_from_array(array, SIZE).to_file(path, **options)
    assert read_events(path).equal(events)


# Both ways to decode do the same, whatever they are given.


def junk(record, kinds, seed):
    """Records of which most are of a kind that there is."""
    random = np.random.default_rng(seed)
    words = random.integers(0, 256, (400, record), dtype=np.uint8)
    if kinds:
        kind = (
            random.choice(kinds, 400)
            if seed % 2
            else np.where(random.random(400) < 0.997, random.choice(kinds, 400), random.integers(0, 16, 400))
        )
        words[:, -1] = kind << 4 | words[:, -1] & 15
    return words


@pytest.mark.skipif(decode._library() is None, reason="no C compiler")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("decoder", "record", "kinds"),
    [
        ("evt2", 4, [0, 0, 1, 1, 8, 10, 14, 15]),
        ("evt21", 8, [0, 0, 1, 1, 8, 10, 14, 15]),
        ("evt21_legacy", 8, [0, 0, 1, 1, 8, 10, 14, 15]),
        ("evt3", 2, [0, 2, 2, 2, 3, 4, 4, 5, 5, 6, 7, 8, 10, 14, 15]),
        ("dat1", 8, []),
        ("dat2", 8, []),
        ("nmnist", 5, []),
    ],
)
def test_c_and_numpy_agree_on_anything(monkeypatch, decoder, record, kinds, seed):
    words = junk(record, kinds, seed)
    if decoder == "evt21_legacy":
        words = np.concatenate([words[:, 4:], words[:, :4]], 1)
    results = []
    for library in (decode._library(), None):
        monkeypatch.setattr(decode, "_library", lambda library=library: library)
        state, at, parts = decode.new_state(), 0, []
        while at < len(words) and not state[decode.WRONG]:
            columns = tuple(
                torch.zeros(77 + 900 * (seed % 3), dtype=dtype)
                for dtype in (torch.int64, torch.int16, torch.int16, torch.uint8)
            )
            decode.decode(decoder, words.reshape(-1)[at * record :], len(words) - at, columns, state)
            at += int(state[decode.READ])
            parts.append([column[: int(state[decode.WRITTEN])] for column in columns])
        results.append(
            ([torch.cat(columns).tolist() for columns in zip(*parts, strict=True)], at, state[decode.WRONG :].tolist())
        )
    assert results[0] == results[1]
    assert seed % 2 == 0 or not kinds or len(results[0][0][0]) > 50, "too few events for this test to see anything"


@pytest.mark.skipif(decode._library() is None, reason="no C compiler")
@given(
    st.lists(
        st.sampled_from(
            [
                b"1,2,3,1",
                b" 12 , 3,4 ,0 ",
                b"5,6,7,-1",
                b"# hm",
                b"",
                b"\r",
                b"1,2,3",
                b"1,2,3,4",
                b"1,2,3,1,9",
                b"1,2,x,1",
                b"1 2 3 1",
            ]
        )
        | st.binary(max_size=9).filter(lambda line: b"\n" not in line),
        max_size=8,
    ),
    st.sampled_from([b",", b" ", b";"]),
)
def test_c_and_numpy_agree_on_any_text(lines, separator):
    text = np.frombuffer(b"".join(line.replace(b",", separator) + b"\n" for line in lines), np.uint8)
    results = []
    for library in (decode._library(), None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decode, "_library", lambda library=library: library)
            state, columns = (
                decode.new_state(),
                tuple(torch.zeros(20, dtype=d) for d in (torch.int64, torch.int16, torch.int16, torch.uint8)),
            )
            decode.decode("csv", text, len(text), columns, state, [0, 1, 2, 3, 4, ord(separator)])
            results.append(([c.tolist() for c in columns], state[: decode.TIMED].tolist()))
    assert results[0] == results[1]


@given(
    st.lists(
        st.tuples(
            st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(0, 3000),
            st.integers(-2, 5),
            st.integers(-1, 4),
            st.integers(0, 2),
        ),
        max_size=9,
    )
)
def test_c_and_numpy_agree_on_what_is_sound(events):
    t, x, y, p = zip(*events, strict=True) if events else [()] * 4
    columns = tuple(
        torch.tensor(c, dtype=d)
        for c, d in zip((t, x, y, p), (torch.int64, torch.int16, torch.int16, torch.uint8), strict=True)
    )
    results = []
    for library in (decode._library(), None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decode, "_library", lambda library=library: library)
            results.append(decode.sound(columns, (4, 3), 1000, -decode.FAR))
    first, latest = 0, -decode.FAR
    for first, (t, x, y, p) in enumerate([*events, (0, -1, 0, 0)]):  # noqa: B007
        if not (0 <= x < 4 and 0 <= y < 3 and p < 2 and abs(t) <= decode.FAR and t >= latest - 1000):
            break
        latest = max(latest, t)
    assert results == [(first, latest)] * 2


# What is damaged is refused, or read as far as it is sound.


def strict_and_truncated(path):
    """What a strict reader says, None if nothing, and what is read in spite of it."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*left out")
            read_events(path)
        reason = None
    except EventFileError as error:
        reason = error
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            events = read_events(path, errors="truncate")
        except EventFileError:  # the head already is damaged
            return reason, None
    assert any("were read" in str(warning.message) for warning in caught) == bool(reason)
    return reason, events


@every_format
def test_a_file_that_is_cut_short_is_refused_and_its_beginning_readable(way, tmp_path, name):
    events = random_events(60)
    path = written(tmp_path, name, events)
    whole, silent = path.read_bytes(), 0
    for size in {*range(0, len(whole), max(41, len(whole) // 50)), *range(len(whole) - 20, len(whole))}:
        path.write_bytes(whole[:size])
        reason, part = strict_and_truncated(path)
        silent += reason is None
        assert part is None or part.equal(events[: len(part)]) or path.suffix == ".csv"
        assert reason is not None or path.suffix in (".raw", ".dat", ".csv"), "what is missing was not missed"
    # Formats without a length cannot tell where they end between two records.
    records = {".raw": 30, ".dat": 12, ".csv": 60}
    assert silent <= records.get(path.suffix, 0)


@every_format
def test_flipped_bits_crash_nothing(tmp_path, name):
    events = random_events(40)
    path = written(tmp_path, name, events)
    whole = path.read_bytes()
    random = np.random.default_rng(1)
    refused = 0
    for bit in random.choice(len(whole) * 8, min(len(whole) * 8, 150), replace=False):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        reason, part = strict_and_truncated(path)
        refused += reason is not None
        assert part is None or Events(*part.columns(), part.sensor_size).equal(part)
    assert refused > 15


def test_a_cut_packet_says_where_and_what_is_readable(tmp_path):
    events = random_events(100_000, step=3)
    path = written(tmp_path, "aedat4, LZ4", events)
    path.write_bytes(path.read_bytes()[:-200_000])
    with pytest.raises(
        EventFileError,
        match=r"a\.aedat4 at byte [0-9,]+: packet 1 is cut short: it should have [0-9,]+ bytes, and [0-9,]+ are left; "
        r'the 65,536 events before it are readable with errors="truncate"',
    ):
        read_events(path)
    with pytest.warns(RuntimeWarning, match=r"packet 1 is cut short.*only the 65,536 events before it were read\."):
        part = read_events(path, errors="truncate")
    assert part.equal(events[:65_536])


def flatbuffer(kind, count, content, size=None):
    body = flatbuffers.flatbuffer(kind, count, content)
    return body if size is None else struct.pack("<I", size) + body[4:]


def aedat4_file(*packets, compression=Compression.NONE, text=None, table=-1):
    header, place = aedat4._header(SIZE, compression)
    if text is not None:
        header = (
            header[:54].replace(header[14:18], struct.pack("<I", 44 + len(text)))
            + struct.pack("<I", len(text))
            + text
            + b"\0"
        )
        header = header[:58] + header[58:]
    header = header[:place] + struct.pack("<q", table) + header[place + 8 :]
    return header + b"".join(
        struct.pack("<ii", stream, len(data) if size is None else size) + data for stream, data, size in packets
    )


RECORD = struct.pack("<qhhBxxx", 10, 1, 2, 1)


def bomb(compression, size=1 << 29):
    if compression == Compression.LZ4:
        import lz4.frame

        return lz4.frame.compress(bytes(size))
    import zstandard

    return zstandard.ZstdCompressor(write_content_size=compression == Compression.ZSTD).compress(bytes(size))


# Content, and what is said of it. Of AEDAT 4, after a sound packet.
SOUND = (0, flatbuffer(b"EVTS", 1, RECORD), None)
AEDAT4 = {
    "a negative length": (
        aedat4_file(SOUND, (0, b"", -1)),
        "packet 1 is cut short: it should have -1 bytes, and 0 are left",
    ),
    "a huge length": (
        aedat4_file(SOUND, (0, b"", 2**31 - 1)),
        "packet 1 is cut short: it should have 2,147,483,647 bytes",
    ),
    "no such stream": (aedat4_file(SOUND, (7, b"", None)), "packet 1 is of stream 7, which the header does not name"),
    "half a length": (aedat4_file(SOUND) + b"\0\0", "packet 1 is cut short: it should have 8 bytes, and 2 are left"),
    "more records than bytes": (
        aedat4_file(SOUND, (0, flatbuffer(b"EVTS", 2**32 - 1, RECORD), None)),
        "packet 1 says that it has 4,294,967,295 parts",
    ),
    "a huge buffer": (
        aedat4_file(SOUND, (0, flatbuffer(b"EVTS", 1, RECORD, 2**32 - 1), None)),
        "packet 1 is cut short",
    ),
    "another type": (
        aedat4_file(SOUND, (0, flatbuffer(b"FRME", 1, RECORD), None)),
        "packet 1 should be of type EVTS, got b'FRME'",
    ),
    "no buffer": (aedat4_file(SOUND, (0, b"abc", None)), "packet 1 refers to its byte 0 of 3"),
    "a root outside": (
        aedat4_file(SOUND, (0, struct.pack("<II4s", 8, 2**32 - 9, b"EVTS"), None)),
        "packet 1 refers to its byte 4,294,967,291 of 12",
    ),
    "a layout outside": (
        aedat4_file(SOUND, (0, struct.pack("<II4si", 12, 8, b"EVTS", 99), None)),
        "packet 1 refers to its byte -87 of 16",
    ),
    "what is not compressed": (
        aedat4_file((0, b"hello, world", None), compression=Compression.LZ4),
        "packet 0 cannot be decompressed",
    ),
    "what is not compressed either": (
        aedat4_file((0, b"hello, world", None), compression=Compression.ZSTD),
        "packet 0 cannot be decompressed",
    ),
    "half an end": (aedat4_file(SOUND, table=9999), "the file is cut short: its packets should end at byte 9,999"),
    "a table that is none": (
        aedat4_file(SOUND, (0, b"", None), table=len(aedat4_file(SOUND))),
        "the table should be of type FTAB, got b''",
    ),
}


@pytest.mark.parametrize("name", AEDAT4)
def test_damaged_packets_are_refused(tmp_path, name):
    content, message = AEDAT4[name]
    (tmp_path / "a.aedat4").write_bytes(content)
    with pytest.raises(EventFileError) as caught:
        read_events(tmp_path / "a.aedat4")
    assert caught.value.reason.startswith(message)
    if "packet 1" in message:
        with pytest.warns(RuntimeWarning, match="only the 1 events before it"):
            assert rows(read_events(tmp_path / "a.aedat4", errors="truncate")) == [(10, 1, 2, 1)]


@pytest.mark.parametrize("compression", [Compression.LZ4, Compression.ZSTD, Compression.ZSTD_HIGH])
def test_a_packet_that_becomes_huge_is_refused(tmp_path, compression):
    (tmp_path / "a.aedat4").write_bytes(aedat4_file((0, bomb(compression), None), compression=compression))
    with pytest.raises(
        EventFileError, match=r"packet 0 has (536,870,912 bytes, which are )?more than 134,217,728( bytes)?"
    ):
        read_events(tmp_path / "a.aedat4")


@pytest.mark.parametrize(
    ("compression", "stated", "most"),
    [
        (Compression.LZ4, True, 1),
        (Compression.LZ4, False, 64),
        (Compression.ZSTD, True, 1),
        (Compression.ZSTD_HIGH, True, 1),
    ],
)
def test_many_packets_that_become_large_are_not_held_at_once(tmp_path, compression, stated, most):
    # 2 MiB of each, of which the file holds a few kilobytes.
    compress = compressor_of(compression) if stated else functools.partial(lz4.frame.compress, store_size=False)
    packets = [(0, compress(flatbuffer(b"EVTS", 1 << 17, RECORD * (1 << 17))), None)] * 100
    (tmp_path / "a.aedat4").write_bytes(aedat4_file(*packets, compression=compression))
    with open_events(tmp_path / "a.aedat4") as recording:
        together = max(len(group) for group, _ in recording._reader._groups())
    assert together <= most


def test_a_packet_that_says_too_little_is_refused_at_once():
    compressor = lz4.frame.LZ4FrameCompressor()
    data = compressor.begin(source_size=1) + compressor.compress(bytes(1 << 24)) + bytes(4)
    decompress = decompressor_of(Compression.LZ4)
    tracemalloc.start()
    with pytest.raises((DamagedError, RuntimeError)):
        decompress(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 26


HEADS = {
    "nothing": ("a.raw", b"", "the file is empty"),
    "something else": ("a.jpg", b"\xff\xd8\xff\xe0", "geir does not know what this is; say it with format="),
    "an older AEDAT": ("a.aedat", b"#!AER-DAT3.1\r\n", r"AEDAT of a version that geir does not read \(it reads 4\.0\)"),
    "no end of a line": ("a.raw", b"% evt 3.0\n% geometry 640x480", "a line of the header does not end"),
    "no size": (
        "a.raw",
        b"% evt 3.0\n% end\n",
        r"does not say how large its sensor was; say it with sensor_size=\(width, height\)",
    ),
    "no sensor": ("a.raw", b"% evt 3.0\n% geometry 99999x480\n% end\n", "no sensor has 99999x480 pixels"),
    "no number": (
        "a.dat",
        b"% Version 2\n% Width wide\n% Height 4\n\x0c\x08",
        "header's Width should be a whole number, got 'wide'",
    ),
    "a version of DAT": ("a.dat", b"% Version 3\n% Width 9\n% Height 4\n\x0c\x08", "DAT has versions 1 and 2, got 3"),
    "no type": (
        "a.dat",
        b"% Version 2\n% Width 9\n% Height 4\n\x0c",
        "the type of its events is cut short: it should have 2 bytes, and 1 are left",
    ),
    "triggers": ("a.dat", b"% Version 2\n% Width 9\n% Height 4\n\x0e\x08", "its events are of type 14 with 8 bytes"),
    "half an AEDAT 4": ("a.aedat4", aedat4_file()[:60], "the header is cut short: it should have"),
    "a compression": ("a.aedat4", aedat4_file()[:42] + b"\x11" + aedat4_file()[43:], "AEDAT 4 has no compression 17"),
    "an end before the start": (
        "a.aedat4",
        aedat4_file(table=5),
        "the header says that packets end at byte 5, where they have not begun",
    ),
    "a line of text": (
        "a.csv",
        b"t,x@4,y@4,p\n1,2,3,1\n1,2\n",
        "this is no line of an event: '1,2'; the 1 events before it",
    ),
    "seconds": ("a.txt", b"x@4 y@4 t p\n0 0 0.5 1\n", "this is no line of an event: '0 0 0.5 1'"),
    "a long line": ("a.csv", b"t,x@4,y@4,p\n" + b"1" * (BLOCK + 5000), "a line has more than 4,096 characters"),
    "names of fields": (
        "a.csv",
        b"time,x,y,p\n1,2,3,1\n",
        "the first line should name the fields t, x, y and p, got 'time,x,y,p'",
    ),
    "no archive": ("a.npz", b"PK\x03\x04 and so on", "the archive is damaged: File is not a zip file"),
    "no HDF5": ("a.h5", b"\x89HDF\r\n\x1a\n and so on", "the file is damaged:"),
    "an unknown word": (
        "a.raw",
        BY_HAND["evt2"][1] + evt2_word(5),
        "this is no record of evt2; the 2 events before it",
    ),
    "a vector beyond the last column": (
        "a.raw",
        b"% evt 3.0\n% geometry 9x9\n% end\n" + evt3_words((8, 0), (3, 2047), (4, 0), (4, 1)),
        "this is no record of evt3",
    ),
    "a polarity of 2": (
        "a.dat",
        b"% Version 2\n% Width 9\n% Height 4\n\x0c\x08" + struct.pack("<II", 1, 2 << 28),
        "event 0 is at x = 0, y = 0 with polarity 2",
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_what_is_no_file_of_events_is_refused(tmp_path, name):
    file, content, message = HEADS[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(EventFileError, match=message):
        read_events(tmp_path / file)


DESCRIPTIONS = {
    b"<dv>": "the header's description of its streams is damaged",
    b"<!DOCTYPE dv [<!ENTITY a 'aaaa'>]><dv/>": "description of its streams is damaged: it has declarations",
    b"<dv/>": "reads files with one stream of events, this has 0 among {}",
    b"<dv><node name='outInfo'>"
    + b"".join(b"<node name='%d'><attr key='typeIdentifier'>EVTS</attr></node>" % k for k in (0, 1))
    + b"</node></dv>": "reads files with one stream of events, this has 2 among",
}


@pytest.mark.parametrize("text", DESCRIPTIONS)
def test_a_description_of_streams_is_refused(tmp_path, text):
    body = struct.pack("<I4s5H2xiiqII", 20, b"IOHE", 10, 20, 4, 8, 16, 12, 0, -1, 4, len(text)) + text + b"\0"
    (tmp_path / "a.aedat4").write_bytes(b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(body)) + body)
    with pytest.raises(EventFileError, match=DESCRIPTIONS[text]):
        read_events(tmp_path / "a.aedat4")


def test_a_table_that_counts_otherwise_is_refused(tmp_path):
    path = written(tmp_path, "aedat4, plain", random_events(50))
    content = path.read_bytes()
    at = content.rindex(struct.pack("<q", 50))
    path.write_bytes(content[:at] + struct.pack("<q", 60) + content[at + 8 :])
    with pytest.raises(EventFileError, match="its table speaks of 60 events, but it has 50"):
        read_events(path)
    assert info(path)["events"] == 60


@every_format
def test_time_may_step_back_a_little_but_not_far(tmp_path, name):
    events = Events([5000, 4200, 6000], [1, 2, 3], [1, 2, 3], [1, 0, 1], SIZE)
    path = written(tmp_path, name, events)
    assert read_events(path).equal(events)
    far = Events([5000, 3999], [1, 2], [1, 2], [1, 0], SIZE)
    with pytest.raises(
        ValueError, match=r"events must come in order, got 3999 us after 5000 us; sort them with Events\.sorted"
    ):
        write_events(far, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geir.events.files.STEP_BACK", 1 << 40)
        written(tmp_path, name, far)
    with pytest.raises(
        EventFileError,
        match="event 1 is at 3999 us, 1,001 us earlier than one before it; the 1 events before it are readable",
    ):
        read_events(path)
    with pytest.warns(RuntimeWarning, match="only the 1 events before it were read"):
        assert read_events(path, errors="truncate").equal(far[:1])


@every_format
def test_an_event_outside_of_the_sensor_is_refused(way, tmp_path, name):
    path = written(tmp_path, name, Events([1, 2, 3], [1, 319, 3], [1, 2, 3], [1, 0, 1], SIZE))
    with pytest.raises(
        EventFileError, match=r"event 1 is at x = 319, y = 2 with polarity 0, but the sensor has 319x240 pixels"
    ):
        read_events(path, sensor_size=(319, 240))
    with pytest.warns(RuntimeWarning):
        assert len(read_events(path, errors="truncate", sensor_size=(319, 240))) == 1


def test_events_before_the_first_time_are_left_out_with_a_warning(way, tmp_path):
    for content, count in (
        (b"% evt 2.0\n" + evt2_word(1, 1, 2, 3), 1),
        (b"% evt 3.0\n" + evt3_words((2, 1), (3, 5), (4, 7)), 4),
    ):
        (tmp_path / "a.raw").write_bytes(content)
        with pytest.warns(
            RuntimeWarning,
            match=rf"a\.raw: {count} events before the first word of time are left out; nobody knows when they were",
        ):
            assert len(read_events(tmp_path / "a.raw", sensor_size=SIZE)) == 0


def test_archives_and_hdf5_of_others_are_read_or_refused(tmp_path):
    columns = {"timestamp": [5, 6], "x": [1, 2], "y": [3, 4], "polarity": [True, False]}
    np.savez(tmp_path / "a.npz", **columns)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in columns.items():
            file[name] = values
    for path in (tmp_path / "a.npz", tmp_path / "a.h5"):
        assert rows(read_events(path, sensor_size=SIZE)) == [(5, 1, 3, 1), (6, 2, 4, 0)]
        with pytest.raises(EventFileError, match="does not say how large its sensor was"):
            read_events(path)
    wrong = {
        "a float": (columns | {"x": [0.5, 1]}, "of whole numbers"),
        "a length": (columns | {"x": [1]}, "differ in length"),
        "a number": (columns | {"x": [1, 1 << 20]}, r"column x should fit torch\.int16, got 1 to 1048576"),
        "nothing": ({"x": [1]}, "has the arrays t, x, y, p, got x.npy|it has no dataset events/t"),
    }
    for content, message in wrong.values():
        np.savez(tmp_path / "a.npz", **content)
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name, values in content.items():
                file[f"events/{name}"] = values
        for path in (tmp_path / "a.npz", tmp_path / "a.h5"):
            with pytest.raises(EventFileError, match=message):
                read_events(path, sensor_size=SIZE)
    np.savez(tmp_path / "a.npz", **columns, sensor_size=[1, 2, 3])
    with pytest.raises(EventFileError, match="sensor_size should be two numbers"):
        read_events(tmp_path / "a.npz")


def test_the_table_of_aedat4_says_where_packets_are(tmp_path):
    path = written(tmp_path, "aedat4, plain", random_events(70_000, step=3))
    content = path.read_bytes()
    with open_events(path) as recording:
        places = [(packet.offset + 8, len(packet.data)) for packet in recording._reader._packets()]
    for place, size in places:
        assert struct.pack("<iq", size, place) in content[recording._reader.table :].replace(
            bytes(4) + struct.pack("<q", place), struct.pack("<q", place)
        )
    assert len(places) == 2


def test_an_archive_that_is_damaged_inside_is_refused(tmp_path):
    path = written(tmp_path, "npz, stored", random_events(1000))
    content = bytearray(path.read_bytes())
    content[9500] ^= 1
    path.write_bytes(content)
    with pytest.raises(EventFileError, match="the archive is damaged: Bad CRC-32"):
        read_events(path)
    header = {"descr": "<i8", "fortran_order": False, "shape": (1 << 60,)}
    with zipfile.ZipFile(path, "w") as archive:
        for name in "txyp":
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(member, header)
    with pytest.raises(EventFileError, match="t has fewer numbers than it says"):
        read_events(path, sensor_size=SIZE)


def test_hdf5_that_leads_elsewhere_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(800))
    for kind in ("external", "link"):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name in "xyp":
                file[f"events/{name}"] = np.zeros(100, int)
            if kind == "external":
                file.create_dataset("events/t", (100,), "i8", external=[(str(tmp_path / "secret"), 0, 800)])
            else:
                file["events/t"] = h5py.ExternalLink("b.h5", "t")
        with pytest.raises(EventFileError, match="events/t lies in another file|it has no dataset events/t"):
            read_events(tmp_path / "a.h5", sensor_size=SIZE)


# Uses that are wrong.


def test_wrong_uses_are_refused(tmp_path):
    events = random_events(10)
    path = written(tmp_path, "csv", events)
    with pytest.raises(ValueError, match=r'open_events: errors must be "strict" or "truncate", got \'ignore\'\.'):
        open_events(path, errors="ignore")
    with pytest.raises(
        ValueError,
        match="there is no format 'evt4'; those that there are: aedat4, evt2, evt21, evt3, hdf5, npz, dat, nmnist, csv",
    ):
        open_events(path, format="evt4")
    with pytest.raises(
        TypeError, match=r"Events\.sensor_size must be the width and the height in pixels, got \(0, 3\)"
    ):
        open_events(path, sensor_size=(0, 3))
    with (
        pytest.raises(ValueError, match=r"Recording\.chunks: size must be > 0 events, got 0\."),
        open_events(path) as recording,
    ):
        next(recording.chunks(0))
    with pytest.raises(FileNotFoundError):
        read_events(tmp_path / "none.raw")
    with pytest.raises(IsADirectoryError):
        read_events(tmp_path)
    with pytest.raises(EventFileError, match="this is not a file"):
        read_events("/dev/null")
    for file, options in (("a.bin", {}), ("a.xyz", {}), ("a.raw", {"format": "evt21"})):
        with pytest.raises(
            ValueError, match=r"is not of a format that geir writes: aedat4, evt2, evt3, dat, hdf5, csv, npz\."
        ):
            write_events(events, tmp_path / file, **options)
    with pytest.raises(ValueError, match=r"there are no events, not even Events\.empty\(sensor_size\)"):
        write_events([], path)
    with pytest.raises(ValueError, match=r"a file has events of one sensor, got \(320, 240\) and \(4, 7\)"):
        write_events([events, Events.empty((4, 7))], path)
    with pytest.raises(
        ValueError, match="evt3 has 11 bits for a coordinate, which are too few for a sensor of 4096x9 pixels"
    ):
        write_events(Events.empty((4096, 9)), tmp_path / "a.raw")
    with pytest.raises(ValueError, match="dat has 14 bits for a coordinate"):
        write_events(Events.empty((20000, 9)), tmp_path / "a.dat")
    later = Events([0, 1 << 50], [0, 0], [0, 0], [0, 0], SIZE)
    with pytest.raises(
        ValueError, match=r"the times of events lie too far apart for this format, which counts to 2\*\*12"
    ):
        write_events(later, tmp_path / "a.raw")
    with pytest.raises(ValueError, match="dat cannot say that more than 35 minutes pass"):
        write_events(later, tmp_path / "a.dat")
    assert read_events(path).equal(events), "a file was lost by writing what could not be written"
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        ("lz4.frame", "aedat4, LZ4", "need the package lz4; install it: pip install 'geir[events]'"),
        ("zstandard", "aedat4, Zstandard", "need the package zstandard; install it: pip install 'geir[events]'"),
        ("h5py", "hdf5", "read and written with h5py; install it: pip install 'geir[events]'"),
    ],
)
def test_packages_that_are_missing_are_named(tmp_path, monkeypatch, module, name, message):
    path = written(tmp_path, name, random_events(10))
    monkeypatch.setitem(sys.modules, module, None)
    for use in (lambda: read_events(path), lambda: written(tmp_path, name, random_events(10))):
        with pytest.raises(ImportError) as caught:
            use()
        assert message in str(caught.value)


def test_a_recording_says_what_it_is_and_closes(tmp_path):
    path = written(tmp_path, "evt3", random_events(10))
    with open_events(str(path)) as recording:
        assert (recording.path, recording.format, recording.sensor_size) == (path, "evt3", SIZE)
        assert recording.metadata["evt"] == "3.0"
        assert repr(recording) == f"Recording({str(path)!r}, evt3, 320x240)"
    with pytest.raises(ValueError, match="closed file"):
        next(recording.chunks())


def test_a_wrong_name_does_not_matter_where_the_content_tells(tmp_path):
    events = random_events(100)
    for name in WRITTEN:
        path = written(tmp_path, name, events)
        if path.suffix in (".csv", ".dat"):
            continue
        path.rename(tmp_path / "a.txt")
        assert read_events(tmp_path / "a.txt").equal(events)


def test_a_stream_that_is_left_early_leaves_no_thread(tmp_path):
    import threading

    path = written(tmp_path, "aedat4, LZ4", random_events(400_000, step=3))
    before, threads = threading.active_count(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with open_events(path) as recording:
            chunks = recording.chunks(1000)
            assert len(next(chunks)) == 1000
            assert threading.active_count() > before
            chunks.close()
        assert threading.active_count() == before
        assert len(read_events(path)) == 400_000
    finally:
        torch.set_num_threads(threads)


def test_without_a_compiler_numpy_decodes(monkeypatch):
    def none(source):
        raise NoCompilerError

    monkeypatch.setattr("geir._runtime.native.load", none)
    decode._library.cache_clear()
    assert decode._library() is None
    decode._library.cache_clear()
