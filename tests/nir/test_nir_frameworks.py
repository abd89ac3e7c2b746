"""The same graph in geir and in other frameworks, as installed: the same spikes.

Skipped without them; they are in the extra `bench`. Their importers need nirtorch 2.6 with nir 1.0.8.
"""

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import geir
from geir.nir import (
    DelayedReset,
    ExponentialDecay,
    from_nir,
    Norse,
    Rockpool,
    SequentialEuler,
    Sinabs,
    SnnTorch,
    SnnTorchSubtraction,
    to_nir,
)
from geir.nir.neurons import CubaLIFNode, LIFNode

nir = pytest.importorskip("nir", reason="NIR graphs need the nir package")

pytestmark = pytest.mark.filterwarnings("ignore")


def framework(name):
    """Import a framework, or skip."""
    pytest.importorskip("nirtorch", "2.6", reason="other frameworks need nirtorch 2.6")
    return pytest.importorskip(name, reason=f"compares with {name.split('.')[0]}")


def model_of(neuron):
    """Five inputs, eight neurons, and strong weights."""
    model = geir.SequentialState(nn.Linear(5, 8), neuron)
    with torch.no_grad():
        model[0].weight *= 8
    return model


def spike_input():
    return (torch.rand(200, 3, 5) < 0.3).float()


def step_through(network, xs):
    """The outputs of a network of another framework that takes one step at a time."""
    state, outputs = None, []
    with torch.no_grad():
        for x in xs:
            y, state = network(x, state)
            outputs.append(y)
    return torch.stack(outputs)


def check_equal(actual, expected):
    assert expected.sum() > 400
    assert (actual != expected).sum() == 0


@pytest.mark.parametrize(
    "neuron",
    [
        geir.LIFBox(v_th=0.3, integrator=geir.Euler()),
        geir.CubaLIF(v_th=0.3, w_in=5.0, integrator=SequentialEuler()),
        geir.LIF(v_th=0.3),  # solved exactly here, by Euler's method there
    ],
)
def test_norse_has_the_same_spikes(neuron):
    norse = framework("norse.torch")
    model, xs = model_of(neuron), spike_input()
    graph = to_nir(model, (5,))
    theirs = step_through(norse.from_nir(graph, dt=1e-3), xs)
    check_equal(from_nir(graph, dt=1e-3, integrator=Norse())(xs)[0], theirs)
    if not isinstance(neuron, geir.LIF):
        check_equal(model(xs)[0], theirs)


def test_snntorch_imports_neurons_with_the_same_spikes():
    """Its importer takes `dt` to be 1e-4."""
    importer = framework("snntorch.import_nir")
    model, xs = model_of(geir.LIFBox(tau_mem=1e-3, v_th=0.3, dt=1e-4, integrator=geir.Euler())), spike_input()
    check_equal(model(xs)[0], step_through(importer.import_from_nir(to_nir(model, (5,))), xs))


@pytest.mark.parametrize(
    ("settings", "reset"),
    [
        ({"reset_mechanism": "zero", "reset_delay": False}, geir.ResetToValue()),
        ({"reset_mechanism": "subtract", "reset_delay": False}, SnnTorchSubtraction()),
        ({"reset_mechanism": "zero", "reset_delay": True}, DelayedReset(by=geir.ResetToValue())),
        ({"reset_mechanism": "subtract", "reset_delay": True}, DelayedReset()),
    ],
)
@pytest.mark.parametrize("kind", ["Leaky", "Synaptic"])
def test_snntorch_exports_neurons_that_have_the_same_spikes_here(kind, settings, reset):
    framework("snntorch")
    if kind == "Synaptic" and reset == DelayedReset(by=geir.ResetToValue()):
        reset = replace(reset, after_integration=True)
    snntorch, exporter = map(importlib.import_module, ("snntorch", "snntorch.export_nir"))
    decays = {"beta": torch.full((8,), 0.9)} | ({"alpha": torch.full((8,), 0.8)} if kind == "Synaptic" else {})
    neuron = getattr(snntorch, kind)(**decays, threshold=torch.ones(8), init_hidden=True, **settings)
    network, xs = nn.Sequential(nn.Linear(5, 8), neuron), spike_input()
    with torch.no_grad():
        network[0].weight *= 4
        graph = exporter.export_to_nir(network, torch.zeros(5))
        theirs = torch.stack([network(x) for x in xs])
    check_equal(from_nir(graph, dt=1e-4, integrator=SnnTorch(reset=reset))(xs)[0], theirs)


