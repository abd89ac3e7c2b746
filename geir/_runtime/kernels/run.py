"""A program over time, on the device where its input lies: memory for the kernels, and the loop around them where output feeds back."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import memory, sparse
from . import cpu, gpu


def _kernel(text: str, xs: Tensor, fixed: Sequence[Tensor], wanted: Sequence[bool], output: torch.dtype) -> Any:
    device = gpu if xs.is_cuda else cpu
    return device.kernel(text, tuple([t.numel() == 1 for t in fixed]), tuple(wanted), xs.dtype, output)


def forward(
    text: str,
    xs: Tensor,
    state: Tensor,
    fixed: Sequence[Tensor],
    feedback: Sequence[Tensor],
    every: int,
    output: torch.dtype,
    record: bool,
) -> list[Tensor]:
    """Run a program over time; see `geir._runtime.kernels.operation`."""
    found = _kernel(text, xs, fixed, [False] * len(fixed), output)
    steps, *shape = xs.shape
    zs = memory.empty(xs.shape, xs, output)
    after = memory.empty(state.shape, state)
    kept = memory.empty([-(-steps // every), *state.shape], state) if every else None
    recorded = memory.empty([len(state), *xs.shape], state) if record else None
    values, places = _laid_out(fixed, xs.shape[1:])
    results = [zs, after if recorded is None else recorded, *([] if kept is None else [kept])]
    pointers, numbers = (
        [zs, _contiguous(state), after, kept, recorded, *values],
        [steps, math.prod(shape), every or steps, *places],
    )
    if not feedback:
        found.forward([_contiguous(xs), *pointers], numbers)
        return results
    z, weights = feedback
    total = memory.empty(xs.shape, xs).copy_(xs)
    found.feed([total, *pointers, z.contiguous(), weights.t().contiguous()], [*numbers, len(weights)])
    return [*results, total]


def backward(
    text: str, xs: Tensor, dzs: Tensor, dstate: Tensor | None, kept: Tensor, fixed: Sequence[Tensor], wanted: Sequence[bool],
    feedback: Sequence[Tensor], every: int, record: bool,
) -> list[Tensor]:  # fmt: skip
    """The vector-Jacobian product of `forward`."""
    found = _kernel(text, xs, fixed, wanted, dzs.dtype)
    xs, shape, size = _contiguous(xs), xs.shape[1:], math.prod(xs.shape[1:])
    dxs, dstart = memory.empty(xs.shape, xs), memory.empty(kept.shape[1:], kept)
    dstate = None if dstate is None else _contiguous(dstate)
    last, recorded = (None, dstate) if record else (dstate, None)
    learned = memory.empty([sum(wanted), *shape], kept).zero_()
    values, places = _laid_out(fixed, shape)
    if not feedback:
        pointers = [xs, _contiguous(dzs), dxs, last, dstart, kept, recorded, learned, *values]
        found.backward(pointers, [len(xs), size, min(every, len(xs)), *places])
        return [dxs, dstart, *_reduced(learned, fixed, wanted)]
    z, weights, zs = feedback
    dz = torch.zeros_like(z)
    given, arrived, found_dxs = dzs.unbind(), xs.unbind(), dxs.unbind()
    for start in reversed(range(0, len(xs), every)):
        block = xs[start : start + every]
        states = forward(text, block, kept[start // every], fixed, [], 1, block.dtype, False)[2]
        for t in reversed(range(start, start + len(block))):
            note = None if recorded is None else recorded[:, t].contiguous()
            pointers = [
                arrived[t],
                dz.add_(given[t]),
                found_dxs[t],
                last,
                dstart,
                states[t - start],
                note,
                learned,
                *values,
            ]
            found.backward(pointers, [1, size, 1, *places])
            torch.mm(_rows(found_dxs[t]), weights, out=_rows(dz))
            last = dstart
    dweights = torch.zeros_like(weights, memory_format=torch.contiguous_format)
    sparse.add_product(_rows(zs[:-1]).t(), _rows(dxs[1:]), dweights)
    sparse.add_product(_rows(z).t(), _rows(dxs[0]), dweights)
    return [dxs, dstart, *_reduced(learned, fixed, wanted), dz, dweights.t()]


def _rows(t: Tensor) -> Tensor:
    return t.reshape(-1, t.shape[-1])


def _contiguous(t: Tensor) -> Tensor:
    return t if t.is_contiguous() else memory.empty(t.shape, t).copy_(t)


def _reduced(learned: Tensor, fixed: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor]:
    """Gradients for each neuron summed to the shapes of the fixed values that learn."""
    return [
        d.sum_to_size(t.shape)
        for d, t in zip(learned, (t for t, yes in zip(fixed, wanted, strict=True) if yes), strict=True)
    ]


def _laid_out(fixed: Sequence[Tensor], shape: torch.Size) -> tuple[list[Tensor], list[int]]:
    """Fixed tensors whose values repeat regularly over the neurons: as they are if they do, else one value for each neuron.

    Returns:
        The tensors, and for each its size and over how many neurons in a row each of its values holds.
    """
    values, places = [], []
    for t in fixed:
        inner = _inner(t.shape, shape) if t.dim() else 1
        values.append((t if inner else t.expand(shape)).contiguous())
        places += [values[-1].numel(), inner or 1]
    return values, places


@functools.lru_cache
def _inner(small: torch.Size, shape: torch.Size) -> int:
    """Over how many consecutive neurons a value of a tensor of shape `small` stays the same; 0 if it does not repeat regularly."""
    sizes = [1] * (len(shape) - len(small)) + list(small)
    used = [k for k, n in enumerate(sizes) if n > 1]
    if any(sizes[k] != shape[k] for k in range(min(used, default=0), max(used, default=-1) + 1)):
        return 0
    return math.prod(shape[max(used, default=-1) + 1 :])
