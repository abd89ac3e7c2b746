"""Statistics of spike trains, each against theory or NumPy."""

import itertools
import math

import numpy as np
import pytest
import torch
from spike_trains import random_spikes

from geir import measures

F64 = torch.float64


def gamma_process(shape, mean=100.0, trains=4, spikes=3000):
    """Spike trains whose interspike intervals have a gamma distribution."""
    intervals = np.random.default_rng(0).gamma(shape, mean / shape, (trains, spikes))
    steps = np.cumsum(intervals, 1).astype(int)
    zs = torch.zeros(int(steps.max()) + 1, trains, dtype=F64)
    for k in range(trains):
        zs[steps[k], k] = 1
    return zs[: steps[:, -1].min()]


@pytest.mark.parametrize("shape", [1, 2, 9])
def test_regularity_of_gamma_processes_agrees_with_theory(shape):
    zs = gamma_process(shape)
    np.testing.assert_allclose(measures.coefficient_of_variation(zs), 1 / math.sqrt(shape), atol=0.04)
    np.testing.assert_allclose(measures.local_variation(zs), 3 / (2 * shape + 1), atol=0.05)
    # In the limit of long windows the Fano factor is the squared coefficient of variation; 40 intervals are nearly long.
    assert measures.fano_factor(zs, window=4.0).mean().item() == pytest.approx(1 / shape, rel=0.2)


def test_intervals_and_their_statistics_agree_with_numpy():
    zs = random_spikes(60, 2, 5, rate=0.15)
    # No spike, one spike, two spikes.
    zs[:, 0, :3] = 0
    zs[3, 0, 1] = 1
    zs[[4, 9], 0, 2] = 1
    intervals = measures.interspike_intervals(zs, dt=2e-3)
    assert len(intervals) == int(zs.sum(0).max()) - 1
    for index in itertools.product(range(2), range(5)):
        expected = 2e-3 * np.diff(np.flatnonzero(zs[:, *index]))
        actual = intervals[:, *index]
        np.testing.assert_allclose(actual[: len(expected)], expected)
        assert actual[len(expected) :].isnan().all()
        cv = measures.coefficient_of_variation(zs)[index].item()
        lv = measures.local_variation(zs)[index].item()
        if len(expected) < 2:
            assert math.isnan(cv)
            assert math.isnan(lv)
        else:
            assert cv == pytest.approx(expected.std() / expected.mean())
            a, b = expected[:-1], expected[1:]
            assert lv == pytest.approx(3 * np.mean(((a - b) / (a + b)) ** 2))


def test_statistics_of_a_regular_and_a_silent_train():
    zs = torch.zeros(1000, 2)
    zs[5::10, 0] = 1
    assert measures.firing_rate(zs).tolist() == pytest.approx([100.0, 0.0])
    assert measures.firing_rate(zs, dt=2e-3).tolist() == pytest.approx([50.0, 0.0])
    assert measures.sparsity(zs).tolist() == pytest.approx([0.9, 1.0])
    assert measures.coefficient_of_variation(zs)[0] == pytest.approx(0, abs=1e-6)
    assert measures.local_variation(zs)[0] == pytest.approx(0, abs=1e-6)
    assert measures.fano_factor(zs)[0] == 0
    for statistic in (measures.coefficient_of_variation, measures.local_variation, measures.fano_factor):
        assert statistic(zs)[1].isnan()
    assert measures.interspike_intervals(zs[:, 1:]).shape == (0, 1)
    assert measures.coefficient_of_variation(zs[:, 1]).isnan()


def test_fano_factor_counts_in_windows_and_over_trials():
    zs = random_spikes(105, 3, rate=0.4)
    counts = np.stack([zs[k : k + 20].sum(0) for k in range(0, 100, 20)])
    np.testing.assert_allclose(measures.fano_factor(zs, window=20e-3), counts.var(0, ddof=1) / counts.mean(0))
    trials = random_spikes(50, 30, 2, rate=0.4)
    counts = trials.sum(0).numpy()
    actual = measures.fano_factor(trials.transpose(0, 1).flatten(0, 1), window=50e-3)
    np.testing.assert_allclose(actual, counts.var(0, ddof=1) / counts.mean(0))


def test_synchrony_is_one_for_identical_and_one_over_root_n_for_independent_neurons():
    identical = torch.randn(500, 1, dtype=F64).expand(500, 20)
    assert measures.synchrony(identical).item() == pytest.approx(1)
    independent = torch.randn(4000, 2, 100, dtype=F64)
    np.testing.assert_allclose(measures.synchrony(independent), 0.1, rtol=0.05)
    vs = independent.numpy()[:, 0]
    expected = math.sqrt(vs.mean(1).var() / vs.var(0).mean())
    assert measures.synchrony(independent)[0].item() == pytest.approx(expected)
    assert measures.synchrony(torch.zeros(5, 3)).isnan()


ZS = torch.zeros(4, 2)

INVALID = {
    "rate: dt of zero": (
        lambda: measures.firing_rate(ZS, dt=0.0),
        ValueError,
        "firing_rate: dt must be positive and finite, got 0.0",
    ),
    "sparsity: no time dimension": (
        lambda: measures.sparsity(torch.tensor(1.0)),
        ValueError,
        r"sparsity expected .* \(time, ...\)",
    ),
    "intervals: bool": (
        lambda: measures.interspike_intervals(ZS.bool()),
        TypeError,
        "interspike_intervals expected floating-point values over time, got torch.bool",
    ),
    "intervals: negative dt": (
        lambda: measures.interspike_intervals(ZS, dt=-1.0),
        ValueError,
        "interspike_intervals: dt must be positive and finite, got -1.0",
    ),
    "coefficient of variation: bool": (
        lambda: measures.coefficient_of_variation(ZS.bool()),
        TypeError,
        "coefficient_of_variation expected floating-point values over time, got torch.bool",
    ),
    "local variation: no step": (
        lambda: measures.local_variation(ZS[:0]),
        ValueError,
        r"local_variation expected .* with at least one step, got shape \(0, 2\)",
    ),
    "Fano factor: one window": (
        lambda: measures.fano_factor(ZS, window=3e-3),
        ValueError,
        "at least two windows of 3 steps, got 4 steps in total; use a shorter window",
    ),
    "Fano factor: no window": (
        lambda: measures.fano_factor(ZS, window=0.0),
        ValueError,
        "fano_factor: window must be positive and finite",
    ),
    "synchrony: no dimension of neurons": (
        lambda: measures.synchrony(ZS[:, 0]),
        ValueError,
        r"synchrony expected .* \(time, ..., neurons\), got shape \(4,\)",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_input_raises(case):
    call, error, message = INVALID[case]
    with pytest.raises(error, match=message):
        call()
