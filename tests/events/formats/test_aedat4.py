"""AEDAT 4: damaged packets and tables, decompression bombs, threads."""

import functools
import struct
import threading
import tracemalloc

import lz4.frame
import pytest
import torch
import zstandard
from event_samples import aedat4_file, random_events, rows, write_sample

from geir.events import Compression, describe, EventFileError, open_events, read_events
from geir.events.formats.compression import make_compressor, make_decompressor
from geir.events.formats.flatbuffer import build_flatbuffer, DamagedError


def test_a_truncated_packet_is_located_and_the_events_before_it_are_readable(tmp_path):
    events = random_events(100_000, step=3)
    path = write_sample(tmp_path, "aedat4, LZ4", events)
    path.write_bytes(path.read_bytes()[:-200_000])
    with pytest.raises(
        EventFileError,
        match=r"a\.aedat4 at byte [0-9,]+: packet 1 is truncated: expected [0-9,]+ bytes, got [0-9,]+; "
        r'the 65,536 events before it are readable with errors="truncate"',
    ):
        read_events(path)
    with pytest.warns(RuntimeWarning, match=r"packet 1 is truncated.*only the 65,536 events before it were read\."):
        part = read_events(path, errors="truncate")
    assert part.equal(events[:65_536])


def flatbuffer(kind, count, content, size=None):
    """A FlatBuffer of one vector, whose stated size may be wrong."""
    body = build_flatbuffer(kind, count, content)
    return body if size is None else struct.pack("<I", size) + body[4:]


RECORD = struct.pack("<qhhBxxx", 10, 1, 2, 1)


def bomb(compression, size=1 << 28):
    """A small packet that decompresses to `size` bytes."""
    if compression == Compression.LZ4:
        return lz4.frame.compress(bytes(size))
    return zstandard.ZstdCompressor(write_content_size=compression == Compression.ZSTD).compress(bytes(size))


VALID_PACKET = (0, flatbuffer(b"EVTS", 1, RECORD), None)


