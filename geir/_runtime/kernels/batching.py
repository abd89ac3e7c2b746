"""The rules of `torch.vmap` for a run: a batch is one more dimension of samples, or it is run sample by sample."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..untyped import Untyped
from .plan import BackwardTensors, Outcome, Plan, Tensors

# A dimension that holds the batch, or None for a tensor that all samples share.
Dim = int | None


def map_run(
    apply: Callable[..., Untyped], batch_size: int, in_dims: Sequence[Untyped], plan: Plan, *flat: Tensor
) -> tuple[Untyped, Untyped]:
    """Run a batch: the results, flat, and their batch dimensions."""
    tensors, dims = Tensors.unflatten(plan, flat), Tensors[Dim].unflatten(plan, in_dims[1:])
    if dims.feedback is not None and any(dim is not None for dim in dims.feedback.flatten()[1:]):
        return _map_one_by_one(apply, batch_size, in_dims[1:], plan, flat)
    feedback = tensors.feedback
    if feedback is not None and dims.feedback is not None:
        # z is one step, (...), and the batch comes first; with sparse connections it is several, (past, ...).
        feedback = feedback._replace(z=_move_batch(feedback.z, dims.feedback.z, int(plan.sparse), batch_size))
    # xs (time, ...) and state (parts, ...): the batch follows time or parts, or receptors.
    state = _move_batch(tensors.state, dims.state, 1, batch_size)
    place = _place_in_input(tensors.xs, dims.xs, state.dim() - 2)
    xs = _move_batch(tensors.xs, dims.xs, place, batch_size)
    constants = [_align_constant(t, d, state.dim() - 1) for t, d in zip(tensors.constants, dims.constants, strict=True)]
    results = apply(plan, *Tensors(xs, state, feedback, constants).flatten())
    out_dims = Outcome(
        zs=1,  # (time, batch, ...)
        state=2 if plan.record else 1,  # (parts, time, batch, ...) or (parts, batch, ...)
        checkpoints=2 if plan.checkpoint_every else None,  # (chunks, parts, batch, ...)
        inputs=1 if plan.keeps_inputs else None,  # (time, batch, ...)
    )
    return results, out_dims.flatten()


def map_backward(
    apply: Callable[..., Untyped], batch_size: int, in_dims: Sequence[Untyped], plan: Plan, *flat: Tensor | None
) -> tuple[Untyped, Untyped]:
    """Run the backward pass of a batch: the gradients, flat, and their batch dimensions."""
    if plan.recurrent:  # each sample has a gradient of the weights
        return _map_one_by_one(apply, batch_size, in_dims[1:], plan, flat)
    tensors, dims = BackwardTensors.unflatten(plan, flat), BackwardTensors.unflatten(plan, in_dims[1:])
    # The layouts of `map_run`.
    grad_zs = _move_batch(tensors.grad_zs, dims.grad_zs, 1, batch_size)
    place = _place_in_input(tensors.xs, dims.xs, grad_zs.dim() - 2)
    xs = _move_batch(tensors.xs, dims.xs, place, batch_size)
    grad_state = tensors.grad_state
    if grad_state is not None:
        grad_state = _move_batch(grad_state, dims.grad_state, 2 if plan.record else 1, batch_size)
    checkpoints = _move_batch(tensors.checkpoints, dims.checkpoints, 2, batch_size)
    # Under vmap, every sample has a gradient of a constant that all share; so the constant is repeated for
    # every sample, its batch first.
    constants: list[Tensor] = []
    shapes: list[torch.Size] = []
    for constant, dim, needed in zip(tensors.constants, dims.constants, plan.needs_grad, strict=True):
        if needed:
            repeated = _move_batch(constant, dim, 0, batch_size)
            shapes.append(repeated.shape)
            constants.append(_align_constant(repeated, 0, grad_zs.dim() - 1).contiguous())
        else:
            constants.append(_align_constant(constant, dim, grad_zs.dim() - 1).contiguous())
    batched = BackwardTensors(xs, grad_zs, grad_state, checkpoints, None, constants)
    grad_xs, grad_initial_state, *grads = apply(plan, *batched.flatten())
    # The gradients of xs and state as in `map_run`, those of constants with the batch first.
    results = (grad_xs, grad_initial_state, *(grad.reshape(shape) for grad, shape in zip(grads, shapes, strict=True)))
    return results, (place, 1, *[0] * len(grads))


def _place_in_input(xs: Tensor, dim: Dim, step_dims: int) -> int:
    """Where the input (time, ...) or (time, receptors, ...) has the batch, given the dimensions of a step without."""
    return xs.dim() - (dim is not None) - step_dims


def _map_one_by_one(
    apply: Callable[..., Untyped], batch_size: int, dims: Sequence[Dim], plan: Plan, flat: Sequence[Tensor | None]
) -> tuple[Untyped, Untyped]:
    """Run a batch sample by sample, where the samples share neither the weights nor their gradient."""
    samples = [
        apply(plan, *(t if t is None or dim is None else t.select(dim, k) for t, dim in zip(flat, dims, strict=True)))
        for k in range(batch_size)
    ]
    return tuple(torch.stack(results) for results in zip(*samples, strict=True)), (0,) * len(samples[0])


def _move_batch(tensor: Tensor, dim: Dim, to: int, batch_size: int) -> Tensor:
    """The tensor with the batch at dimension `to`, repeated for every sample if it has none."""
    if dim is not None:
        return tensor.movedim(dim, to)
    return tensor.unsqueeze(to).expand(*tensor.shape[:to], batch_size, *tensor.shape[to:])


def _align_constant(constant: Tensor, dim: Dim, dims: int) -> Tensor:
    """A constant with the batch in front of the dimensions of a step, if it has a batch.

    Args:
        constant: The constant, broadcastable to a step once its batch is removed.
        dim: Its batch dimension, or None.
        dims: Number of dimensions of a step, with the batch.
    """
    if dim is None:
        return constant
    constant = constant.movedim(dim, 0)
    return constant.reshape(len(constant), *[1] * (dims - constant.dim()), *constant.shape[1:])
