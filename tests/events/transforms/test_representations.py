"""Representations as tensors, compared with loops that implement their definitions."""

import math
from itertools import pairwise

import numpy
import pytest
import torch
from recordings import recording, rows, SIZE

from geir.events import Events, read_events, transforms as T


def expected_counts(events, edges):
    frames = torch.zeros(len(edges) - 1, 2, *SIZE[::-1])
    for t, x, y, p in rows(events):
        for k, (a, b) in enumerate(pairwise(edges)):
            if a <= t < b:
                frames[k, p, y, x] += 1
    return frames


@pytest.mark.usefixtures("implementation")
def test_frames_of_a_duration():
    events = recording()
    first = int(events.t[0])
    edges = [first + 3000 * k for k in range(15)]
    frames = T.count_frames(events, dt=3e-3)
    assert frames.equal(expected_counts(events, edges))
    assert frames.sum() == len(events)
    assert T.binary_frames(events, dt=3e-3).equal(expected_counts(events, edges).clamp(max=1))


@pytest.mark.usefixtures("implementation")
def test_frames_of_a_fractional_number_of_microseconds():
    events, third = recording(), 1000 / 3
    first = int(events.t[0])
    edges = [first + math.ceil(k * third) for k in range(int((int(events.t[-1]) - first) // third) + 2)]
    assert T.count_frames(events, dt=third * 1e-6).equal(expected_counts(events, edges))


@pytest.mark.usefixtures("implementation")
def test_a_given_number_of_frames():
    events = recording()
    first, end = int(events.t[0]), int(events.t[-1]) + 1
    edges = [first + -(-k * (end - first) // 7) for k in range(8)]
    assert T.count_frames(events, bins=7).equal(expected_counts(events, edges))


@pytest.mark.usefixtures("implementation")
def test_frames_of_a_number_of_events():
    events = recording()
    frames = T.count_frames(events, count=120)
    assert frames.flatten(1).sum(1).tolist() == [120.0] * 4 + [20.0]
    assert frames[1].equal(T.count_frames(events[120:240], bins=1)[0])


@pytest.mark.usefixtures("implementation")
def test_frames_between_two_times():
    events = recording()
    frames = T.count_frames(events, dt=4e-3, start=1_010_000, stop=1_021_000)
    assert len(frames) == 3
    assert frames.sum() == len(events.slice_time(1_010_000, 1_021_000))
    assert T.count_frames(events, count=50, start=1_010_000, stop=1_021_000).sum() == frames.sum()
    assert T.count_frames(events, bins=3, start=0, stop=900_000).sum() == 0


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.float32])
def test_counts_saturate_at_the_largest_value_of_the_dtype(dtype):
    burst = Events(*(torch.zeros(300, dtype=torch.int64),) * 3, torch.ones(300, dtype=torch.int64), sensor_size=SIZE)
    frames = T.count_frames(burst, bins=1, dtype=dtype)
    assert frames.dtype == dtype
    assert frames[0, 1, 0, 0].item() == min(300, 255 if dtype == torch.uint8 else 300)


@pytest.mark.usefixtures("implementation")
def test_representations_of_an_empty_recording():
    nothing = Events.empty(SIZE)
    assert T.count_frames(nothing, dt=1e-3).shape == (0, 2, 7, 9)
    assert T.count_frames(nothing, count=5).shape == (0, 2, 7, 9)
    assert T.count_frames(nothing, bins=5).equal(torch.zeros(5, 2, 7, 9))
    assert T.count_frames(nothing, dt=1e-3, start=0, stop=3000).shape == (3, 2, 7, 9)
    assert T.voxel_grid(nothing, 3).equal(torch.zeros(3, 1, 7, 9))
    assert T.time_surface(nothing, 1e-3, bins=2).equal(torch.zeros(2, 2, 7, 9))


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bins", [1, 2, 5])
def test_a_voxel_grid_equals_its_formula(bins, signed):
    events = recording()
    expected = torch.zeros(bins, 1 if signed else 2, *SIZE[::-1], dtype=torch.float64)
    first, last = int(events.t[0]), int(events.t[-1])
    for t, x, y, p in rows(events):
        for k in range(bins):
            weight = max(0.0, 1 - abs((bins - 1) * (t - first) / (last - first) - k))
            expected[k, 0 if signed else p, y, x] += weight * (2 * p - 1 if signed else 1)
    torch.testing.assert_close(T.voxel_grid(events, bins, signed=signed).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("implementation")
def test_simultaneous_events_are_in_the_first_bin_of_a_voxel_grid():
    events = Events(t=[5, 5], x=[1, 1], y=[2, 2], p=[1, 1], sensor_size=SIZE)
    grid = T.voxel_grid(events, 3)
    assert grid[0, 0, 2, 1] == 2
    assert grid.sum() == 2


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("division", [{"dt": 3e-3}, {"bins": 6}, {"count": 90}])
def test_a_time_surface_equals_its_formula(linear, division):
    events, tau = recording(), 5000.0
    first, last = int(events.t[0]), int(events.t[-1])
    if "dt" in division:
        ends = [first + 3000 * (k + 1) for k in range(-(-(last + 1 - first) // 3000))]
    elif "bins" in division:
        ends = [first + -(-(k + 1) * (last + 1 - first) // 6) for k in range(6)]
    else:
        ends = [int(events.t[min(90 * (k + 1), 500) - 1]) for k in range(6)]
    expected = torch.zeros(len(ends), 2, *SIZE[::-1])
    for k, end in enumerate(ends):
        # A frame of a number of events includes its last event.
        seen = rows(events[: 90 * (k + 1)]) if "count" in division else [row for row in rows(events) if row[0] < end]
        for t, x, y, p in seen:
            expected[k, p, y, x] = max(0.0, 1 - (end - t) / tau) if linear else math.exp((t - end) / tau)
    assert expected[0].count_nonzero() < expected[-1].count_nonzero() or linear
    torch.testing.assert_close(T.time_surface(events, 5e-3, **division, linear=linear), expected, rtol=1e-5, atol=1e-6)


def test_frames_written_past_the_caches_are_correct():
    events = recording(3000, size=(320, 240))
    many = T.count_frames(events, dt=2e-4)
    assert many.nbytes > 1 << 26
    assert many.view(40, 5, 2, 240, 320).sum(1).equal(T.count_frames(events, dt=1e-3))


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch):
    events = recording(5000, size=(320, 240))
    one = T.count_frames(events, bins=20), T.voxel_grid(events, 9), T.time_surface(events, 5e-3, bins=9)
    monkeypatch.setattr("geir.events.transforms.representations.thread_count", lambda out: 3)
    for a, b in zip(
        one,
        (T.count_frames(events, bins=20), T.voxel_grid(events, 9), T.time_surface(events, 5e-3, bins=9)),
        strict=True,
    ):
        assert a.equal(b)


def test_events_need_not_be_contiguous():
    events = recording()
    assert T.count_frames(events[::3], bins=4).equal(
        T.count_frames(Events(*(c[::3].clone() for c in events.columns()), sensor_size=SIZE), bins=4)
    )


def test_sparse_count_frames_equal_dense_ones():
    events = recording()
    sparse = T.sparse_frames(events, dt=3e-3)
    assert sparse.is_coalesced()
    assert sparse.to_dense().equal(T.count_frames(events, dt=3e-3))
    torch.sparse_coo_tensor(sparse.indices(), sparse.values(), sparse.shape, check_invariants=True, is_coalesced=True)
    many = [events, recording(100, 20_000, seed=1), events[:1]]
    assert T.sparse_frames(many, dt=3e-3).to_dense().equal(T.count_frames(many, dt=3e-3))


def test_representations_of_a_real_recording_contain_all_events(real_data):
    events = read_events(real_data / "events" / "person_320x240.aedat4")
    assert T.count_frames(events, dt=10e-3).sum() == len(events) == 111_954
    assert T.voxel_grid(events, 5, signed=False).sum().item() == pytest.approx(111_954, rel=1e-4)
    assert 0.3 < len(T.denoise(events)) / len(events) <= 1
    numpy.testing.assert_array_equal(
        T.time_surface(events, 10e-3, bins=1)[0] > 0, T.binary_frames(events, bins=1)[0] > 0
    )
