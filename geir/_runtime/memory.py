"""Memory for large results, kept for the next ones: the first touch of fresh memory takes longer than a whole run of neurons."""

import math
import mmap
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

# Smaller results are PyTorch's business; and how many bytes of what is free are kept.
SMALLEST, KEPT = 1 << 16, 1 << 30


class _Loan(weakref.ref):
    """Memory as long as it is lent."""

    memory: mmap.mmap


_free: list[mmap.mmap] = []
_loans: dict[int, _Loan] = {}


def empty(shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """An uninitialised contiguous tensor, on the device of another and by default of its dtype.

    On the CPU, if it is large, its memory comes from here and returns when nothing uses it any more.
    """
    dtype = dtype or like.dtype
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST or like.device.type != "cpu" or not hasattr(mmap, "MAP_PRIVATE"):
        return like.new_empty(shape, dtype=dtype)
    memory = _taken(size)
    # PyTorch keeps the view as long as a tensor needs the memory.
    view = memoryview(memory)
    loan = _Loan(view, _returned)
    _loans[id(loan)], loan.memory = loan, memory
    tensor = torch.frombuffer(view, dtype=dtype, count=math.prod(shape)).view(shape)
    if torch.are_deterministic_algorithms_enabled() and torch.utils.deterministic.fill_uninitialized_memory:  # pyright: ignore[reportAttributeAccessIssue]  (not in its stubs)
        tensor.fill_(
            torch.nan if dtype.is_floating_point else torch.iinfo(torch.uint8).max if dtype != torch.bool else True
        )
    return tensor


def empty_cache() -> None:
    """Give memory that is kept for later back to the system."""
    _free.clear()


def _taken(size: int) -> mmap.mmap:
    # The last that was returned may still be in a cache.
    fitting = [memory for memory in _free[::-1] if size <= len(memory) <= 1.25 * size]
    for memory in sorted(fitting, key=len):
        try:
            _free.remove(memory)
            return memory
        except ValueError:  # another thread was faster
            continue
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _returned(loan: _Loan) -> None:
    del _loans[id(loan)]
    _free.append(loan.memory)
    while sum(map(len, _free)) > KEPT:
        del _free[0]
