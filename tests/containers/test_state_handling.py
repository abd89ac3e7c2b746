"""States: reset samples, start anywhere, move."""

import pytest
import torch
from torch import nn

import geir
from geir import LI, LIF, LIFCell, Lift, RecurrentSequential, SequentialState
from geir._util.state import leaves

SAMPLES = torch.tensor([True, False, True])


class Branches(geir.Network):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 5), geir.Izhikevich())
        self.second = LIF(v_rest=0.3)

    def forward_over_time(self, xs, run):
        return run(run(30 * xs, *self.first), self.second)


NETWORKS = {
    "neuron": lambda: geir.Izhikevich(),
    "wrapped": lambda: geir.Refractory(geir.Noisy(geir.AdEx(v_rest=0.4), seed=3)),
    "recurrent": lambda: geir.Recurrent(LIF(v_rest=0.2), 4, 6),
    "network": lambda: SequentialState(
        nn.Linear(4, 5), LIF(v_rest=0.1), nn.Linear(5, 3), SequentialState(LIF(v_th=0.05, v_rest=0.01)), LI(), lift=True
    ),
    "branches": Branches,
    "delays": lambda: SequentialState(geir.connections.DelayedLinear(4, 5, delay=3e-3), LIF()),
    "lifted cells": lambda: SequentialState(
        Lift(SequentialState(nn.Linear(4, 4), LIFCell(v_rest=0.2))),
        Lift(RecurrentSequential(LIFCell())),
        Lift(nn.LSTMCell(4, 3)),
    ),
    "torch": lambda: SequentialState(nn.LSTM(4, 5), LIF(), nn.GRU(5, 2)),
}


def run(model, xs, state=None):
    with torch.no_grad():
        return model(xs) if state is None else model(xs, state)


