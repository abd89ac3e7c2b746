"""Inputs and outputs of events: nothing is lost, bins are what they should be, time is kept, and everything ends."""

import errno
import itertools
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import types

import numpy
import pytest
import torch
from hypothesis import given, strategies as st

from geir.events import (
    SPIF,
    T32,
    T64,
    CameraInput,
    EventFileError,
    Events,
    FileInput,
    Overflow,
    UDPInput,
    UDPOutput,
    camera as camera_module,
    counts as counts_module,
    file_input as file_input_module,
    input as input_module,
    read_events,
    write_events,
)
from geir.events.__main__ import main
from geir.events.buffer import Buffer
from geir.events.counts import add_counts
from geir.events.layouts import Decoder
from geir.events.pipe import Pipe
from geir.events.terminal import picture

SIZE = WIDTH, HEIGHT = 17, 11
LAYOUTS = [SPIF(), SPIF(timestamps=True), T32(), T64()]


class Recording:
    """Events in memory, in parts of any size, and an error after them."""

    def __init__(self, events, size=None, error=None):
        self.all, self.size, self.error, self.sensor_size, self.given = events, size, error, events.sensor_size, 0

    def chunks(self, size=1 << 20):
        size = self.size or size
        for start in range(0, len(self.all), size):
            self.given = start + size
            yield self.all[start : start + size]
        if self.error:
            raise self.error


def some_events(count=1000, duration=50_000, start=1_000_003, seed=0):
    random = numpy.random.default_rng(seed)
    t = start + numpy.sort(random.integers(0, duration, count))
    return Events(
        t, random.integers(0, WIDTH, count), random.integers(0, HEIGHT, count), random.integers(0, 2, count), SIZE
    )


def counted(events, dt_us=None):
    """Frames by the definition, in NumPy."""
    t, x, y, p = (c.numpy() for c in events.columns())
    t = numpy.maximum.accumulate(t)
    bins = (t - t[0]) // dt_us if dt_us else 0 * t
    frames = numpy.zeros((bins.max() + 1, 2, HEIGHT, WIDTH), "f4")
    numpy.add.at(frames, (bins, p, y, x), 1)
    return torch.from_numpy(frames)


def all_of(source):
    frames = []
    while not source.done:
        frames.append(source.read())
    return torch.stack(frames).sum(0)


