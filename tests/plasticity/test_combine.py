"""Rules made of other rules."""

import numpy as np
import pytest
import torch
from plasticity_cases import DOUBLE, double, run, spike_trains

import geir
from geir.plasticity import RateBased, STDP, SumOfRules, SynapticScaling


def test_a_rate_based_rule_receives_the_rates_of_spikes():
    class Product(geir.plasticity.Rule[geir.plasticity.OjaState]):
        def initial_state(self, pre, post, weight):
            return geir.plasticity.OjaState()

        def change(self, pre, post, weight, state, connection):
            return connection.outer(post, pre), state

    rule, weight, state = double(RateBased(Product(), tau=0.05)), torch.zeros(1, 1, dtype=DOUBLE), None
    spikes = torch.zeros(1000, 1, 1, dtype=DOUBLE)
    # 50 Hz
    spikes[::20] = 1
    for z in spikes:
        previous = weight
        weight, state = rule(z, z, weight, state)
    rate = state.pre.item()
    # The sum of a geometric series, 19 ms after the last of the spikes, which are 20 ms apart.
    assert rate == pytest.approx(np.exp(-0.019 / 0.05) / (1 - np.exp(-0.02 / 0.05)) / 0.05, rel=1e-6)
    assert (weight - previous).item() == pytest.approx(rate**2)


def test_a_sum_of_rules_adds_their_changes_and_keeps_both_bounds():
    first, second = double(STDP(a_plus=0.01, w_max=0.8)), double(SynapticScaling())
    rule, initial = SumOfRules(first, second), torch.full((2, 3), 0.5, dtype=DOUBLE)
    pres, posts = spike_trains(seed=1), spike_trains(n=2, seed=2)
    weight, states = initial, (None, None)
    for pre, post in zip(pres, posts, strict=True):
        first_weight, first_state = first(pre, post, weight, states[0])
        second_weight, second_state = second(pre, post, weight, states[1])
        weight, states = (first_weight + second_weight - weight).clamp(0, 0.8), (first_state, second_state)
    learned, state = run(rule, pres, posts, initial)
    torch.testing.assert_close((learned, *state), (weight, *states), rtol=0, atol=1e-12)
    assert (rule.w_min, rule.w_max) == (first.w_min, first.w_max)


def test_rules_with_different_step_sizes_cannot_be_added():
    message = "SumOfRules needs rules with the same step size, got dt=0.001 and dt=0.0001"
    with pytest.raises(ValueError, match=message):
        SumOfRules(STDP(), STDP(dt=1e-4))
