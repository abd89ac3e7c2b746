"""A step that decides by the shape or the data of a tensor runs on the reference loop, never on a kernel of another
decision."""

import itertools
from typing import NamedTuple

import pytest
import torch
from pytorch_versions import requires_compile
from runtime_helpers import with_reference
from torch import Tensor

import geir
from geir._runtime.compiler import find_compiler

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")


class State(NamedTuple):
    v: Tensor


# Every one of them is false for the tensors on which a step is traced, and true for those of the test.
DECISIONS = {
    "dim": lambda x, tau: x.dim() == 3,
    "ndim": lambda x, tau: x.ndim > 2,
    "ndimension": lambda x, tau: x.ndimension() == 3,
    "size": lambda x, tau: x.size(-1) == 5,
    "whole size": lambda x, tau: x.size() == (2, 4, 5),
    "shape": lambda x, tau: x.shape == (2, 4, 5),
    "item of the shape": lambda x, tau: x.shape[0] == 2 and x.shape[-1] == 5,
    "length of the shape": lambda x, tau: len(x.shape) > 2,
    "unpacked shape": lambda x, tau: [*x.shape][1:2] == [4],
    "sum of shapes": lambda x, tau: (1, *x.shape) == (1, 2, 4, 5),
    "numel": lambda x, tau: x.numel() > 20,
    "torch.numel": lambda x, tau: torch.numel(x) > 20,
    "stride": lambda x, tau: x.stride()[0] == 20,
    "bytes": lambda x, tau: x.nbytes > 100,
    "numbers of a list": lambda x, tau: max(torch.ones_like(tau).mul(tau).detach().flatten().tolist()) > 5,
    "array": lambda x, tau: tau.detach().numpy().max() > 5,
    "number": lambda x, tau: float(tau.detach()) > 5,
    "comparison": lambda x, tau: bool(tau.detach() > 5),
}
names = itertools.count()


def make(decide, where):
    class Deciding(geir.Dynamics[State]):
        tau: geir.Parameter = geir.parameter(default=7.0)

        def rest(self):
            return State(torch.zeros(()))

        def step(self, x, state):
            if where == "step":
                v = 0.5 * state.v + (x if decide(x, self.tau) else 10 * x)
            else:
                v = 0.5 * state.v + Doubled.apply(x, self.tau)
            return v, State(v)

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(x, tau):
            return x.clone()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, grad):
            x, tau = ctx.saved_tensors
            return grad if decide(x, tau) else 10 * grad, None

    # Every class warns, and once only.
    return type(f"Deciding{next(names)}", (Deciding,), {})()


@pytest.mark.parametrize("where", ["step", "derivative"])
@pytest.mark.parametrize("name", DECISIONS)
def test_a_step_that_decides_by_shape_or_data_runs_on_the_reference_loop(name, where):
    model = make(DECISIONS[name], where)
    xs = torch.rand(6, 2, 4, 5)
    results = []
    for each in (with_reference(model), model):
        x = xs.clone().requires_grad_()
        if each is model:
            with pytest.warns(
                RuntimeWarning, match="runs on the reference loop: its step (reads the shape|lets Python)"
            ):
                zs, _ = each(x)
        else:
            zs, _ = each(x)
        zs.sum().backward()
        results.append((zs.detach(), x.grad))
    torch.testing.assert_close(*results)


@requires_compile
@pytest.mark.parametrize(
    "use",
    [
        lambda x: x + torch.zeros(x.shape, dtype=x.dtype),
        lambda x: x + x.new_ones(x.size()),
        lambda x: x * torch.full(x.shape, 2.0, dtype=x.dtype),
        lambda x: x + torch.zeros((), dtype=x.dtype, device=x.device).expand(x.shape),
        lambda x: x.view(x.shape) if x.is_floating_point() and isinstance(x.shape, torch.Size) else x,
    ],
)
def test_a_step_may_pass_a_whole_shape_on_to_pytorch(use):
    class Passing(geir.Dynamics[State]):
        def rest(self):
            return State(torch.zeros(()))

        def step(self, x, state):
            v = 0.5 * state.v + use(x)
            return v, State(v)

    model, xs = Passing(), torch.rand(6, 2, 3)
    torch.testing.assert_close(model(xs)[0], with_reference(model)(xs)[0])
    assert model._memo.program is not None, "it has no kernel"


def test_a_step_that_transposes_its_input_runs_on_the_reference_loop():
    class Transposing(geir.Dynamics[State]):
        def rest(self):
            return State(torch.zeros(()))

        def step(self, x, state):
            v = 0.5 * state.v + x + x.movedim(0, -1)
            return v, State(v)

    model, xs = Transposing(), torch.rand(6, 4, 4)
    with pytest.warns(RuntimeWarning, match="Transposing runs on the reference loop"):
        actual, _ = model(xs)
    torch.testing.assert_close(actual, with_reference(model)(xs)[0])
