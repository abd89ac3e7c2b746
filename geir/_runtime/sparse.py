"""Products with spikes, by way of those that are there, and with connections, by way of those that are there."""

import ctypes
import functools
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from . import compiler, memory, threads as native

# Below these shares of firing neurons, reading only the weights of those that fire is faster than a matrix product or a convolution.
SPARSE, SPARSE_IMAGE = 0.25, 0.1
# How many rows a thread takes at most, and how many it works on at once.
_BLOCK, _LANES = 32, 16


@functools.cache
def _library(dtype: torch.dtype) -> ctypes.CDLL | None:
    text = files("geir._runtime").joinpath("sparse.c").read_text()
    for name, value in (("double", int(dtype == torch.float64)), ("block", _BLOCK), ("lanes", _LANES)):
        text = text.replace("{{" + name + "}}", str(value))
    try:
        return compiler.load(text)
    except compiler.NoCompilerError:
        return None


def _threads(operations: int) -> int:
    return 1 if operations < 1 << 20 else torch.get_num_threads()


def add_product(z: Tensor, weights: Tensor, out: Tensor) -> None:
    """``out += z @ weights``, by way of the spikes in `z` if they are few. All are matrices, all but `z` contiguous."""
    if not _few(z) or (library := _library(z.dtype)) is None:
        out.addmm_(z, weights)
        return
    (rows, inner), width = z.shape, weights.shape[1]
    threads = _threads(z.numel() * width)
    block = min(_BLOCK, max(1, rows // (4 * threads)))
    native.call(library.add_product, [z, weights, out], [rows, inner, width, *z.stride()], block, threads)


def _few(z: Tensor, share: float | None = None) -> bool:
    """Whether few of the numbers in some of the rows are not zero."""
    if z.device.type != "cpu" or z.dtype not in (torch.float32, torch.float64):
        return False
    some = z[:: max(1, len(z) // 32)]
    return some.count_nonzero().item() <= (SPARSE if share is None else share) * some.numel()


def _plain(x: Tensor, weights: Tensor) -> bool:
    """Whether these are numbers in memory that C can read: nothing traced, transformed, cast or differentiated forward."""
    special = torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore[reportAttributeAccessIssue]  (not in its stubs)
    special = (
        special or torch._C._len_torch_dispatch_stack() > 0 or type(x) is not Tensor
    )  # such as fake tensors, whose data nobody can look at
    special = special or torch.is_autocast_enabled("cpu") or torch.autograd.forward_ad._current_level >= 0
    return not special and x.numel() > 0 and x.dtype == weights.dtype and x.device == weights.device


def _product(z: Tensor, weights: Tensor, start: Tensor | None = None) -> Tensor:
    out = memory.empty([len(z), weights.shape[1]], z)
    out.zero_() if start is None else out.copy_(start)
    add_product(z, weights.contiguous(), out)
    return out


def linear(x: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weights.T + bias``, differentiable, by way of the spikes in `x` if they are few; fastest where ``weights.T`` is contiguous."""
    if x.dim() < 2 or not _plain(x, weights) or not _few(x.flatten(0, -2)):
        return functional.linear(x, weights, bias)
    return _Linear.apply(x, weights, bias)  # pyright: ignore[reportReturnType]


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x, weights)
        return _product(x.flatten(0, -2), weights.t(), bias).view(*x.shape[:-1], len(weights))

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x, weights), (of_x, of_weights, of_bias) = ctx.saved_tensors, ctx.needs_input_grad
        # What is to be differentiated again must be PyTorch's.
        product = torch.mm if torch.is_grad_enabled() else _product
        rows = d.flatten(0, -2)
        dweights = product(x.flatten(0, -2).t(), rows).t() if of_weights else None
        return d @ weights if of_x else None, dweights, rows.sum(0) if of_bias else None


Pair = Sequence[int]


def conv2d(
    x: Tensor, weights: Tensor, bias: Tensor | None, stride: Pair, padding: Pair | str, dilation: Pair, groups: int
) -> Tensor:
    """`torch.nn.functional.conv2d`, by way of the spikes in `x` if they are few; sizes are pairs."""
    edges = _edges(padding, weights.shape[2:], dilation)
    # Fewer outputs a group than fill a vector leave nothing to win.
    if (
        x.dim() != 4
        or edges is None
        or not _plain(x, weights)
        or len(weights) // groups < 4
        or not _few(x, SPARSE_IMAGE)
        or not _library(x.dtype)
    ):
        return functional.conv2d(
            x,
            weights,
            bias,
            tuple(stride),
            padding if isinstance(padding, str) else tuple(padding),
            tuple(dilation),
            groups,
        )
    return _Conv2d.apply(x, weights, bias, stride, edges, dilation, groups)  # pyright: ignore[reportReturnType]


def _edges(padding: Pair | str, kernel: Pair, dilation: Pair) -> Pair | None:
    """Padding as numbers, if it is the same on both sides."""
    if not isinstance(padding, str):
        return padding
    total = [d * (k - 1) if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
    return None if any(t % 2 for t in total) else [t // 2 for t in total]


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, bias: Tensor | None, *setting: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x, weights)
        ctx.setting = setting
        y = memory.empty(_shape(x, weights, *setting), x)
        _convolve("convolve", x, _to_spread(weights, setting[-1])[None], bias, y, setting)
        return y

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x, weights), (stride, padding, dilation, groups) = ctx.saved_tensors, ctx.setting
        of_x, of_weights, of_bias, *_ = ctx.needs_input_grad
        # What is to be differentiated again must be PyTorch's.
        ours = of_weights and not torch.is_grad_enabled()
        dx = dweights = None
        if of_x or (of_weights and not ours):
            asked = [of_x, of_weights and not ours, False]
            dx, dweights, _ = torch.ops.aten.convolution_backward(
                d, x, weights, None, stride, padding, dilation, False, [0, 0], groups, asked
            )
        if ours:
            each = weights.new_zeros(torch.get_num_threads(), x.shape[1], *weights.shape[2:], len(weights) // groups)
            _convolve("convolve_weights", x, each, None, d, ctx.setting)
            dweights = _from_spread(each.sum(0), groups)
        return dx, dweights, d.sum((0, 2, 3)) if of_bias else None, None, None, None, None


def _shape(x: Tensor, weights: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> list[int]:
    sizes = zip(x.shape[2:], padding, dilation, weights.shape[2:], stride, strict=True)
    return [len(x), len(weights), *((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in sizes)]


def _convolve(function: str, x: Tensor, spread: Tensor, bias: Tensor | None, y: Tensor, setting: Any) -> None:
    stride, padding, dilation, groups = setting
    height, width = spread.shape[2:4]
    threads = min(_threads(y.numel() * x.shape[1] * height * width // groups), len(x), torch.get_num_threads())
    room, taken = memory.empty([threads, *y.shape[1:]], y), torch.zeros(1, dtype=torch.int64)
    pointers = [x.contiguous(), spread, None if bias is None else bias.contiguous(), y.contiguous(), room, taken]
    numbers = [*x.shape, *y.shape[1:], height, width, *stride, *padding, *dilation, groups]
    native.call(getattr(_loaded(x.dtype), function), pointers, numbers, 1, threads)


def _to_spread(weights: Tensor, groups: int) -> Tensor:
    """(outputs, inputs of a group, height, width) to (inputs, height, width reversed, outputs of a group)."""
    return weights.unflatten(0, (groups, -1)).permute(0, 2, 3, 4, 1).flatten(0, 1).flip(2).contiguous()


def _from_spread(spread: Tensor, groups: int) -> Tensor:
    return spread.flip(2).unflatten(0, (groups, -1)).permute(0, 4, 1, 2, 3).flatten(0, 1)


def _loaded(dtype: torch.dtype) -> ctypes.CDLL:
    library = _library(dtype)
    assert library is not None
    return library


def connect(x: Tensor, weights: Tensor, starts: Tensor, targets: Tensor, size: int) -> Tensor:
    """The sums that sparse connections bring from `x`, shape (..., sources), to `size` targets; differentiable.

    Args:
        x: What the sources send.
        weights: One for each connection, ordered by source.
        starts: Which connection is the first of each source; and how many there are in all.
        targets: The target of each connection.
        size: Number of targets.
    """
    if (
        x.dim() > 1
        and _plain(x, weights)
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and _library(x.dtype)
    ):
        return _Connect.apply(x, weights, starts, targets, size)  # pyright: ignore[reportReturnType]
    return functional.linear(x, dense(weights, starts, targets, size))


def dense(weights: Tensor, starts: Tensor, targets: Tensor, size: int) -> Tensor:
    """The matrix (targets, sources) of sparse connections; differentiable."""
    return weights.new_zeros(size, len(starts) - 1).index_put((targets, _sources(starts, targets)), weights)


def _sources(starts: Tensor, targets: Tensor) -> Tensor:
    """The source of each connection."""
    return torch.repeat_interleave(
        torch.arange(len(starts) - 1, device=starts.device), starts.diff(), output_size=len(targets)
    )


class _Connect(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, starts: Tensor, targets: Tensor, size: int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x, weights, starts, targets)
        ctx.size = size
        arriving = _in_lanes(x)
        sums = x.new_zeros(len(arriving), size, _LANES)
        _connect("connect", arriving, starts, targets, weights, sums, over=len(arriving))
        return _out_of_lanes(sums, x.shape[:-1])

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weights, starts, targets = ctx.saved_tensors
        of_x, of_weights, *_ = ctx.needs_input_grad
        if torch.is_grad_enabled():  # to be differentiated again
            dx, outer = d @ dense(weights, starts, targets, ctx.size), d.flatten(0, -2).t() @ x.flatten(0, -2)
            return dx, outer[targets, _sources(starts, targets)], None, None, None
        arrived, dx, dweights = _in_lanes(d), None, None
        if of_x:
            lanes = x.new_empty(len(arrived), x.shape[-1], _LANES)
            _connect("connect_back", lanes, starts, targets, weights, arrived, over=len(arrived))
            dx = _out_of_lanes(lanes, x.shape[:-1])
        if of_weights:
            dweights = torch.zeros_like(weights, memory_format=torch.contiguous_format)
            _connect("connect_weights", _in_lanes(x), starts, targets, dweights, arrived, over=x.shape[-1])
        return dx, dweights, None, None, None


def _connect(
    function: str, sources: Tensor, starts: Tensor, targets: Tensor, weights: Tensor, sums: Tensor, over: int
) -> None:
    threads = _threads(len(targets) * len(sources) * _LANES)
    sizes = [len(sources), sources.shape[1], sums.shape[1]]
    pointers = [sources, starts, targets, weights.contiguous(), sums]
    native.call(
        getattr(_loaded(sums.dtype), function), pointers, sizes, max(1, min(64, over // (4 * threads))), threads
    )


def _in_lanes(x: Tensor) -> Tensor:
    """(..., size) to (blocks, size, lanes), filled up with zeros."""
    rows = x.reshape(-1, x.shape[-1])
    return functional.pad(rows, (0, 0, 0, -len(rows) % _LANES)).unflatten(0, (-1, _LANES)).transpose(1, 2).contiguous()


def _out_of_lanes(lanes: Tensor, shape: Sequence[int]) -> Tensor:
    return lanes.transpose(1, 2).flatten(0, 1)[: math.prod(shape)].reshape(*shape, -1)