def threads_of_geir():
    return [thread for thread in threading.enumerate() if thread.name.endswith("of geir")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not threads_of_geir()


@pytest.fixture
def clock(monkeypatch):
    """A clock that only sleeping advances, and whoever sets `now`, so that busy machines do not matter."""

    class Clock:
        now = 100.0

        def perf_counter(self):
            return self.now

        def sleep(self, seconds):
            assert seconds >= 0
            self.now += seconds + 1e-9  # never too early, as the real one

    fake = Clock()
    for module in (input_module, file_input_module):
        monkeypatch.setattr(module, "time", fake)
    return fake


# Frames


@pytest.mark.parametrize("compiled", [True, False])
def test_frames_count_events_and_refuse_those_outside(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(counts_module, "_library", lambda: None)
    events, frame = some_events(), torch.zeros(2, HEIGHT, WIDTH)
    add_counts(events, frame)
    add_counts(events[:0], frame)
    assert frame.equal(counted(events)[0])
    for column, value in ((1, WIDTH), (1, -1), (2, HEIGHT), (2, -3), (3, 2)):
        wrong = [c.clone() for c in events.columns()]
        wrong[column][7] = torch.tensor(value)
        with pytest.raises(ValueError, match="1 events lie outside of the sensor of 17x11 pixels"):
            add_counts(Events.unchecked(*wrong, sensor_size=SIZE), frame)


@pytest.mark.parametrize("size", [1, 7, 999, 1000, None])
@pytest.mark.parametrize("speed", [None, 20.0])
def test_bins_do_not_depend_on_parts_or_pace(size, speed):
    events = some_events()
    with FileInput(Recording(events, size), speed=speed) as file:
        frames = torch.stack(list(file))
        assert file.done
    assert frames.equal(counted(events, 1000))
    assert frames.sum() == 1000


@given(st.integers(1, 300), st.integers(100, 5000), st.integers(1, 40), st.integers(0, 100))
def test_slices_are_the_events_between_edges(count, dt_us, size, seed):
    events = some_events(count, 9_000, seed=seed)
    with FileInput(Recording(events, size), speed=None, capacity=16) as file:
        slices = list(file.slices(dt_us / 1e6))
    assert len(slices) == events.duration // dt_us + 1
    for k, part in enumerate(slices):
        start = int(events.t[0]) + k * dt_us
        assert part.equal(events.slice_time(start, start + dt_us))


def test_bins_of_no_whole_number_of_microseconds_do_not_drift():
    t = torch.arange(10_000)
    zeros = torch.zeros_like(t)
    with FileInput(Recording(Events(t, zeros, zeros, zeros, SIZE)), speed=None) as file:
        counts = [int(frame.sum()) for frame in file.frames(1 / 30_000)]
    assert len(counts) == 300
    edges = [round(k * 100 / 3) for k in range(301)]
    assert counts == [((t >= a) & (t < b)).sum() for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_an_event_out_of_order_counts_with_the_one_before(size):
    events = some_events()
    events = events[torch.cat([torch.arange(500, 1000), torch.arange(0, 500)])]
    with FileInput(Recording(events, size), speed=None) as file:
        assert torch.stack(list(file)).equal(counted(events, 1000))


def test_sparse_frames_are_the_frames():
    events = some_events()
    with FileInput(Recording(events), speed=None) as file:
        frames = list(file.frames(sparse=True))
    assert all(frame.is_sparse and frame.is_coalesced() for frame in frames)
    assert torch.stack([frame.to_dense() for frame in frames]).equal(counted(events, 1000))


def test_reading_and_bins_mix_without_loss():
    t = 1_000_003 + 900 * torch.arange(60)
    events = Events(t, *some_events(60).columns()[1:], SIZE)
    start = int(t[0])
    with FileInput(Recording(events, 7), speed=None) as file:
        frames = list(itertools.islice(file.frames(), 7))
        then = next(file.slices(2e-3))
        read = file.events()
        rest = list(file.slices())
    assert torch.stack(frames).equal(counted(events, 1000)[:7])
    # Bins go on where the last one ended, though nothing was there,
    assert then.equal(events.slice_time(start + 7000, start + 9000))
    # and after a read with the first event that is left.
    assert Events.cat([read, *rest]).equal(events.slice_time(start + 9000))
    assert all(
        part.equal(events.slice_time(rest[0].t[0] + 1000 * k, rest[0].t[0] + 1000 * (k + 1)))
        for k, part in enumerate(rest)
    )


def test_there_are_no_frames_of_no_events():
    with FileInput(Recording(Events.empty(SIZE)), speed=1.0) as file:
        assert list(file) == []
        assert file.read().equal(torch.zeros(2, HEIGHT, WIDTH))
        assert file.done


# Reading what has become due


@pytest.mark.parametrize("count", [1, 100, 255, 256, 257, 1024])
@pytest.mark.parametrize("speed", [None, 1000.0])
def test_reading_never_loses_the_tail(count, speed):
    events = some_events(count)
    file = FileInput(Recording(events, 256), speed=speed)
    for _ in range(2):
        with file:
            assert all_of(file).equal(counted(events)[0])
            assert file.read().sum() == 0
        assert file.stats.events == count


def test_events_come_back_as_they_were():
    events = some_events()
    with FileInput(Recording(events, 64), speed=5.0) as file:
        parts = []
        while not file.done:
            parts.append(file.events())
    assert Events.cat(parts).equal(events)
    assert len(parts) > 5


def test_reading_gives_what_is_due_by_the_clock(clock):
    t = torch.arange(0, 1_000_000, 100)
    zeros = torch.zeros_like(t)
    with FileInput(Recording(Events(t, zeros, zeros, zeros, SIZE)), speed=2.0) as file:
        read = file.events().t
        assert read.tolist() == [0]
        for k in range(1, 6):
            clock.now += 0.01
            read = torch.cat([read, file.events(timeout=0).t])
            # The event at the very moment is due or not, as rounding of the clock will have it.
            assert 20_000 * k - int(read[-1]) in (0, 100)
        assert read.equal(t[: len(read)])
        # The next one is waited for.
        assert file.events().t.tolist() == [t[len(read)]]


def test_waiting_for_an_event_ends_after_the_timeout():
    events = Events([0, 60_000_000], [0, 0], [0, 0], [1, 1], SIZE)
    with FileInput(Recording(events)) as file:
        assert file.read().sum() == 1
        start = time.perf_counter()
        assert file.read(timeout=0.02).sum() == 0
        assert 0.02 <= time.perf_counter() - start < 2
        assert not file.done
        assert file.stats.queue == 1


# Time


def test_a_recording_takes_its_time():
    with FileInput(Recording(some_events(20_000, 200_000))) as file:
        start = time.perf_counter()
        assert len(list(file.frames(2e-3))) == 100
        assert time.perf_counter() - start >= 0.2
    assert 0 <= file.stats.late_p50 <= file.stats.late_p99


def test_frames_come_when_their_bins_end_and_having_been_late_does_not_add_up(clock):
    with FileInput(Recording(some_events(20_000, 200_000)), speed=0.5) as file:
        frames = file.frames(2e-3)
        for k in range(1, 11):
            next(frames)
            assert clock.now == pytest.approx(100 + 4e-3 * k)
        clock.now += 0.05
        next(frames)
        assert clock.now == pytest.approx(100.09)
        assert len(list(frames)) == 89
        assert clock.now == pytest.approx(100.4)
    assert file.stats.late_p50 == pytest.approx(0, abs=0.1)
    # Twelve frames had passed while nobody looked; the first was 46 ms late.
    late = [46e3 - 4e3 * k for k in range(12)] + [0] * 88
    assert file.stats.late_p99 == pytest.approx(numpy.percentile(late, 99), abs=0.2)


def test_speed_can_be_set_on_the_way_and_after_a_pause(clock):
    with FileInput(Recording(some_events(20_000, 1_000_000))) as file:
        frames = file.frames(10e-3)
        for _ in range(5):
            next(frames)
        assert clock.now == pytest.approx(100.05)
        clock.now = 200.0
        file.speed = 20.0
        assert len(list(frames)) == 95
        assert clock.now == pytest.approx(200 + 0.95 / 20)
        assert file.speed == 20.0


# Buffers


def test_a_file_is_not_read_further_ahead_than_the_buffer_holds():
    events = some_events(10_000)
    recording = Recording(events, size=100)
    with FileInput(recording, speed=None, capacity=300) as file:
        file.read()
        time.sleep(0.05)
        assert file.stats.queue == 300
        assert recording.given == file.stats.events + 400
        # One bin that holds more than the buffer.
        before = file.stats.events
        assert next(file.slices(1.0)).equal(events[before:])
        assert file.done


@pytest.mark.parametrize(("overflow", "kept", "dropped"), [("drop", 5, 995), ("coalesce", 1000, 0)])
def test_what_finds_no_room_is_counted(overflow, kept, dropped):
    events = some_events()
    buffer = Buffer(SIZE, 5, Overflow(overflow))
    buffer.fill(iter([events[:3], events[3:300], events[300:]]))
    assert buffer.waiting == 5
    assert buffer.dropped == dropped
    excess = buffer.take_excess()
    frame = torch.zeros(2, HEIGHT, WIDTH) if excess is None else excess
    parts = buffer.take()
    for part in parts:
        add_counts(part, frame)
    assert frame.sum() == kept == buffer.taken
    if overflow == "coalesce":
        assert buffer.coalesced == 995
        assert frame.equal(counted(events)[0])
        assert parts[-1].t[-1] == events.t[-1]


def test_a_source_that_waits_goes_on_when_half_is_free():
    events = Events(range(100), [1] * 100, [2] * 100, [1] * 100, SIZE)
    buffer, came, taken = Buffer(SIZE, 8, Overflow.BLOCK), [], []

    def source():
        for k in range(100):
            came.append(k)
            yield events[k]

    threading.Thread(target=buffer.fill, args=(source(),), daemon=True).start()
    for k in range(6):
        while len(came) < 9:
            time.sleep(1e-3)
        time.sleep(0.02)
        assert (len(came) == 9) == (k < 5), "full until half is free for the next"
        taken += buffer.take(k + 1)
    while not buffer.finished:
        taken += buffer.take()
    assert Events.cat(taken).equal(events)


def test_what_was_coalesced_is_dropped_where_single_events_are_asked_for():
    events = some_events()
    with FileInput(Recording(events), capacity=10, speed=None, overflow=Overflow.COALESCE) as file:
        while not file._buffer.ended:
            time.sleep(1e-3)
        assert file.events().equal(events[-10:])
        assert file.done
    assert file.stats[:4] == (10, 0, 990, 990)
    with file:
        while not file._buffer.ended:
            time.sleep(1e-3)
        assert file.read().equal(counted(events)[0])
        assert file.done


def test_an_error_comes_after_what_was_sound():
    events, error = some_events(), EventFileError("clip.raw", 17, "cut short")
    for read in (all_of, list, lambda file: list(file.slices())):
        with FileInput(Recording(events, 100, error), speed=None) as file:
            with pytest.raises(EventFileError, match="clip.raw at byte 17: cut short"):
                read(file)
            assert file.done
            assert file.stats.events == 1000


def test_a_closed_input_stops_its_source_at_once():
    endless = types.SimpleNamespace(sensor_size=SIZE, chunks=lambda size: itertools.repeat(some_events(10)))
    for _ in range(3):
        with FileInput(endless, speed=None, capacity=100) as file:
            assert file.read().sum() >= 10
        assert not threads_of_geir()
    with pytest.raises(KeyError), FileInput(endless, speed=None, capacity=100):
        raise KeyError
    assert file.done


# Datagrams


def test_spif_words_are_byte_for_byte_what_spif_and_aestream_send():
    events = Events(t=[1, (7 << 32) + 258], x=[5, 6], y=[7, 7], p=[0, 1], sensor_size=(640, 480))
    assert SPIF().encode(events).tobytes() == bytes.fromhex("07000580 07800680")
    assert SPIF(timestamps=True).encode(events).tobytes() == bytes.fromhex("07000500 01000000 07800600 02010000")
    assert T32().encode(events).tobytes() == struct.pack("<IHHIHH", 1, 5, 14, 258, 6, 15)
    assert T64().encode(events).tobytes() == struct.pack("<QHHBQHHB", 1, 5, 7, 0, (7 << 32) + 258, 6, 7, 1)


@given(
    st.sampled_from(LAYOUTS), st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=20), st.integers(1, 9)
)
def test_every_layout_goes_both_ways_and_times_are_made_whole(layout, steps, size):
    first = 0 if layout.wraps else 2**36
    t = torch.cumsum(torch.tensor([first, *steps]), 0)
    if not layout.wraps and t.min() < 0:
        t -= t.min()
    count = len(t)
    events = Events(t, torch.arange(count) % WIDTH, torch.arange(count) % HEIGHT, torch.arange(count) % 2, SIZE)
    decoder, parts = Decoder(layout, SIZE), []
    for start in range(0, count, size):
        data = numpy.frombuffer(layout.encode(events[start : start + size]).tobytes(), numpy.uint8)
        parts.append(decoder(data, [len(data)], 77))
    expected = Events(torch.full_like(t, 77), *events.columns()[1:], SIZE) if layout == SPIF() else events
    assert Events.cat(parts).equal(expected)
    assert decoder.rejected == decoder.malformed == 0


def test_spif_with_and_without_times_in_one_datagram():
    def word(x, y, p, timed):
        return (not timed) << 31 | x << 16 | p << 15 | y

    one = [
        word(1, 2, 1, False),
        word(3, 4, 0, True),
        0xFFFFFFF0,
        word(5, 6, 1, False),
        word(7, 8, 0, True),
        5,
        word(9, 9, 1, True),
    ]
    two = [word(2, 2, 0, False)]
    data = numpy.frombuffer(struct.pack("<8I", *one, *two), numpy.uint8)
    decoder = Decoder(SPIF(), SIZE)
    events = decoder(data, [28, 4], 42)
    assert events.x.tolist() == [1, 3, 5, 7, 2]
    assert events.y.tolist() == [2, 4, 6, 8, 2]
    assert events.p.tolist() == [1, 0, 1, 0, 0]
    assert events.t.tolist() == [42, 0xFFFFFFF0, 0xFFFFFFF0, (1 << 32) + 5, (1 << 32) + 5]
    assert decoder.malformed == 1


@given(st.sampled_from(LAYOUTS), st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5))
def test_whatever_a_datagram_says_events_lie_on_the_sensor_or_are_counted(layout, datagrams):
    whole = [d[: len(d) // layout.record * layout.record] for d in datagrams]
    whole = [d for d in whole if d]
    decoder = Decoder(layout, SIZE)
    events = decoder(numpy.frombuffer(b"".join(whole), numpy.uint8), [len(d) for d in whole], 1)
    Events(*events.columns(), SIZE)
    if not isinstance(layout, SPIF):
        assert len(events) + decoder.rejected == sum(map(len, whole)) // layout.record
    assert len(events) + decoder.rejected + decoder.malformed <= sum(map(len, whole)) // 4


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_datagrams_arrive(layout):
    events = some_events(3000)
    with UDPInput(SIZE, port=0, layout=layout) as source, UDPOutput(source.port, layout=layout) as output:
        parts, count = [], 0
        output.send(events[:0])
        for start in range(0, 3000, 1000):
            output.send(events[start : start + 1000])
            while count < start + 1000:
                parts.append(source.events(timeout=5))
                count += len(parts[-1])
        assert not source.done
    arrived = Events.cat(parts)
    assert all(a.equal(b) for a, b in zip(arrived.columns()[1:], events.columns()[1:], strict=True))
    if layout != SPIF():
        assert arrived.t.equal(events.t)
    size = layout.encode(events).nbytes // 3000
    assert output.stats[:2] == (3000, 3 * -(-1000 // (512 // size)))
    assert source.stats.events == 3000
    assert source.stats[7:] == (0, 0, 0)


def test_what_is_wrong_with_datagrams_is_counted():
    with UDPInput(SIZE, port=0) as source, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for data in (
            b"",
            b"123",
            struct.pack("<I", 1 << 31 | WIDTH << 16),
            struct.pack("<I", 1 << 31 | HEIGHT),
            struct.pack("<I", 1),
            b"\0" * 5,
        ):
            other.sendto(data, ("127.0.0.1", source.port))
        other.sendto(
            struct.pack("<2I", 1 << 31 | 1 << 16 | 1 << 15 | 2, 1 << 31 | 0x7FFF7FFF), ("127.0.0.1", source.port)
        )
        frame = source.read(timeout=5)
    assert frame.nonzero().tolist() == [[1, 2, 1]]
    assert source.stats.rejected == 3
    assert source.stats.malformed == 4


def test_no_datagram_is_lost_silently():
    events = Events.cat([some_events(128 * 200)] * 10)
    with UDPInput(SIZE, port=0, overflow=Overflow.BLOCK, capacity=1000) as source, UDPOutput(source.port) as output:
        # Nobody reads, until the system has no more room.
        while not source.stats.lost:
            output.send(events)
        while source.stats.events + 128 * source.stats.lost < output.stats.events:
            assert source.read(timeout=5).sum() > 0
        assert source.stats.events + 128 * source.stats.lost == output.stats.events
        assert source.read(timeout=0).sum() == 0
    assert source.stats.lost > 0  # kept after closing


@pytest.mark.parametrize("overflow", [Overflow.DROP, Overflow.COALESCE])
def test_a_slow_reader_of_a_socket_loses_nothing_silently(overflow):
    events = some_events(128 * 20)
    with UDPInput(SIZE, port=0, overflow=overflow, capacity=500) as source, UDPOutput(source.port) as output:
        for _ in range(10):
            output.send(events)
            time.sleep(2e-3)
        total = 0
        while total + source.stats.dropped < output.stats.events and (frame := source.read(timeout=5)).any():
            total += int(frame.sum())
    assert source.stats.lost == 0
    assert total + source.stats.dropped == 128 * 200
    assert (source.stats.dropped > 0) == (overflow is Overflow.DROP)
    assert (source.stats.coalesced > 0) == (overflow is Overflow.COALESCE)


def test_bins_of_a_socket_come_by_the_clock_and_late_ones_are_merged(clock):
    def sent(count):
        output.send(some_events(count))
        while source.stats.queue < count:
            time.sleep(1e-3)

    with UDPInput(SIZE, port=0, dt=5e-3) as source, UDPOutput(source.port) as output:
        frames = iter(source)
        for k in range(1, 5):
            assert not next(frames).any()
            assert clock.now == pytest.approx(100 + 5e-3 * k)
        sent(1000)
        clock.now += 0.101
        assert next(frames).equal(counted(some_events(1000))[0])
        assert clock.now == pytest.approx(100.121)
        assert source.stats.merged == 19
        assert not next(frames).any()
        assert clock.now == pytest.approx(100.125)
        sent(10)
        assert len(next(source.slices())) == 10
    with pytest.raises(ValueError, match="UDPInput is not open"):
        next(frames)


def test_opening_and_closing_leaves_nothing_behind():
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc")
    source = UDPInput(SIZE, port=0)
    events = some_events(10)
    with source:
        pass
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(200):
        with source, UDPOutput(source.port) as output:
            output.send(events)
            assert source.read(timeout=5).sum() == 10
    assert len(os.listdir("/proc/self/fd")) == before
    assert not threads_of_geir()


def test_a_busy_port_is_named_and_leaves_nothing_behind():
    with UDPInput(SIZE, port=0) as source:
        other = UDPInput(SIZE, port=source.port)
        with (
            pytest.raises(
                OSError, match=rf"UDPInput: port {source.port} of 127.0.0.1 is in use; .* \(port=0 takes a free one\)"
            ) as caught,
            other,
        ):
            pass
        assert caught.value.errno == errno.EADDRINUSE
        assert len(threads_of_geir()) == 1
    with other, UDPOutput(other.port) as output:
        output.send(some_events(3))
        assert other.read(timeout=5).sum() == 3
    with (
        pytest.raises(OSError, match="UDPInput cannot listen at port 3333 of 192.0.2.1: "),
        UDPInput(SIZE, host="192.0.2.1"),
    ):
        pass


def test_it_is_counted_when_nobody_listens():
    with UDPInput(SIZE, port=0) as source:
        port = source.port
    with UDPOutput(port) as output:
        output.send(some_events(1000))
    assert output.stats.events == 1000
    assert output.stats.refused > 0


# Pipes, cameras, terminals


def pipe_of(data):
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    return open(read, "rb")


def test_events_go_through_a_pipe():
    events = some_events(2000)
    data = T64().encode(events).tobytes()
    with pipe_of(data) as end, FileInput(Pipe(end, SIZE), speed=None) as source:
        assert torch.stack(list(source)).equal(counted(events, 1000))
    source = FileInput(Pipe(pipe_of(data[:-1]), SIZE), speed=None)
    with (
        source.path.file,
        source,
        pytest.raises(EventFileError, match="stdin at byte 25,987: the last event is cut short: it has 12 of 13 bytes"),
    ):
        all_of(source)
    assert source.stats.events == 1999
    source = FileInput(Pipe(pipe_of(data), (WIDTH, 3)), speed=None)
    with (
        source.path.file,
        source,
        pytest.raises(EventFileError, match="of the next 2000 events lie outside of the sensor"),
    ):
        all_of(source)


def test_a_pipe_through_which_nothing_comes_can_be_closed():
    read, write = os.pipe()
    with open(read, "rb") as end, open(write, "wb"):
        start = time.perf_counter()
        with FileInput(Pipe(end, SIZE), speed=None) as source:
            assert source.read(timeout=0.01).sum() == 0
        assert time.perf_counter() - start < 2


class FakeCamera:
    """As dv-processing's."""

    def __init__(self, batches):
        self.batches = list(batches)

    def isRunning(self):  # noqa: N802
        return bool(self.batches)

    def getEventResolution(self):  # noqa: N802
        return SIZE

    def getNextEventBatch(self):  # noqa: N802
        batch = self.batches.pop(0)
        return batch and types.SimpleNamespace(numpy=lambda: batch.to_structured(("timestamp", "x", "y", "polarity")))


def test_cameras_of_both_packages_are_read():
    events = some_events()
    with CameraInput(FakeCamera([None, events[:300], None, events[300:]])) as source:
        assert source.sensor_size == SIZE
        assert all_of(source).equal(counted(events)[0])

    class Stream(list):
        def dimensions(self):
            return SIZE

    with CameraInput(
        Stream([events[:300].to_structured("txyp"), events[300:].to_structured(("t", "x", "y", "on"))])
    ) as source:
        frames = list(source.frames(1e-3))
    assert torch.stack(frames).sum(0).equal(counted(events)[0])


def test_recordings_behind_the_interface_of_a_real_camera(real_data):
    dv = pytest.importorskip("dv_processing")
    reader = dv.io.MonoCameraRecording(str(real_data / "events" / "person_320x240.aedat4"))
    with CameraInput(reader) as source:
        assert all_of(source).sum() == 111_954
        assert source.sensor_size == (320, 240)


def test_without_a_camera_it_is_said_what_is_missing(monkeypatch):
    monkeypatch.setattr(camera_module.importlib.util, "find_spec", lambda name: None)
    with (
        pytest.raises(
            ImportError, match=r"needs dv-processing .* or faery; install one with: pip install dv-processing"
        ),
        CameraInput(),
    ):
        pass
    dv = types.SimpleNamespace(io=types.SimpleNamespace(camera=types.SimpleNamespace(discover=list)))
    monkeypatch.setitem(sys.modules, "dv_processing", dv)
    monkeypatch.setattr(camera_module.importlib.util, "find_spec", lambda name: name == "dv_processing")
    with pytest.raises(OSError, match="dv-processing finds no camera of iniVation; plug it in"), CameraInput():
        pass


def test_a_picture_fits_the_terminal_and_shows_what_changed():
    frame = torch.zeros(2, 48, 64)
    frame[1, 0, 0], frame[0, 47, 63] = 1, 3
    text = picture(frame, columns=32, rows=100)
    lines = text.splitlines()
    assert len(lines) == 12
    assert all(re.sub(r"\x1b\[[\d;]*m", "", line) == "\u2580" * 32 for line in lines)
    assert lines[0].startswith("\x1b[38;2;230;159;0;48;2;24;24;24m")
    assert lines[-1].endswith("\x1b[38;2;24;24;24;48;2;86;180;233m\u2580\x1b[0m")
    assert text.count("230;159;0") == text.count("86;180;233") == 1


# The command line


def test_the_command_line_converts_to_and_from_files_and_pipes(tmp_path, monkeypatch, capfdbinary):
    events = some_events()
    write_events(events, tmp_path / "a.npz")
    assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / "b.csv")]) == 0
    assert read_events(tmp_path / "b.csv").equal(events)
    assert main(["convert", str(tmp_path / "b.csv"), "-"]) == 0
    piped = capfdbinary.readouterr().out
    assert piped == T64().encode(events).tobytes()
    with pipe_of(piped) as end:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=end))
        assert main(["convert", "-", str(tmp_path / "c.npz"), "--sensor-size", "17x11"]) == 0
    assert read_events(tmp_path / "c.npz").equal(events)
    assert main(["info", str(tmp_path / "c.npz"), "--json"]) == 0
    about = json.loads(capfdbinary.readouterr().out)
    assert about["sensor_size"] == [17, 11]
    assert about["events"] == 1000


