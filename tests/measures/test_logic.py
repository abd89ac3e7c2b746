"""Logic gates on spikes, against Python's operators and scalar loops."""

import itertools

import pytest
import torch
from spike_trains import random_spikes

from geir import measures

F64 = torch.float64
TABLE = list(itertools.product([0.0, 1.0], repeat=2))


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (measures.logical_and, lambda x, y: bool(x) and bool(y)),
        (measures.logical_or, lambda x, y: bool(x) or bool(y)),
        (measures.logical_xor, lambda x, y: bool(x) != bool(y)),
    ],
)
def test_gates_have_their_truth_tables_and_accept_probabilities(gate, expected):
    x, y = torch.tensor(TABLE, dtype=F64).T
    assert gate(x, y).tolist() == [float(expected(*row)) for row in TABLE]
    # The probability that the gate spikes, for independent inputs.
    p, q = torch.rand(2, 5, dtype=F64)
    probability = sum(expected(a, b) * (p if a else 1 - p) * (q if b else 1 - q) for a, b in TABLE)
    torch.testing.assert_close(gate(p, q), probability)
    assert torch.autograd.gradcheck(gate, (p.requires_grad_(), q.requires_grad_()))


def test_logical_not_inverts_spikes():
    assert measures.logical_not(torch.tensor([0.0, 1.0])).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_a_muller_c_element_changes_only_where_both_inputs_agree(start):
    xs = random_spikes(50, 4, rate=0.5)
    ys = random_spikes(50, 4, rate=0.5, seed=1)
    initial = torch.full((4,), start, dtype=F64)
    zs, state = measures.muller_c(xs, ys, initial)
    held = [start] * 4
    for x, y, z in zip(xs.tolist(), ys.tolist(), zs.tolist(), strict=True):
        held = [a if a == b else previous for a, b, previous in zip(x, y, held, strict=True)]
        assert z == held
    assert state.tolist() == held
    first, middle = measures.muller_c(xs[:20], ys[:20], initial)
    second, _ = measures.muller_c(xs[20:], ys[20:], middle)
    assert torch.equal(torch.cat([first, second]), zs)


def test_edges_are_spikes_that_follow_no_spike():
    xs = random_spikes(50, 4, rate=0.5)
    zs, state = measures.posedge_detector(xs)
    assert torch.equal(zs[0], xs[0])
    assert torch.equal(zs[1:], (xs.diff(dim=0) > 0).to(F64))
    assert torch.equal(state, xs[-1])
    first, middle = measures.posedge_detector(xs[:20])
    second, _ = measures.posedge_detector(xs[20:], middle)
    assert torch.equal(torch.cat([first, second]), zs)


def test_negative_edges_are_edges_of_the_inverted_input():
    xs = random_spikes(50, 4, rate=0.5)
    before = measures.logical_not(torch.zeros(4, dtype=F64))
    falling, _ = measures.posedge_detector(measures.logical_not(xs), before)
    assert torch.equal(falling[1:], (xs.diff(dim=0) < 0).to(F64))


XS = torch.zeros(4, 2)

INVALID = {
    "muller_c: two shapes": (
        lambda: measures.muller_c(XS, XS[:, :1]),
        ValueError,
        r"muller_c expected two spike trains of the same shape, got \(4, 2\) and \(4, 1\)",
    ),
    "muller_c: state of another shape": (
        lambda: measures.muller_c(XS, XS, torch.zeros(3)),
        ValueError,
        r"muller_c: state has shape \(3,\), but one step of input has shape \(2,\)",
    ),
    "posedge_detector: state of another shape": (
        lambda: measures.posedge_detector(XS, torch.zeros(3)),
        ValueError,
        r"posedge_detector: state has shape \(3,\), but one step of input has shape \(2,\)",
    ),
    "logical_or: bool": (
        lambda: measures.logical_or(XS.bool(), XS),
        TypeError,
        r"logical_or expected floating-point spikes, got torch.bool; convert them with .float\(\)",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_input_raises(case):
    call, error, message = INVALID[case]
    with pytest.raises(error, match=message):
        call()
