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
# PyTorch transposes smaller matrices as fast.
_SMALL_MATRIX = 1 << 14
_SOURCE = _gate.Source(
    "linear.c",
    [
        Pointer("z", "const real", "(rows, inner), with any strides of which one is 1"),
        Pointer("weights", "const real", "(inner, width)"),
        Pointer("start", "const real", "(rows, width), or one row for all", optional=True),
        Pointer("out", "real", "(rows, width)"),
        Number("rows"),
        Number("inner"),
        Number("width"),
        Number("row_stride", "of z"),
        Number("inner_stride", "of z"),
        Number("start_stride", "0 if all rows share one"),
    ],
    block=_BLOCK,
)


def product(z: Tensor, weights: Tensor, start: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """``start + z @ weights`` for matrices, reading only the rows of `weights` that `z` needs if `z` is sparse.

    Args:
        z: Spikes, or other numbers many of which are zero.
        weights: Fastest if contiguous.
        start: A matrix, or one row for all rows.
        out: The result, contiguous. It may be `start`.
    """
    copied = not weights.is_contiguous() and len(z) < _ROWS_WORTH_A_COPY
    if not z.numel() or copied or not _is_sparse(z):
        return torch.mm(z, weights, out=out) if start is None else torch.addmm(start, z, weights, out=out)
    if 1 not in z.stride():
        z = z.contiguous()
    weights, start = transposed(weights.t()), None if start is None else start.contiguous()
    rows, inner = z.shape
    width = weights.shape[1]
    out = memory.empty([rows, width], z) if out is None else out
    count = _gate.count_threads(z.numel() * width)
    block = min(_BLOCK, max(1, rows // (2 * count)))
    row_stride, inner_stride = z.stride()
    values = {"z": z, "weights": weights, "start": start, "out": out, "rows": rows, "inner": inner, "width": width}
    strides = {
        "row_stride": row_stride,
        "inner_stride": inner_stride,
        "start_stride": 0 if start is None or start.dim() == 1 else width,
    }
    arguments = fill_structure(_SOURCE.structure, {**values, **strides}, strided=["z"])
    threads.run(_SOURCE.function("multiply", z.dtype), arguments, block, count)
    return out


def transposed(matrix: Tensor) -> Tensor:
    """``matrix.t().contiguous()``, but faster."""
    if not matrix.is_contiguous() or matrix.numel() < _SMALL_MATRIX or not _SOURCE.available(matrix):
        return matrix.t().contiguous()
    rows, inner = matrix.shape
    out = memory.empty([inner, rows], matrix)
    arguments = fill_structure(_SOURCE.structure, {"z": matrix, "out": out, "rows": rows, "inner": inner})
    count = torch.get_num_threads()
    threads.run(_SOURCE.function("transpose_rows", matrix.dtype), arguments, -(-rows // count // 16) * 16, count)
    return out


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
        return product(x.flatten(0, -2), weights.t(), bias).view(*x.shape[:-1], len(weights))

    @staticmethod
    @accept_batched_gradients
    def backward(ctx: Context, *grad_outputs: Untyped) -> Untyped:
        (grad,) = grad_outputs
        x, weights = ctx.saved_tensors
        needs_x, needs_weights, needs_bias = ctx.needs_input_grad
        # Only PyTorch's functions can be differentiated again.
        differentiable = torch.is_grad_enabled()
        multiply = torch.mm if differentiable else product
        # A gradient in another layout than its weights would be copied.
        transpose = torch.t if differentiable or weights.t().is_contiguous() else transposed
        rows = grad.flatten(0, -2)
        grad_x = multiply(rows, weights).view(x.shape) if needs_x else None
        grad_weights = transpose(multiply(x.flatten(0, -2).t(), rows)) if needs_weights else None
        return grad_x, grad_weights, rows.sum(0) if needs_bias else None
