"""Run modules over time in chunks of steps whose results stay in the processor's cache.

The result of a convolution at all steps is larger than any cache, even if pooling reduces it right afterwards. On
Linux, the C library also returns large blocks of memory to the system when they are freed, so that every training step
waits for fresh ones.
"""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

import torch
from torch import nn, Tensor

from .._runtime.kernels import is_special
from .constant_input import apply_known, is_known, is_ordinary

# Smaller inputs are processed at once.
_MIN_BYTES = 1 << 22
# Approximate size of the largest result of a chunk.
_CHUNK_BYTES = 1 << 22
# The chunks' outputs are copied into one: it must be smaller than the largest result by this factor.
_MIN_REDUCTION = 2
# Or a view of it.
_RETURNS_INPUT = nn.Identity, nn.Flatten


class ResultSizes(NamedTuple):
    """Bytes of the results of a module."""

    largest: int  # of the parts of which it consists
    last: int


def is_large(xs: object) -> bool:
    """Whether chunks may be worth it."""
    return type(xs) is Tensor and xs.is_cpu and xs.nbytes >= _MIN_BYTES


def run_in_chunks(modules: Sequence[nn.Module], xs: Tensor) -> tuple[Tensor, int]:
    """Run the leading modules in chunks of time if the input is large and one of their results is larger than the last.

    Args:
        modules: Modules of one step, called one after the other.
        xs: Their input, shape (time, batch, ...).

    Returns:
        The output over time, and the number of modules that were run; the input and 0 if chunks are not worth it. Only
        modules that are known to treat every sample by itself are run (see `Lift`).
    """
    # A mode that counts operations would count those on the sample as well.
    if not (is_large(xs) and is_ordinary(xs) and xs.dim() > 2) or is_special():
        return xs, 0
    leading = list(takewhile(is_known, modules))
    parts = (part for module in leading for part in _parts(module))
    first = next((part for part in parts if not isinstance(part, _RETURNS_INPUT)), None)
    # If it writes into its input, it would write into one of several views, which autograd forbids.
    if first is None or getattr(first, "inplace", False):
        return xs, 0
    sizes = list(_result_sizes(leading, xs[0, :1].clone()))
    if not sizes:
        return xs, 0
    # Up to the smallest result.
    count = 1 + min(range(len(sizes)), key=lambda index: sizes[index].last)
    largest = max(size.largest for size in sizes[:count])
    if largest < _MIN_REDUCTION * sizes[count - 1].last:
        return xs, 0
    leading = leading[:count]
    # The gradients of the weights are summed over the chunks.
    weights = sum(parameter.nbytes for module in leading for parameter in module.parameters())
    steps = max(1, max(_CHUNK_BYTES, 2 * weights) // max(1, largest * xs.shape[1]))
    if steps >= len(xs):
        return xs, 0
    outputs = list[Tensor]()
    for chunk in xs.split(steps):
        y = chunk.flatten(0, 1)
        for module in leading:
            y = module(y)
        outputs.append(y)
    return torch.cat(outputs).unflatten(0, xs.shape[:2]), count


def _result_sizes(modules: Sequence[nn.Module], sample: Tensor) -> Iterator[ResultSizes]:
    """The sizes of the results of every module for one sample, up to the first that cannot process it."""
    for module in modules:
        sizes = list[int]()
        for part in _parts(module):
            result = apply_known(part, sample)
            if result is None:
                return
            sample = result
            sizes.append(result.nbytes)
        yield ResultSizes(max(sizes, default=sample.nbytes), sample.nbytes)


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """The modules of which a `torch.nn.Sequential` consists, however nested."""
    if isinstance(module, nn.Sequential):
        for child in module:
            yield from _parts(child)
    else:
        yield module
