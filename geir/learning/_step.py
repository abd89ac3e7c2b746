"""One step of a linear connection and its neurons, with eligibility traces, as a differentiable function."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import einsum, nn, Tensor
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_unflatten, TreeSpec

from ..core.neuron import Dynamics


class _Pure(nn.Module):
    """The step, or the initial state, of a neuron as a module, so that `functional_call` can replace parameters."""

    def __init__(self, neuron: Dynamics, spec: TreeSpec | None):
        super().__init__()
        self.neuron = neuron
        self.spec = spec

    def forward(self, x: Tensor, *parts: Tensor) -> list[Tensor]:
        if self.spec is None:
            return tree_leaves(self.neuron.initial_state(x))
        z, after = self.neuron.step(x, tree_unflatten(parts, self.spec), *self.neuron.prepare())
        return [z, *tree_leaves(after)]


def linearize(
    neuron: Dynamics, spec: TreeSpec | None, inputs: Sequence[Tensor], parameters: Sequence[Tensor]
) -> tuple[list[Tensor], Tensor]:
    """The outputs of a step and their derivatives, shape (outputs, inputs and parameters, ...).

    The step is elementwise, so the derivative of a sum over neurons holds the derivative of every neuron. For that,
    parameters are expanded to one value per neuron and sample.
    """
    shape = inputs[0].shape
    names = [f"neuron.{name}" for name, _ in neuron.named_parameters()]
    with torch.enable_grad():
        wide = [p.detach().expand(shape).clone().requires_grad_() for p in parameters]
        sources = [t.detach().clone().requires_grad_() for t in inputs]
        replaced = dict(zip(names, wide, strict=True))
        results = functional_call(_Pure(neuron, spec), replaced, tuple(sources))
        sources += wide
        rows = [torch.stack(_derivatives(result, sources)) for result in results]
    return [result.detach().clone() for result in results], torch.stack(rows)


def _derivatives(result: Tensor, sources: list[Tensor]) -> list[Tensor]:
    if not result.requires_grad:
        return [torch.zeros_like(source) for source in sources]
    ones = torch.ones_like(result)
    return list(torch.autograd.grad(result, sources, ones, retain_graph=True, materialize_grads=True))


class OnlineStep(torch.autograd.Function):
    """Forward: a step and its traces. Backward: this step's online gradient; nothing passes back in time."""

    @staticmethod
    # `ctx` is what autograd makes of it, and `apply` takes any arguments.
    def forward(ctx: Any, neuron: Dynamics, spec: TreeSpec, temporal: bool, x: Tensor, weight: Tensor, *rest: Tensor):
        count = spec.num_leaves
        parts, (eps, eps_p), parameters = rest[:count], rest[count : count + 2], rest[count + 2 :]
        (z, *after), slopes = linearize(neuron, spec, [x @ weight.T, *parts], parameters)
        by_input, by_state, by_parameter = slopes[:, 0], slopes[:, 1 : 1 + count], slopes[:, 1 + count :]
        drive = x[..., None, :]
        e = einsum("k...n,k...ni->...ni", by_state[0], eps) + by_input[0][..., None] * drive
        e_p = einsum("k...n,pk...n->p...n", by_state[0], eps_p) + by_parameter[0]
        if temporal:
            eps = einsum("lk...n,k...ni->l...ni", by_state[1:], eps) + by_input[1:][..., None] * drive
            eps_p = einsum("lk...n,pk...n->pl...n", by_state[1:], eps_p) + by_parameter[1:].transpose(0, 1)
        else:
            eps, eps_p = eps.clone(), eps_p.clone()
        ctx.save_for_backward(e, e_p, by_input[0], weight)
        ctx.shapes, ctx.count = [p.shape for p in parameters], count
        ctx.mark_non_differentiable(*after, eps, eps_p)
        return z, *after, eps, eps_p

    @staticmethod
    def backward(ctx: Any, signal: Tensor, *_: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        e, e_p, slope, weight = ctx.saved_tensors
        own = [(signal * one).sum_to_size(shape) for one, shape in zip(e_p, ctx.shapes, strict=True)]
        gradient = (signal[..., None] * e).flatten(0, -3).sum(0)
        return None, None, None, (signal * slope) @ weight, gradient, *[None] * (ctx.count + 2), *own
