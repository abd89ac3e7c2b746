"""Nothing that online learning keeps grows with the number of steps."""

import ctypes
import gc
import sys
from typing import NamedTuple

import pytest
import torch
from torch import nn, Tensor

import geir
from geir.learning import Adaptive, DECOLLE, EProp, FiringRate, Online, OSTL, OTTT, Random, SLTT
from geir.learning._advance import Advance
from geir.learning._traces import Synaptic, Traces

INPUTS, NEURONS, OUTPUTS = 6, 8, 2
PENALTY = FiringRate(10.0)
LOCAL = DECOLLE(OUTPUTS)


def feedforward():
    return nn.Linear(INPUTS, NEURONS), geir.LIF(tau_mem=geir.learnable(0.01))


def recurrent():
    return (geir.LIFRecurrent(INPUTS, NEURONS),)


def refractory():
    return nn.Linear(INPUTS, NEURONS), geir.Refractory(geir.LIF(), period=3e-3)


def refractory_recurrent():
    return (geir.Recurrent(geir.Refractory(geir.ALIF(), period=3e-3), INPUTS, NEURONS),)


def convolutional():
    return nn.Unflatten(-1, (1, 2, 3)), nn.Conv2d(1, 2, (1, 2)), geir.LIF(), nn.Flatten()


RULES = [EProp(), EProp(Random()), EProp(Adaptive()), OTTT(), SLTT(), OSTL(), LOCAL]
PENALIZED = [rule(firing_rate=PENALTY) for rule in (EProp, OTTT, SLTT, OSTL)] + [DECOLLE(OUTPUTS, firing_rate=PENALTY)]
CASES = [
    *[(network, rule) for network in (feedforward, recurrent) for rule in RULES],
    *[(recurrent, rule) for rule in PENALIZED],
    # OTTT and DECOLLE refuse wrappers.
    *[(network, rule) for network in (refractory, refractory_recurrent) for rule in (EProp(), SLTT(), OSTL())],
    # EProp with feedback weights and DECOLLE refuse convolutions.
    *[(convolutional, rule) for rule in (EProp(), OTTT(), SLTT(), OSTL())],
]


class MallocInfo(ctypes.Structure):
    """`struct mallinfo2` of glibc."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


class Memory(NamedTuple):
    """Memory of this process."""

    tensors: int  # those that Python knows
    tensor_bytes: int
    malloc_bytes: int  # also of graphs; 0 if the C library does not tell
    objects: int  # small objects of Python


def measure():
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if type(thing) in (Tensor, nn.Parameter)]
    dense = [tensor for tensor in tensors if tensor.layout is torch.strided]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in dense}
    allocated = 0
    if hasattr(library := ctypes.CDLL(None), "mallinfo2"):
        library.mallinfo2.restype = MallocInfo
        info = library.mallinfo2()
        allocated = info.uordblks + info.hblkhd
    return Memory(len(tensors), sum(storages.values()), allocated, sys.getallocatedblocks())


def growth(network, rule, first, last):
    """How much more a learner holds after step `last` than after step `first`."""
    torch.manual_seed(0)
    head = () if isinstance(rule, DECOLLE) else (nn.Linear(NEURONS, OUTPUTS), geir.LI())
    learner, state, before = Online(geir.SequentialState(*network(), *head), rule), None, None
    for step in range(1, last + 1):
        y, state = learner(2 * (torch.rand(3, INPUTS) < 0.5).float(), state)
        (sum(map(Tensor.sum, y)) if isinstance(y, list) else y.sum()).backward()
        if step == first:
            before = measure()
    return Memory(*(late - early for early, late in zip(before, measure(), strict=True)))


@pytest.fixture(autouse=True, scope="module")
def first_calls():
    """Make the calls that allocate memory once in a process, such as compiled code."""
    for network in (feedforward, refractory_recurrent, convolutional):
        growth(network, EProp(firing_rate=PENALTY), first=5, last=10)
    gc.freeze()  # leaves out the million objects that live already
    yield
    gc.unfreeze()


@pytest.mark.parametrize(("network", "rule"), CASES, ids=lambda part: getattr(part, "__name__", repr(part)))
def test_memory_does_not_grow_with_the_number_of_steps(network, rule):
    grown = growth(network, rule, first=20, last=70)
    assert grown.tensors == 0
    assert grown.tensor_bytes == 0
    assert grown.malloc_bytes < 50 * 100, "less than the smallest tensor a step"


def test_nothing_grows_in_two_thousand_steps():
    grown = growth(recurrent, EProp(firing_rate=PENALTY), first=200, last=2000)
    assert grown.tensors == 0
    assert grown.malloc_bytes < 1800, "less than a byte a step"
    assert grown.objects < 900, "less than one in two steps"


# Planted leaks.


def traces_with_their_graph(right):
    anchor = torch.zeros((), requires_grad=True)

    def step(self, step, traces):
        saved, after = right(self, step, Traces(*(trace.detach() for trace in traces)))
        with torch.enable_grad():
            return saved, after._replace(weights=after.weights + anchor * traces.weights)

    return step


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library does not tell what is allocated")
def test_traces_that_keep_their_graph_are_noticed(monkeypatch):
    monkeypatch.setattr(Synaptic, "step", traces_with_their_graph(Synaptic.step))
    grown = growth(recurrent, EProp(), first=20, last=70)
    assert grown.malloc_bytes > 50 * 100


@pytest.mark.parametrize("kept", ["tensor", "number"])
def test_a_list_that_grows_is_noticed(monkeypatch, kept):
    right, outputs = Advance.run, []

    def run(self, x, own, entry):
        z, signal, entry = right(self, x, own, entry)
        outputs.append(entry.traces.weights if kept == "tensor" else z.detach().sum().item() + 0.5)
        return z, signal, entry

    monkeypatch.setattr(Advance, "run", run)
    grown = growth(recurrent, EProp(), first=20, last=420)
    # One for the layer and one for the readout.
    assert (grown.tensors if kept == "tensor" else grown.objects) > 700
