"""Triplet STDP, against sums over triplets of spikes and published measurements."""

import numpy as np
import pytest
import torch
from plasticity_cases import DOUBLE, double, RULES, run, spike_times, spike_trains, UNBOUNDED

import geir
from geir.plasticity import STDP, TripletSTDP


def triplet_sum(pre, post, rule, nearest):
    """The change of the weight by definition: a sum over pairs and triplets of spikes at the given times in seconds."""
    p = {name: float(value) for name, value in rule.declared_parameters().items()}

    def trace(t, spikes, tau, inclusive):
        lags = t - spikes[spikes <= t + 1e-9] if inclusive else t - spikes[spikes < t - 1e-9]
        return np.exp(-(lags[-1:] if nearest else lags) / tau).sum()

    potentiation = sum(
        trace(t, pre, p["tau_plus"], True) * (p["a2_plus"] + p["a3_plus"] * trace(t, post, p["tau_y"], False))
        for t in post
    )
    depression = sum(
        trace(t, post, p["tau_minus"], False) * (p["a2_minus"] + p["a3_minus"] * trace(t, pre, p["tau_x"], False))
        for t in pre
    )
    return potentiation - depression


@pytest.mark.parametrize("name", ["triplet", "nearest triplet"])
def test_triplet_stdp_is_a_sum_over_triplets(name):
    rule = double(RULES[name])
    pres, posts = spike_trains(seed=1), spike_trains(n=2, seed=2)
    weight, _ = run(rule, pres, posts, torch.zeros(2, 3, dtype=DOUBLE))
    nearest = name == "nearest triplet"
    expected = [
        [triplet_sum(spike_times(pres[:, 0, i]), spike_times(posts[:, 0, j]), rule, nearest) for i in range(3)]
        for j in range(2)
    ]
    np.testing.assert_allclose(weight, expected, rtol=0, atol=1e-12)


# Visual cortex, pairs at 10 ms: frequency (Hz), relative change and standard error for pre-before-post, then for
# post-before-pre. P. Sjöström, G. Turrigiano & S. Nelson, 2001, as given by Pfister & Gerstner, 2006.
SJOSTROM = np.array(
    [
        [0.1, -0.04, 0.05, -0.29, 0.08],
        [10, 0.14, 0.10, -0.41, 0.11],
        [20, 0.29, 0.14, -0.34, 0.10],
        [40, 0.53, 0.11, 0.56, 0.32],
        [50, 0.56, 0.26, 0.75, 0.19],
    ]
)


def test_triplet_stdp_reproduces_the_frequency_curve_of_visual_cortex():
    # Decay is exact, so the coarsest grid that contains all spike times gives the same result as any other.
    rule, delays, curve = TripletSTDP(dt=10e-3, **UNBOUNDED), torch.tensor([10e-3, -10e-3]), []
    fine_rule = TripletSTDP(dt=5e-3, **UNBOUNDED)
    for frequency in SJOSTROM[:, 0]:
        # The protocol has 60 pairs; pairs 10 s apart do not interact, so 2 of them are simulated and counted 30 times.
        pairs, repeats = (2, 30) if frequency == 0.1 else (60, 1)
        on_grid = frequency != 40
        changes = repeats * geir.plasticity.stdp_window(
            rule if on_grid else fine_rule, delays, pairs=pairs, frequency=frequency
        )
        pre = np.arange(pairs) / frequency
        expected = [repeats * triplet_sum(pre, pre + delay, rule, False) for delay in delays.double().numpy()]
        np.testing.assert_allclose(changes, expected, rtol=1e-5, atol=1e-9)
        curve.append(changes.numpy())
    # In units of the measurements' errors.
    errors = (np.array(curve) - SJOSTROM[:, [1, 3]]) / SJOSTROM[:, [2, 4]]
    assert (errors**2).mean() < 0.5
    assert np.abs(errors).max() < 1.5


def test_a_pair_rule_changes_the_weight_in_the_same_direction_at_all_frequencies():
    rule = STDP(a_plus=7e-3, a_minus=7e-3, dt=5e-3, **UNBOUNDED)
    slow, fast = (geir.plasticity.stdp_window(rule, torch.tensor([-10e-3]), pairs=20, frequency=f) for f in (2.0, 40.0))
    assert slow < 0
    assert fast < 0
