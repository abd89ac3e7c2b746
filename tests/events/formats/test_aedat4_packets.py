"""AEDAT 4: packets that are located and decoded in C, several at a time."""

import struct
import threading

import lz4.frame
import numpy as np
import pytest
import torch
from conftest import without_compiler
from event_samples import aedat4_file, random_events, rows, write_sample
from hypothesis import given, settings, strategies as st

from geir.events import Compression, EventFileError, open_events, read_events
from geir.events.formats.aedat4_packets import find_packets, PacketPlace, PacketWalk, reference_find_packets
from geir.events.formats.compression import make_compressor, make_decompressor
from geir.events.formats.flatbuffer import build_flatbuffer, DamagedError


def events_of(count, start=10):
    return [(start + k, k % 320, k % 240, k % 2) for k in range(count)]


def packet(events, gap=0):
    """A FlatBuffer of events, with unused bytes before its table, which make another layout."""
    body = build_flatbuffer(b"EVTS", len(events), b"".join(struct.pack("<qhhBxxx", *event) for event in events))
    size, root = struct.unpack_from("<II", body)
    return struct.pack("<II", size + gap, root + gap) + body[8:12] + bytes(gap) + body[12:]


def outcome(path):
    """The events of a file, and the error that ends them."""
    read = []
    try:
        with open_events(path) as recording:
            for chunk in recording.chunks():
                read += rows(chunk)
    except EventFileError as error:
        return read, error.offset, error.reason
    return read, None, None


def in_c_and_python(path, threads):
    """The outcome in C, after a check that Python and threads have the same."""
    outcomes = []
    for change in ((), (without_compiler,), (threads,)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "get_num_threads", lambda: 1)
            for apply in change:
                apply(patch)
            outcomes.append(outcome(path))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    return outcomes[0]


def with_threads(patch):
    patch.setattr(torch, "get_num_threads", lambda: 2)
    patch.setattr("geir.events.formats.aedat4._SMALL_LZ4_BYTES", 0)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 2, 7, -1]), st.integers(-1, 40)), max_size=12),
    st.integers(0, 30),
    st.integers(1, 5),
)
def test_packets_are_located_in_c_as_in_python(headers, missing, capacity):
    content = b"".join(struct.pack("<ii", *header) + bytes(max(0, header[1])) for header in headers)
    piece = np.frombuffer(content, np.uint8)[: max(0, len(content) - missing)]
    results = []
    for find in (find_packets, reference_find_packets):
        walk, places, found = PacketWalk(), (PacketPlace * capacity)(), []
        while True:
            find(piece, np.array([1, 0, 1, 2]), walk, places)
            found += [(place.size, place.begin, place.number) for place in places[: walk.found]]
            if walk.found < capacity:
                break
        results.append((found, walk.next, walk.number))
    assert results[0] == results[1]
    # Independently: all whole packets up to the first that is invalid.
    expected, position = [], 0
    for number, (stream, size) in enumerate(headers):
        if stream not in (0, 1, 2) or size < 0 or position + 8 + size > len(piece):
            break
        if stream == 1:
            expected.append((size, position + 8, number))
        position += 8 + size
    assert results[0][:2] == (expected, position)


DAMAGES = {
    "more records than bytes": (lambda data: data[:28] + b"\xff\xff\xff\xff" + data[32:], "states 4,294,967,295 items"),
    "one record more than bytes": (lambda data: data[:28] + struct.pack("<I", 8) + data[32:], "states 8 items"),
    "a huge size": (lambda data: b"\xff\xff\xff\xff" + data[4:], "is truncated"),
    "a size of one byte more": (lambda data: struct.pack("<I", len(data) - 3) + data[4:], "is truncated"),
    "another type": (lambda data: data[:8] + b"FRME" + data[12:], "must be of type EVTS, got b'FRME'"),
    "the end missing": (lambda data: data[:-1], "is truncated"),
    "only a size": (lambda data: data[:4], "is truncated"),
    "no bytes": (lambda data: b"", "refers to byte 0 of its 0 bytes"),
}


@pytest.mark.parametrize("compression", [Compression.NONE, Compression.LZ4, Compression.ZSTD])
@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_packet_among_valid_ones(tmp_path, name, compression):
    damage, message = DAMAGES[name]
    compress = make_compressor(compression)
    data = [packet(events_of(7, 10 * k)) for k in range(9)]
    data[4] = damage(data[4])
    (tmp_path / "a.aedat4").write_bytes(aedat4_file(*((0, compress(d), None) for d in data), compression=compression))
    read, offset, reason = in_c_and_python(tmp_path / "a.aedat4", with_threads)
    assert read == [event for k in range(4) for event in events_of(7, 10 * k)]
    assert reason.startswith(f"packet 4 {message}")
    start = len(aedat4_file(compression=compression))
    assert offset == start + sum(8 + len(compress(d)) for d in data[:4])


