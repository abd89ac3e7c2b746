"""Backpropagation through time with less memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn, Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils import _pytree as pytree, checkpoint as torch_checkpoint

from .._runtime import bits
from .._util.validation import check_nested_state
from .lift import call_module, is_stateful

# Packing smaller tensors takes longer than it is worth.
_MIN_ITEMS = 1024


def detach(state: Any) -> Any:
    """The same state without its gradient history, for truncated backpropagation through time.

    Args:
        state: The state of a neuron, a wrapper or a container, however nested, or None.

    Returns:
        A state of the same structure whose tensors share their memory with the given one.

    Raises:
        TypeError: If `state` is no state, such as a model.

    >>> import geir
    >>> model = geir.SequentialState(nn.Linear(3, 4), geir.LIF(), lift=True)
    >>> _, state = model(torch.ones(5, 2, 3))
    >>> state[1].v.requires_grad, detach(state)[1].v.requires_grad
    (True, False)
    """
    check_nested_state("detach", state)
    return pytree.tree_map_only(Tensor, torch.detach, state)


def checkpoint(module: nn.Module, xs: Tensor, state: Any = None, *, steps: int | None = None) -> Any:
    """Run a module over time, and keep for the backward pass only its input and its states between chunks of time.

    The backward pass runs the module again, one chunk at a time, and so needs the memory of one chunk and the time of
    a third pass. With ``steps`` near the square root of the number of time steps the memory is smallest. Gradients
    are the same to the bit as those of running the module on the same chunks one after another; random numbers
    included, which are drawn again from the same state of the generator. Long chunks and short chunks differ in the
    order in which the gradients of weights are summed.

    A module that changes its buffers, such as `torch.nn.BatchNorm2d` in training mode, computes its statistics for
    each chunk, and updates its running averages in both passes.

    Args:
        module: The module: a neuron, a container, or a stateless module that runs over time.
        xs: Its input, shape (time, batch, ...).
        state: State to continue from. Default: the resting state.
        steps: Number of time steps in a chunk. Default: all.

    Returns:
        What the module returns: for a stateful module the output, shape (time, batch, ...), and the state after the
        last step; otherwise the output.

    Raises:
        ValueError: If `steps` is less than 1.

    Reference: T. Chen et al., *Training deep nets with sublinear memory cost*, 2016.

    >>> import geir
    >>> model = geir.SequentialState(nn.Linear(3, 4), geir.LIF(), lift=True)
    >>> ys, state = checkpoint(model, torch.ones(100, 2, 3), steps=10)
    >>> ys.shape
    torch.Size([100, 2, 4])
    """
    if steps is not None and steps < 1:
        raise ValueError(f"checkpoint expected steps >= 1, got {steps}.")
    outputs: list[Any] = []
    for chunk in xs.split(steps) if steps and len(xs) else [xs]:
        output, state = torch_checkpoint.checkpoint(call_module, module, chunk, state, use_reentrant=False)
        outputs.append(output)
        state = _without_views(state)
    joined = pytree.tree_map(lambda *chunks: torch.cat(chunks), *outputs) if len(outputs) > 1 else outputs[0]
    return (joined, state) if is_stateful(module) else joined


def _without_views(state: Any) -> Any:
    """The state without views of larger tensors, such as the last spikes in those of all steps, which it would keep."""
    size = sum(part.nbytes for part in pytree.tree_leaves(state) if isinstance(part, Tensor))
    return pytree.tree_map_only(Tensor, lambda x: x.clone() if x.untyped_storage().nbytes() > size else x, state)


@contextmanager
def compress_spikes() -> Iterator[None]:
    """Keep spikes for the backward pass as bits, as a context around the forward pass.

    Layers such as `torch.nn.Conv2d` and `torch.nn.Linear` keep their input for the gradient of their weights. Where it
    consists of zeros and ones, it is kept in 1/32 of its memory (of float32), and unpacked when its gradient is
    computed. Gradients are the same to the bit. Other tensors, and tensors on a GPU, are kept as they are.

    >>> import geir
    >>> model = geir.SequentialState(nn.Linear(3, 4), geir.LIF(), nn.Linear(4, 2), lift=True)
    >>> with compress_spikes():
    ...     ys, _ = model(torch.ones(100, 2, 3))
    >>> ys.sum().backward()
    """
    with saved_tensors_hooks(_pack, _unpack):
        yield


def _pack(tensor: Tensor) -> bits.Bits | tuple[Tensor, int]:
    packed = bits.pack(tensor.detach()) if tensor.numel() >= _MIN_ITEMS else None
    return packed or (tensor, tensor._version)


def _unpack(kept: bits.Bits | tuple[Tensor, int]) -> Tensor:
    if isinstance(kept, bits.Bits):
        return bits.unpack(kept)
    tensor, version = kept
    # With hooks, autograd does not check this itself.
    if tensor._version != version:
        raise RuntimeError(
            f"A tensor of shape {tuple(tensor.shape)} that the gradient needs was modified by an inplace operation: "
            f"it is at version {tensor._version}, expected version {version}. Replace the operation by one that is "
            "not in place."
        )
    return tensor
