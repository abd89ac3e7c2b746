"""Parallel spiking neurons."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import geir

DOUBLE = torch.float64


def test_parallel_neurons_with_the_weights_of_a_membrane_spike_where_it_exceeds_threshold():
    steps, decay = 40, math.exp(-1e-3 / 10e-3)
    neuron = geir.ParallelSpikingNeuron(steps).double()
    lag = torch.arange(steps)[:, None] - torch.arange(steps)
    neuron.weight = nn.Parameter(torch.where(lag >= 0, (1 - decay) * decay ** lag.double(), 0))
    neuron.threshold = nn.Parameter(torch.full((steps,), 0.6, dtype=DOUBLE))
    xs = 2 * torch.rand(steps, 3, 5, dtype=DOUBLE)
    vs, _ = geir.LIBox().double()(xs)
    assert 0.1 < (vs > 0.6).double().mean() < 0.9
    assert torch.equal(neuron(xs), (vs > 0.6).double())
    assert torch.equal(neuron(xs[:, 0, 0]), neuron(xs)[:, 0, 0])


def test_masked_parallel_neurons_see_only_the_last_steps():
    neuron, xs = geir.ParallelSpikingNeuron(10, order=3, surrogate=torch.sigmoid), torch.rand(10, 2, requires_grad=True)
    for t in range(10):
        (grad,) = torch.autograd.grad(neuron(xs)[t].sum(), xs)
        assert grad[:, 0].nonzero().flatten().tolist() == list(range(max(0, t - 2), t + 1))


def test_sliding_parallel_neurons_are_convolutions_and_run_in_chunks():
    neuron = geir.SlidingParallelSpikingNeuron(4, surrogate=lambda x: x).double()
    xs = torch.rand(30, 2, dtype=DOUBLE)
    hs, state = neuron(xs)
    expected = [np.convolve(x, [1, 0.5, 0.25, 0.125])[:30] - 1 for x in xs.T.numpy()]
    np.testing.assert_allclose(hs.detach().T, expected, rtol=1e-12)
    parts, last = [], None
    for chunk in xs.split([1, 2, 0, 20, 7]):
        part, last = neuron(chunk, last)
        parts.append(part)
    torch.testing.assert_close((torch.cat(parts), last), (hs, state))


def test_parallel_neurons_train_inside_a_network():
    model = geir.SequentialState(
        geir.Lift(nn.Linear(3, 5)), geir.ParallelSpikingNeuron(8), geir.SlidingParallelSpikingNeuron(3), geir.LIF()
    )
    zs, state = model(torch.rand(8, 2, 3) * 4)
    assert state[1] == ()
    (state[3].v.sum() + zs.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model[1:3].parameters())


XS = torch.rand(10, 4, 5, generator=torch.Generator().manual_seed(0))
CASES = {
    "another number of steps": (
        lambda: geir.ParallelSpikingNeuron(8)(XS),
        ValueError,
        r"ParallelSpikingNeuron runs for 8 steps, got input of shape \(10, 4, 5\)",
    ),
    "no steps": (
        lambda: geir.ParallelSpikingNeuron(0),
        ValueError,
        "ParallelSpikingNeuron.steps must be a positive number of steps, got 0",
    ),
    "an order of zero": (
        lambda: geir.ParallelSpikingNeuron(8, order=0),
        ValueError,
        "ParallelSpikingNeuron.order must be a positive number of steps",
    ),
    "integers in parallel": (
        lambda: geir.ParallelSpikingNeuron(2)(torch.ones(2, 3).long()),
        TypeError,
        "ParallelSpikingNeuron expected floating-point input, got torch.int64",
    ),
    "parallel without time": (
        lambda: geir.SlidingParallelSpikingNeuron(2)(torch.tensor(1.0)),
        ValueError,
        r"SlidingParallelSpikingNeuron runs over time: expected input of shape \(time, ...\)",
    ),
    "a window of another shape": (
        lambda: geir.SlidingParallelSpikingNeuron(3)(XS, geir.neurons.SlidingState(torch.zeros(2, 5))),
        ValueError,
        r"SlidingState.xs has shape \(2, 5\), but SlidingParallelSpikingNeuron needs \(2, 4, 5\)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_raises(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()
