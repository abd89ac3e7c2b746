"""Matrix products with spikes."""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from .. import memory, threads
from ..arguments import fill_structure, Number, Pointer
from ..batched_gradients import accept_batched_gradients
from ..untyped import Context, Untyped
from . import _gate

# Rows that a thread takes at a time, at most: more of them share the weights that are in cache.
_BLOCK = 256
# With fewer rows, a copy of the weights takes longer than a sparse product saves.
_ROWS_WORTH_A_COPY = 256
_SOURCE = _gate.Source(
    "linear.c",
    [
        Pointer("z", "const real", "(rows, inner), with any strides of which one is 1"),
        Pointer("weights", "const real", "(inner, width)"),
        Pointer("out", "real", "(rows, width)"),
        Number("rows"),
        Number("inner"),
        Number("width"),
        Number("row_stride", "of z"),
        Number("inner_stride", "of z"),
    ],
    block=_BLOCK,
)


def add_product(z: Tensor, weights: Tensor, out: Tensor) -> None:
    """``out += z @ weights`` for matrices, reading only the rows of `weights` that `z` needs if `z` is sparse.

    `weights` and `out` must be contiguous.
    """
    if not _is_sparse(z):
        out.addmm_(z, weights)
        return
    if 1 not in z.stride():
        z = z.contiguous()
    rows, inner = z.shape
    width = weights.shape[1]
    count = _gate.count_threads(z.numel() * width)
    block = min(_BLOCK, max(1, rows // (2 * count)))
    row_stride, inner_stride = z.stride()
    values = {"z": z, "weights": weights, "out": out, "rows": rows, "inner": inner, "width": width}
    strides = {"row_stride": row_stride, "inner_stride": inner_stride}
    arguments = fill_structure(_SOURCE.structure, {**values, **strides}, strided=["z"])
    threads.run(_SOURCE.function("add_product", z.dtype), arguments, block, count)


def _is_sparse(z: Tensor) -> bool:
    return _gate.is_sparse(z, _gate.MAX_DENSITY) and _SOURCE.available(z)


def linear(x: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weights.T + bias``, differentiable, faster if `x` is sparse; fastest where ``weights.T`` is
    contiguous."""
    sparse = x.dim() >= 2 and _gate.is_concrete(x, weights) and _gate.is_sparse(x.flatten(0, -2), _gate.MAX_DENSITY)
    if not sparse:
        return functional.linear(x, weights, bias)
    return cast(Tensor, _Linear.apply(x, weights, bias))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(*args: Untyped, **_: Untyped) -> Untyped:
        ctx, x, weights, bias = args
        ctx.save_for_backward(x, weights)
        return _product(x.flatten(0, -2), weights.t(), bias).view(*x.shape[:-1], len(weights))

    @staticmethod
    @accept_batched_gradients
    def backward(ctx: Context, *grad_outputs: Untyped) -> Untyped:
        (grad,) = grad_outputs
        x, weights = ctx.saved_tensors
        needs_x, needs_weights, needs_bias = ctx.needs_input_grad
        # Only PyTorch's product can be differentiated again.
        product = torch.mm if torch.is_grad_enabled() else _product
        rows = grad.flatten(0, -2)
        grad_x = product(rows, weights).view(x.shape) if needs_x else None
        grad_weights = product(x.flatten(0, -2).t(), rows).t() if needs_weights else None
        return grad_x, grad_weights, rows.sum(0) if needs_bias else None


def _product(z: Tensor, weights: Tensor, start: Tensor | None = None) -> Tensor:
    copied = not weights.is_contiguous() and len(z) < _ROWS_WORTH_A_COPY
    if start is None and (copied or not _is_sparse(z)):
        return torch.mm(z, weights)
    out = memory.empty([len(z), weights.shape[1]], z)
    out.zero_() if start is None else out.copy_(start)
    add_product(z, weights.contiguous(), out)
    return out