@pytest.mark.parametrize("kind", NETWORKS)
def test_reset_samples_go_on_as_if_they_started_and_the_others_as_if_nothing_had_happened(kind):
    model = NETWORKS[kind]()
    before, after = 8 * torch.rand(30, 3, 4), 8 * torch.rand(30, 3, 4)
    _, state = run(model, before)
    ys, _ = run(model, after, geir.reset(model, state, SAMPLES))
    continued, _ = run(model, after, state)
    fresh, _ = run(model, after)
    assert not torch.equal(continued, fresh), "the input is too weak to see a difference"
    assert torch.equal(ys[:, ~SAMPLES], continued[:, ~SAMPLES])
    if kind != "wrapped":  # the noise of a sample depends on its place and on when it started
        torch.testing.assert_close(ys[:, SAMPLES], fresh[:, SAMPLES], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_initial_state_starts_a_run_as_no_state_does(kind):
    model = NETWORKS[kind]()
    xs = 8 * torch.rand(20, 3, 4)
    generator = torch.get_rng_state()
    state = geir.initial_state(model, xs)
    assert torch.equal(torch.get_rng_state(), generator)
    torch.testing.assert_close(run(model, xs, state)[0], run(model, xs)[0], rtol=0, atol=1e-6)


def test_the_initial_state_of_cells_takes_one_step_and_buffers_stay_as_they_are():
    model = SequentialState(nn.Linear(4, 4), nn.BatchNorm1d(4), LIFCell(v_rest=0.25))
    assert torch.equal(geir.initial_state(model, torch.rand(3, 4))[2].v, torch.full((3, 4), 0.25))
    assert model[1].num_batches_tracked == 0


def test_reset_to_a_given_state_and_its_gradient():
    neuron = LIF()
    rest = geir.replace_parts(geir.initial_state(neuron, torch.rand(1, 3, 2)), v=0.7)
    state = geir.initial_state(neuron, torch.rand(1, 3, 2))
    v = torch.rand(3, 2, requires_grad=True)
    result = geir.reset(neuron, state._replace(v=v), SAMPLES, rest=rest)
    result.v.sum().backward()
    assert torch.equal(v.grad, (~SAMPLES).float()[:, None].expand(3, 2))
    assert torch.equal(result.v[0].detach(), torch.tensor([0.7, 0.7]))


def test_parts_are_replaced_by_name_in_all_neurons():
    model = SequentialState(nn.Linear(4, 5), geir.Refractory(LIF()), nn.Linear(5, 3), LI(), lift=True)
    start = geir.initial_state(model, torch.rand(20, 2, 4))
    generator = torch.Generator().manual_seed(0)
    state = geir.replace_parts(start, v=lambda v: torch.rand(v.shape, generator=generator), wait=2.0)
    for entry in (state[1].neuron.v, state[3].v):
        assert 0 < entry.min() < entry.max() < 1
    assert torch.equal(state[1].wait, torch.full((2, 5), 2.0))
    assert torch.equal(state[1].neuron.i, start[1].neuron.i)
    ys, _ = run(model, torch.rand(20, 2, 4), state)
    assert ys.isfinite().all()


def test_states_are_moved_and_converted():
    model = SequentialState(nn.Linear(4, 5), geir.Noisy(LIF(), seed=1), LI(), lift=True)
    _, state = run(model, torch.rand(20, 2, 4))
    moved = geir.move_state(state, device="meta")
    assert all(part.is_meta for entry in moved[1:] for _, part in leaves(entry))
    double = geir.move_state(state, dtype=torch.float64)
    ys, _ = run(model.double(), torch.rand(5, 2, 4, dtype=torch.float64), double)
    assert ys.dtype == torch.float64
    assert geir.move_state(None) is None


def recorded():
    return LIF(record_states=True)(torch.rand(20, 3, 2))[1]


STATE = LIF()(torch.rand(20, 3, 2, generator=torch.Generator().manual_seed(0)))[1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: geir.reset(LIF(), STATE, torch.tensor([1, 0, 1])), TypeError, "a boolean tensor .* got torch.int64"),
        (lambda: geir.reset(LIF(), STATE, [True, False, True]), TypeError, "got list"),
        (lambda: geir.reset(LIF(), STATE, torch.ones(3, 2).bool()), ValueError, r"\(batch,\), got shape \(3, 2\)"),
        (
            lambda: geir.reset(LIF(), STATE, torch.ones(4).bool()),
            ValueError,
            "4 samples, but a part of the state has shape",
        ),
        (lambda: geir.reset(LIF(), recorded(), SAMPLES), ValueError, "not a recorded one"),
        (lambda: geir.reset(LI(), STATE, SAMPLES), TypeError, "LI expected a LIState"),
        (lambda: geir.reset(SequentialState(LIF()), STATE, SAMPLES), TypeError, "a tuple, got LIFState"),
        (lambda: geir.reset(SequentialState(LIF()), (STATE, STATE), SAMPLES), TypeError, "found 1 modules with state"),
        (
            lambda: geir.reset(geir.models.DropoutOverTime(), torch.ones(3, 2), SAMPLES),
            TypeError,
            "the resting state of DropoutOverTime is not known; pass",
        ),
        (
            lambda: geir.reset(LIF(), STATE, SAMPLES, rest=STATE._replace(v=torch.ones(2))),
            ValueError,
            "resting state of shape",
        ),
        (lambda: geir.initial_state(nn.Linear(3, 3), torch.rand(20, 3)), TypeError, "with state, got Linear"),
        (lambda: geir.detach(LIF()), TypeError, "detach expected a state, .* got LIF"),
        (lambda: geir.move_state(LIF(), "cpu"), TypeError, "move_state expected a state, .* got LIF"),
        (lambda: geir.replace_parts(STATE, w=0.0), ValueError, "no part 'w'. It has: i, v"),
        (
            lambda: geir.replace_parts(STATE, v=torch.ones(7)),
            ValueError,
            r"v has shape \(3, 2\), got a new part of shape \(7,\)",
        ),
    ],
)
def test_what_does_not_fit_is_an_error(call, error, message):
    with pytest.raises(error, match=message):
        call()
