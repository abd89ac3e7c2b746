"""Playing recordings: bins, reading, pacing, and the end of a source."""

import itertools
import time
import types

import numpy
import pytest
import torch
from event_streams import (
    expected_frames,
    HEIGHT,
    input_threads,
    MemoryRecording,
    random_events,
    read_total,
    SIZE,
    wait_until,
    WIDTH,
)
from hypothesis import given, settings, strategies as st

from geir.events import EventFileError, Events, FileInput, Overflow

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@pytest.mark.parametrize("size", [1, 7, 999, 1000, None])
@pytest.mark.parametrize("speed", [None, 20.0])
def test_bins_do_not_depend_on_the_chunk_size_or_the_speed(size, speed):
    events = random_events()
    with FileInput(MemoryRecording(events, size), speed=speed) as file:
        frames = torch.stack(list(file))
        assert file.done
    assert frames.equal(expected_frames(events, 1000))
    assert frames.sum() == 1000


@settings(max_examples=40)
@given(st.integers(1, 300), st.integers(100, 5000), st.integers(1, 40), st.integers(0, 100))
def test_slices_are_the_events_between_the_edges_of_bins(count, dt_us, size, seed):
    events = random_events(count, 9_000, seed=seed)
    with FileInput(MemoryRecording(events, size), speed=None, capacity=16) as file:
        slices = list(file.slices(dt_us / 1e6))
    assert len(slices) == events.duration // dt_us + 1
    for k, part in enumerate(slices):
        start = int(events.t[0]) + k * dt_us
        assert part.equal(events.slice_time(start, start + dt_us))


