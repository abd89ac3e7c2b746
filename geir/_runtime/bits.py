"""Tensors of zeros and ones as bits."""

import functools
from importlib.resources import files
from typing import NamedTuple

import torch
from torch import Tensor

from . import compiler, memory, threads

# The bits of the number 1.
ONES = {
    torch.float16: 0x3C00,
    torch.bfloat16: 0x3F80,
    torch.float32: 0x3F80_0000,
    torch.float64: 0x3FF0_0000_0000_0000,
}
# Numbers that a thread takes at a time, a multiple of 8.
_BLOCK = 1 << 15
_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


class Bits(NamedTuple):
    """A tensor whose numbers are 0 and 1."""

    packed: Tensor  # eight numbers in a byte
    shape: torch.Size
    strides: tuple[int, ...]
    dtype: torch.dtype


def pack(x: Tensor) -> Bits | None:
    """The bits of a tensor; None if it holds other numbers than 0 and 1, or if there is no function for it.

    Negative zeros count as other numbers.
    """
    if x.dtype not in ONES or not _is_dense(x) or x.is_neg() or (library := _library()) is None:
        return None
    packed = torch.empty(-(-x.numel() // 8), dtype=torch.uint8)
    other = torch.zeros(1, dtype=torch.int64)
    function = getattr(library, f"pack_{x.dtype.itemsize}")
    threads.call(function, [x, packed, other], [x.numel(), ONES[x.dtype]], _BLOCK, _threads(x))
    return None if other.item() else Bits(packed, x.shape, x.stride(), x.dtype)


def unpack(bits: Bits) -> Tensor:
    """The tensor of some bits, with the strides that it had."""
    like = torch.empty(0, dtype=bits.dtype)
    x = memory.empty((bits.shape.numel(),), like).as_strided(bits.shape, bits.strides)
    function = getattr(_library(), f"unpack_{bits.dtype.itemsize}")
    threads.call(function, [bits.packed, x], [x.numel(), ONES[bits.dtype]], _BLOCK, _threads(x))
    return x


@functools.cache
def _library():
    try:
        return compiler.load(files("geir._runtime").joinpath("bits.c").read_text())
    except compiler.NoCompilerError:
        return None


def _is_dense(x: Tensor) -> bool:
    """Whether the numbers fill a piece of memory without gaps."""
    if type(x) is not Tensor or not x.is_cpu or x.layout is not torch.strided or not x.numel() or not x.data_ptr():
        return False
    other = _FORMATS.get(x.dim())
    return x.is_contiguous() or (other is not None and x.is_contiguous(memory_format=other))


def _threads(x: Tensor) -> int:
    return 1 if x.numel() <= _BLOCK else torch.get_num_threads()
