"""Random transforms of events."""

import pytest
import torch
from recordings import recording, rows, seeded, SIZE

from geir.events import Events, transforms as T


def test_dropping_removes_the_given_fraction():
    events = recording(20_000, size=(100, 80))
    assert len(T.drop_events(events, 0.3, generator=seeded())) == pytest.approx(14_000, abs=300)
    kept = T.drop_time(events, 0.25, generator=seeded())
    assert len(kept) == pytest.approx(15_000, abs=300)
    assert kept.t.diff().max() == pytest.approx(10_000, abs=50)
    area = T.drop_area(events, 0.25, generator=seeded())
    assert len(area) == pytest.approx(15_000, abs=300)
    unchanged = T.count_frames(area, bins=1).sum((0, 1)) == T.count_frames(events, bins=1).sum((0, 1))
    changed = (~unchanged).nonzero()
    (top, left), (bottom, right) = changed.min(0).values, changed.max(0).values
    assert (right - left, bottom - top) == (49, 39)
    assert not ((area.x >= left) & (area.x <= right) & (area.y >= top) & (area.y <= bottom)).any()
    for drop in (T.drop_events, T.drop_time, T.drop_area):
        assert len(drop(events, 0.0)) == len(events)
        assert len(drop(events, 1.0)) == 0
        assert len(drop(Events.empty(SIZE), 0.5)) == 0


def test_jitter_has_the_given_standard_deviation():
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


def test_uniform_noise_has_the_given_rate_and_keeps_all_events():
    events = recording(1000, duration=1_000_000, size=(50, 40))
    noisy = T.uniform_noise(events, rate=10.0, generator=seeded())
    assert len(noisy) - 1000 == pytest.approx(10 * 50 * 40 * 1.0, abs=500)
    assert noisy.is_sorted
    assert set(rows(events)) <= set(rows(noisy))
    Events(*noisy.columns(), sensor_size=noisy.sensor_size)
    assert T.uniform_noise(events, rate=0.0).equal(events)


@pytest.mark.parametrize(
    "name",
    ["random_crop", "random_flip", "random_affine", "drop_events", "drop_time", "drop_area", "jitter", "uniform_noise"],
)
def test_a_seeded_generator_is_reproducible_and_the_global_one_is_the_default(name):
    settings = {
        "random_crop": {"size": (4, 4)},
        "random_flip": {"x": 0.5, "y": 0.5, "time": 0.5},
        "random_affine": {"angle": 1.0},
        "jitter": {"space": 1.0, "time": 1e-3},
        "uniform_noise": {"rate": 50.0},
    }.get(name, {"fraction": 0.3})
    random, events = getattr(T, name), recording()
    assert random(events, **settings, generator=seeded(3)).equal(random(events, **settings, generator=seeded(3)))
    torch.manual_seed(5)
    first = random(events, **settings)
    torch.manual_seed(5)
    assert random(events, **settings).equal(first)
    assert not all(random(events, **settings).equal(first) for _ in range(20))
