"""Rounding with straight-through gradients."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn, Tensor
from torch.autograd.function import FunctionCtx


class _Replace(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(smooth: Tensor, exact: Tensor) -> Tensor:
        return exact.clone()

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def straight_through(smooth: Tensor, exact: Tensor) -> Tensor:
    """The value of `exact`, to the bit, with the gradient of `smooth`, of the same shape."""
    return cast(Tensor, _Replace.apply(smooth, exact.detach()))


def round_to_grid(values: Tensor, low: float, high: float, stochastic: bool = False) -> Tensor:
    """Round to integers and saturate; the gradient passes where a value is within the limits.

    Args:
        values: Real numbers.
        low: Lowest integer.
        high: Highest integer.
        stochastic: Whether to round up with a probability equal to the fractional part, so that the mean is kept.
    """
    inside = values.clamp(low, high)
    rounded = torch.floor(inside + torch.rand_like(inside)) if stochastic else torch.round(inside)
    return straight_through(inside, rounded.clamp(low, high))


def exact_step(smooth: Tensor, exact: Tensor) -> Tensor:
    """`straight_through` for the steps of neurons, whose kernels know arithmetic only.

    Both must be multiples of a power of two below 2^53 of these units, so that difference and sum are exact.
    """
    return smooth + (exact - smooth).detach()


def check_integers(module: nn.Module, names: Sequence[str]) -> None:
    """Raise `ValueError` if one of these parameters of a module has a value that is not an integer."""
    for name in names:
        values = getattr(module, name).detach()
        if values.is_meta:
            continue
        wrong = values[values != torch.round(values)]
        if wrong.numel():
            raise ValueError(
                f"{type(module).__name__}.{name} must be an integer, got {wrong.flatten()[0].item():g}; round it first."
            )
