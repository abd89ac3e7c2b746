"""`Network`: written as plain code with branches and joins, its state passed through automatically."""

import copy
import pickle

import pytest
import torch
from container_helpers import XS
from pytorch_versions import requires_compile
from torch import nn

from geir import LI, LICell, LIF, LIFCell, Network, SequentialState


class Branched(Network):
    """A neuron in a branch, a module used twice, a shortcut, a nested network and a recurrent layer of torch."""

    def __init__(self):
        super().__init__()
        self.linear, self.neuron = nn.Linear(5, 5), LIF(v_th=0.5)
        self.recurrent = nn.LSTM(5, 5)
        self.inner = SequentialState(nn.Linear(5, 5), LIF(v_th=0.5), lift=True)

    def forward_over_time(self, xs, run):
        zs = run(xs, self.linear, self.neuron)
        again = run(xs, self.neuron)
        return run(zs + xs, self.inner) + run(again, self.recurrent)


def test_state_is_passed_through_branches_and_joins():
    model = Branched()
    cells = [LIFCell(v_th=0.5) for _ in range(3)]
    states, expected = [None] * 3, []
    for x in XS:
        z, states[0] = cells[0](model.linear(x), states[0])
        again, states[1] = cells[1](x, states[1])
        inner, states[2] = cells[2](model.inner[0](z + x), states[2])
        expected.append((z, again, inner))
    zs, agains, inners = (torch.stack(part) for part in zip(*expected, strict=True))
    assert min(part.sum() for part in (zs, agains, inners)) > 20
    ys, state = model(XS)
    torch.testing.assert_close(ys, inners + model.recurrent(agains)[0])
    torch.testing.assert_close((state[0], state[1], state[2][1]), tuple(states))


def test_two_runs_in_a_row_equal_one_run():
    model = Branched()
    expected, last = model(XS)
    first, middle = model(XS[:13])
    second, end = model(XS[13:], middle)
    torch.testing.assert_close(torch.cat([first, second]), expected)
    torch.testing.assert_close(end, last)


def test_a_network_may_be_part_of_other_containers():
    inner = Branched()
    expected, state = inner(XS)
    ys, states = SequentialState(inner, LI())(XS)
    torch.testing.assert_close(ys, LI()(expected)[0])
    torch.testing.assert_close(states[0], state)


def test_copies_and_pickles_compute_the_same():
    model = Branched()
    expected = model(XS)
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        torch.testing.assert_close(twin(XS), expected)


class Residual(Network):
    def __init__(self):
        super().__init__()
        self.branch = SequentialState(nn.Linear(5, 6), LIF(v_th=0.5), nn.Linear(6, 5), lift=True)
        self.norm, self.readout = nn.LayerNorm(5), LI()

    def forward_over_time(self, xs, run):
        return run(xs + run(xs, self.branch), self.norm, self.readout)


@requires_compile
def test_a_network_that_contains_a_lifted_sequence_compiles():
    network = Residual()
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(network, fullgraph=True, backend="aot_eager")(XS), network(XS))


class Unfinished(Network):
    pass


CASES = {
    "too few states": (
        lambda: Branched()(XS, Branched()(XS)[1][:2]),
        ValueError,
        "Branched expected a state with one entry for each call of a stateful module, but its state has only 2; pass",
    ),
    "too many states": (
        lambda: Branched()(XS, (*Branched()(XS)[1], ())),
        ValueError,
        "Branched expected a state with one entry for each of its 4 calls of a stateful module, got 5; pass",
    ),
    "the state of a neuron": (
        lambda: Branched()(XS, LICell()(XS[0])[1]),
        TypeError,
        "Branched expected as its state the tuple that its previous call returned, got LIState",
    ),
    "not a state": (lambda: Branched()(XS, 5), TypeError, "got int"),
    "no forward_over_time": (Unfinished, TypeError, "Can't instantiate abstract class Unfinished .*forward_over_time"),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_use_is_rejected(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()
