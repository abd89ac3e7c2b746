"""Spiking neurons with liquid time constants, against the published equations."""

import numpy as np
import pytest
import torch
from torch import nn

import geir
from geir.models import SpikingLTC, SpikingLTCCell, SpikingLTCState

STEPS, BATCH, INPUTS, HIDDEN = 15, 3, 4, 5


def made(kind=SpikingLTC, **settings):
    torch.manual_seed(1)
    return kind(INPUTS, HIDDEN, **settings).double(), 2 * torch.randn(STEPS, BATCH, INPUTS, dtype=torch.float64)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def affine(module, *parts):
    x = np.concatenate(parts, 1)
    bias = 0 if module.bias is None else module.bias.detach().numpy()
    return x @ module.weight.detach().numpy().T + bias


@pytest.mark.parametrize("beta", [1.8, 0.0])
def test_it_is_its_equations(beta):
    layer, xs = made(beta=beta)
    z = v = b = np.zeros((BATCH, HIDDEN))
    expected, unadapted = [], 0
    for x in xs.numpy():
        current = affine(layer.input_weights, x) + affine(layer.recurrent_weights, z)
        gate = sigmoid(affine(layer.membrane_gate, v, current))
        v = (1 - gate) * v + gate * current
        if beta:
            decay = sigmoid(affine(layer.adaptation_gate, b, current))
            b = decay * b + (1 - decay) * z  # of the spikes of the step before
        z = (v > 0.1 + beta * b).astype(float)
        unadapted += (v > 0.1).sum()
        v = np.where(z > 0, 0, v)
        expected.append(z)
    zs, state = layer(xs)
    assert 0.1 < zs.mean() < 0.7
    assert (unadapted > zs.sum()) == (beta > 0)
    np.testing.assert_array_equal(zs.detach(), expected)
    np.testing.assert_allclose(state.v.detach(), v, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(state.b.detach(), b, rtol=1e-12, atol=1e-14)


def test_a_closed_gate_keeps_the_potential_and_its_gradient():
    layer, xs = made(v_th=100.0)
    nn.init.zeros_(layer.membrane_gate.weight)
    nn.init.constant_(layer.membrane_gate.bias, -50.0)
    v = torch.full((BATCH, HIDDEN), 0.3, dtype=torch.float64, requires_grad=True)
    rest = torch.zeros_like(v)
    _, state = layer(xs.repeat(70, 1, 1), SpikingLTCState(rest, v, rest))
    torch.testing.assert_close(state.v, v)
    (grad,) = torch.autograd.grad(state.v.sum(), v)
    torch.testing.assert_close(grad, torch.ones_like(v))


def test_gradients_with_a_smooth_threshold_are_those_of_finite_differences():
    layer, xs = made(surrogate=torch.sigmoid)
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def run(xs, *values):
        zs, state = torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (xs,))
        return zs, *state

    assert torch.autograd.gradcheck(run, (xs[:4].requires_grad_(), *parameters), fast_mode=True)


def test_runs_in_chunks_and_step_by_step_equal_one_run():
    layer, xs = made()
    expected, last = layer(xs)
    parts, state = [], None
    for chunk in xs.split([1, 6, 0, 8]):
        part, state = layer(chunk, state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts), expected, rtol=0, atol=0)
    torch.testing.assert_close(state, last, rtol=0, atol=0)
    cell, _ = made(SpikingLTCCell)
    cell.load_state_dict(layer.state_dict())
    lifted, last = geir.Lift(cell)(xs)
    torch.testing.assert_close(lifted, expected)
    torch.testing.assert_close(last, state)


def test_it_trains_in_networks_over_time_and_of_cells():
    layer, xs = made()
    model = geir.SequentialState(layer, nn.Linear(HIDDEN, 2), geir.LI(), lift=True).double()
    model(xs)[0].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    cells = geir.SequentialState(made(SpikingLTCCell)[0], nn.Linear(HIDDEN, 2).double(), geir.LICell().double())
    y, state = cells(xs[0])
    assert y.shape == (BATCH, 2)
    cells(xs[1], geir.detach(state))
    with pytest.raises(ValueError, match=r"SpikingLTCCell \(module 0\), which processes one step"):
        geir.SequentialState(SpikingLTCCell(4, 4), geir.LIF())


def test_online_learning_refuses_it_by_name():
    layer, _ = made()
    with pytest.raises(TypeError, match=r"SLTT\(\) cannot learn module 0, SpikingLTC: .* backpropagation through time"):
        geir.learning.Online(geir.SequentialState(layer), geir.learning.SLTT())


CASES = {
    "no batch": (SpikingLTC, {}, 0, ValueError, r"SpikingLTC expected input of shape \(time, batch, features\)"),
    "time for a cell": (SpikingLTCCell, {}, None, ValueError, r"SpikingLTCCell expected input of shape \(batch, feat"),
    "threshold": (SpikingLTC, {"v_th": 0.0}, None, ValueError, "SpikingLTC: v_th must be positive"),
    "adaptation": (SpikingLTC, {"beta": -1.0}, None, ValueError, "SpikingLTC.beta must be at least 0 and finite, got"),
    "surrogate": (SpikingLTC, {"surrogate": 1}, None, TypeError, "SpikingLTC.surrogate must be a surrogate such as"),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_arguments_and_input_are_refused(case):
    kind, settings, sample, error, message = CASES[case]
    xs = torch.randn(STEPS, BATCH, INPUTS)
    with pytest.raises(error, match=message):
        kind(INPUTS, HIDDEN, **settings)(xs if sample is None else xs[:, sample])
