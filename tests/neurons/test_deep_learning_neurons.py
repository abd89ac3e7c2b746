"""Neurons of deep learning, each against a closed form or the formula of its paper."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import nn

import geir

DOUBLE = torch.float64


def exactly(value):
    return torch.tensor(value, dtype=DOUBLE)


def test_alpha_currents_and_potentials_equal_their_closed_forms():
    dt, tau_mem, tau_syn = 0.4e-3, 12e-3, 3e-3
    xs = torch.randn(200, 1, dtype=DOUBLE)
    neuron = geir.AlphaLIF(
        tau_mem=exactly(tau_mem), tau_syn=exactly(tau_syn), v_th=exactly(1e9), dt=dt, record_states=True
    )
    _, states = neuron(xs)
    t = dt * np.arange(1, 201)
    current = t / tau_syn * np.exp(1 - t / tau_syn)
    np.testing.assert_allclose(states.i[:, 0], np.convolve(xs[:, 0], current)[:200], rtol=1e-10, atol=1e-12)
    d = 1 / tau_syn - 1 / tau_mem
    potential = math.e / (tau_syn * tau_mem * d**2) * (np.exp(-t / tau_mem) - np.exp(-t / tau_syn) * (1 + d * t))
    np.testing.assert_allclose(states.v[:, 0], np.convolve(xs[:, 0], potential)[:200], rtol=1e-9, atol=1e-12)


def test_cubalif_equals_the_exact_propagator_with_constant_input_and_resets():
    dt, tau_mem, tau_syn, r, w_in, leak, threshold, reset = 0.3e-3, 10e-3, 4e-3, 2.0, 3.0, 0.1, 0.9, -0.2
    xs = torch.rand(600, 1, dtype=DOUBLE)
    values = {
        "tau_mem": tau_mem,
        "tau_syn": tau_syn,
        "r": r,
        "w_in": w_in,
        "v_rest": leak,
        "v_th": threshold,
        "v_reset": reset,
    }
    zs, states = geir.CubaLIF(**{k: exactly(v) for k, v in values.items()}, dt=dt, record_states=True)(xs)
    # Potential, current and the input, which does not change during a step.
    step = expm(dt * np.array([[-1 / tau_mem, r / tau_mem, 0], [0, -1 / tau_syn, w_in / tau_syn], [0, 0, 0]]))
    u, i, expected, spikes = 0.0, 0.0, [], []
    for x in xs[:, 0].numpy():
        u, i, _ = step @ [u, i, x]
        spikes.append(u + leak > threshold)
        u = reset - leak if spikes[-1] else u
        expected.append(u + leak)
    assert 10 < sum(spikes) < 300
    np.testing.assert_array_equal(zs[:, 0].bool(), spikes)
    np.testing.assert_allclose(states.v[:, 0], expected, rtol=1e-10, atol=1e-11)


def test_cubalif_with_an_instantaneous_synapse_equals_the_exact_nir_trace_of_lif(real_data):
    xs, vs, zs = torch.tensor(np.loadtxt(real_data / "nir" / "lif_exact.csv", delimiter=",")).unbind(1)
    neuron = geir.CubaLIF(tau_mem=2.5e-3, tau_syn=1e-12, v_th=0.1, dt=1e-4, record_states=True).double()
    actual, states = neuron(xs)
    assert zs.sum() == 4
    # They reset one step later.
    assert (actual.nonzero() == zs.nonzero()).all() or (actual.nonzero() == zs.nonzero() - 1).all()
    first = int(zs.nonzero()[0])
    np.testing.assert_allclose(states.v[:first], vs[:first], rtol=1e-5, atol=1e-9)


def test_parametric_lif_equals_the_formula_of_its_paper_and_is_always_learnable():
    neuron = geir.ParametricLIF(tau_mem=exactly(2e-3), v_reset=exactly(0.1), record_states=True)
    assert [name for name, _ in neuron.named_parameters()] == ["log_tau_mem"]
    neuron.tau_mem = exactly(3e-3)
    assert isinstance(neuron.log_tau_mem, nn.Parameter)
    xs = 2 * torch.rand(100, 1, dtype=DOUBLE)
    zs, states = neuron(xs)
    k, v = 1 - math.exp(-1 / 3), 0.0
    for x, z, after in zip(xs[:, 0].tolist(), zs[:, 0].tolist(), states.v[:, 0].tolist(), strict=True):
        v += k * (x - v)
        assert (v > 1) == z
        v = 0.1 if z else v
        assert after == pytest.approx(v, abs=1e-12)
    assert 5 < zs.sum() < 95
    (grad,) = torch.autograd.grad(states.v[-1].sum(), neuron.log_tau_mem)
    assert grad != 0


def test_gated_lif_equals_the_formula_of_its_paper():
    alpha, beta, gamma, tau, leak, g, sub = 0.3, 0.6, 0.7, 5e-3, 20.0, 0.4, 0.8
    values = {"alpha": alpha, "beta": beta, "gamma": gamma, "tau_mem": tau, "leak": leak, "g": g, "v_sub": sub}
    neuron = geir.GatedLIF(**{k: exactly(v) for k, v in values.items()}, record_states=True)
    assert len(list(neuron.parameters())) == len(values)
    xs = 2 * torch.rand(100, 1, dtype=DOUBLE)
    zs, states = neuron(xs)
    v, decay = 0.0, math.exp(-1e-3 / tau)
    for x, z, after in zip(xs[:, 0].tolist(), zs[:, 0].tolist(), states.v[:, 0].tolist(), strict=True):
        u = (1 - alpha * (1 - decay)) * v - (1 - alpha) * leak * 1e-3 + (1 - beta * (1 - g)) * x
        assert (u > 1) == z
        v = u - gamma * z * u - (1 - gamma) * z * sub
        assert after == pytest.approx(v, abs=1e-12)
    assert 5 < zs.sum() < 95


def test_klif_equals_the_formula_of_its_paper():
    neuron = geir.KLIF(tau_mem=exactly(4e-3), k=exactly(1.2), record_states=True)
    xs = 3 * torch.rand(100, 1, dtype=DOUBLE) - 0.5
    zs, states = neuron(xs)
    v = 0.0
    for x, z, after in zip(xs[:, 0].tolist(), zs[:, 0].tolist(), states.v[:, 0].tolist(), strict=True):
        v = max(0.0, 1.2 * (x + (v - x) * math.exp(-0.25)))
        assert (v > 1) == z
        v = 0.0 if z else v
        assert after == pytest.approx(v, abs=1e-12)
    assert 5 < zs.sum() < 95


XS = torch.rand(10, 4, 5, generator=torch.Generator().manual_seed(0))
CASES = {
    "a gate out of range": (lambda: geir.GatedLIF(alpha=1.0), ValueError, "GatedLIF.alpha must be < 1.0, got 1.0"),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_raises(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()
