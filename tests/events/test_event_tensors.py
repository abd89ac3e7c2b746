"""Events to tensors, augmentations and filters, against loops that say what they mean; data sets."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from geir.events import Events, transforms as T, write_events
from geir.events.dataset import EventDataset, collate
from geir.events.transforms import common

SIZE = (9, 7)


def recording(number=500, duration=40_000, seed=0, size=SIZE):
    generator = torch.Generator().manual_seed(seed)
    t = 1_000_000 + torch.randint(duration, (number,), generator=generator).sort().values
    x, y, p = (torch.randint(n, (number,), generator=generator) for n in (*size, 2))
    return Events(t, x, y, p, sensor_size=size)


def rows(events):
    return list(zip(*(column.tolist() for column in events.columns()), strict=True))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=["C", "PyTorch"])
def path(request, monkeypatch):
    """Both ways there are on the CPU; other devices take the second."""
    if request.param == "PyTorch":
        for module in ("representations", "filters"):
            monkeypatch.setattr(f"geir.events.transforms.{module}.compiled", lambda events, path, **names: None)
    elif common.library("transforms/filters.c") is None:
        pytest.skip("no C compiler")


def counted(events, edges):
    frames = torch.zeros(len(edges) - 1, 2, *SIZE[::-1])
    for t, x, y, p in rows(events):
        for k, (a, b) in enumerate(pairwise(edges)):
            if a <= t < b:
                frames[k, p, y, x] += 1
    return frames


@pytest.mark.usefixtures("path")
class TestFrames:
    def test_of_a_duration(self):
        events = recording()
        first = int(events.t[0])
        edges = [first + 3000 * k for k in range(15)]
        frames = T.count_frames(events, dt=3e-3)
        assert frames.equal(counted(events, edges))
        assert frames.sum() == len(events)
        assert T.binary_frames(events, dt=3e-3).equal(counted(events, edges).clamp(max=1))

    def test_of_a_duration_that_is_no_whole_number_of_microseconds(self):
        events, third = recording(), 1000 / 3
        first = int(events.t[0])
        edges = [first + math.ceil(k * third) for k in range(int((int(events.t[-1]) - first) // third) + 2)]
        assert T.count_frames(events, dt=third * 1e-6).equal(counted(events, edges))

    def test_of_a_number_of_bins(self):
        events = recording()
        first, end = int(events.t[0]), int(events.t[-1]) + 1
        edges = [first + -(-k * (end - first) // 7) for k in range(8)]
        assert T.count_frames(events, bins=7).equal(counted(events, edges))

    def test_of_a_number_of_events(self):
        events = recording()
        frames = T.count_frames(events, count=120)
        assert frames.flatten(1).sum(1).tolist() == [120.0] * 4 + [20.0]
        assert frames[1].equal(T.count_frames(events[120:240], bins=1)[0])

    def test_between_two_times(self):
        events = recording()
        frames = T.count_frames(events, dt=4e-3, start=1_010_000, stop=1_021_000)
        assert len(frames) == 3
        assert frames.sum() == len(events.slice_time(1_010_000, 1_021_000))
        assert T.count_frames(events, count=50, start=1_010_000, stop=1_021_000).sum() == frames.sum()
        assert T.count_frames(events, bins=3, start=0, stop=900_000).sum() == 0

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.float32])
    def test_every_dtype_stays_at_its_largest_number(self, dtype):
        burst = Events(
            *(torch.zeros(300, dtype=torch.int64),) * 3, torch.ones(300, dtype=torch.int64), sensor_size=SIZE
        )
        frames = T.count_frames(burst, bins=1, dtype=dtype)
        assert frames.dtype == dtype
        assert frames[0, 1, 0, 0].item() == min(300, 255 if dtype == torch.uint8 else 300)

    def test_of_no_events(self):
        nothing = Events.empty(SIZE)
        assert T.count_frames(nothing, dt=1e-3).shape == (0, 2, 7, 9)
        assert T.count_frames(nothing, count=5).shape == (0, 2, 7, 9)
        assert T.count_frames(nothing, bins=5).equal(torch.zeros(5, 2, 7, 9))
        assert T.count_frames(nothing, dt=1e-3, start=0, stop=3000).shape == (3, 2, 7, 9)
        assert T.voxel_grid(nothing, 3).equal(torch.zeros(3, 1, 7, 9))
        assert T.time_surface(nothing, 1e-3, bins=2).equal(torch.zeros(2, 2, 7, 9))

    @pytest.mark.parametrize("signed", [True, False])
    @pytest.mark.parametrize("bins", [1, 2, 5])
    def test_a_voxel_grid_is_its_formula(self, bins, signed):
        events = recording()
        expected = torch.zeros(bins, 1 if signed else 2, *SIZE[::-1], dtype=torch.float64)
        first, last = int(events.t[0]), int(events.t[-1])
        for t, x, y, p in rows(events):
            for k in range(bins):
                weight = max(0.0, 1 - abs((bins - 1) * (t - first) / (last - first) - k))
                expected[k, 0 if signed else p, y, x] += weight * (2 * p - 1 if signed else 1)
        torch.testing.assert_close(T.voxel_grid(events, bins, signed=signed).double(), expected, rtol=1e-5, atol=1e-5)

    def test_a_voxel_grid_of_one_time_is_its_first_bin(self):
        events = Events(t=[5, 5], x=[1, 1], y=[2, 2], p=[1, 1], sensor_size=SIZE)
        grid = T.voxel_grid(events, 3)
        assert grid[0, 0, 2, 1] == 2
        assert grid.sum() == 2

    @pytest.mark.parametrize("linear", [True, False])
    @pytest.mark.parametrize("division", [{"dt": 3e-3}, {"bins": 6}, {"count": 90}])
    def test_a_time_surface_is_its_formula(self, linear, division):
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
            # In frames of events the last one is in.
            seen = (
                rows(events[: 90 * (k + 1)]) if "count" in division else [row for row in rows(events) if row[0] < end]
            )
            for t, x, y, p in seen:
                expected[k, p, y, x] = max(0.0, 1 - (end - t) / tau) if linear else math.exp((t - end) / tau)
        assert expected[0].count_nonzero() < expected[-1].count_nonzero() or linear
        torch.testing.assert_close(
            T.time_surface(events, 5e-3, **division, linear=linear), expected, rtol=1e-5, atol=1e-6
        )

    @pytest.mark.parametrize("diagonal", [True, False])
    def test_denoise_keeps_what_a_neighbour_supports(self, diagonal):
        events = recording(300)
        seen = rows(events)

        def supports(a, b):
            far = (abs(a[1] - b[1]), abs(a[2] - b[2]))
            return b[0] - a[0] <= 1500 and (far in ((0, 1), (1, 0)) or (diagonal and far == (1, 1)))

        expected = [b for k, b in enumerate(seen) if any(supports(a, b) for a in seen[:k])]
        assert 30 < len(expected) < 270
        assert rows(T.denoise(events, duration=1.5e-3, diagonal=diagonal)) == expected
        assert len(T.denoise(Events.empty(SIZE))) == 0

    def test_the_refractory_filter_counts_from_what_it_kept(self):
        events, last, expected = recording(), {}, []
        for row in rows(events):
            if row[0] - last.get(row[1:3], -math.inf) >= 4000:
                expected.append(row)
                last[row[1:3]] = row[0]
        assert 100 < len(expected) < 450
        assert rows(T.refractory_filter(events, period=4e-3)) == expected
        assert len(T.refractory_filter(Events.empty(SIZE), period=1e-3)) == 0


def test_large_frames_go_past_the_caches_and_are_the_same():
    events = recording(3000, size=(320, 240))
    many = T.count_frames(events, dt=2e-4)
    assert many.nbytes > 1 << 26
    assert many.view(40, 5, 2, 240, 320).sum(1).equal(T.count_frames(events, dt=1e-3))


def test_many_threads_do_the_same(monkeypatch):
    events = recording(5000, size=(320, 240))
    one = T.count_frames(events, bins=20), T.voxel_grid(events, 9), T.time_surface(events, 5e-3, bins=9)
    monkeypatch.setattr("geir.events.transforms.representations.threads_for", lambda out: 3)
    for a, b in zip(
        one,
        (T.count_frames(events, bins=20), T.voxel_grid(events, 9), T.time_surface(events, 5e-3, bins=9)),
        strict=True,
    ):
        assert a.equal(b)


def test_columns_that_are_not_contiguous_are_read_right():
    events = recording()
    assert T.count_frames(events[::3], bins=4).equal(
        T.count_frames(Events(*(c[::3].clone() for c in events.columns()), sensor_size=SIZE), bins=4)
    )


def test_sparse_frames_are_the_frames():
    events = recording()
    sparse = T.sparse_frames(events, dt=3e-3)
    assert sparse.is_coalesced()
    assert sparse.to_dense().equal(T.count_frames(events, dt=3e-3))
    torch.sparse_coo_tensor(sparse.indices(), sparse.values(), sparse.shape, check_invariants=True, is_coalesced=True)
    many = [events, recording(100, 20_000, seed=1), events[:1]]
    assert T.sparse_frames(many, dt=3e-3).to_dense().equal(T.count_frames(many, dt=3e-3))


def test_a_list_becomes_a_batch_padded_with_zeros():
    long, short = recording(), recording(100, 20_000, seed=1)
    frames = T.count_frames([long, short], dt=3e-3)
    alone = T.count_frames(short, dt=3e-3)
    assert frames.shape == (14, 2, 2, 7, 9)
    assert frames[:, 0].equal(T.count_frames(long, dt=3e-3))
    assert frames[: len(alone), 1].equal(alone)
    assert frames[len(alone) :, 1].count_nonzero() == 0
    assert [len(part) for part in T.crop([long, short], (4, 4))] == [
        len(T.crop(part, (4, 4))) for part in (long, short)
    ]


def test_modules_are_the_functions_and_compose():
    events = recording()
    chain = nn.Sequential(T.Denoise(duration=2e-3), T.Downsample(space=2), T.CountFrames(bins=3))
    assert chain(events).equal(T.count_frames(T.downsample(T.denoise(events, 2e-3), 2), bins=3))
    assert repr(T.CountFrames(bins=3)) == "CountFrames(bins=3, dtype=torch.float32)"
    functions = {name for name in T.__all__ if name.islower()} - {"hot_pixels"}
    assert {"".join(part.title() for part in name.split("_")) for name in functions} == {
        name for name in T.__all__ if not name.islower()
    }


def test_crop_moves_the_corner_to_the_origin():
    events = recording()
    expected = [(t, x - 2, y - 1, p) for t, x, y, p in rows(events) if 2 <= x < 6 and 1 <= y < 4]
    cropped = T.crop(events, (4, 3), corner=(2, 1))
    assert rows(cropped) == expected
    assert cropped.sensor_size == (4, 3)
    assert rows(T.crop(events, (5, 5))) == rows(T.crop(events, (5, 5), corner=(2, 1)))
    corners = {tuple(rows(T.random_crop(events, (8, 6), generator=seeded(k)))) for k in range(40)}
    assert corners == {tuple(rows(T.crop(events, (8, 6), (left, top)))) for left in (0, 1) for top in (0, 1)}
    assert rows(T.crop_time(events, duration=5e-3, start=1e-3)) == [
        r for r in rows(events) if 1000 <= r[0] - int(events.t[0]) < 6000
    ]


def test_flips_mirror_and_undo_themselves():
    events = recording()
    assert rows(T.flip(events, x=True)) == [(t, 8 - x, y, p) for t, x, y, p in rows(events)]
    assert rows(T.flip(events, y=True)) == [(t, x, 6 - y, p) for t, x, y, p in rows(events)]
    assert rows(T.flip(events, polarity=True)) == [(t, x, y, 1 - p) for t, x, y, p in rows(events)]
    a, b = int(events.t[0]), int(events.t[-1])
    assert rows(T.flip(events, time=True)) == [(a + b - t, x, y, 1 - p) for t, x, y, p in rows(events)[::-1]]
    every = {"x": True, "y": True, "polarity": True, "time": True}
    assert T.flip(T.flip(events, **every), **every).equal(events)
    assert T.random_flip(events, x=1.0, y=1.0, polarity=1.0, time=1.0).equal(T.flip(events, **every))
    assert T.random_flip(events, x=0.0).equal(events)
    flipped = sum(not T.random_flip(events, x=0.3, generator=seeded(k)).equal(events) for k in range(200))
    assert 40 < flipped < 80


def test_a_rotation_is_anticlockwise_and_four_quarters_are_none():
    square = recording(size=(7, 7))
    right = Events(t=[0], x=[6], y=[3], p=[1], sensor_size=(7, 7))
    assert rows(T.rotate(right, math.pi / 2)) == [(0, 3, 0, 1)]
    assert T.rotate(T.rotate(T.rotate(T.rotate(square, math.pi / 2), math.pi / 2), math.pi / 2), math.pi / 2).equal(
        square
    )
    assert rows(T.affine(square, scale=2.0)) == [
        (t, 2 * x - 3, 2 * y - 3, p) for t, x, y, p in rows(square) if 2 <= x <= 4 and 2 <= y <= 4
    ]
    assert rows(T.affine(square, shift=(2, -1))) == [
        (t, x + 2, y - 1, p) for t, x, y, p in rows(square) if x < 5 and y > 0
    ]
    assert T.random_affine(square).equal(square)
    assert (
        len(
            {
                len(T.random_affine(square, angle=0.5, scale=(0.5, 2.0), shift=(3, 3), generator=seeded(k)))
                for k in range(20)
            }
        )
        > 5
    )


def test_downsampling_joins_pixels_and_times():
    events = recording()
    small = T.downsample(events, space=2, time=1e-3)
    assert small.sensor_size == (5, 4)
    assert rows(small) == [(t // 1000 * 1000, x // 2, y // 2, p) for t, x, y, p in rows(events)]


def test_dropping_takes_its_share():
    events = recording(20_000, size=(100, 80))
    assert len(T.drop_events(events, 0.3, generator=seeded())) == pytest.approx(14_000, abs=300)
    kept = T.drop_time(events, 0.25, generator=seeded())
    assert len(kept) == pytest.approx(15_000, abs=300)
    assert kept.t.diff().max() == pytest.approx(10_000, abs=50)
    area = T.drop_area(events, 0.25, generator=seeded())
    assert len(area) == pytest.approx(15_000, abs=300)
    seen = T.count_frames(area, bins=1).sum((0, 1)) == T.count_frames(events, bins=1).sum((0, 1))
    changed = (~seen).nonzero()
    (top, left), (bottom, right) = changed.min(0).values, changed.max(0).values
    assert (right - left, bottom - top) == (49, 39)
    assert not ((area.x >= left) & (area.x <= right) & (area.y >= top) & (area.y <= bottom)).any()
    for drop in (T.drop_events, T.drop_time, T.drop_area):
        assert len(drop(events, 0.0)) == len(events)
        assert len(drop(events, 1.0)) == 0
        assert len(drop(Events.empty(SIZE), 0.5)) == 0


def test_jitter_is_of_the_deviation_asked_for():
    middle = Events(
        torch.arange(5000) * 1000,
        *(torch.full((5000,), 50),) * 2,
        torch.ones(5000, dtype=torch.uint8),
        sensor_size=(101, 101),
    )
    moved = T.jitter(middle, space=3.0, generator=seeded())
    assert moved.x.float().std().item() == pytest.approx(3.0, rel=0.05)
    assert moved.t.equal(middle.t)
    late = T.jitter(middle, time=0.2e-3, generator=seeded())
    assert late.is_sorted
    assert (late.t - middle.t).double().std().item() == pytest.approx(200, rel=0.05)
    assert T.jitter(middle).equal(middle)
    assert len(T.jitter(recording(), space=5.0, generator=seeded())) < 500


def test_uniform_noise_has_its_rate_and_keeps_the_events():
    events = recording(1000, duration=1_000_000, size=(50, 40))
    noisy = T.uniform_noise(events, rate=10.0, generator=seeded())
    assert len(noisy) - 1000 == pytest.approx(10 * 50 * 40 * 1.0, abs=500)
    assert noisy.is_sorted
    assert set(rows(events)) <= set(rows(noisy))
    Events(*noisy.columns(), sensor_size=noisy.sensor_size)
    assert T.uniform_noise(events, rate=0.0).equal(events)


def test_hot_pixels_are_found_and_removed():
    events = recording(1000, duration=1_000_000, size=(50, 40))
    hot = Events(
        torch.arange(500) * 2000 + int(events.t[0]),
        *(torch.full((500,), n) for n in (7, 9)),
        torch.ones(500, dtype=torch.uint8),
        sensor_size=(50, 40),
    )
    both = Events.cat([events, hot]).sorted()
    pixels = T.hot_pixels(both, max_rate=100)
    assert pixels.nonzero().tolist() == [[9, 7]]
    cold = T.remove_hot_pixels(both, max_rate=100)
    assert rows(cold) == [row for row in rows(events) if row[1:3] != (7, 9)]
    assert T.drop_pixels(both, pixels).equal(cold)


@pytest.mark.parametrize(
    "name",
    ["random_crop", "random_flip", "random_affine", "drop_events", "drop_time", "drop_area", "jitter", "uniform_noise"],
)
def test_a_generator_repeats_itself_and_pytorchs_own_is_the_default(name):
    settings = {
        "random_crop": {"size": (4, 4)},
        "random_flip": {"x": 0.5, "y": 0.5, "time": 0.5},
        "random_affine": {"angle": 1.0},
        "jitter": {"space": 1.0, "time": 1e-3},
        "uniform_noise": {"rate": 50.0},
    }.get(name, {"share": 0.3})
    random, events = getattr(T, name), recording()
    assert random(events, **settings, generator=seeded(3)).equal(random(events, **settings, generator=seeded(3)))
    torch.manual_seed(5)
    first = random(events, **settings)
    torch.manual_seed(5)
    assert random(events, **settings).equal(first)
    assert not all(random(events, **settings).equal(first) for _ in range(20))


BACKWARD = Events(t=[5, 3], x=[0, 0], y=[0, 0], p=[0, 0], sensor_size=SIZE)
BAD = {
    "no division of time": (
        lambda: T.count_frames(recording()),
        ValueError,
        r"count_frames takes one of dt=..., bins=... and count=..., got none\.",
    ),
    "two divisions": (
        lambda: T.binary_frames(recording(), dt=1e-3, bins=3),
        ValueError,
        "binary_frames takes one of .* got dt and bins",
    ),
    "too short a frame": (
        lambda: T.count_frames(recording(), dt=1e-7),
        ValueError,
        "count_frames: dt must be at least a microsecond, in seconds, got 1e-07",
    ),
    "no bins": (
        lambda: T.sparse_frames(recording(), bins=0),
        ValueError,
        "sparse_frames: bins must be a positive whole number, got 0",
    ),
    "no events a frame": (
        lambda: T.count_frames(recording(), count=-1),
        ValueError,
        "count_frames: count must be a positive whole number, got -1",
    ),
    "stop before start": (
        lambda: T.count_frames(recording(), bins=1, start=5, stop=4),
        ValueError,
        "stop must not lie before start, got 5 and 4",
    ),
    "no order": (
        lambda: T.count_frames(BACKWARD, bins=1),
        ValueError,
        r"count_frames takes events in the order of time; call events.sorted\(\) first",
    ),
    "no order in a grid": (
        lambda: T.voxel_grid(BACKWARD, 1),
        ValueError,
        "voxel_grid takes events in the order of time",
    ),
    "no order for denoise": (lambda: T.denoise(BACKWARD), ValueError, "denoise takes events in the order of time"),
    "no order for the refractory filter": (
        lambda: T.refractory_filter(BACKWARD, 1.0),
        ValueError,
        "refractory_filter takes events in the order",
    ),
    "another dtype": (
        lambda: T.count_frames(recording(), bins=1, dtype=torch.float64),
        TypeError,
        "count_frames: dtype must be one of .*, got torch.float64",
    ),
    "another binary dtype": (
        lambda: T.binary_frames(recording(), bins=1, dtype=torch.bool),
        TypeError,
        "binary_frames: dtype must be one of",
    ),
    "a tensor": (
        lambda: T.count_frames(torch.zeros(3), bins=1),
        TypeError,
        "count_frames takes Events or a list of them, got Tensor",
    ),
    "an empty list": (lambda: T.crop([], (1, 1)), TypeError, "crop takes Events or a list of them, got an empty list"),
    "sparse, of two sensors": (
        lambda: T.sparse_frames([recording(), Events.empty((1, 1))], bins=1),
        TypeError,
        r"sparse_frames takes Events or a list of them, of one sensor, got \[\(9, 7\), \(1, 1\)\]",
    ),
    "no bins in a grid": (
        lambda: T.voxel_grid(recording(), 0),
        ValueError,
        "voxel_grid: bins must be a positive whole number, got 0",
    ),
    "no tau": (
        lambda: T.time_surface(recording(), 0.0, bins=1),
        ValueError,
        "time_surface: tau must be at least a microsecond, in seconds, got 0.0",
    ),
    "no duration": (
        lambda: T.denoise(recording(), -1.0),
        ValueError,
        "denoise: duration must be at least a microsecond",
    ),
    "no period": (
        lambda: T.refractory_filter(recording(), 0),
        ValueError,
        "refractory_filter: period must be at least a microsecond",
    ),
    "no rate": (
        lambda: T.hot_pixels(recording(), 0),
        ValueError,
        "hot_pixels: max_rate must be positive and finite, in events a second, got 0",
    ),
    "another mask": (
        lambda: T.drop_pixels(recording(), torch.ones(9, 7)),
        ValueError,
        r"drop_pixels takes truth values of shape \(7, 9\), got torch.float32 of shape \(9, 7\)",
    ),
    "a crop beyond": (
        lambda: T.crop(recording(), (5, 5), (5, 0)),
        ValueError,
        r"crop: 5x5 pixels from \(5, 0\) on do not lie within 9x7",
    ),
    "a random crop beyond": (lambda: T.random_crop(recording(), (20, 5)), ValueError, "crop: 20x5 pixels from"),
    "no crop of time": (
        lambda: T.crop_time(recording(), 0.0),
        ValueError,
        "crop_time: duration must be at least a microsecond",
    ),
    "a chance above 1": (
        lambda: T.random_flip(recording(), y=1.5),
        ValueError,
        r"random_flip: y must lie in \[0, 1\], got 1.5",
    ),
    "no scale": (
        lambda: T.affine(recording(), scale=0.0),
        ValueError,
        "affine: scale must be positive and finite, got 0.0",
    ),
    "half a pixel": (
        lambda: T.downsample(recording(), space=0.5),
        ValueError,
        "downsample: space must be a positive whole number of pixels, got 0.5",
    ),
    "no time step": (
        lambda: T.downsample(recording(), time=0.0),
        ValueError,
        "downsample: time must be at least a microsecond",
    ),
    "a share above 1": (
        lambda: T.drop_events(recording(), 2.0),
        ValueError,
        r"drop_events: share must lie in \[0, 1\], got 2.0",
    ),
    "a negative deviation": (
        lambda: T.jitter(recording(), space=-1.0),
        ValueError,
        "jitter: space and time must not be negative, got -1.0 pixels",
    ),
    "a negative rate": (
        lambda: T.uniform_noise(recording(), -1.0),
        ValueError,
        "uniform_noise: rate must not be negative",
    ),
    "a missing folder": (
        lambda: EventDataset("/nowhere/at/all"),
        FileNotFoundError,
        "EventDataset: there is no folder /nowhere/at/all",
    ),
    "a folder without folders": (
        lambda: EventDataset(Path(__file__).parent / "data"),
        ValueError,
        "has no recordings in folders, one for each class",
    ),
    "labels missing": (
        lambda: EventDataset([recording()], labels=[1, 2]),
        ValueError,
        "a label for each of 1 recordings of a list, got 2",
    ),
    "a cache of nothing": (
        lambda: EventDataset([recording()], cache="x"),
        ValueError,
        "keeps in its cache what a module `prepare` makes, got None",
    ),
    "an index beyond": (
        lambda: EventDataset([recording()])[1],
        IndexError,
        "EventDataset has 1 recordings, got index 1",
    ),
    "arrays of no sensor": (
        lambda: EventDataset(Tonic(None))[0],
        ValueError,
        "the data set of structured arrays says no sensor_size",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_input_is_refused(case):
    make, error, message = BAD[case]
    with pytest.raises(error, match=message):
        make()


class Tonic(Dataset):
    """What tonic's data sets are: pairs of a structured array x, y, t, p and a label, and the size of the sensor with its polarities."""

    def __init__(self, sensor_size=(*SIZE, 2)):
        if sensor_size:
            self.sensor_size = sensor_size

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return recording(seed=index).to_structured("xytp"), index


