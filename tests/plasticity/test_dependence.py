"""Dependence of changes on the weight, against a loop over scalars."""

import numpy as np
import pytest
import torch
from plasticity_cases import DOUBLE, double, RULES, run, spike_trains

import geir
from geir.plasticity import STDP


@pytest.mark.parametrize("name", ["multiplicative", "power law"])
def test_weight_dependence_uses_the_weight_before_each_spike(name):
    rule = double(STDP(a_plus=0.1, a_minus=0.2, w_min=0.2, w_max=0.8, dependence=RULES[name].dependence))
    mu_plus, mu_minus = (0.3, 0.7) if name == "power law" else (1, 1)
    a_plus, a_minus, low, high = (getattr(rule, name).item() for name in ("a_plus", "a_minus", "w_min", "w_max"))
    pres, posts = spike_trains(n=1, seed=1), spike_trains(n=1, seed=2)
    weight, _ = run(rule, pres, posts, torch.full((1, 1), 0.5, dtype=DOUBLE))
    expected, x, y, decay = 0.5, 0.0, 0.0, np.exp(-1e-3 / rule.tau_plus.item())
    for pre, post in zip(pres.flatten().tolist(), posts.flatten().tolist(), strict=True):
        x, y, u = x * decay + pre, y * decay, (expected - low) / (high - low)
        potentiation = a_plus * x * post * (1 - u) ** mu_plus
        depression = a_minus * y * pre * u**mu_minus
        expected = float(np.clip(expected + potentiation - depression, low, high))
        y += post
    assert 0.2 < expected < 0.8
    assert abs(expected - 0.5) > 0.01
    assert weight.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: STDP(dependence=geir.plasticity.Multiplicative(), w_max=float("inf")),
            ValueError,
            r"STDP with Multiplicative\(\) needs finite bounds",
        ),
        (
            lambda: geir.plasticity.PowerLaw(-1, 0.5),
            ValueError,
            r"PowerLaw takes exponents >= 0, got -1 and 0.5",
        ),
        (lambda: STDP(dependence="additive"), TypeError, "STDP.dependence must be of type WeightDependence"),
        (geir.plasticity.WeightDependence, TypeError, "abstract class WeightDependence"),
    ],
    ids=["soft bounds at infinity", "negative exponent", "string as dependence", "abstract class"],
)
def test_invalid_dependence_is_rejected(make, error, message):
    with pytest.raises(error, match=message):
        make()
