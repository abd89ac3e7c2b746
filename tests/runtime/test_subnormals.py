"""Decaying numbers end at zero: processors may need a hundred times as long for subnormal ones."""

import platform

import pytest
import torch
from direct_helpers import warm_up
from torch import nn
from torch.utils._pytree import tree_leaves

import geir
from geir._runtime.compiler import find_compiler
from geir.learning import Online, OSTL
from geir.plasticity import Plastic, STDP

pytestmark = [
    pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler"),
    pytest.mark.skipif(
        platform.machine() not in ("x86_64", "AMD64"), reason="only these processors are slow with them"
    ),
]

NEURONS = {
    "LIF": geir.LIF,
    "LI": geir.LI,
    "ALIF": geir.ALIF,
    "refractory": lambda: geir.Refractory(geir.LIF(), period=3e-3),
    "recurrent": lambda: geir.LIFRecurrent(5, 5),
    "selected": lambda: geir.LIFRecurrent(5, 5, surrogate=geir.surrogates.Triangle()),
    "sparse": lambda: geir.Recurrent(
        geir.LIF(), 5, 5, recurrent_weights=geir.connections.SparseLinear(5, 5, connection_probability=0.5, bias=False)
    ),
}
# Long enough for exp(-t / 100 ms) in float32, and a little shorter.
STEPS = 9000


def is_subnormal(x):
    return (x != 0) & (x.abs() < torch.finfo(x.dtype).tiny)


def assert_none(values):
    leaves = [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]
    assert leaves
    assert not any(is_subnormal(leaf).any() for leaf in leaves)


def pulse(steps, *shape):
    xs = torch.zeros(steps, *shape)
    xs[0] = 30
    return xs


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", NEURONS)
def test_states(name, threads):
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        layer = NEURONS[name]()
        with torch.no_grad():
            for steps in (50, 300, 500, 700, STEPS):
                _, state = layer(pulse(steps, 40, 5))
                assert_none(state)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", NEURONS)
def test_gradients(name):
    torch.manual_seed(0)
    layer = NEURONS[name]()
    xs = (1e-3 * torch.rand(1000, 4, 5)).requires_grad_()
    _, state = layer(xs)
    last = tree_leaves(state)
    weights = [part for part in last if part.requires_grad]
    (gradient,) = torch.autograd.grad(sum(part.sum() for part in weights), xs)
    assert gradient[-1].any()
    # Products with input weights may underflow once more.
    steps = is_subnormal(gradient).flatten(1).any(1)
    assert steps.sum() < 50


def test_cells():
    cell, x = geir.LIFCell(), torch.rand(3, 5)
    with torch.no_grad():
        state = warm_up(cell, x)
        for _ in range(2000):
            _, state = cell(torch.zeros(3, 5), state)
            assert_none(state)
    assert not state.v.any()


def test_eligibility_traces():
    torch.manual_seed(0)
    online = Online(geir.SequentialState(nn.Linear(5, 4), geir.LIFCell()), OSTL())
    _, state = online(torch.ones(2, 5))
    for _ in range(1500):
        _, state = online(torch.zeros(2, 5), state)
        assert_none(state)


def test_traces_of_plasticity():
    connection = nn.Linear(5, 4, bias=False)
    nn.init.uniform_(connection.weight, 0.2, 0.8)
    layer = Plastic(connection, geir.LIF(), STDP())
    with torch.no_grad():
        for steps in (500, 1500, 1800, 2500):
            _, state = layer(pulse(steps, 1, 5).clamp(max=1))
            assert_none(state)


def test_pytorch_computes_as_before():
    tiny = torch.full((1 << 20,), 1e-40)
    with torch.no_grad():
        geir.LIF()(torch.rand(64, 64, 1024))
        assert (tiny * 0.5).min() > 0
        geir.LIFCell()(torch.rand(5))
        assert (tiny[:1] * 0.5).min() > 0
