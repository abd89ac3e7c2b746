"""Distances between spike trains, each against a slow computation by its definition."""

import itertools
import math
from bisect import bisect_left, bisect_right

import numpy as np
import pytest
import torch
from spike_trains import random_spikes

from geir import measures

F64 = torch.float64
DISTANCES = [
    measures.van_rossum_distance,
    measures.victor_purpura_distance,
    measures.isi_distance,
    measures.spike_distance,
]


def pairs(steps=30, count=25):
    """Pairs of spike trains, some of them silent or equal."""
    zs = random_spikes(steps, count, rate=0.2)
    others = random_spikes(steps, count, rate=0.2, seed=1)
    zs[:, 0] = 0
    others[:, 1] = 0
    zs[:, 2] = 0
    others[:, 2] = 0
    others[:, 3] = zs[:, 3]
    zs[0, 4] = 1
    others[-1, 5] = 1
    return zs, others


def spikes_of(train):
    return train.nonzero().flatten().tolist()


def for_each_pair(distance, zs, others):
    """A distance between two lists of spike steps, computed for each pair of trains."""
    return [distance(spikes_of(x), spikes_of(y)) for x, y in zip(zs.T, others.T, strict=True)]


def van_rossum_by_pairs(tau, dt):
    """The double sum over all pairs of spikes, which is the closed form of the integral."""

    def distance(x, y):
        signed = [(dt * t, 1) for t in x] + [(dt * t, -1) for t in y]
        terms = (a * b * math.exp(-abs(t - s) / tau) for (t, a), (s, b) in itertools.product(signed, signed))
        return math.sqrt(max(0.0, sum(terms) / 2))

    return distance


@pytest.mark.parametrize("tau", [1e-3, 20e-3, 1.0])
def test_van_rossum_distance_is_its_double_sum(tau):
    zs, others = pairs()
    actual = measures.van_rossum_distance(zs, others, tau=tau, dt=2e-3)
    expected = for_each_pair(van_rossum_by_pairs(tau, 2e-3), zs, others)
    # The root of a difference of nearly equal sums loses half of the digits; squares are compared.
    np.testing.assert_allclose(actual**2, np.square(expected), rtol=1e-9, atol=1e-12)
    assert actual[2:4].tolist() == [0, 0]


def test_van_rossum_distance_of_one_additional_spike_and_of_two_distant_spikes():
    zs, others = torch.zeros(2, 1000, dtype=F64)
    zs[999] = 1  # at the end of the run, where most of the trace lies beyond it
    assert measures.van_rossum_distance(zs, others).item() == pytest.approx(math.sqrt(0.5), rel=1e-12)
    others[0] = 1
    assert measures.van_rossum_distance(zs, others).item() == pytest.approx(1.0, rel=1e-12)


def test_van_rossum_distance_has_gradients_and_none_between_equal_trains():
    zs, others = torch.rand(2, 8, 3, dtype=F64)
    scale = torch.tensor([0.5, 1.0, 4.0], dtype=F64, requires_grad=True)
    zs.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, y, tau: measures.van_rossum_distance(x, y, 1e-2 * tau), (zs, others.requires_grad_(), scale)
    )
    measures.van_rossum_distance(zs, zs.detach()).sum().backward()
    assert zs.grad.tolist() == torch.zeros(8, 3).tolist()


def victor_purpura_by_matching(q, dt):
    """The minimum cost over all ways of matching some spikes of one train, in order, with as many of the other."""

    def distance(x, y):
        costs = (
            len(x) + len(y) - 2 * k + sum(q * dt * abs(a - b) for a, b in zip(some, others, strict=True))
            for k in range(min(len(x), len(y)) + 1)
            for some, others in itertools.product(itertools.combinations(x, k), itertools.combinations(y, k))
        )
        return min(costs)

    return distance


@pytest.mark.parametrize("q", [0.0, 20.0, 150.0, 1e6])
def test_victor_purpura_distance_is_the_minimum_over_all_matchings(q):
    zs, others = pairs(steps=24)
    actual = measures.victor_purpura_distance(zs, others, q=q, dt=2e-3)
    expected = for_each_pair(victor_purpura_by_matching(q, 2e-3), zs, others)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
    assert zs.sum(0).max() >= 6
    torch.testing.assert_close(measures.victor_purpura_distance(others, zs, q=q, dt=2e-3), actual)


def test_victor_purpura_distance_in_the_limits_of_q_and_by_hand():
    zs, others = pairs(steps=200, count=10)
    spike_counts = (zs.sum(0) - others.sum(0)).abs()
    torch.testing.assert_close(measures.victor_purpura_distance(zs, others, q=0.0), spike_counts)
    noncoincident = zs.sum(0) + others.sum(0) - 2 * (zs * others).sum(0)
    torch.testing.assert_close(measures.victor_purpura_distance(zs, others, q=1e9), noncoincident)
    # Spikes at 1 and 5 ms and at 3 and 100 ms. With 100 per second, the first spike is moved by 2 ms, and the second is
    # deleted and another one added.
    one, two = torch.zeros(2, 120, dtype=F64)
    one[[1, 5]] = 1
    two[[3, 100]] = 1
    assert measures.victor_purpura_distance(one, two, q=100.0).item() == pytest.approx(0.2 + 2)
    # With 10 per second both are moved.
    assert measures.victor_purpura_distance(one, two, q=10.0).item() == pytest.approx(0.02 + 0.95)