@pytest.mark.parametrize("compression", [Compression.NONE, Compression.LZ4, Compression.ZSTD])
def test_packets_of_changing_layouts_and_sizes(tmp_path, monkeypatch, compression):
    # The columns of a group grow, and pieces of the file end everywhere in packets.
    monkeypatch.setattr("geir.events.formats.aedat4._GROUP_BYTES", 5000)
    monkeypatch.setattr("geir.events.formats.aedat4._CACHED_BYTES", 1000)
    counts = [1, 0, 3, 900, 2, 2, 5000, 1, 0, 0, 7, 40_000, 4]
    gaps = [0, 0, 4, 4, 0, 300, 4, 300, 300, 0, 8, 8, 0]
    compress = make_compressor(compression)
    packets = [(0, compress(packet(events_of(n), gap)), None) for n, gap in zip(counts, gaps, strict=True)]
    (tmp_path / "a.aedat4").write_bytes(aedat4_file(*packets, compression=compression))
    for piece_bytes in (64, 1000, 1 << 20):
        monkeypatch.setattr("geir.events.formats.aedat4_packets._PIECE_BYTES", piece_bytes)
        monkeypatch.setattr("geir.events.recording.MAX_BACKWARD_STEP_US", 1 << 40)
        monkeypatch.setattr("geir.events.formats.columns.MAX_BACKWARD_STEP_US", 1 << 40)
        read, _, reason = in_c_and_python(tmp_path / "a.aedat4", with_threads)
        assert reason is None
        assert read == [event for count in counts for event in events_of(count)]


@pytest.mark.parametrize("compression", [Compression.NONE, Compression.LZ4, Compression.ZSTD])
def test_thousands_of_packets_of_one_event(tmp_path, compression):
    compress = make_compressor(compression)
    packets = [(0, compress(packet(events_of(1, k))), None) for k in range(3000)]
    (tmp_path / "a.aedat4").write_bytes(aedat4_file(*packets, compression=compression))
    read, _, reason = in_c_and_python(tmp_path / "a.aedat4", with_threads)
    assert (read, reason) == ([(k, 0, 0, 0) for k in range(3000)], None)


@pytest.mark.parametrize("piece_bytes", [16, 1 << 20])
def test_a_file_truncated_at_any_byte(tmp_path, monkeypatch, piece_bytes):
    monkeypatch.setattr("geir.events.formats.aedat4_packets._PIECE_BYTES", piece_bytes)
    head = len(aedat4_file())
    content = aedat4_file(*((0, packet(events_of(2, 10 * k)), None) for k in range(3)))
    packet_size = (len(content) - head) // 3
    for end in range(head, len(content) + 1):
        (tmp_path / "a.aedat4").write_bytes(content[:end])
        whole, rest = divmod(end - head, packet_size)
        read, offset, reason = in_c_and_python(tmp_path / "a.aedat4", with_threads)
        assert read == [event for k in range(whole) for event in events_of(2, 10 * k)]
        if not rest:
            assert reason is None
            continue
        missing = (8, rest) if rest < 8 else (packet_size - 8, rest - 8)
        assert reason.startswith(f"packet {whole} is truncated: expected {missing[0]} bytes, got {missing[1]}")
        assert offset == head + whole * packet_size


def test_a_number_of_a_stream_that_packets_cannot_have_is_no_other_number(tmp_path):
    content = aedat4_file((0, packet(events_of(1)), None))
    # The name of the node keeps its length, because the header states that of the description.
    number, old = str(1 << 64), b'<node name="0" path="/mainloop/Recorder/outInfo/0/">'
    new = f'<node name="{number}" path="/">'.encode().ljust(len(old))
    assert len(new) == len(old)
    assert old in content
    (tmp_path / "a.aedat4").write_bytes(content.replace(old, new))
    _, _, reason = in_c_and_python(tmp_path / "a.aedat4", with_threads)
    assert reason == "packet 0 is of stream 0, which the header does not name"


@pytest.mark.parametrize("damaged", [lambda data: data[:-20], lambda data: data[:40] + bytes(9) + data[49:]])
def test_a_decompressor_is_as_good_as_new_after_an_invalid_packet(damaged):
    data = random_events(1000).t.numpy().tobytes()
    packed = lz4.frame.compress(data, content_checksum=True)
    decompress = make_decompressor(Compression.LZ4)
    for _ in range(3):
        with pytest.raises((DamagedError, RuntimeError)):
            decompress(damaged(packed))
        assert decompress(packed) == data


@pytest.mark.parametrize("size", [(1 << 21) - 1, 1 << 21, (1 << 21) + 1, 9_000_000])
@pytest.mark.parametrize("store_size", [True, False])
def test_large_packets_of_lz4_are_decompressed_in_parts(size, store_size):
    data = np.random.default_rng(0).integers(0, 3, size).astype(np.uint8).tobytes()
    packed = lz4.frame.compress(data, store_size=store_size)
    decompress = make_decompressor(Compression.LZ4)
    assert decompress(packed) == data
    for end in (len(packed) - 1, len(packed) // 2):
        with pytest.raises(DamagedError, match="is truncated"):
            decompress(memoryview(packed)[:end])


def test_small_packets_of_lz4_are_decompressed_by_one_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    before = threading.active_count()
    for packet_events, threads in ((500, 0), (1 << 16, 1)):
        monkeypatch.setattr("geir.events.formats.aedat4_writer._PACKET_EVENTS", packet_events)
        path = write_sample(tmp_path, "aedat4, LZ4", random_events(300_000, step=3))
        with open_events(path) as recording:
            chunks = recording.chunks(1000)
            next(chunks)
            assert min(1, threading.active_count() - before) == threads
            chunks.close()
        assert len(read_events(path)) == 300_000
