"""`diagnose`: each kind of sick network is recognized, and a healthy one is not reported."""

import re

import pytest
import torch
from torch import nn

import geir
from geir import LI, LIF, LIFCell, Lift, SequentialState

XS = geir.encode.poisson(torch.ones(4, 50), steps=80, generator=torch.Generator().manual_seed(0))


def network(**settings):
    model = SequentialState(
        nn.Linear(50, 60), LIF(**settings), nn.Linear(60, 60), LIF(**settings), nn.Linear(60, 3), LI(), lift=True
    )
    return geir.init_weights(model)


def untrained():
    return SequentialState(nn.Linear(50, 60), LIF(), nn.Linear(60, 60), LIF(), nn.Linear(60, 3), LI(), lift=True)


def scaled(factor, bias):
    model = network()
    with torch.no_grad():
        model[0].weight.mul_(factor)
        model[0].bias.add_(bias)
    return model


def with_nan():
    model = network()
    with torch.no_grad():
        model[2].weight[0, 0] = torch.nan
    return model


class LayerInALoop(geir.Network):
    def __init__(self):
        super().__init__()
        self.linear, self.neuron = nn.Linear(50, 60), LIF()

    def forward_over_time(self, xs, run):
        state, zs = None, []
        for x in xs:
            z, state = self.neuron(4 * self.linear(x), state)
            zs.append(z)
        return torch.stack(zs)


class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.neuron = LIF()

    def forward(self, xs, state=None):
        return self.neuron(3 * xs.transpose(0, 1), state)


class Comparison(nn.Module):
    def forward(self, xs):
        return (xs > 0.5).float()


CASES = {
    "silent": (untrained, XS, "3", "is silent: no spike in 80 steps", "init_weights"),
    "saturated": (lambda: scaled(3.0, bias=20.0), XS, "1", "spike in at least every second step", "smaller"),
    "different dt": (
        lambda: SequentialState(LIF(), LI(dt=1e-4)),
        8 * XS,
        "",
        "different step sizes: dt = 0.0001 s in 1; dt = 0.001 s in 0",
        "same dt",
    ),
    "a time constant below dt": (
        lambda: network(tau_syn=1e-4),
        XS,
        "1",
        r"tau_syn = 0.0001 s is shorter than a step, dt = 0.001 s",
        "smaller dt",
    ),
    "milliseconds": (lambda: network(tau_mem=20.0), XS, "1", "tau_mem = 20 s is 20,000 steps", "20 ms is 20e-3"),
    "milliseconds of a wrapped neuron": (
        lambda: SequentialState(geir.Refractory(LIF(tau_syn=5.0))),
        XS,
        "0.neuron",
        "tau_syn = 5 s is 5,000 steps",
        "20 ms is 20e-3",
    ),
    "a cell given all times": (
        lambda: nn.Sequential(nn.Linear(50, 60), LIFCell()),
        XS,
        "1",
        r"LIFCell made one step with all 80 steps as input, shape \(80, 4, 60\)",
        "Use the layer LIF",
    ),
    "a layer in a loop": (
        LayerInALoop,
        XS,
        "neuron",
        r"LIF was called once for each of the 80 steps, with shape \(4, 60\)",
        "Use LIFCell",
    ),
    "another axis than time": (
        Transposed,
        XS,
        "neuron",
        r"LIF ran over 4 steps, input of shape \(4, 80, 50\), but the input of the model has 80",
        "Time is the first dimension",
    ),
    "NaN in the input": (network, XS * torch.nan, "", "the input contains NaN", "Remove"),
    "an input of zeros": (network, 0 * XS, "", "the input is zero everywhere", "encoder"),
    "NaN in the parameters": (with_nan, XS, "2.weight", r"1 parameter\(s\) contain NaN", "learning rate"),
    "an output that overflows": (
        lambda: nn.Sequential(LIF(), geir.Lift(nn.Linear(50, 2, dtype=torch.float32)), Overflow()),
        8 * XS,
        "2",
        "its output contains NaN or infinity, though its input does not",
        "smaller",
    ),
    "dead gradients": (
        lambda: network(surrogate=geir.surrogates.ZeroGradient()),
        XS,
        "3",
        "no gradient passes through LIF",
        "surrogate that is wider",
    ),
    "no surrogate": (
        lambda: SequentialState(Comparison(), LI(), lift=True),
        XS,
        "",
        "the output does not depend on the input",
        "surrogate",
    ),
}


class Overflow(nn.Module):
    def forward(self, xs):
        return xs / 0.0


@pytest.mark.filterwarnings("ignore:.*times are in seconds")
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_fault_is_found_with_its_cure(case):
    make, xs, layer, problem, cure = CASES[case]
    torch.manual_seed(0)
    diagnosis = geir.diagnose(make(), xs)
    found = [f for f in diagnosis.findings if f.layer == layer]
    assert found, f"nothing was found in {layer!r}: {diagnosis}"

    assert any(re.search(problem, f.problem) and re.search(cure, f.cure) for f in found), found
    assert not diagnosis.healthy
    # In the table every problem is followed by its cure.
    text = str(diagnosis)
    assert text.count("\n! ") == text.count("\n  -> ") == len(diagnosis.findings)


def test_a_healthy_network_is_measured_and_nothing_is_found():
    model = network()
    diagnosis = geir.diagnose(model, XS)
    assert diagnosis.healthy, diagnosis
    first, second, readout = diagnosis.layers
    zs, _ = model[:2](XS)
    assert first.rate == pytest.approx(zs.mean().item() * 1000, rel=1e-6)
    assert first.silent == pytest.approx((zs.sum((0, 1)) == 0).float().mean().item(), abs=1e-6)
    assert (second.name, second.kind, second.steps) == ("3", "LIF", 80)
    assert readout.rate is None
    assert readout.gradient > 0
    lines = str(diagnosis).splitlines()
    assert lines[0].split()[:3] == ["layer", "module", "steps"]
    assert lines[-1] == "No problem was found."
    assert all(len(line) <= 100 for line in lines)


def test_cells_stepped_by_lift_are_healthy():
    model = SequentialState(Lift(nn.Linear(50, 60)), Lift(LIFCell()))
    geir.init_weights(model)
    diagnosis = geir.diagnose(model, XS)
    assert diagnosis.healthy, diagnosis
    assert diagnosis.layers[0].steps == 80


def test_the_model_is_left_as_it_was():
    model = SequentialState(nn.Linear(50, 60), nn.BatchNorm1d(60), geir.Noisy(LIF()), nn.Dropout(), lift=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    geir.diagnose(model, XS)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not model[0]._forward_hooks


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: geir.diagnose(torch.relu, XS), TypeError, "diagnose expected a module"),
        (lambda: geir.diagnose(LIF(), XS.int()), TypeError, "floating-point tensor .* got torch.int32"),
        (lambda: geir.diagnose(LIF(), XS.numpy()), TypeError, "got ndarray"),
        (lambda: geir.diagnose(LIF(), XS[:0]), ValueError, r"at least one step, got \(0, 4, 50\)"),
    ],
)
def test_bad_arguments_are_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
