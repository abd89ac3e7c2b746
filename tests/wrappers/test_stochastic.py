"""Stochastic spikes."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import geir

DOUBLE = torch.float64


def clamped_neurons(potential, **keywords):
    """Many stochastic neurons whose potential equals their input."""
    return geir.Stochastic(
        geir.LIFBox(tau_mem=1e-7, surrogate=geir.surrogates.Gaussian(0.02)), seed=11, **keywords
    ), torch.full((100, 1000), potential)


@pytest.mark.parametrize("distance", [-0.3, -0.1, 0.0, 0.1, 0.3])
@pytest.mark.parametrize(
    ("hazard", "form"),
    [(geir.wrappers.ExponentialHazard(), np.exp), (geir.wrappers.SigmoidalHazard(), lambda y: 1 / (1 + np.exp(-y)))],
    ids=["exponential", "sigmoidal"],
)
def test_spikes_have_the_documented_probability(distance, hazard, form):
    rate, width = 700.0, 0.15
    neuron, xs = clamped_neurons(1 + distance, rate=rate, width=width, hazard=hazard)
    p = 1 - np.exp(-rate * form(distance / width) * 1e-3)
    zs, _ = neuron(xs)
    assert zs.mean().item() == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / zs.numel()) + 1e-5)
    assert abs(((zs[1:] - p) * (zs[:-1] - p)).mean()) < 4 * p * (1 - p) / math.sqrt(zs.numel()), "steps are independent"


def test_gradients_average_to_those_of_the_probability():
    width, rate, d = 0.2, 500.0, 0.05
    neuron, xs = clamped_neurons(1 + d, rate=nn.Parameter(torch.tensor(rate)), width=nn.Parameter(torch.tensor(width)))
    xs.requires_grad_()
    neuron(xs)[0].mean().backward()
    hazard = rate * 1e-3 * math.exp(d / width)
    slope = hazard * math.exp(-hazard)
    n = math.sqrt(xs.numel())
    assert xs.grad.sum().item() == pytest.approx(slope / width, rel=12 / n)
    assert neuron.rate.grad.item() == pytest.approx(slope / rate, rel=12 / n)
    assert neuron.width.grad.item() == pytest.approx(-slope * d / width**2, rel=40 / n)


XS = torch.rand(10, 4, 5, generator=torch.Generator().manual_seed(0))
CASES = {
    "escape from a step": (
        lambda: geir.Stochastic(geir.IAF()),
        TypeError,
        r"Stochastic shifts the threshold of .* got IAF\(\); apply other wrappers around",
    ),
    "escape while refractory": (
        lambda: geir.Stochastic(geir.LIFRefrac()),
        TypeError,
        r"Stochastic shifts the threshold of .* got LIFRefrac",
    ),
    "a string for a hazard": (
        lambda: geir.Stochastic(geir.LIF(), hazard="exp"),
        TypeError,
        "Stochastic.hazard must be of type Hazard",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_raises(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()