def test_sinabs_imports_neurons_with_the_same_spikes():
    """Its importer takes time constants in steps, and ignores the resistance: it must be tau / dt."""
    importer = framework("sinabs.nir")
    neuron = LIFNode(tau_mem=10.0, r=10.0, v_th=0.3, dt=1.0, integrator=ExponentialDecay(),
                     reset_mechanism=geir.ResetBySubtraction())  # fmt: skip
    graph, xs = to_nir(model_of(neuron), (5,), on_unsupported="metadata"), spike_input()
    with torch.no_grad():
        theirs = importer.from_nir(graph, batch_size=3)(xs.transpose(0, 1).reshape(-1, 5))
        theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    assert theirs.max() > 1
    check_equal(from_nir(graph, dt=1.0, integrator=Sinabs())(xs)[0], theirs.reshape(3, 200, 8).transpose(0, 1))


def test_sinabs_exports_neurons_that_have_the_same_spikes_here():
    """It writes a resistance of 1, but adds the input undamped: the resistance must be tau / dt."""
    framework("sinabs.nir")
    layers, exporter = map(importlib.import_module, ("sinabs.layers", "sinabs.nir"))
    neuron = layers.LIF(tau_mem=torch.full((8,), 10.0), norm_input=False, spike_threshold=torch.ones(8))
    network, xs = nn.Sequential(nn.Linear(5, 8), neuron), spike_input()
    with torch.no_grad():
        network[0].weight *= 8
        graph = exporter.to_nir(network, torch.zeros(1, 5))
        theirs = neuron(network[0](xs).transpose(0, 1)).transpose(0, 1)
    np.testing.assert_array_equal(graph.nodes["1"].r, np.ones(8))
    graph.nodes["1"].r = graph.nodes["1"].tau
    check_equal(from_nir(graph, dt=1.0, integrator=Sinabs())(xs)[0], theirs)


def test_rockpool_imports_neurons_with_the_same_spikes():
    """Its importer takes dt from tau / (1 + r) and ignores r and w_in: input is added undamped, and decays in the step in
    which it arrives. With gains and threshold to match, the spikes are the same, several in one step included."""
    importer = framework("rockpool.nn.modules.torch.nir")
    dt, tau_mem, tau_syn, v_th = 1e-3, 20e-3, 10e-3, 1.0
    r = tau_mem / dt - 1
    neuron = CubaLIFNode(tau_mem=tau_mem, tau_syn=tau_syn, r=r, v_th=v_th, dt=dt, integrator=ExponentialDecay(),
                         reset_mechanism=geir.ResetBySubtraction())  # fmt: skip
    graph, xs = to_nir(model_of(neuron), (5,), on_unsupported="metadata"), spike_input()
    with torch.no_grad():
        theirs = importer.from_nir(graph)(xs.transpose(0, 1))[0].transpose(0, 1)
    assert theirs.max() > 1
    node = next(node for node in graph.nodes.values() if isinstance(node, nir.CubaLIF))
    node.w_in = np.full_like(node.r, np.exp(-dt / tau_syn) * tau_syn / dt)
    node.v_threshold = node.v_threshold * (r * dt / tau_mem)
    check_equal(from_nir(graph, dt=dt, integrator=replace(Rockpool(), multiple_spikes=True))(xs)[0], theirs)