def test_the_command_line_shows_events(tmp_path, capsys):
    write_events(some_events(), tmp_path / "a.npz")
    assert main(["view", str(tmp_path / "a.npz"), "--speed", "1000", "--fps", "100"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("\x1b[H") == 5
    assert "1,000 events, " in shown


def test_the_command_line_streams_through_sockets(tmp_path, capsys):
    events = some_events()
    write_events(events, tmp_path / "a.npz")
    for command in (["send"], ["serve", "--once", "--speed", "5"]):
        with UDPInput(SIZE, port=0) as source:
            assert main([*command, str(tmp_path / "a.npz"), "--port", str(source.port), "--layout", "spif-timed"]) == 0
            total = 0
            while total < 1000 and (frame := source.read(timeout=5)).any():
                total += int(frame.sum())
        assert total == 1000
        assert "sent 1,000 events in " in capsys.readouterr().err


def test_the_command_line_records_from_a_socket_until_it_is_interrupted(tmp_path):
    events = some_events()
    with UDPInput(SIZE, port=0) as source:
        port = source.port
    command = [
        sys.executable,
        "-m",
        "geir.events",
        "convert",
        f"udp:{port}",
        tmp_path / "a.npz",
        "--sensor-size",
        "17x11",
        "--layout",
        "t64",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as recorder, UDPOutput(port, layout=T64()) as output:

        def nobody_listens():
            before = output.stats.refused
            for _ in range(2):
                output.send(events[:1])
                time.sleep(0.05)
            return output.stats.refused > before

        while nobody_listens():
            pass
        output.send(events)
        time.sleep(0.5)
        recorder.send_signal(signal.SIGINT)
        assert recorder.stderr.read() == b""
    assert recorder.returncode == 0
    assert read_events(tmp_path / "a.npz")[-1000:].equal(events)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["view", "nowhere.raw"], "error: .*No such file.*nowhere.raw"),
        (
            ["convert", "udp:3333", "a.npz"],
            "error: udp:3333 does not say how large its sensor is; say it with --sensor-size WIDTHxHEIGHT",
        ),
        (["send", __file__], "error: .*unrecognized file format"),
        (["serve", "nowhere.raw", "--speed", "0"], "error: FileInput.speed must be a positive number"),
        (["serve", "nowhere.raw", "--port", "0"], "error: UDPOutput.port must be a number from 1 to 65535, got 0"),
    ],
)
def test_the_command_line_says_what_went_wrong(arguments, message, capsys):
    assert main(arguments) == 1
    assert re.search(message, capsys.readouterr().err)


