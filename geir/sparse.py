"""Products with spikes, by way of those that are there."""

import ctypes
import functools
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from . import memory, native

# Below this share of firing neurons, gathering the rows of those that fire is faster than a matrix product; a thread takes so many rows at most.
SPARSE, _BLOCK = 0.25, 32


@functools.cache
def _library(dtype: torch.dtype) -> ctypes.CDLL | None:
    text = files("geir").joinpath("sparse.c").read_text()
    try:
        return native.load(text.replace("{{double}}", str(int(dtype == torch.float64))).replace("{{block}}", str(_BLOCK)))
    except native.NoCompilerError:
        return None


def add_product(z: Tensor, weights: Tensor, out: Tensor) -> None:
    """``out += z @ weights``, by way of the spikes in `z` if they are few. All are matrices, all but `z` contiguous."""
    if not _few(z) or (library := _library(z.dtype)) is None:
        out.addmm_(z, weights)
        return
    (rows, inner), width = z.shape, weights.shape[1]
    threads = 1 if z.numel() * width < 1 << 20 else torch.get_num_threads()
    block = min(_BLOCK, max(1, rows // (4 * threads)))
    native.call(library.add_product, [z, weights, out], [rows, inner, width, *z.stride()], block, threads)


def _few(z: Tensor) -> bool:
    """Whether few of the numbers in some of the rows are not zero."""
    if z.device.type != "cpu" or z.dtype not in (torch.float32, torch.float64):
        return False
    some = z[:: max(1, len(z) // 32)]
    return some.count_nonzero().item() <= SPARSE * some.numel()


def _product(z: Tensor, weights: Tensor) -> Tensor:
    out = memory.empty([len(z), weights.shape[1]], z).zero_()
    add_product(z, weights.contiguous(), out)
    return out


def linear(x: Tensor, weights: Tensor) -> Tensor:
    """``x @ weights.T``, differentiable, by way of the spikes in `x` if they are few."""
    special = torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore[reportAttributeAccessIssue]  (not in its stubs)
    special = special or torch._C._len_torch_dispatch_stack() > 0 or type(x) is not Tensor  # such as fake tensors, whose data nobody can look at
    special = special or torch.is_autocast_enabled("cpu") or torch.autograd.forward_ad._current_level >= 0
    if special or x.dim() < 2 or not x.numel() or x.dtype != weights.dtype or not _few(x.flatten(0, -2)):
        return functional.linear(x, weights)
    return _Linear.apply(x, weights)  # pyright: ignore[reportReturnType]


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x, weights)
        return _product(x.flatten(0, -2), weights.t()).view(*x.shape[:-1], len(weights))

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x, weights), (of_x, of_weights) = ctx.saved_tensors, ctx.needs_input_grad
        # What is to be differentiated again must be PyTorch's.
        product = torch.mm if torch.is_grad_enabled() else _product
        return d @ weights if of_x else None, product(x.flatten(0, -2).t(), d.flatten(0, -2)).t() if of_weights else None
