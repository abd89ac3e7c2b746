"""Products with sparse connections."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from .. import threads
from ..arguments import fill_structure, Number, Pointer
from ..batched_gradients import accept_batched_gradients
from ..untyped import Context, Untyped
from . import _gate

# Rows that C processes at once.
_LANES = 16
_SOURCE = _gate.Source(
    "connect.c",
    [
        Pointer("x", "real", "(blocks, sources, LANES)"),
        Pointer("starts", "const int64_t", "(sources + 1), the first connection of each source, and their number"),
        Pointer("target", "const int32_t", "(connections)"),
        Pointer("weights", "real", "(connections)"),
        Pointer("y", "real", "(blocks, targets, LANES)"),
        Number("blocks", "of LANES rows"),
        Number("sources"),
        Number("targets"),
    ],
    lanes=_LANES,
)


def connect(x: Tensor, weights: Tensor, starts: Tensor, targets: Tensor, size: int) -> Tensor:
    """The input of `size` targets from sources `x`, shape (..., sources), through sparse connections; differentiable.

    Args:
        x: Output of the sources.
        weights: A weight for each connection, ordered by source.
        starts: The index of the first connection of each source, followed by the number of connections.
        targets: The target of each connection; two may connect the same neurons.
        size: Number of targets.
    """
    if x.dim() > 1 and _gate.is_concrete(x, weights) and _SOURCE.available(x):
        return cast(Tensor, _Connect.apply(x, weights, starts, targets, size))
    return functional.linear(x, dense(weights, starts, targets, size))


def dense(weights: Tensor, starts: Tensor, targets: Tensor, size: int) -> Tensor:
    """The matrix (targets, sources) of sparse connections; differentiable."""
    return weights.new_zeros(size, len(starts) - 1).index_put(
        (targets.long(), _sources(starts, targets)), weights, accumulate=True
    )


def _sources(starts: Tensor, targets: Tensor) -> Tensor:
    """The source of each connection."""
    sources = torch.arange(len(starts) - 1, device=starts.device)
    return torch.repeat_interleave(sources, starts.diff(), output_size=len(targets))


class _Connect(torch.autograd.Function):
    @staticmethod
    def forward(*args: Untyped, **_: Untyped) -> Untyped:
        ctx, x, weights, starts, targets, size = args
        ctx.save_for_backward(x, weights, starts, targets)
        ctx.size = size
        lanes = _to_lanes(x)
        sums = x.new_zeros(len(lanes), size, _LANES)
        _call("connect", lanes, starts, targets, weights, sums, items=len(lanes))
        return _from_lanes(sums, x.shape[:-1])

    @staticmethod
    @accept_batched_gradients
    def backward(ctx: Context, *grad_outputs: Untyped) -> Untyped:
        (grad,) = grad_outputs
        x, weights, starts, targets = ctx.saved_tensors
        needs_x, needs_weights, *_ = ctx.needs_input_grad
        if torch.is_grad_enabled():  # to be differentiated again, by PyTorch
            grad_x = grad @ dense(weights, starts, targets, ctx.size)
            outer = grad.flatten(0, -2).t() @ x.flatten(0, -2)
            return grad_x, outer[targets.long(), _sources(starts, targets)], None, None, None
        grad_lanes = _to_lanes(grad)
        grad_x = grad_weights = None
        if needs_x:
            lanes = x.new_empty(len(grad_lanes), x.shape[-1], _LANES)
            _call("connect_back", lanes, starts, targets, weights, grad_lanes, items=len(grad_lanes))
            grad_x = _from_lanes(lanes, x.shape[:-1])
        if needs_weights:
            grad_weights = torch.zeros_like(weights, memory_format=torch.contiguous_format)
            _call("connect_weights", _to_lanes(x), starts, targets, grad_weights, grad_lanes, items=x.shape[-1])
        return grad_x, grad_weights, None, None, None


def _call(function: str, x: Tensor, starts: Tensor, targets: Tensor, weights: Tensor, y: Tensor, items: int) -> None:
    """Call a function of connect.c, which distributes `items` over threads."""
    count = _gate.count_threads(len(targets) * len(x) * _LANES)
    values = {
        "x": x,
        "starts": starts,
        "target": targets.to(torch.int32),
        "weights": weights.contiguous(),
        "y": y,
        "blocks": len(x),
        "sources": x.shape[1],
        "targets": y.shape[1],
    }
    block = max(1, min(64, items // (4 * count)))
    threads.run(_SOURCE.function(function, y.dtype), fill_structure(_SOURCE.structure, values), block, count)


def _to_lanes(x: Tensor) -> Tensor:
    """(..., size) to (blocks, size, lanes), padded with zeros."""
    rows = x.reshape(-1, x.shape[-1])
    return functional.pad(rows, (0, 0, 0, -len(rows) % _LANES)).unflatten(0, (-1, _LANES)).transpose(1, 2).contiguous()


def _from_lanes(lanes: Tensor, shape: Sequence[int]) -> Tensor:
    return lanes.transpose(1, 2).flatten(0, 1)[: math.prod(shape)].reshape(*shape, -1)