# Content of a file, and the error.
FILES = {
    "a negative length": (
        aedat4_file(VALID_PACKET, (0, b"", -1)),
        "packet 1 is truncated: expected -1 bytes, got 0",
    ),
    "a huge length": (
        aedat4_file(VALID_PACKET, (0, b"", 2**31 - 1)),
        "packet 1 is truncated: expected 2,147,483,647 bytes",
    ),
    "an unknown stream": (
        aedat4_file(VALID_PACKET, (7, b"", None)),
        "packet 1 is of stream 7, which the header does not name",
    ),
    "a truncated length": (aedat4_file(VALID_PACKET) + b"\0\0", "packet 1 is truncated: expected 8 bytes, got 2"),
    "more records than bytes": (
        aedat4_file(VALID_PACKET, (0, flatbuffer(b"EVTS", 2**32 - 1, RECORD), None)),
        "packet 1 states 4,294,967,295 items",
    ),
    "a huge buffer": (
        aedat4_file(VALID_PACKET, (0, flatbuffer(b"EVTS", 1, RECORD, 2**32 - 1), None)),
        "packet 1 is truncated",
    ),
    "another type": (
        aedat4_file(VALID_PACKET, (0, flatbuffer(b"FRME", 1, RECORD), None)),
        "packet 1 must be of type EVTS, got b'FRME'",
    ),
    "a packet of three bytes": (
        aedat4_file(VALID_PACKET, (0, b"abc", None)),
        "packet 1 refers to byte 0 of its 3 bytes",
    ),
    "a root outside the packet": (
        aedat4_file(VALID_PACKET, (0, struct.pack("<II4s", 8, 2**32 - 9, b"EVTS"), None)),
        "packet 1 refers to byte 4,294,967,291 of its 12 bytes",
    ),
    "a layout outside the packet": (
        aedat4_file(VALID_PACKET, (0, struct.pack("<II4si", 12, 8, b"EVTS", 99), None)),
        "packet 1 refers to byte -87 of its 16 bytes",
    ),
    "data that is not LZ4": (
        aedat4_file((0, b"hello, world", None), compression=Compression.LZ4),
        "packet 0 cannot be decompressed",
    ),
    "data that is not Zstandard": (
        aedat4_file((0, b"hello, world", None), compression=Compression.ZSTD),
        "packet 0 cannot be decompressed",
    ),
    "an end beyond the file": (
        aedat4_file(VALID_PACKET, table=9999),
        "the file is truncated: its packets end at byte 9,999",
    ),
    "an invalid file table": (
        aedat4_file(VALID_PACKET, (0, b"", None), table=len(aedat4_file(VALID_PACKET))),
        "the file table must be of type FTAB, got b''",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_damaged_packets_are_rejected(tmp_path, name):
    content, message = FILES[name]
    (tmp_path / "a.aedat4").write_bytes(content)
    with pytest.raises(EventFileError) as caught:
        read_events(tmp_path / "a.aedat4")
    assert caught.value.reason.startswith(message)
    if "packet 1" in message:
        with pytest.warns(RuntimeWarning, match="only the 1 events before it"):
            assert rows(read_events(tmp_path / "a.aedat4", errors="truncate")) == [(10, 1, 2, 1)]


@pytest.mark.parametrize("compression", [Compression.LZ4, Compression.ZSTD, Compression.ZSTD_HIGH])
def test_packets_that_decompress_to_too_much_are_rejected(tmp_path, compression):
    (tmp_path / "a.aedat4").write_bytes(aedat4_file((0, bomb(compression), None), compression=compression))
    with pytest.raises(EventFileError, match=r"packet 0 has (268,435,456 bytes, )?more than 134,217,728( bytes)?"):
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
def test_many_packets_that_decompress_to_much_are_not_held_at_once(tmp_path, compression, stated, most):
    # 2 MiB each, a few kilobytes in the file.
    compress = make_compressor(compression) if stated else functools.partial(lz4.frame.compress, store_size=False)
    packets = [(0, compress(flatbuffer(b"EVTS", 1 << 17, RECORD * (1 << 17))), None)] * 100
    (tmp_path / "a.aedat4").write_bytes(aedat4_file(*packets, compression=compression))
    with open_events(tmp_path / "a.aedat4") as recording:
        together = max(len(list(group)) for group in recording.reader.packet_groups())
    assert together <= most


def test_a_packet_that_states_too_small_a_size_is_rejected_early():
    compressor = lz4.frame.LZ4FrameCompressor()
    data = compressor.begin(source_size=1) + compressor.compress(bytes(1 << 24)) + bytes(4)
    decompress = make_decompressor(Compression.LZ4)
    tracemalloc.start()
    with pytest.raises((DamagedError, RuntimeError)):
        decompress(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 26


# Descriptions of streams, and the error.
DESCRIPTIONS = {
    b"<dv>": "the header's description of its streams is invalid",
    b"<!DOCTYPE dv [<!ENTITY a 'aaaa'>]><dv/>": "description of its streams is invalid: it has declarations",
    b"<dv/>": "it has no stream of events, only {}",
    b"<dv><node name='outInfo'>"
    + b"".join(b"<node name='%d'><attr key='typeIdentifier'>EVTS</attr></node>" % k for k in (0, 1))
    + b"</node></dv>": r"it has 2 streams of events; pass stream= and the number of one: 0 \(no name\), 1 \(no name\)",
}


def described_file(text):
    """The head of a file with a description of its streams."""
    body = struct.pack("<I4s5H2xiiqII", 20, b"IOHE", 10, 20, 4, 8, 16, 12, 0, -1, 4, len(text)) + text + b"\0"
    return b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("text", DESCRIPTIONS)
def test_invalid_descriptions_of_streams_are_rejected(tmp_path, text):
    (tmp_path / "a.aedat4").write_bytes(described_file(text))
    with pytest.raises(EventFileError, match=DESCRIPTIONS[text]):
        read_events(tmp_path / "a.aedat4")


def test_a_file_table_with_another_number_of_events_is_rejected(tmp_path):
    path = write_sample(tmp_path, "aedat4, plain", random_events(50))
    content = path.read_bytes()
    at = content.rindex(struct.pack("<q", 50))
    path.write_bytes(content[:at] + struct.pack("<q", 60) + content[at + 8 :])
    with pytest.raises(EventFileError, match="the file table lists 60 events, found 50"):
        read_events(path)
    assert describe(path)["events"] == 60


def test_the_file_table_has_the_places_of_the_packets(tmp_path):
    path = write_sample(tmp_path, "aedat4, plain", random_events(70_000, step=3))
    content = path.read_bytes()
    with open_events(path) as recording:
        places = [(packet.offset + 8, len(packet.data)) for packet in recording.reader.packets()]
    for place, size in places:
        assert struct.pack("<iq", size, place) in content[recording.reader.table :].replace(
            bytes(4) + struct.pack("<q", place), struct.pack("<q", place)
        )
    assert len(places) == 2


def test_closing_a_stream_early_leaves_no_thread(tmp_path):
    path = write_sample(tmp_path, "aedat4, LZ4", random_events(400_000, step=3))
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


def stereo_file():
    """A file of two cameras and a stream of frames, as DV describes them."""

    def node(number, kind, width, height, camera):
        attributes = {"typeIdentifier": kind, "originalOutputName": kind.lower()}
        info = {"sizeX": width, "sizeY": height, "source": camera}
        lines = [
            "".join(f"<attr key='{key}' type='string'>{value}</attr>" for key, value in group.items())
            for group in (attributes, info)
        ]
        return f"<node name='{number}'>{lines[0]}<node name='info'>{lines[1]}</node></node>"

    nodes = node(0, "EVTS", 346, 260, "DAVIS346_00000336") + node(1, "FRME", 346, 260, "DAVIS346_00000336")
    nodes += node(2, "EVTS", 640, 480, "DVXplorer_DXA00093")
    head = described_file(f"<dv version='2.0'><node name='outInfo'>{nodes}</node></dv>".encode())

    def packet(stream, *events):
        data = flatbuffer(b"EVTS", len(events), b"".join(struct.pack("<qhhBxxx", *event) for event in events))
        return struct.pack("<ii", stream, len(data)) + data

    content = [
        packet(0, (10, 345, 2, 1), (11, 3, 4, 0)),
        packet(2, (10, 639, 479, 0)),
        struct.pack("<ii", 1, 3) + b"abc",
    ]
    return head + b"".join([*content, packet(2, (12, 7, 8, 1)), packet(0, (13, 5, 6, 1))])


def test_one_of_several_streams_of_events_is_chosen(tmp_path):
    (tmp_path / "a.aedat4").write_bytes(stereo_file())
    left = [(10, 345, 2, 1), (11, 3, 4, 0), (13, 5, 6, 1)], (346, 260)
    right = [(10, 639, 479, 0), (12, 7, 8, 1)], (640, 480)
    for stream, expected in (
        (0, left),
        ("DAVIS346_00000336", left),
        (2, right),
        ("2", right),
        ("DVXplorer_DXA00093", right),
    ):
        events = read_events(tmp_path / "a.aedat4", stream=stream)
        assert (rows(events), events.sensor_size) == expected
    described = r"0 \(DAVIS346_00000336, evts\), 2 \(DVXplorer_DXA00093, evts\)"
    with pytest.raises(
        EventFileError, match=f"it has 2 streams of events; pass stream= and the number of one: {described}"
    ):
        read_events(tmp_path / "a.aedat4")
    for stream, problem in ((1, "is none of its streams"), ("evts", "names several of its streams")):
        with pytest.raises(EventFileError, match=f"stream={stream!r} {problem} of events: {described}"):
            read_events(tmp_path / "a.aedat4", stream=stream)


@pytest.mark.parametrize("cut", [1, 30_000, 400_000, 1_000_000])
@pytest.mark.parametrize("sample", ["aedat4, plain", "aedat4, LZ4"])
def test_a_file_that_shrinks_while_it_is_read(tmp_path, sample, cut):
    events = random_events(300_000, step=3)
    path = write_sample(tmp_path, sample, events)
    with open_events(path) as recording:
        chunks = recording.chunks(1000)
        first = next(chunks)
        path.write_bytes(path.read_bytes()[:-cut])
        with pytest.raises(EventFileError, match="the file shrank while it was read") as info:
            for _ in chunks:
                pass
    assert first.equal(events[:1000])
    assert "a.aedat4 at byte" in str(info.value)
