"""Sensors of traces and correlations, against sums over pairs of spikes."""

import numpy as np
import pytest
import torch
from plasticity_cases import DOUBLE, double, RULES, run, spike_times, spike_trains

import geir


def test_the_sensor_has_a_time_constant_for_each_side():
    spike, silence, weight = torch.ones(1, 1), torch.zeros(1, 1), torch.zeros(1, 1)
    rule = geir.plasticity.STDPSensor(a_plus=2.0, a_minus=3.0, tau_plus=10e-3, tau_minus=40e-3)
    _, state = rule(spike, spike, weight)
    for _ in range(20):
        _, state = rule(silence, silence, weight, state)
    assert state.pre.item() == pytest.approx(2 * np.exp(-2))
    assert state.post.item() == pytest.approx(3 * np.exp(-0.5))


def test_the_correlation_sensor_sums_nearest_pairs_of_each_sample_until_it_is_cleared():
    rule = double(RULES["correlation sensor"])
    pres, posts = (torch.cat([spike_trains(seed=seed, n=2), spike_trains(seed=seed + 1, n=2)], 1) for seed in (1, 3))
    weight = torch.full((2, 2), 0.5, dtype=DOUBLE)
    same, state = run(rule, pres, posts, weight)
    assert same.equal(weight)
    for sample, i, j in ((0, 0, 1), (1, 1, 0)):
        pre, post = spike_times(pres[:, sample, i]), spike_times(posts[:, sample, j])
        causal = sum(np.exp(-(t - pre[pre <= t][-1:]) / rule.tau_plus.item()).sum() for t in post)
        anticausal = sum(np.exp(-(t - post[post < t][-1:]) / rule.tau_minus.item()).sum() for t in pre)
        assert state.causal[sample, j, i].item() == pytest.approx(causal)
        assert state.anticausal[sample, j, i].item() == pytest.approx(anticausal)
    cleared = state.cleared()
    assert not cleared.causal.any()
    assert not cleared.anticausal.any()
    assert cleared.traces is state.traces
