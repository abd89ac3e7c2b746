"""The neuron models of NIR run on kernels derived from their steps, with the resets of other frameworks."""

import pytest
import torch

import geir
from geir.nir import (
    DelayedReset,
    ExponentialDecay,
    ResetAtCrossing,
    SequentialEuler,
    SnnTorchSubtraction,
)
from geir.nir.neurons import CubaLIFNode, CubaLINode, IFNode, INode, LIFNode, LINode

RESETS = [
    geir.ResetToValue(),
    geir.ResetBySubtraction(),
    SnnTorchSubtraction(),
    DelayedReset(by=geir.ResetToValue()),
    DelayedReset(by=geir.ResetToValue(), after_integration=True),
    DelayedReset(by=geir.ResetBySubtraction()),
    ResetAtCrossing(),
    ResetAtCrossing(detach=False),
]
LEVELS = {"v_th": 0.3, "v_reset": -0.1}
MEMBRANE = {"tau_mem": geir.learnable(0.01), "v_rest": 0.05}


def models():
    """Every model, integrator and reset at least once; each kernel is compiled when it is first run."""
    settings = {**LEVELS, "reset_mechanism": geir.ResetToValue()}
    for integrator in (SequentialEuler(), ExponentialDecay()):
        yield CubaLINode(**MEMBRANE, w_in=3.0, integrator=integrator)
        yield CubaLIFNode(**MEMBRANE, w_in=8.0, integrator=integrator, **settings)
    yield INode(r=30.0)
    yield LINode(**MEMBRANE, r=2.0)
    yield IFNode(r=100.0, **settings)
    for reset in RESETS:
        yield LIFNode(**MEMBRANE, r=4.0, **settings | {"reset_mechanism": reset})
    yield IFNode(r=100.0, **settings | {"reset_mechanism": ResetAtCrossing()})
    yield CubaLIFNode(**MEMBRANE, w_in=8.0, **settings | {"reset_mechanism": SnnTorchSubtraction()})


def name_of(model):
    return f"{type(model).__name__}-{type(model.integrator).__name__}-{getattr(model, 'reset_mechanism', None)}"


@pytest.mark.parametrize("model", list(models()), ids=name_of)
def test_kernels_equal_the_reference_loop(model):
    model = model.double()
    xs = (torch.rand(60, 2, 3, dtype=torch.float64) * 0.8).requires_grad_()
    results = []
    for unroll in (geir.reference, geir.Fused()):
        model.unroll = unroll
        ys, state = model(xs)
        weights = torch.linspace(0, 1, ys.numel(), dtype=torch.float64).view_as(ys)
        loss = (weights * ys).sum() + state.v.square().sum()
        results.append((ys, *state, *torch.autograd.grad(loss, [xs, *model.parameters()])))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    if model.spiking:
        assert results[0][0].sum() > 20


def step_in_plain_numbers(reset, after_integration, xs):
    """snnTorch's Leaky and Synaptic, with `reset_delay=True`, in plain numbers."""
    v, spikes = 0.0, []
    for x in xs:
        fired = v > 0.3
        if reset == "zero" and not after_integration:
            v = -0.1 if fired else v
        v += 1e-3 / 1e-2 * (0.05 - v + 4 * x)
        if reset == "subtract":
            v -= 0.4 * fired
        elif after_integration:
            v = -0.1 if fired else v
        spikes.append(float(v > 0.3))
    return spikes


@pytest.mark.parametrize("after_integration", [False, True])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_late_resets_act_one_step_later(reset, after_integration):
    by = geir.ResetToValue() if reset == "zero" else geir.ResetBySubtraction()
    mechanism = DelayedReset(by=by, after_integration=after_integration)
    neuron = LIFNode(tau_mem=1e-2, v_rest=0.05, r=4.0, **LEVELS, integrator=geir.Euler(), reset_mechanism=mechanism)
    # Without the initial potential of 0, as in the loop.
    xs = torch.rand(100, dtype=torch.float64)
    zs, _ = neuron.double()(xs, neuron.initial_state(xs[0])._replace(v=torch.zeros((), dtype=torch.float64)))
    expected = step_in_plain_numbers(reset, after_integration, xs.tolist())
    assert sum(expected) > 10
    assert zs.tolist() == expected


def test_resets_at_crossings_need_the_exact_solution():
    with pytest.raises(ValueError, match=r"needs integrator=Exact\(\), got Euler\(\)"):
        LIFNode(reset_mechanism=ResetAtCrossing(), integrator=geir.Euler())
    with pytest.raises(ValueError, match="CubaLIFNode has no closed form"):
        CubaLIFNode(reset_mechanism=ResetAtCrossing())
    with pytest.raises(TypeError, match="for the nodes IF and LIF"):
        geir.LIFBox(reset_mechanism=ResetAtCrossing(), v_th=0.1, unroll=geir.reference)(torch.ones(20, 1))