def test_a_reader_of_the_output_that_has_had_enough_is_no_error(tmp_path, monkeypatch, capsys):
    write_events(some_events(), tmp_path / "a.npz")
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as end:
        monkeypatch.setattr(sys, "stdout", end)
        assert main(["convert", str(tmp_path / "a.npz"), "-"]) == 0
    assert capsys.readouterr().err == ""


# What is refused


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (
            lambda: FileInput("clip.raw", speed=0),
            ValueError,
            r"FileInput\.speed must be a positive number, or None .*, got 0\.",
        ),
        (lambda: FileInput("clip.raw", speed="fast"), ValueError, r"FileInput\.speed must be .* got 'fast'"),
        (
            lambda: FileInput("clip.raw", dt=0),
            ValueError,
            "FileInput: dt must be a number of seconds, at least 1e-6, got 0",
        ),
        (lambda: UDPInput(SIZE, dt=float("nan")), ValueError, "UDPInput: dt must be a number of seconds"),
        (
            lambda: FileInput("clip.raw", capacity=0),
            ValueError,
            r"FileInput\.capacity must be a number of events, at least 1, got 0\.",
        ),
        (
            lambda: UDPInput(SIZE, overflow="blok"),
            ValueError,
            r"UDPInput\.overflow must be one of Overflow\.BLOCK, Overflow\.DROP, .*, got 'blok'",
        ),
        (lambda: UDPInput(640), TypeError, "sensor_size must be the width and the height in pixels, got 640"),
        (
            lambda: UDPInput(SIZE, port=1 << 16),
            ValueError,
            r"UDPInput\.port must be a number from 0 to 65535, got 65536\.",
        ),
        (
            lambda: UDPInput(SIZE, layout="spif"),
            TypeError,
            r"UDPInput\.layout must be SPIF\(\), T32\(\) or T64\(\), got 'spif'",
        ),
        (lambda: UDPOutput(0), ValueError, r"UDPOutput\.port must be a number from 1 to 65535, got 0\."),
        (lambda: UDPOutput(layout=SPIF), TypeError, r"UDPOutput\.layout must be SPIF\(\), T32\(\) or T64\(\)"),
        (
            lambda: UDPOutput(datagram=8),
            ValueError,
            r"UDPOutput\.datagram must be a number of bytes from 16 to 65507, got 8\.",
        ),
        (lambda: UDPOutput().send(some_events(1)), ValueError, "UDPOutput is not open; use it in a with statement"),
        (lambda: UDPInput(SIZE).read(), ValueError, "UDPInput is not open; use it in a with statement"),
        (lambda: FileInput("clip.raw").frames(), ValueError, "FileInput is not open"),
        (
            lambda: CameraInput("first"),
            TypeError,
            "CameraInput.camera must be a camera of dv-processing or a stream of events of faery, got 'first'",
        ),
    ],
)
def test_wrong_uses_are_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()


def test_an_input_is_opened_once_at_a_time():
    with UDPInput(SIZE, port=0) as source:
        with pytest.raises(ValueError, match="UDPInput is open already; make another to read it twice at once"):
            source.__enter__()
        with UDPOutput(source.port) as output, pytest.raises(ValueError, match="UDPOutput is open already"):
            output.__enter__()
    assert source.stats.events == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_frames_arrive_on_a_gpu():
    events = some_events()
    for sparse in (False, True):
        with FileInput(Recording(events, 64), speed=None, device="cuda") as file:
            frames = torch.stack([frame.to_dense() for frame in file.frames(sparse=sparse)])
        assert frames.is_cuda
        assert frames.cpu().equal(counted(events, 1000))
