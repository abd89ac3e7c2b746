"""Convolutions of sparse images."""

from collections.abc import Sequence
from typing import cast, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .. import memory, threads
from ..arguments import fill_structure, Number, Pointer
from ..batched_gradients import accept_batched_gradients
from ..untyped import Context, Untyped
from . import _gate

Pair = Sequence[int]

# With fewer outputs than this in a group, vectors are not filled, and the dense convolution is faster.
_MIN_GROUP_OUTPUTS = 4
_SOURCE = _gate.Source(
    "conv2d.c",
    [
        Pointer("image", "const real", "(samples, channels, height, width)"),
        Pointer(
            "weights",
            "real",
            "(channels, kernel_height, kernel_width reversed, outputs of a group), or one for each thread",
        ),
        Pointer("bias", "const real", "(out_channels)", optional=True),
        Pointer("output", "real", "(samples, out_channels, out_height, out_width), or its gradient"),
        Pointer("sums", "real", "memory for one sample of the output, for each thread"),
        *map(Number, ("samples", "channels", "height", "width", "out_channels", "out_height", "out_width")),
        *map(Number, ("kernel_height", "kernel_width", "stride_y", "stride_x", "pad_y", "pad_x")),
        *map(Number, ("dilation_y", "dilation_x", "groups")),
    ],
)


class Geometry(NamedTuple):
    """The settings of a convolution; all but `groups` for height and width."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


def conv2d(
    x: Tensor, weights: Tensor, bias: Tensor | None, stride: Pair, padding: Pair | str, dilation: Pair, groups: int
) -> Tensor:
    """`torch.nn.functional.conv2d`, faster if `x` is sparse; sizes are pairs."""
    pads = _symmetric_padding(padding, weights.shape[2:], dilation)
    suitable = x.dim() == 4 and _gate.is_concrete(x, weights) and len(weights) // groups >= _MIN_GROUP_OUTPUTS
    if pads is None or not suitable or not _gate.is_sparse(x, _gate.MAX_DENSITY_CONV2D) or not _SOURCE.available(x):
        given = padding if isinstance(padding, str) else tuple(padding)
        return functional.conv2d(x, weights, bias, tuple(stride), given, tuple(dilation), groups)
    geometry = Geometry(stride, pads, dilation, groups)
    return cast(Tensor, _Conv2d.apply(x, weights, bias, geometry))


def _symmetric_padding(padding: Pair | str, kernel: Pair, dilation: Pair) -> Pair | None:
    """Padding as numbers, or None if it differs between two sides."""
    if not isinstance(padding, str):
        return padding
    total = [d * (k - 1) if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
    return None if any(t % 2 for t in total) else [t // 2 for t in total]


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(*args: Untyped, **_: Untyped) -> Untyped:
        ctx, x, weights, bias, geometry = args
        ctx.save_for_backward(x, weights)
        ctx.geometry = geometry
        y = memory.empty(_output_shape(x, weights, geometry), x)
        _call("convolve", x, _to_scatter_layout(weights, geometry.groups)[None], bias, y, geometry)
        return y

    @staticmethod
    @accept_batched_gradients
    def backward(ctx: Context, *grad_outputs: Untyped) -> Untyped:
        (grad,) = grad_outputs
        x, weights = ctx.saved_tensors
        geometry: Geometry = ctx.geometry
        needs_x, needs_weights, needs_bias, _ = ctx.needs_input_grad
        # Only PyTorch's gradient can be differentiated again.
        use_sparse = needs_weights and not torch.is_grad_enabled()
        use_dense = needs_weights and not use_sparse
        grad_x = grad_weights = None
        if needs_x or use_dense:
            grad_x, grad_weights, _ = torch.ops.aten.convolution_backward(
                grad,
                x,
                weights,
                None,
                geometry.stride,
                geometry.padding,
                geometry.dilation,
                False,
                [0, 0],
                geometry.groups,
                [needs_x, use_dense, False],
            )
        if use_sparse:
            group_outputs = len(weights) // geometry.groups
            per_thread = weights.new_zeros(torch.get_num_threads(), x.shape[1], *weights.shape[2:], group_outputs)
            _call("convolve_weights", x, per_thread, None, grad, geometry)
            grad_weights = _from_scatter_layout(per_thread.sum(0), geometry.groups)
        return grad_x, grad_weights, grad.sum((0, 2, 3)) if needs_bias else None, None


def _output_shape(x: Tensor, weights: Tensor, geometry: Geometry) -> list[int]:
    stride, padding, dilation, _ = geometry
    sizes = zip(x.shape[2:], padding, dilation, weights.shape[2:], stride, strict=True)
    return [len(x), len(weights), *((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in sizes)]


def _call(function: str, x: Tensor, weights: Tensor, bias: Tensor | None, y: Tensor, geometry: Geometry) -> None:
    """Call a function of conv2d.c; `weights` are in its layout, one for each thread or one for all."""
    samples, channels, height, width = x.shape
    _, out_channels, out_height, out_width = y.shape
    kernel_height, kernel_width = weights.shape[2:4]
    multiplications = y.numel() * channels * kernel_height * kernel_width // geometry.groups
    count = min(_gate.count_threads(multiplications), samples, torch.get_num_threads())
    tensors = {
        "image": x.contiguous(),
        "weights": weights,
        "bias": None if bias is None else bias.contiguous(),
        "output": y.contiguous(),
        "sums": memory.empty([count, *y.shape[1:]], y),
    }
    numbers = {
        "samples": samples,
        "channels": channels,
        "height": height,
        "width": width,
        "out_channels": out_channels,
        "out_height": out_height,
        "out_width": out_width,
        "kernel_height": kernel_height,
        "kernel_width": kernel_width,
        "stride_y": geometry.stride[0],
        "stride_x": geometry.stride[1],
        "pad_y": geometry.padding[0],
        "pad_x": geometry.padding[1],
        "dilation_y": geometry.dilation[0],
        "dilation_x": geometry.dilation[1],
        "groups": geometry.groups,
    }
    arguments = fill_structure(_SOURCE.structure, {**tensors, **numbers})
    threads.run(_SOURCE.function(function, x.dtype), arguments, 1, count)


def _to_scatter_layout(weights: Tensor, groups: int) -> Tensor:
    """(outputs, inputs of a group, height, width) to (inputs, height, width reversed, outputs of a group)."""
    return weights.unflatten(0, (groups, -1)).permute(0, 2, 3, 4, 1).flatten(0, 1).flip(2).contiguous()


def _from_scatter_layout(weights: Tensor, groups: int) -> Tensor:
    return weights.flip(2).unflatten(0, (groups, -1)).permute(0, 4, 1, 2, 3).flatten(0, 1)
