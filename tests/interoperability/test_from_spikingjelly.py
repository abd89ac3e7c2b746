"""Networks of SpikingJelly and their conversions."""

import pytest
import torch
from conversion_helpers import compare, compare_gradients, dense, draw_weights, spiking_input
from torch import nn

import geir

pytest.importorskip("spikingjelly", reason="SpikingJelly is not installed: pip install 'geir[peers]'")
from spikingjelly.activation_based import functional, layer, neuron, surrogate

NEURONS = {
    "IFNode": lambda: neuron.IFNode(v_threshold=1.5),
    "IFNode, soft": lambda: neuron.IFNode(v_threshold=1.5, v_reset=None),
    "LIFNode": lambda: neuron.LIFNode(tau=3.0),
    "LIFNode, other rest": lambda: neuron.LIFNode(tau=3.0, v_reset=-0.3),
    "LIFNode, soft": lambda: neuron.LIFNode(tau=3.0, v_reset=None),
    "LIFNode, gain 1": lambda: neuron.LIFNode(tau=3.0, decay_input=False, v_threshold=2.0),
    "LIFNode, gain 1, soft": lambda: neuron.LIFNode(tau=3.0, decay_input=False, v_threshold=2.0, v_reset=None),
    "ParametricLIFNode": lambda: neuron.ParametricLIFNode(init_tau=2.5),
}


def run(network, xs):
    functional.set_step_mode(network, "m")
    functional.reset_net(network)
    return network(xs)


@pytest.mark.parametrize("name", NEURONS)
def test_networks_of_spikingjelly_compute_the_same_after_conversion(name):
    network = dense(NEURONS[name], 0.5)
    for key in (0, 2):
        network[key].__class__ = layer.Linear
        network[key].step_mode = "m"
    with torch.no_grad():
        compare(run(network, spiking_input()), geir.from_spikingjelly(network), spiking_input())


@pytest.mark.parametrize("name", ["IFNode", "IFNode, soft"])
def test_a_potential_that_reaches_the_threshold_exactly_is_a_spike(name):
    node = neuron.IFNode(v_threshold=2.0, v_reset=None if "soft" in name else 0.0)
    xs = (torch.arange(100.0) % 3)[:, None]
    converted = geir.from_spikingjelly(node)
    compare(run(node, xs), converted, xs)
    assert torch.equal(converted(xs)[1].v, node.v), "another amount is subtracted"


def test_convolutional_networks_with_containers_compute_the_same_after_conversion():
    network = nn.Sequential(
        layer.SeqToANNContainer(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)),
        neuron.LIFNode(),
        layer.MaxPool2d(2),
        layer.Flatten(),
        layer.Dropout(0.5),
        layer.Linear(36, 5),
        neuron.IFNode(),
    )
    draw_weights(network, 0.5).eval()
    xs = (torch.rand(100, 2, 2, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    converted = geir.from_spikingjelly(network)
    assert not converted.training
    with torch.no_grad():
        compare(run(network, xs), converted, xs)


@pytest.mark.parametrize("kind", ["Sigmoid", "ATan", "Erf", "PiecewiseExp"])
@pytest.mark.parametrize("detach", [False, True])
def test_gradients_of_spikingjelly_are_the_same_after_conversion(kind, detach):
    function = getattr(surrogate, kind)(alpha=2.5)
    network = dense(lambda: neuron.LIFNode(surrogate_function=function, detach_reset=detach), 0.5)
    functional.set_step_mode(network, "m")
    compare_gradients(run, network, geir.from_spikingjelly(network), spiking_input())


def test_learned_time_constants_stay_learnable():
    converted = geir.from_spikingjelly(neuron.ParametricLIFNode(init_tau=2.5), dt=2e-3)
    torch.testing.assert_close(converted.tau_mem, torch.tensor(5e-3))
    assert [name for name, _ in converted.named_parameters()] == ["log_tau_mem"]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: neuron.QIFNode(), "QIFNode: geir has no counterpart"),
        (lambda: neuron.IFNode(v_reset=-1.0), "starts at v_reset=-1.0"),
        (lambda: neuron.LIFNode(decay_input=False, v_reset=-1.0), "decays to v_reset=-1.0"),
        (lambda: neuron.IFNode(surrogate_function=surrogate.S2NN()), "does not know its surrogate_function, S2NN"),
        (lambda: layer.TLastMultiStepContainer(neuron.IFNode()), "TLastMultiStepContainer: geir has no counterpart"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_named_with_its_reason(network, message):
    with pytest.raises(ValueError, match=f"from_spikingjelly cannot convert:\n.*{message}"):
        geir.from_spikingjelly(network())
