"""A cell that is called directly has the gradients of its step, to be differentiated again if they shall be."""

import copy
import re

import pytest
import torch

import geir
from geir import neurons
from geir._runtime.compiler import find_compiler
from geir._runtime.kernels import direct, direct_run
from geir._util.state import leaves, map_state

pytestmark = [
    pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler"),
    pytest.mark.skipif(direct.has_saved_tensor_hooks(), reason="needs a newer PyTorch"),
]

KINDS = {getattr(neurons, name) for name in dir(neurons) if re.fullmatch("(?!.*(Recurrent|MC)).*Cell", name)}
# Cells that take one tensor.
CELLS = [
    cell
    for kind in sorted(KINDS, key=lambda kind: kind.__name__)
    if (cell := kind()).elementwise and torch.Tensor in cell.input_types
]
assert len(CELLS) > 15


def weighted(tensors):
    """A number that depends on every element."""
    sums = [(torch.linspace(-1, 1, t.numel(), dtype=t.dtype).view_as(t) * t).sum() for t in tensors]
    return torch.stack(sums).sum()


def unrolled(cell, xs, state=None):
    """All outputs, and the parts of the last state."""
    zs = []
    for x in xs:
        z, state = cell(x, state)
        zs.append(z)
    return [*zs, *(part for _, part in leaves(state))]


def gradients(cell, xs, start):
    """Gradients of all outputs and of the last state for the input and the initial state."""
    xs = xs.clone().requires_grad_()
    start = map_state(lambda part: part.clone().requires_grad_(), start)
    results = unrolled(cell, xs, start)
    parts = [part for _, part in leaves(start)]
    return [*results, *torch.autograd.grad(weighted(results), [xs, *parts], allow_unused=True)]


def forget(cell):
    """A copy that has not been called, and so calls its step."""
    return copy.deepcopy(cell)


@pytest.fixture
def runs(monkeypatch):
    """A list that gets an entry for each direct call with gradients."""
    calls, run = [], direct_run.run_with_gradients
    monkeypatch.setattr(direct, "run_with_gradients", lambda *args: calls.append(args) or run(*args))
    return calls


def warm(cell, x):
    """Call a cell until it is called directly."""
    state = None
    with torch.no_grad():
        for _ in range(4):
            _, state = cell(x, state)
    return state


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: type(cell).__name__)
def test_gradients_through_direct_calls_equal_those_through_steps(cell, runs):
    cell = copy.deepcopy(cell).double().requires_grad_(False)
    torch.manual_seed(0)
    xs = 3 * torch.rand(6, 2, 4, dtype=torch.float64)
    start = warm(cell, xs[0])
    # Each step forgets what the one before prepared.
    expected = gradients(lambda x, state: forget(cell)(x, state), xs, start)
    assert not runs
    actual = gradients(cell, xs, start)
    assert len(runs) == 6
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def test_the_gradient_can_be_differentiated_again(runs):
    cell, x = geir.LIFCell().double(), torch.rand(2, 4, dtype=torch.float64)
    start = warm(cell, x)

    def second(cell):
        given = [t.detach().clone().requires_grad_() for t in (x, *start)]
        z, after = cell(given[0], type(start)(*given[1:]))
        first = torch.autograd.grad(weighted([z, *after]), given, create_graph=True)
        return [*first, *torch.autograd.grad(weighted([g**2 for g in first]), given, allow_unused=True)]

    expected = second(forget(cell))
    assert any(g is not None and g.abs().sum() > 0 for g in expected[3:])
    actual = second(cell)
    assert len(runs) == 1
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "change",
    [lambda cell: cell.tau_mem.fill_(0.05), lambda cell: setattr(cell, "dt", 2e-3)],
    ids=["parameter", "setting"],
)
def test_a_cell_that_changed_before_a_second_derivative_says_so(change):
    cell, x = geir.LIFCell(), torch.rand(2, 4)
    start = warm(cell, x)
    given = x.clone().requires_grad_()
    z, after = cell(given, start)
    with torch.no_grad():
        change(cell)
    # The gradient is that of the step that was taken.
    (first,) = torch.autograd.grad(weighted([z, *after]), given, retain_graph=True)
    unchanged, again = geir.LIFCell(), x.clone().requires_grad_()
    z2, after2 = unchanged(again, start)
    torch.testing.assert_close(first, torch.autograd.grad(weighted([z2, *after2]), again)[0])
    with pytest.raises(RuntimeError, match="LIFCell was changed between its call and a backward pass"):
        torch.autograd.grad(weighted([z, *after]), given, create_graph=True)


def test_input_that_is_not_contiguous_has_its_gradient_in_its_own_layout(runs):
    cell, x = geir.LIFCell().double(), torch.rand(4, 2, dtype=torch.float64)
    start = warm(cell, x.t())
    leaf = x.clone().requires_grad_()
    z, after = cell(leaf.t(), start)
    actual = torch.autograd.grad(weighted([z, *after]), leaf, create_graph=True)[0]
    expected_leaf = x.clone().requires_grad_()
    z, after = forget(cell)(expected_leaf.t(), start)
    torch.testing.assert_close(actual, torch.autograd.grad(weighted([z, *after]), expected_leaf)[0])
    assert runs
    assert actual.requires_grad


def test_a_detached_state_ends_backpropagation_through_direct_calls(runs):
    cell, xs = geir.LIFCell().double(), torch.rand(3, 2, 4, dtype=torch.float64).requires_grad_()
    state = warm(cell, xs[0].detach())
    _, state = cell(xs[0], state)
    _, state = cell(xs[1], geir.detach(state))
    z, _ = cell(xs[2], state)
    (gradient,) = torch.autograd.grad(z.sum(), xs)
    assert len(runs) == 3
    assert not gradient[0].any()
    assert gradient[1].any()