def with_ends(spikes, end):
    """The spikes, and the beginning and end of the run."""
    return sorted({0, *spikes, end})


def isi_by_integration(end):
    def interval(spikes, t):
        k = bisect_right(spikes, t)
        return spikes[k] - spikes[k - 1]

    def distance(x, y):
        x = with_ends(x, end)
        y = with_ends(y, end)
        knots = sorted({*x, *y})
        total = 0.0
        for start, stop in itertools.pairwise(knots):
            a, b = (interval(spikes, (start + stop) / 2) for spikes in (x, y))
            total += (stop - start) * abs(a / b - 1 if a <= b else b / a - 1)
        return total / end

    return distance


def test_isi_distance_is_its_integral():
    zs, others = pairs()
    expected = for_each_pair(isi_by_integration(30), zs, others)
    np.testing.assert_allclose(measures.isi_distance(zs, others), expected, rtol=1e-12, atol=1e-12)


def test_isi_distance_of_regular_trains_follows_from_their_periods():
    zs, others = torch.zeros(2, 1200, dtype=F64)
    zs[::4] = 1
    others[1::12] = 1
    assert measures.isi_distance(zs, others).item() == pytest.approx(1 - 4 / 12, abs=0.01)


def spike_distance_by_integration(end):
    def distance_to_nearest(t, spikes):
        return min(abs(t - s) for s in spikes)

    def interval_and_dissimilarity(t, own, other):
        k = bisect_left(own, t)
        before = own[k - 1]
        after = own[k]
        weighted = distance_to_nearest(before, other) * (after - t) + distance_to_nearest(after, other) * (t - before)
        return after - before, weighted / (after - before)

    def distance(x, y):
        x = with_ends(x, end)
        y = with_ends(y, end)

        def profile(t):
            i1, s1 = interval_and_dissimilarity(t, x, y)
            i2, s2 = interval_and_dissimilarity(t, y, x)
            return (s1 * i2 + s2 * i1) / (2 * ((i1 + i2) / 2) ** 2)

        # The trapezoidal rule on each linear piece, evaluated just inside its ends.
        knots = sorted({*x, *y})
        total = 0.0
        for start, stop in itertools.pairwise(knots):
            total += (stop - start) * (profile(start + 1e-9) + profile(stop - 1e-9)) / 2
        return total / end

    return distance


def test_spike_distance_is_its_integral():
    zs, others = pairs()
    actual = measures.spike_distance(zs, others)
    expected = for_each_pair(spike_distance_by_integration(30), zs, others)
    np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-8)
    assert actual[3] == 0
    torch.testing.assert_close(measures.spike_distance(others, zs), actual)


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_accept_any_batch_and_dtype_and_are_zero_between_equal_trains(distance):
    zs = random_spikes(20, 2, 3, 4)
    others = random_spikes(20, 2, 3, 4, seed=1)
    whole = distance(zs, others)
    assert whole.shape == (2, 3, 4)
    assert (whole > 0).all()
    torch.testing.assert_close(whole[1, 2, 3], distance(zs[:, 1, 2, 3], others[:, 1, 2, 3]))
    assert not distance(zs, zs).any()
    assert distance(zs[:, :0], zs[:, :0]).shape == (0, 3, 4)
    assert distance(zs.float(), others.float()).dtype == torch.float32
    torch.testing.assert_close(distance(zs.float(), others.float()), whole.float(), rtol=1e-4, atol=1e-5)


ZS = torch.zeros(4, 2)

INVALID = {
    "van Rossum: two shapes": (
        lambda: measures.van_rossum_distance(ZS, ZS[:3]),
        ValueError,
        r"van_rossum_distance expected two spike trains of the same shape, got \(4, 2\) and \(3, 2\)",
    ),
    "van Rossum: negative tau": (
        lambda: measures.van_rossum_distance(ZS, ZS, tau=-1.0),
        ValueError,
        "ExponentialFilter.tau must be > 0.0 s, got -1.0",
    ),
    "Victor-Purpura: two shapes": (
        lambda: measures.victor_purpura_distance(ZS, ZS[:, 0]),
        ValueError,
        "victor_purpura_distance expected two spike trains of the same shape",
    ),
    "Victor-Purpura: negative cost": (
        lambda: measures.victor_purpura_distance(ZS, ZS, q=-1.0),
        ValueError,
        "victor_purpura_distance: q must not be negative, got -1.0",
    ),
    "Victor-Purpura: dt of zero": (
        lambda: measures.victor_purpura_distance(ZS, ZS, dt=0.0),
        ValueError,
        "victor_purpura_distance: dt must be positive and finite",
    ),
    "ISI: no step": (
        lambda: measures.isi_distance(ZS[:0], ZS[:0]),
        ValueError,
        r"isi_distance expected .* \(time, ...\) with at least one step, got shape \(0, 2\)",
    ),
    "SPIKE: integers": (
        lambda: measures.spike_distance(ZS, ZS.long()),
        TypeError,
        "spike_distance expected floating-point values over time, got torch.int64",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_input_raises(case):
    call, error, message = INVALID[case]
    with pytest.raises(error, match=message):
        call()
