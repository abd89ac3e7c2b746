"""Networks written as plain code: whatever branches and joins they have, their state is threaded."""

import copy
import pickle
from collections import OrderedDict

import pytest
import torch
from torch import nn

from geir import LI, LICell, LIF, LIFCell, Lift, LiftedSequential, SequentialState, Stateful
from geir.neurons import LIState

XS = 6 * torch.rand(40, 3, 5, generator=torch.Generator().manual_seed(0))


class Branched(Stateful):
    """A neuron in a branch, one used twice, a shortcut, a nested network, torch's recurrence."""

    def __init__(self):
        super().__init__()
        self.linear, self.neuron = nn.Linear(5, 5), LIF(v_th=0.5)
        self.recurrent = nn.LSTM(5, 5)
        self.inner = LiftedSequential(nn.Linear(5, 5), LIF(v_th=0.5))

    def connect(self, xs, run):
        zs = run(xs, self.linear, self.neuron)
        again = run(xs, self.neuron)
        return run(zs + xs, self.inner) + run(again, self.recurrent)


def test_the_state_is_threaded_through_branches_and_joins():
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
    torch.testing.assert_close((state[0], state[1], state[2][0]), tuple(states))


def test_a_stream_in_parts_is_one_run():
    model = Branched()
    expected, last = model(XS)
    first, middle = model(XS[:13])
    second, end = model(XS[13:], middle)
    torch.testing.assert_close(torch.cat([first, second]), expected)
    torch.testing.assert_close(end, last)


def test_lifted_sequential_is_sequential_state_of_lifted_modules():
    linear, norm, out = nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)
    ours = LiftedSequential(OrderedDict(linear=linear, norm=norm, neuron=LIF(v_th=0.1), out=Lift(out), readout=LI()))
    theirs = SequentialState(Lift(linear), Lift(norm), LIF(v_th=0.1), Lift(out), LI())
    expected, states = theirs(XS)
    ys, state = ours(XS)
    assert expected.std() > 0.1
    torch.testing.assert_close(ys, expected)
    torch.testing.assert_close(state, (states[2], states[4]))
    assert {"linear.weight", "norm.running_mean", "out.module.weight"} <= set(ours.state_dict())
    assert isinstance(ours[:2], LiftedSequential)


def test_it_stands_in_other_containers():
    inner = Branched()
    expected, state = inner(XS)
    ys, states = SequentialState(inner, LI())(XS)
    torch.testing.assert_close(ys, LI()(expected)[0])
    torch.testing.assert_close(states[0], state)


def test_it_pickles_copies_and_compiles():
    model = Branched()
    expected = model(XS)
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        torch.testing.assert_close(twin(XS), expected)
    network = LiftedSequential(nn.Linear(5, 6), LIF(v_th=0.5), nn.Linear(6, 2), LI())
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(network, fullgraph=True, backend="aot_eager")(XS), network(XS))


class Unfinished(Stateful):
    pass


CASES = {
    "too few states": (
        lambda: Branched()(XS, Branched()(XS)[1][:2]),
        ValueError,
        "Branched continues from one state for each call of a module that has one; 2 are too few",
    ),
    "too many states": (
        lambda: Branched()(XS, (*Branched()(XS)[1], ())),
        ValueError,
        "Branched continues from one state for each call of a module that has one, 4; got 5",
    ),
    "a state of a neuron": (
        lambda: Branched()(XS, LICell()(XS[0])[1]),
        TypeError,
        "Branched continues from the tuple of states .* got LIState",
    ),
    "not a state": (lambda: Branched()(XS, 5), TypeError, "got int"),
    "a state of another network": (
        lambda: LiftedSequential(LIF())(XS, (LIState(XS[0], XS[0]),)),
        TypeError,
        "LIF continues from a LIFState, got LIState",
    ),
    "no batch": (
        lambda: LiftedSequential(nn.Linear(5, 2))(XS[0, 0]),
        ValueError,
        r"Linear over time expected an input of shape \(time, batch, ...\), got shape \(5,\)",
    ),
    "no connect": (lambda: Unfinished()(XS), NotImplementedError, "Unfinished does not define `connect`"),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_use_is_refused(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()
