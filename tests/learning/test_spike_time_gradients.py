"""Gradients of spike times against central finite differences, on recurrent networks with more than 100 spikes."""

import pytest
import torch
from spike_time_networks import finite_difference, network, NEURONS, timing_loss

import geir
from geir.learning.spike_time import compiled

# Steps of finite differences relative to the size of the tensor, chosen where rounding and curvature balance.
RELATIVE_STEP = 3e-7


def worst_error(layer, times, units, at=None, state=None, most=3):
    """The largest difference between the gradient and finite differences, relative to the largest entry, by name."""
    run = layer.run(times, units, state, at)
    tensors = {"times": times, **dict(layer.named_parameters())}
    if state is not None:
        tensors |= dict(zip(state._fields, state, strict=True))
    grads = torch.autograd.grad(timing_loss(run), list(tensors.values()))

    def evaluate():
        with torch.no_grad():
            run = layer.run(times, units, state, at)
        return timing_loss(run).item(), run.totals.tolist()

    errors = {}
    for (name, tensor), grad in zip(tensors.items(), grads, strict=True):
        largest = grad.abs().max().item()
        scale = tensor.detach().abs().max().item() or 1.0
        for place in torch.randperm(tensor.numel(), generator=torch.Generator().manual_seed(0))[:most].tolist():
            expected = finite_difference(evaluate, tensor, place, RELATIVE_STEP * scale)
            error = abs(expected - grad.reshape(-1)[place].item()) / (largest or 1.0)
            errors[name] = max(errors.get(name, 0.0), error)
    return errors, run


CASES = {
    "LIF": {"size": 8},
    "LIF with equal time constants": {},
    "LIF with tau_mem = 2 tau_syn": {"size": 8},
    "LIF with tau_syn = 2 tau_mem": {"count": 15},
    "ALIF": {"size": 10, "count": 40},
    "ALIF with equal time constants": {"size": 10, "count": 40},
    "AlphaLIF": {},
    "ResonateAndFire": {"size": 8, "count": 40},
    "LIFBox": {"size": 12},
    "CubaLIF": {},
}


@pytest.mark.parametrize("name", NEURONS)
def test_gradients_equal_finite_differences_on_a_recurrent_network(name):
    layer, times, units = network(name, **CASES[name])
    errors, run = worst_error(layer, times, units)
    assert run.totals.sum() > 100, "too few spikes for this test"
    assert max(errors.values()) < 1e-6, errors


@pytest.mark.parametrize("name", ["LIF", "LIF with equal time constants", "LIF with tau_mem = 2 tau_syn", "ALIF"])
def test_gradients_of_delays_and_of_states_equal_finite_differences(name):
    layer, times, units = network(name, delays=3e-3, seed=2, **CASES[name])
    at = torch.tensor([0.01, 0.033, 0.071], dtype=torch.float64)
    errors, run = worst_error(layer, times, units, at)
    assert {"delay", "recurrent_delay"} < set(errors)
    assert run.totals.sum() > 100, "too few spikes for this test"
    assert max(errors.values()) < 1e-6, errors


def test_the_gradient_of_the_initial_state_equals_finite_differences():
    layer, times, units = network()
    g = torch.Generator().manual_seed(3)
    parts = (torch.rand(2, 4, generator=g, dtype=torch.float64).requires_grad_() for _ in range(2))
    errors, _ = worst_error(layer, times, units, state=geir.neurons.LIFState(*parts), at=torch.tensor([0.02]).double())
    assert {"v", "i"} < set(errors)
    assert max(errors.values()) < 1e-6, errors


def test_every_neuron_can_have_its_own_parameters():
    layer, times, units = network()
    for name in layer.neuron.declarations():
        spread = 1 + 0.1 * torch.rand(4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        setattr(layer.neuron, name, torch.nn.Parameter(getattr(layer.neuron, name).detach() * spread))
    errors, _ = worst_error(layer, times, units)
    assert max(errors.values()) < 1e-6, errors


def test_learnable_time_constants_are_differentiated_as_they_are_stored():
    neuron = geir.LIF(tau_mem=geir.learnable(0.011), tau_syn=geir.learnable(0.006)).double()
    layer, times, units = network(neuron=neuron)
    errors, _ = worst_error(layer, times, units)
    assert {"neuron.log_tau_mem", "neuron.log_tau_syn"} < set(errors)
    assert max(errors.values()) < 1e-6, errors


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("const double kappa = (jump - when) / slope;", "const double kappa = -when / slope;"),
        ("const double kappa = (jump - when) / slope;", "const double kappa = jump / slope;"),
        ("next[k] += kappa * alpha[k];", ""),
        ("if (source < a->max_spikes) spike_grads[source] += when;", ""),
        ("apply_transposed(E, lambda, next);", "apply(E, lambda, next);"),
    ],
    ids=["own jump", "time of the spike", "whole saltation term", "jumps of other neurons", "transpose of the flow"],
)
def test_a_missing_term_of_the_adjoint_is_noticed(monkeypatch, right, wrong):
    render = compiled.render_template

    def plant(source, regions):
        assert right in source
        return render(source.replace(right, wrong), regions)

    monkeypatch.setattr(compiled, "render_template", plant)
    monkeypatch.setattr(compiled, "load", compiled.load.__wrapped__)
    layer, times, units = network()
    errors, _ = worst_error(layer, times, units, at=torch.tensor([0.03]).double())
    assert errors["weight"] > 1e-3
