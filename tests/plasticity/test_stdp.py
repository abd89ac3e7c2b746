"""Pair-based STDP, against sums over pairs of spikes."""

import numpy as np
import pytest
import torch
from plasticity_cases import DOUBLE, double, RULES, run, spike_times, spike_trains

import geir
from geir.plasticity import STDP


def pair_sum(pre, post, rule, nearest):
    """The change of the weight by definition: a sum over pairs of spikes at the given times in seconds."""
    a_plus, a_minus, tau_plus, tau_minus = (
        float(getattr(rule, name)) for name in ("a_plus", "a_minus", "tau_plus", "tau_minus")
    )
    total = 0.0
    for t in post:
        lags = t - pre[pre <= t]
        total += a_plus * np.exp(-(lags[-1:] if nearest else lags) / tau_plus).sum()
    for t in pre:
        lags = t - post[post < t]
        total -= a_minus * np.exp(-(lags[-1:] if nearest else lags) / tau_minus).sum()
    return total


@pytest.mark.parametrize("name", ["additive", "nearest"])
def test_stdp_is_a_sum_over_pairs(name):
    rule = double(RULES[name])
    pres, posts = spike_trains(seed=1), spike_trains(n=2, seed=2)
    weight, _ = run(rule, pres, posts, torch.zeros(2, 3, dtype=DOUBLE))
    expected = [
        [pair_sum(spike_times(pres[:, 0, i]), spike_times(posts[:, 0, j]), rule, name == "nearest") for i in range(3)]
        for j in range(2)
    ]
    assert pres.sum() > 30
    np.testing.assert_allclose(weight, expected, rtol=0, atol=1e-12)


def test_hard_bounds_are_reached_and_soft_bounds_are_approached():
    # The same spikes on both sides: most pairs coincide and potentiate.
    pres, posts = spike_trains(), spike_trains()
    initial = torch.full((3, 3), 0.5, dtype=DOUBLE)
    hard, _ = run(double(STDP(a_plus=0.3)), pres, posts, initial)
    assert hard.diagonal().eq(1).all()
    depressed, _ = run(double(STDP(a_minus=0.3)), spike_trains(rate=0.2), spike_trains(rate=0.2, seed=3), initial)
    assert depressed.eq(0).any()
    rule = double(STDP(a_plus=0.3, a_minus=0.0, dependence=geir.plasticity.Multiplicative()))
    soft, _ = run(rule, pres, posts, initial)
    spikes = int(pres[:, 0, 0].sum())
    # At least as fast as by the coincident pairs alone, each of which leaves 0.7 of the distance to the bound.
    assert soft[0, 0].gt(1 - 0.5 * 0.7**spikes / 0.7)
    assert soft.le(1).all()


def test_each_synapse_can_have_its_own_bound():
    pres, posts = spike_trains(rate=0.2), spike_trains(rate=0.2)
    w_max = torch.linspace(0.6, 1.0, 9).view(3, 3)
    weight, _ = run(STDP(a_plus=0.3, a_minus=0.0, w_max=w_max), pres, posts, torch.full((3, 3), 0.5))
    torch.testing.assert_close(weight, w_max)
