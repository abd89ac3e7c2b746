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
    return device.kernel(text, tuple(t.numel() == 1 for t in fixed), tuple(wanted), xs.dtype, output)


def forward(
    text: str, xs: Tensor, state: Sequence[Tensor], fixed: Sequence[Tensor], feedback: Sequence[Tensor], every: int, output: torch.dtype, record: bool
) -> list[Tensor]:
    """Run a program over time; see `geir.kernels.operation`."""
    found = _kernel(text, xs, fixed, [False] * len(fixed), output)
    steps, *shape = xs.shape
    zs = memory.empty(xs.shape, xs, output)
    last = [_own(part) for part in state]
    kept = [memory.empty([-(-steps // every), *shape], part) if every else None for part in last]
    recorded = [memory.empty(xs.shape, part) if record else None for part in last]
    values, places = _laid_out(fixed, xs.shape[1:])
    size = math.prod(shape)
    if not feedback:
        found.forward([_contiguous(xs), zs, *_interleaved(last, kept, recorded), *values], [steps, size, every or steps, *places])
        return _present([zs, *(recorded if record else last), *kept])
    z, weights = feedback
    total = memory.empty(xs.shape, xs).copy_(xs)
    pointers = [total, zs, *_interleaved(last, kept, recorded), *values, z.contiguous(), weights.t().contiguous()]
    found.feed(pointers, [steps, size, every, *places, len(weights)])
    return _present([zs, *(recorded if record else last), *kept, total])


def backward(
    text: str, xs: Tensor, dzs: Tensor, dstate: Sequence[Tensor], kept: Sequence[Tensor], fixed: Sequence[Tensor], wanted: Sequence[bool],
    feedback: Sequence[Tensor], every: int, record: bool,
) -> list[Tensor]:  # fmt: skip
    """The vector-Jacobian product of `forward`."""
    found = _kernel(text, xs, fixed, wanted, dzs.dtype)
    xs, shape, size = _contiguous(xs), xs.shape[1:], math.prod(xs.shape[1:])
    dxs = memory.empty(xs.shape, xs)
    gradients = [memory.empty(shape, d).zero_() if record else _own(d) for d in dstate]
    recorded = [_contiguous(d) if record else None for d in dstate]
    learned = [memory.empty(shape, t).zero_() for t, yes in zip(fixed, wanted, strict=True) if yes]
    values, places = _laid_out(fixed, shape)
    if not feedback:
        pointers = [xs, _contiguous(dzs), dxs, *_interleaved(gradients, kept, recorded), *values, *learned]
        found.backward(pointers, [len(xs), size, min(every, len(xs)), *places])
        return [dxs, *gradients, *_reduced(learned, fixed, wanted)]
    z, weights, zs = feedback
    dz = torch.zeros_like(z)
    given, arrived, found_dxs = dzs.unbind(), xs.unbind(), dxs.unbind()
    for start in reversed(range(0, len(xs), every)):
        block = xs[start : start + every]
        before = [part[start // every] for part in kept]
        _, *after = forward(text, block[:-1], before, fixed, [], 0, block.dtype, True)
        states = [[first, *part.unbind()] for first, part in zip(before, after, strict=True)]
        for t in reversed(range(start, start + len(block))):
            note = [part if part is None else part[t] for part in recorded]
            parts = _interleaved(gradients, [part[t - start] for part in states], note)
            found.backward([arrived[t], dz.add_(given[t]), found_dxs[t], *parts, *values, *learned], [1, size, 1, *places])
            torch.mm(_rows(found_dxs[t]), weights, out=_rows(dz))
    dweights = torch.zeros_like(weights, memory_format=torch.contiguous_format)
    sparse.add_product(_rows(zs[:-1]).t(), _rows(dxs[1:]), dweights)
    sparse.add_product(_rows(z).t(), _rows(dxs[0]), dweights)
    return [dxs, *gradients, *_reduced(learned, fixed, wanted), dz, dweights.t()]


def _rows(t: Tensor) -> Tensor:
    return t.reshape(-1, t.shape[-1])


def _own(part: Tensor) -> Tensor:
    return memory.empty(part.shape, part).copy_(part)


def _contiguous(t: Tensor) -> Tensor:
    return t if t.is_contiguous() else _own(t)


def _present(tensors: Sequence[Tensor | None]) -> list[Tensor]:
    return [t for t in tensors if t is not None]


def _interleaved(*lists: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The first of each list, then the second of each, ..."""
    return [t for part in zip(*lists, strict=True) for t in part]


def _reduced(learned: list[Tensor], fixed: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor]:
    """Gradients for each neuron summed to the shapes of the fixed values; empty tensors for those that are not wanted."""
    found = iter(learned)
    return [next(found).sum_to_size(t.shape) if yes else t.new_empty(0) for t, yes in zip(fixed, wanted, strict=True)]


def _laid_out(fixed: Sequence[Tensor], shape: torch.Size) -> tuple[list[Tensor], list[int]]:
    """Fixed tensors whose values repeat regularly over the neurons: as they are if they do, else one value for each neuron.

    Returns:
        The tensors, and for each its size and over how many neurons in a row each of its values holds.
    """
    inner = [_inner(t.shape, shape) for t in fixed]
    values = [(t if n else t.expand(shape)).contiguous() for t, n in zip(fixed, inner, strict=True)]
    return values, [number for t, n in zip(values, inner, strict=True) for number in (t.numel(), n or 1)]


@functools.lru_cache
def _inner(small: torch.Size, shape: torch.Size) -> int:
    """Over how many consecutive neurons a value of a tensor of shape `small` stays the same; 0 if it does not repeat regularly."""
    sizes = [1] * (len(shape) - len(small)) + list(small)
    used = [k for k, n in enumerate(sizes) if n > 1]
    if any(sizes[k] != shape[k] for k in range(min(used, default=0), max(used, default=-1) + 1)):
        return 0
    return math.prod(shape[max(used, default=-1) + 1 :])
