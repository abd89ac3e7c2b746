"""Networks of snnTorch and their conversions."""

import pytest
import torch
from conversion_helpers import compare, compare_gradients, dense, draw_weights, spiking_input
from torch import nn

import geir

snntorch = pytest.importorskip("snntorch", reason="snnTorch is not installed: pip install 'geir[peers]'")

NEURONS = {
    "Leaky": lambda: snntorch.Leaky(beta=0.9, threshold=1.5),
    "Leaky, beta for each neuron": lambda: snntorch.Leaky(
        beta=torch.tensor(0.7), learn_beta=True, learn_threshold=True
    ),
    "Leaky, zero": lambda: snntorch.Leaky(beta=0.8, reset_mechanism="zero"),
    "Leaky, zero at once": lambda: snntorch.Leaky(beta=0.8, reset_mechanism="zero", reset_delay=False),
    "Leaky, none": lambda: snntorch.Leaky(beta=0.5, threshold=0.5, reset_mechanism="none"),
    "Synaptic": lambda: snntorch.Synaptic(alpha=0.6, beta=0.8),
    "Synaptic, zero at once": lambda: snntorch.Synaptic(alpha=0.6, beta=0.8, reset_mechanism="zero", reset_delay=False),
}


def run(network, xs):
    """snnTorch's network over time: a loop over steps, and over layers with their states."""
    states = {}
    outputs = []
    for x in xs:
        for key, layer in enumerate(network):
            if isinstance(layer, nn.Linear):
                x = layer(x)
            else:
                x, *states[key] = layer(x, *states.get(key, ()))
                if isinstance(layer, snntorch.RLeaky):
                    states[key] = [x, *states[key]]
        outputs.append(x)
    return torch.stack(outputs)


@pytest.mark.parametrize("name", NEURONS)
def test_networks_of_snntorch_compute_the_same_after_conversion(name):
    network = dense(NEURONS[name], 0.25)
    with torch.no_grad():
        compare(run(network, spiking_input()), geir.from_snntorch(network), spiking_input())


@pytest.mark.parametrize("reset", ["subtract", "none"])
def test_recurrent_layers_of_snntorch_compute_the_same_after_conversion(reset):
    network = nn.Sequential(
        nn.Linear(20, 30), snntorch.RLeaky(beta=0.8, linear_features=30, threshold=2.0, reset_mechanism=reset)
    )
    draw_weights(network, 0.1)
    with torch.no_grad():
        compare(run(network, spiking_input()), geir.from_snntorch(network), spiking_input())


@pytest.mark.parametrize(
    "spike_grad",
    [
        None,
        snntorch.surrogate.atan(alpha=3.0),
        snntorch.surrogate.fast_sigmoid(slope=5),
        snntorch.surrogate.sigmoid(slope=3),
        snntorch.surrogate.straight_through_estimator(),
    ],
    ids=["default", "atan", "fast_sigmoid", "sigmoid", "straight_through"],
)
def test_gradients_of_snntorch_are_the_same_after_conversion(spike_grad):
    network = dense(lambda: snntorch.Leaky(beta=0.8, spike_grad=spike_grad), 0.25)
    compare_gradients(run, network, geir.from_snntorch(network), spiking_input())


def test_learned_parameters_stay_learnable():
    neuron = geir.from_snntorch(snntorch.Leaky(beta=0.7, learn_beta=True, learn_threshold=True), dt=2e-3)
    assert neuron.dt == 2e-3
    torch.testing.assert_close(neuron.beta, torch.tensor(0.7))
    assert len([*neuron.parameters()]) == 2
    assert not [*geir.from_snntorch(snntorch.Leaky(beta=0.7)).parameters()]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lif1 = snntorch.Leaky(beta=0.9)

    def forward(self, x):
        return self.lif1(x)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Net, r"Net: it defines its own `forward`.*torch.nn.Sequential\(net.layer1, net.layer2\)"),
        (lambda: snntorch.Leaky(beta=0.9, reset_delay=False), "subtracts again in the next step"),
        (lambda: snntorch.Synaptic(alpha=0.9, beta=0.9, reset_mechanism="zero"), "also drops the input"),
        (lambda: snntorch.RLeaky(beta=0.9, all_to_all=False), "no dense recurrent weights"),
        (lambda: snntorch.Leaky(beta=0.9, graded_spikes_factor=0.5), "graded_spikes_factor"),
        (lambda: snntorch.Leaky(beta=0.9, spike_grad=snntorch.surrogate.LSO()), "does not know its spike_grad, LSO"),
        (lambda: nn.Sequential(nn.Linear(1, 1), nn.Sequential(snntorch.Alpha(alpha=0.9, beta=0.8))), r"1.0 \(Alpha\): geir has no counterpart; there is one for Leaky, RLeaky, Synaptic"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_named_with_its_reason(network, message):
    with pytest.raises(ValueError, match=f"(?s)from_snntorch cannot convert:.*{message}"):
        geir.from_snntorch(network())


def test_only_modules_are_converted():
    with pytest.raises(TypeError, match="from_snntorch expected a module, got list"):
        geir.from_snntorch([snntorch.Leaky(beta=0.9)])
