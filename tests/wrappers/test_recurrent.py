"""Recurrence around any neuron: the named forms and `Recurrent`."""

import copy

import pytest
import torch
from model_table import NEURONS
from torch import nn

import geir
from geir import neurons
from geir.wrappers import RecurrentState

SPIKING = [type(neuron) for neuron in NEURONS if neuron.spiking and neuron.elementwise]
# Input weights that make every neuron spike.
GAINS = {geir.Izhikevich: 20.0, neurons.HodgkinHuxley: 2000.0, neurons.QIF: 4.0, neurons.ResonateAndFire: 3.0}


@pytest.mark.parametrize("layer", SPIKING, ids=lambda layer: layer.__name__)
@pytest.mark.parametrize("autapses", [False, True])
def test_recurrent_forms_equal_a_loop_over_the_cell(layer, autapses):
    recurrent = getattr(neurons, f"{layer.__name__}Recurrent")(5, 4, autapses=autapses)
    cell = getattr(neurons, f"{layer.__name__}RecurrentCell")(5, 4, autapses=autapses)
    cell.load_state_dict(recurrent.state_dict())
    steps = 60 if recurrent.dt > 1e-4 else 120
    xs = torch.rand(steps, 2, 5) * 2
    w_in = recurrent.input_weights.abs() * GAINS.get(layer, 2.0)
    w_rec = recurrent.recurrent_weights
    for module in (recurrent, cell):
        module.input_weights = nn.Parameter(w_in.clone())
    zs, last = recurrent(xs)
    plain, z, inner, state = getattr(neurons, f"{layer.__name__}Cell")(), torch.zeros(2, 4), None, None
    for x, expected in zip(xs, zs, strict=True):
        drive = x @ w_in.T + (z @ w_rec.T if autapses else z @ (w_rec * (1 - torch.eye(4))).T)
        z, inner = plain(drive, inner)
        torch.testing.assert_close(z, expected)
        out, state = cell(x, state)
        torch.testing.assert_close(out, expected)
    assert zs.sum() > 5, "the input is too weak for this test to see spikes"
    torch.testing.assert_close(last, RecurrentState(inner, z))
    torch.testing.assert_close(state, last)


def test_without_autapses_the_diagonal_never_counts():
    layer = geir.LIFRecurrent(3, 5)
    assert (layer.recurrent_weights.diagonal() == 0).all()
    assert (layer.recurrent_weights != 0).sum() == 20
    state = layer.state_dict()
    state["recurrent_weights"] = torch.ones(5, 5) * 4
    twin = copy.deepcopy(layer)
    twin.load_state_dict(state)
    xs = torch.rand(40, 3)
    expected = copy.deepcopy(twin)
    with torch.no_grad():
        expected.recurrent_weights.fill_diagonal_(0)
    assert expected(xs)[0].sum() > 0
    torch.testing.assert_close(twin(xs), expected(xs))
    twin(xs)[1].neuron.v.sum().backward()
    assert (twin.recurrent_weights.grad.diagonal() == 0).all()
    assert twin.recurrent_weights.grad.abs().sum() > 0


def test_given_weights_are_used_and_not_changed():
    w_in, w_rec = torch.randn(4, 3), torch.ones(4, 4)
    layer = geir.LIFRecurrent(3, 4, input_weights=w_in, recurrent_weights=w_rec)
    torch.testing.assert_close(layer.input_weights.data, w_in)
    assert (w_rec == 1).all()
    shared = nn.Parameter(torch.randn(4, 4))
    assert geir.LIFRecurrent(3, 4, recurrent_weights=shared).recurrent_weights is shared
    with pytest.raises(ValueError, match=r"LIFRecurrent.input_weights must have shape \(4, 3\), got \(3, 4\)"):
        geir.LIFRecurrent(3, 4, input_weights=w_in.T)


def test_any_module_can_be_the_connection():
    conv_in, conv_rec = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
    layer = geir.LIFRecurrent(1, 4, input_weights=conv_in, recurrent_weights=conv_rec)
    xs = torch.rand(20, 2, 1, 6, 6) * 8
    zs, state = layer(xs)
    assert zs.shape == (20, 2, 4, 6, 6)
    assert zs.sum() > 10
    cell, z, inner = geir.LIFCell(), torch.zeros(2, 4, 6, 6), None
    for x, expected in zip(xs, zs, strict=True):
        z, inner = cell(conv_in(x) + conv_rec(z), inner)
        torch.testing.assert_close(z, expected)
    assert {k.split(".")[0] for k in layer.state_dict()} >= {"input_weights", "recurrent_weights", "tau_mem"}


def test_keys_are_the_same_in_every_form():
    keys = set(geir.LIF(tau_mem=geir.learnable(0.02)).state_dict())
    assert keys == {"log_tau_mem", "initial_tau_mem", "tau_syn", "v_rest", "v_th", "v_reset"}
    assert set(geir.LIFCell(tau_mem=geir.learnable(0.02)).state_dict()) == keys
    weights = {"input_weights", "recurrent_weights"}
    for form in (geir.LIFRecurrent, geir.LIFRecurrentCell):
        assert set(form(2, 3, tau_mem=geir.learnable(0.02)).state_dict()) == keys | weights


def test_the_inner_step_of_a_recurrent_layer_is_the_step_of_the_neuron():
    # Formerly a recurrent layer's inner step prepared the values of the whole layer, and failed.
    layer, x = geir.LIFRecurrent(3, 4), torch.rand(2, 4)
    state = geir.LIF().initial_state(x)
    _, inner = layer.prepare()
    torch.testing.assert_close(layer.inner_step(x, state, *inner), geir.LIF().step(x, state, *geir.LIF().prepare()))
    torch.testing.assert_close(layer.advance(x, state, *inner), geir.LIF().advance(x, state, *geir.LIF().prepare()))
    compartments = geir.LIFMC(4)
    flow, inner = compartments.prepare()
    torch.testing.assert_close(
        compartments.neuron.advance(x, state, *inner), geir.LIF().advance(x, state, *geir.LIF().prepare())
    )