def test_bins_of_a_fractional_number_of_microseconds_do_not_drift():
    t = torch.arange(10_000)
    zeros = torch.zeros_like(t)
    with FileInput(MemoryRecording(Events(t, zeros, zeros, zeros, SIZE)), speed=None) as file:
        counts = [int(frame.sum()) for frame in file.frames(1 / 30_000)]
    assert len(counts) == 300
    edges = [round(k * 100 / 3) for k in range(301)]
    assert counts == [((t >= a) & (t < b)).sum() for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_an_event_out_of_order_is_simultaneous_with_its_predecessor(size):
    events = random_events()
    events = events[torch.cat([torch.arange(500, 1000), torch.arange(0, 500)])]
    with FileInput(MemoryRecording(events, size), speed=None) as file:
        assert torch.stack(list(file)).equal(expected_frames(events, 1000))


def test_sparse_frames_equal_dense_frames():
    events = random_events()
    with FileInput(MemoryRecording(events), speed=None) as file:
        frames = list(file.frames(sparse=True))
    assert all(frame.is_sparse and frame.is_coalesced() for frame in frames)
    assert torch.stack([frame.to_dense() for frame in frames]).equal(expected_frames(events, 1000))


def test_reading_and_binning_can_alternate_without_loss():
    t = 1_000_003 + 900 * torch.arange(60)
    events = Events(t, *random_events(60).columns()[1:], SIZE)
    start = int(t[0])
    with FileInput(MemoryRecording(events, 7), speed=None) as file:
        frames = list(itertools.islice(file.frames(), 7))
        then = next(file.slices(2e-3))
        read = file.events()
        rest = list(file.slices())
    assert torch.stack(frames).equal(expected_frames(events, 1000)[:7])
    # Bins continue where the last one ended, although it was empty,
    assert then.equal(events.slice_time(start + 7000, start + 9000))
    # and after a read, with the first remaining event.
    assert Events.cat([read, *rest]).equal(events.slice_time(start + 9000))
    assert all(
        part.equal(events.slice_time(rest[0].t[0] + 1000 * k, rest[0].t[0] + 1000 * (k + 1)))
        for k, part in enumerate(rest)
    )


def test_a_recording_without_events_has_no_frames():
    with FileInput(MemoryRecording(Events.empty(SIZE)), speed=1.0) as file:
        assert list(file) == []
        assert file.read().equal(torch.zeros(2, HEIGHT, WIDTH))
        assert file.done


@pytest.mark.parametrize("count", [1, 100, 255, 256, 257, 1024])
@pytest.mark.parametrize("speed", [None, 1000.0])
def test_reading_returns_all_events_to_the_end(count, speed):
    events = random_events(count)
    file = FileInput(MemoryRecording(events, 256), speed=speed)
    for _ in range(2):
        with file:
            assert read_total(file).equal(expected_frames(events)[0])
            assert file.read().sum() == 0
        assert file.stats.events == count


def test_events_are_returned_unchanged():
    events = random_events()
    with FileInput(MemoryRecording(events, 64), speed=5.0) as file:
        parts = []
        while not file.done:
            parts.append(file.events())
    assert Events.cat(parts).equal(events)
    assert len(parts) > 5


def test_reading_returns_the_events_that_are_due_by_the_clock(clock):
    t = torch.arange(0, 1_000_000, 100)
    zeros = torch.zeros_like(t)
    with FileInput(MemoryRecording(Events(t, zeros, zeros, zeros, SIZE)), speed=2.0) as file:
        read = file.events().t
        assert read.tolist() == [0]
        for k in range(1, 6):
            clock.now += 0.01
            read = torch.cat([read, file.events(timeout=0).t])
            # Whether the event of the current microsecond is due depends on rounding.
            assert 20_000 * k - int(read[-1]) in (0, 100)
        assert read.equal(t[: len(read)])
        # Without a timeout, the next event is waited for.
        assert file.events().t.tolist() == [t[len(read)]]


def test_waiting_for_an_event_ends_after_the_timeout():
    events = Events([0, 60_000_000], [0, 0], [0, 0], [1, 1], SIZE)
    with FileInput(MemoryRecording(events)) as file:
        assert file.read().sum() == 1
        start = time.perf_counter()
        assert file.read(timeout=0.02).sum() == 0
        assert 0.02 <= time.perf_counter() - start < 2
        assert not file.done
        assert file.stats.queue == 1


def test_a_recording_is_played_in_real_time():
    with FileInput(MemoryRecording(random_events(20_000, 200_000))) as file:
        start = time.perf_counter()
        assert len(list(file.frames(2e-3))) == 100
        assert time.perf_counter() - start >= 0.2
    assert 0 <= file.stats.late_p50 <= file.stats.late_p99


def test_frames_are_delivered_at_the_end_of_their_bins_and_delays_do_not_accumulate(clock):
    with FileInput(MemoryRecording(random_events(20_000, 200_000)), speed=0.5) as file:
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
    # Twelve frames elapsed in the 50 ms without a request; the first was 46 ms late.
    late = [46e3 - 4e3 * k for k in range(12)] + [0] * 88
    assert file.stats.late_p99 == pytest.approx(numpy.percentile(late, 99), abs=0.2)


def test_speed_can_be_set_while_playing_and_after_a_pause(clock):
    with FileInput(MemoryRecording(random_events(20_000, 1_000_000))) as file:
        frames = file.frames(10e-3)
        for _ in range(5):
            next(frames)
        assert clock.now == pytest.approx(100.05)
        clock.now = 200.0
        file.speed = 20.0
        assert len(list(frames)) == 95
        assert clock.now == pytest.approx(200 + 0.95 / 20)
        assert file.speed == 20.0


def test_a_file_is_not_read_further_ahead_than_the_buffer_holds():
    events = random_events(10_000)
    recording = MemoryRecording(events, size=100)
    with FileInput(recording, speed=None, capacity=300) as file:
        file.read()
        time.sleep(0.05)
        assert file.stats.queue == 300
        assert recording.given == file.stats.events + 400
        # A bin with more events than the capacity of the buffer.
        before = file.stats.events
        assert next(file.slices(1.0)).equal(events[before:])
        assert file.done


def test_coalesced_events_are_dropped_when_single_events_are_requested():
    events = random_events()
    with FileInput(MemoryRecording(events), capacity=10, speed=None, overflow=Overflow.COALESCE) as file:
        wait_until(lambda: file._buffer.ended)
        assert file.events().equal(events[-10:])
        assert file.done
    assert file.stats[:4] == (10, 0, 990, 990)
    with file:
        wait_until(lambda: file._buffer.ended)
        assert file.read().equal(expected_frames(events)[0])
        assert file.done


def test_an_error_is_raised_after_the_events_before_it():
    events, error = random_events(), EventFileError("clip.raw", 17, "truncated")
    for read in (read_total, list, lambda file: list(file.slices())):
        with FileInput(MemoryRecording(events, 100, error), speed=None) as file:
            with pytest.raises(EventFileError, match="clip.raw at byte 17: truncated"):
                read(file)
            assert file.done
            assert file.stats.events == 1000


def test_closing_an_input_stops_its_source_at_once():
    endless = types.SimpleNamespace(sensor_size=SIZE, chunks=lambda size: itertools.repeat(random_events(10)))
    for _ in range(3):
        with FileInput(endless, speed=None, capacity=100) as file:
            assert file.read().sum() >= 10
        assert not input_threads()
    with pytest.raises(KeyError), FileInput(endless, speed=None, capacity=100):
        raise KeyError
    assert file.done


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_frames_on_a_gpu_equal_frames_on_the_cpu():
    events = random_events()
    for sparse in (False, True):
        with FileInput(MemoryRecording(events, 64), speed=None, device="cuda") as file:
            frames = torch.stack([frame.to_dense() for frame in file.frames(sparse=sparse)])
        assert frames.is_cuda
        assert frames.cpu().equal(expected_frames(events, 1000))
