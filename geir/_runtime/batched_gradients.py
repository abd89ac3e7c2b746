"""Batched gradients: `torch.autograd.grad(..., is_grads_batched=True)` and `jacobian(..., vectorize=True)`.

They call the backward functions with tensors of PyTorch's older vmap. Such a tensor has no memory, its type and its
shape are those of one sample, and an autograd function cannot give a rule for it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor

from .untyped import Context, Untyped

# Private, but there is no other way to make such a tensor, or to look into it.
_untyped: Any = torch
_add_batch_dim, _remove_batch_dim = _untyped._add_batch_dim, _untyped._remove_batch_dim

Backward = Callable[..., Untyped]


def accept_batched_gradients(backward: Backward) -> Backward:
    """Decorate the backward function of an autograd function: a batch of gradients is taken one by one.

    So the results equal those of a loop to the bit.
    """

    @functools.wraps(backward)
    def backward_of_batch(ctx: Context, *gradients: Untyped) -> Untyped:
        # Compiled code has no such tensors, and the test cannot be compiled.
        if torch.compiler.is_compiling() or not any(map(_is_batched, gradients)):
            return backward(ctx, *gradients)
        level, batches = _unwrap(gradients)
        size = next(len(batch) for batch in batches if batch is not None)
        samples = [
            # Of nested batches only the innermost is unwrapped.
            backward_of_batch(ctx, *(g if b is None else b[k] for g, b in zip(gradients, batches, strict=True)))
            for k in range(size)
        ]
        return tuple(
            None if parts[0] is None else _add_batch_dim(torch.stack(parts), 0, level)
            for parts in zip(*samples, strict=True)
        )

    return backward_of_batch


def _is_batched(gradient: Tensor | None) -> bool:
    return gradient is not None and is_legacy_batchedtensor(gradient)


def _unwrap(gradients: Sequence[Tensor | None]) -> tuple[int, list[Tensor | None]]:
    """The level of the innermost batch, and the gradients that belong to it, with the batch first."""
    level = torch._C._vmapmode_increment_nesting()
    torch._C._vmapmode_decrement_nesting()
    while level := level - 1:
        batches: list[Tensor | None] = []
        for gradient in gradients:
            batch = None
            if gradient is not None and is_legacy_batchedtensor(gradient):
                # A tensor without a batch of this level is repeated as often as the third argument says.
                batch = _remove_batch_dim(gradient, level, 0, 0)
            batches.append(batch if batch is not None and len(batch) else None)
        if any(batch is not None for batch in batches):
            return level, batches
    raise ValueError("a batch of gradients must hold at least one, got none")
