"""Memory for large results, cached for reuse: the first touch of fresh memory takes longer than a whole run of
neurons.

A tensor made by `empty` lives in an anonymous memory map and holds a lease on it. PyTorch keeps the memoryview
that the tensor was made from for as long as any tensor, view or slice needs the memory, so the death of the
memoryview is the end of the lease; a weak reference to it notices and puts the map into the list of free ones.
Nothing is copied, and results that the user keeps are never overwritten.
"""

import ctypes
import math
import mmap
import sys
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

# Smaller results are left to PyTorch's allocator.
MIN_BYTES = 1 << 16
# At most this many bytes of free memory are cached.
MAX_CACHED_BYTES = 1 << 30
# A free map is reused for a result that fills at least 1 / 1.25 of it.
_MAX_WASTE = 1.25


class _Lease(weakref.ref[memoryview]):
    """The use of a memory map by a memoryview, which ends when the memoryview dies."""

    memory: mmap.mmap


# Options of glibc's `mallopt`.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4

_free: list[mmap.mmap] = []  # the last released comes last
_leases: dict[int, _Lease] = {}  # keeps the weak references alive, by their id


def empty(shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """An uninitialized contiguous tensor, on the device of another tensor and by default of its dtype.

    On the CPU, large tensors use cached memory, which returns to the cache when no tensor uses it.
    """
    dtype = dtype or like.dtype
    size = math.prod(shape) * dtype.itemsize
    if size < MIN_BYTES or like.device.type != "cpu" or not hasattr(mmap, "MAP_PRIVATE"):
        return like.new_empty(shape, dtype=dtype)
    memory = _acquire(size)
    view = memoryview(memory)
    lease = _Lease(view, _release)
    lease.memory = memory
    _leases[id(lease)] = lease
    # Not `.view(shape)`: autograd forbids in-place operations on a view that a custom function returns.
    storage = torch.frombuffer(view, dtype=dtype, count=math.prod(shape)).untyped_storage()
    tensor = torch.empty(0, dtype=dtype, device="cpu")
    tensor.set_(storage, 0, shape)  # pyright: ignore[reportCallIssue]  (stubs want strides)
    filled = torch.utils.deterministic.fill_uninitialized_memory  # pyright: ignore[reportAttributeAccessIssue]
    if filled and torch.are_deterministic_algorithms_enabled():
        tensor.fill_(_fill_value(dtype))
    return tensor


def _fill_value(dtype: torch.dtype) -> float:
    """The value with which PyTorch fills uninitialized memory in deterministic mode."""
    if dtype.is_floating_point:
        return math.nan
    return True if dtype == torch.bool else torch.iinfo(torch.uint8).max


def empty_cache() -> None:
    """Return cached memory to the system."""
    _free.clear()


def keep_freed_memory() -> bool:
    """Let the process keep the memory of freed tensors for later ones, on Linux.

    By default, the C library returns a large block to the system as soon as it is freed, and the system clears
    the next one page by page: that takes longer than a convolution over time needs for its arithmetic. Call this
    once at the beginning of a program that trains networks; the tasks of geir do. It concerns everything in the
    process, and cannot be undone: the process keeps what it needed at its peak, until it ends. That is why geir
    does not do it by itself. Memory on GPUs is PyTorch's and is kept anyway.

    Returns:
        Whether the C library does so now. It does not if it is another one than glibc, as on macOS and Windows.

    Reference: `mallopt(3)`, M_MMAP_MAX and M_TRIM_THRESHOLD.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):  # another library, whose options may differ
        return False
    # All memory comes from the heap, and the heap never shrinks.
    return bool(libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, -1))


def _acquire(size: int) -> mmap.mmap:
    """Free memory of a suitable size, or new memory."""
    # The most recently released first: it may still be in the processor's cache.
    fitting = [memory for memory in reversed(_free) if size <= len(memory) <= _MAX_WASTE * size]
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


def _release(lease: weakref.ref[memoryview]) -> None:
    """Put the memory of an ended lease into the cache, and free the memory released longest ago if there is too
    much."""
    assert isinstance(lease, _Lease)
    del _leases[id(lease)]
    _free.append(lease.memory)
    while sum(map(len, _free)) > MAX_CACHED_BYTES:
        del _free[0]
