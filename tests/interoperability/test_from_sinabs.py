"""Networks of sinabs and their conversions."""

import pytest
import torch
from conversion_helpers import compare, compare_gradients, dense, draw_weights, spiking_input
from torch import nn

import geir

sinabs = pytest.importorskip("sinabs", reason="sinabs is not installed: pip install 'geir[peers]'")
pytest.importorskip("sinabs.activation", reason="likewise")
pytest.importorskip("sinabs.layers", reason="likewise")

SINGLE = {"spike_fn": sinabs.activation.SingleSpike}
NEURONS = {
    "IAF": lambda: sinabs.layers.IAF(spike_threshold=torch.tensor(1.5)),
    "IAF, single": lambda: sinabs.layers.IAF(**SINGLE, reset_fn=sinabs.activation.MembraneReset()),
    "LIF": lambda: sinabs.layers.LIF(tau_mem=10.0),
    "LIF, single": lambda: sinabs.layers.LIF(tau_mem=10.0, **SINGLE),
    "LIF, other amount": lambda: sinabs.layers.LIF(
        tau_mem=10.0, **SINGLE, reset_fn=sinabs.activation.MembraneSubtract(0.4)
    ),
    "LIF, gain 1": lambda: sinabs.layers.LIF(tau_mem=5.0, norm_input=False, **SINGLE),
    "LIF, alphas": lambda: sinabs.layers.LIF(tau_mem=10.0, train_alphas=True),
    "LIF, synapse": lambda: sinabs.layers.LIF(tau_mem=10.0, tau_syn=4.0),
}


def run(network, xs):
    sinabs.reset_states(network)
    return network(xs.transpose(0, 1)).transpose(0, 1)


@pytest.mark.parametrize("name", NEURONS)
def test_networks_of_sinabs_compute_the_same_after_conversion(name):
    network = dense(NEURONS[name], 0.5 if "IAF" in name or "gain" in name else 2.0)
    with torch.no_grad():
        compare(run(network, spiking_input()), geir.from_sinabs(network), spiking_input())


@pytest.mark.parametrize(
    ("spike_fn", "largest"), [(sinabs.activation.SingleSpike, 2), (sinabs.activation.MultiSpike, 6)]
)
def test_a_potential_that_reaches_the_threshold_exactly_is_a_spike(spike_fn, largest):
    layer = sinabs.layers.IAF(spike_threshold=torch.tensor(2.0), spike_fn=spike_fn)
    xs = (torch.arange(100.0) % (largest + 1))[:, None, None]
    with torch.no_grad():
        compare(run(layer, xs), geir.from_sinabs(layer), xs)


@pytest.mark.parametrize("norm_input", [False, True])
def test_leaky_integrators_and_networks_compute_the_same_after_conversion(norm_input):
    leak = sinabs.layers.ExpLeak(tau_mem=8.0, norm_input=norm_input)
    model = draw_weights(nn.Sequential(nn.Linear(20, 10), leak), 0.5)
    network = sinabs.network.Network(spiking_model=model)
    with torch.no_grad():
        compare(run(model, spiking_input()), geir.from_sinabs(network), spiking_input(), readout=True)


@pytest.mark.parametrize("kind", ["SingleExponential", "Gaussian", "MultiGaussian"])
def test_gradients_of_sinabs_are_the_same_after_conversion(kind):
    function = getattr(sinabs.activation, kind)(grad_scale=1.5)
    network = dense(lambda: sinabs.layers.LIF(tau_mem=10.0, **SINGLE, surrogate_grad_fn=function), 0.5)
    compare_gradients(run, network, geir.from_sinabs(network), spiking_input())


def test_time_constants_are_in_seconds_and_learnable():
    neuron = geir.from_sinabs(sinabs.layers.LIF(tau_mem=10.0), dt=2e-3)
    torch.testing.assert_close(neuron.tau_mem, torch.tensor(20e-3))
    assert [name for name, _ in neuron.named_parameters()] == ["log_tau_mem"]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: sinabs.layers.IAF(min_v_mem=-1.0), "min_v_mem"),
        (lambda: sinabs.layers.IAF(spike_fn=sinabs.activation.MaxSpike(3)), "spike_fn=MaxSpike"),
        (lambda: sinabs.layers.IAF(reset_fn=sinabs.activation.MembraneReset()), "several spikes per step"),
        (lambda: sinabs.layers.IAF(**SINGLE, reset_fn=sinabs.activation.MembraneReset(0.5)), "adds in every step"),
        (lambda: sinabs.layers.IAF(surrogate_grad_fn=sinabs.activation.PeriodicExponential()), "PeriodicExponential"),
        (lambda: sinabs.layers.ALIF(tau_mem=8.0, tau_adapt=8.0), "ALIF: geir has no counterpart"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_named_with_its_reason(layer, message):
    with pytest.raises(ValueError, match=f"from_sinabs cannot convert:\n.*{message}"):
        geir.from_sinabs(layer())
