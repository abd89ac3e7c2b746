"""Sparse connections with delays over time, against the dense delayed connection and a plain loop."""

import pytest
import torch

import geir
from geir.connections import (
    delayed_sparse,
    DelayedLinear,
    DelayedSparseLinear,
    DelayedSparseLinearCell,
    NearestStep,
    random_pairs,
    SparseLinear,
)
from geir.testing import close


def connection():
    torch.manual_seed(0)
    return SparseLinear(7, 5, connection_probability=0.6).double()


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("make", [lambda s: 2.4e-3 * torch.ones(()), lambda s: 6e-3 * torch.rand_like(s.weight)])
def test_it_is_the_dense_delayed_connection(make, learn):
    layer = connection()
    delays = make(layer).detach()
    given = geir.learnable(delays) if learn else delays
    delayed = DelayedSparseLinear(layer, delay=given, max_delay=7e-3).double()
    dense = torch.full((5, 7), 1e-3, dtype=torch.float64)  # of missing connections, whose weight is 0
    dense[layer.targets.long(), torch.repeat_interleave(torch.arange(7), layer.starts.diff())] = delays.double()
    expected = DelayedLinear(7, 5, delay=geir.learnable(dense) if learn else dense, max_delay=7e-3).double()
    with torch.no_grad():
        expected.weight.copy_(layer.dense())
        expected.bias.copy_(layer.bias)
    xs = ((torch.rand(30, 3, 7) < 0.3) * torch.rand(30, 3, 7)).double().requires_grad_()
    results = []
    for module in (delayed, expected):
        ys, state = module(xs)
        again, _ = module(xs, state)
        loss = (ys * torch.linspace(-1, 1, ys.numel()).view_as(ys)).sum() + again.square().sum()
        results.append((ys, state, again, torch.autograd.grad(loss, xs)[0]))
    close(results[0], results[1])


def test_a_synapse_delivers_after_its_delay():
    layer = SparseLinear.from_weights(torch.tensor([[2.0, 0.0], [3.0, 5.0]]))
    delayed = DelayedSparseLinear(layer, delay=torch.tensor([0.0, 3e-3, 1e-3]))
    xs = torch.zeros(5, 1, 2)
    xs[0] = 1.0
    assert delayed(xs)[0][:, 0].tolist() == [[2.0, 0.0], [0.0, 5.0], [0.0, 0.0], [0.0, 3.0], [0.0, 0.0]]


def test_a_cell_steps_as_the_layer_runs():
    layer = connection()
    delays = 1e-3 * torch.randint(0, 4, layer.weight.shape)
    xs = torch.rand(12, 3, 7, dtype=torch.float64)
    ys, _ = DelayedSparseLinear(layer, delay=delays)(xs)
    cell, state, outputs = DelayedSparseLinearCell(layer, delay=delays), None, []
    for x in xs:
        y, state = cell(x, state)
        outputs.append(y)
    close(torch.stack(outputs), ys)


def test_it_is_compiled():
    layer = connection()
    delayed = DelayedSparseLinear(layer, delay=1e-3 * torch.randint(0, 4, layer.weight.shape))
    xs = torch.rand(12, 3, 7, dtype=torch.float64)
    torch.compiler.reset()
    close(torch.compile(delayed, backend="eager")(xs)[0], delayed(xs)[0])


BAD_INPUT = {
    "kind": (lambda: DelayedSparseLinear(torch.nn.Linear(2, 2)), TypeError, "connection must be a SparseLinear"),
    "delays": (
        lambda: DelayedSparseLinear(connection(), delay=torch.zeros(3)),
        ValueError,
        "delay.*does not broadcast|DelayedSparseLinear.delay has shape",
    ),
    "buffer": (lambda: DelayedSparseLinear(connection(), delay=2e-3, max_delay=1e-3), ValueError, "<= max_delay"),
    "width": (
        lambda: DelayedSparseLinear(connection())(torch.rand(9, 1, 4, dtype=torch.float64)),
        ValueError,
        r"takes 7 inputs in the last dimension, got one step of shape \(1, 4\)",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_raises(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    "delay",
    [torch.tensor(2.6e-3), 9e-3 * torch.rand(50, generator=torch.Generator().manual_seed(0))],
    ids=["one delay", "a delay each"],
)
def test_delays_are_rounded_part_by_part_without_copies_of_the_synapses(monkeypatch, delay):
    monkeypatch.setattr(delayed_sparse, "_AT_ONCE", 7)
    layer = SparseLinear(20, 20, pairs=random_pairs(20, 20, number=50))
    synapses = DelayedSparseLinear(layer, delay=delay, interpolation=NearestStep()).synapses()
    assert synapses.delays.dtype == torch.int32
    assert synapses.delays.tolist() == [round(1e3 * d) for d in delay.reshape(-1).tolist()]
    assert synapses.weights.data_ptr() == layer.weight.data_ptr()
    assert synapses.targets.data_ptr() == layer.targets.data_ptr()
