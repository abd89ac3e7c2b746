"""Networks of geir in the harness of NeuroBench, against counts of their spikes."""

import builtins

import pytest
import torch
from spike_trains import random_spikes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import geir
from geir.hardware import count, neurobench_model

STEPS, SAMPLES = 15, 12


def network(form="layers"):
    torch.manual_seed(0)
    linear = nn.Linear(6, 8)
    with torch.no_grad():
        linear.weight.mul_(10)[:, 1] = 0
    recurrent = geir.LIFRecurrent(8, 5, v_th=0.2)
    if form == "layers":
        return geir.SequentialState(geir.Lift(linear), geir.LIF(), recurrent)
    cell = geir.LIFRecurrentCell(
        8, 5, v_th=0.2, input_weights=recurrent.input_weights, recurrent_weights=recurrent.recurrent_weights
    )
    return geir.Lift(geir.SequentialState(linear, geir.LIFCell(), cell))


def benchmark(model, batch_size, xs):
    """Run the harness; its data are (batch, time, ...)."""
    pytest.importorskip("neurobench", reason="needs neurobench")
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.static import ParameterCount
    from neurobench.metrics.workload import (
        ActivationSparsity,
        ClassificationAccuracy,
        MembraneUpdates,
        SynapticOperations,
    )

    labels = model(xs)[0].sum(0).argmax(1)
    loader = DataLoader(TensorDataset(xs.transpose(0, 1), labels), batch_size=batch_size)
    metrics = [ClassificationAccuracy, ActivationSparsity, MembraneUpdates, SynapticOperations]
    wrapped = neurobench_model(model)
    run = Benchmark(wrapped, loader, [], [lambda zs: zs.sum(1).argmax(1)], [[ParameterCount], metrics])
    return run.run(quiet=True)


@pytest.mark.parametrize("batch_size", [4, 12])
@pytest.mark.parametrize("form", ["layers", "cells"])
def test_the_harness_reports_the_numbers_of_the_network(form, batch_size):
    model = network(form)
    xs = random_spikes(STEPS, SAMPLES, 6).float()
    found = benchmark(model, batch_size, xs)
    counts = count(model, xs)
    layers = network()
    layers.return_hidden = True
    layers[1].record_states = layers[2].record_states = True
    outputs, states = layers(xs)
    spikes = [outputs[1], outputs[2]]
    assert min(zs.sum() for zs in spikes) > 20
    assert found["ClassificationAccuracy"] == 1.0
    assert found["ParameterCount"] == sum(p.numel() for p in model.parameters())
    silent = sum(int((zs == 0).sum()) for zs in spikes)
    assert found["ActivationSparsity"] == pytest.approx(silent / (STEPS * SAMPLES * 13), rel=1e-12)
    operations = found["SynapticOperations"]
    assert operations["Effective_ACs"] == pytest.approx(counts.accumulates / SAMPLES, rel=1e-12)
    assert operations["Effective_MACs"] == 0
    assert operations["Dense"] == STEPS * (6 * 8 + 8 * 5 + 5 * 5)
    potentials = [states[1].v, states[2].neuron.v]
    changed = sum(int((v[1:] != v[:-1]).sum()) + v[0].numel() for v in potentials)
    assert found["MembraneUpdates"] == pytest.approx(changed / SAMPLES, rel=1e-12)
    assert layers[1].record_states
    assert not any(getattr(module, "record_states", False) for module in model.modules())


def test_numbers_in_place_of_spikes_are_multiply_accumulates():
    model = network()
    xs = 0.5 * random_spikes(STEPS, SAMPLES, 6).float()
    operations = benchmark(model, 12, xs)["SynapticOperations"]
    counts = count(model, xs)
    assert operations["Effective_MACs"] == pytest.approx(counts.multiply_accumulates / SAMPLES) != 0
    assert operations["Effective_ACs"] == pytest.approx(counts.accumulates / SAMPLES) != 0


def test_the_wrapper_is_needed_because_the_harness_does_not_see_these_neurons():
    pytest.importorskip("neurobench", reason="needs neurobench")
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.workload import ActivationSparsity, MembraneUpdates, SynapticOperations
    from neurobench.models import TorchModel

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            return self.net(x.transpose(0, 1))[0].transpose(0, 1)

    xs = random_spikes(STEPS, SAMPLES, 6).float()
    loader = DataLoader(TensorDataset(xs.transpose(0, 1), torch.zeros(SAMPLES)), batch_size=12)
    metrics = [ActivationSparsity, MembraneUpdates, SynapticOperations]
    found = Benchmark(TorchModel(Plain()), loader, [], [], [[], metrics]).run(quiet=True)
    assert found["ActivationSparsity"] == 0.0
    assert found["MembraneUpdates"] == 0.0
    assert found["SynapticOperations"]["Effective_ACs"] < count(network(), xs).accumulates / SAMPLES


def test_a_connection_that_the_harness_counts_as_zero_is_refused():
    pytest.importorskip("neurobench", reason="needs neurobench")
    model = geir.SequentialState(geir.Lift(nn.ConvTranspose1d(2, 3, 2)), geir.LIF())
    wrapped = neurobench_model(model)
    wrapped.register_hooks()
    with pytest.raises(TypeError, match=r"cannot count 0.module \(ConvTranspose1d\) and would report 0 operations"):
        wrapped(torch.ones(4, 5, 2, 6))


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    original = builtins.__import__

    def refuse(name, *arguments, **keywords):
        if name.startswith("neurobench"):
            raise ImportError("No module named 'neurobench'")
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"needs the package neurobench .*: pip install 'geir\[neurobench\]'"):
        neurobench_model(geir.LIF())