@pytest.fixture
def folder(tmp_path):
    for k, name in enumerate(["cat", "ant", "bee"]):
        (tmp_path / name).mkdir()
        for n in range(2):
            write_events(recording(100 + 50 * n, seed=2 * k + n), tmp_path / name / f"{n}.npz")
    return tmp_path


def test_a_folder_has_a_class_for_each_folder(folder):
    data = EventDataset(folder)
    assert data.classes == ["ant", "bee", "cat"]
    assert [label for _, label in (data[k] for k in range(len(data)))] == [0, 0, 1, 1, 2, 2]
    assert data[0][0].equal(recording(100, seed=2))
    assert data[-1][0].equal(recording(150, seed=1))


def test_batches_come_padded_also_from_workers(folder):
    data = EventDataset(folder, transform=nn.Sequential(T.DropEvents(0.5), T.CountFrames(dt=3e-3)))
    loader = DataLoader(data, batch_size=4, collate_fn=collate, num_workers=2)
    (xs, labels), (rest, _) = loader
    assert xs.shape[1:] == (4, 2, 7, 9)
    assert rest.shape[1] == 2
    assert labels.tolist() == [0, 0, 1, 1]
    assert 0 < xs[:, 1].sum() < 120
    events, _ = next(iter(DataLoader(EventDataset(folder), batch_size=2, collate_fn=collate)))
    assert events[0].equal(recording(100, seed=2))


def test_what_is_prepared_is_kept_and_made_anew_when_something_changed(folder, tmp_path):
    read = []

    def reading(path):
        from geir.events import read_events

        read.append(path)
        return read_events(path)

    def data(**changes):
        return EventDataset(
            folder, **{"prepare": T.CountFrames(dt=3e-3), "cache": tmp_path / "cache", "read": reading} | changes
        )

    first = data()[0][0]
    assert first.equal(T.count_frames(recording(100, seed=2), dt=3e-3))
    assert data()[0][0].equal(first)
    assert len(read) == 1
    assert data(transform=lambda x: 2 * x)[0][0].equal(2 * first)
    assert len(read) == 1
    assert data(prepare=T.CountFrames(dt=2e-3))[0][0].shape != first.shape
    assert len(read) == 2
    write_events(recording(120, seed=9), folder / "ant" / "0.npz")
    assert data()[0][0].sum() == 120
    assert len(read) == 3


def test_data_sets_of_tonics_kind_are_taken_as_they_are():
    data = EventDataset(Tonic(), transform=T.CountFrames(bins=2))
    frames, label = data[2]
    assert label == 2
    assert frames.equal(T.count_frames(recording(seed=2), bins=2))


def test_real_recordings_are_whole_in_their_frames(real_data):
    from geir.events import read_events

    events = read_events(real_data / "events" / "person_320x240.aedat4")
    assert T.count_frames(events, dt=10e-3).sum() == len(events) == 111_954
    assert T.voxel_grid(events, 5, signed=False).sum().item() == pytest.approx(111_954, rel=1e-4)
    assert 0.3 < len(T.denoise(events)) / len(events) <= 1
    np.testing.assert_array_equal(T.time_surface(events, 10e-3, bins=1)[0] > 0, T.binary_frames(events, bins=1)[0] > 0)
