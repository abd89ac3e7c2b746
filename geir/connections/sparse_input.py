"""Layers that exploit sparse input."""

import torch
from torch import nn, Tensor
from torch.nn import functional

from .._runtime import sparse


class SparseInputLinear(nn.Linear):
    """A drop-in replacement for `torch.nn.Linear` that reads only the weights of nonzero inputs.

    Arguments, parameter names, results and gradients are those of `torch.nn.Linear`. The gradient of
    the weights is computed the same way; so is that of the input, where the gradient of the output is
    sparse.

    The sparse product is used on the CPU, in float32 and float64, if at most a quarter of the inputs
    are nonzero, which is about where it takes as long as the dense product. Otherwise, and without a C
    compiler, and inside `torch.compile`, `torch.func` and autocast, the dense product is used. The
    weights are stored input by input, so that those of one input are contiguous.

    >>> SparseInputLinear(3, 2).state_dict().keys() == nn.Linear(3, 2).state_dict().keys()
    True
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(in_features, out_features, bias, device, dtype)
        self.weight.data = self.weight.data.t().contiguous().t()

    def forward(self, input: Tensor) -> Tensor:
        """Shape (..., in_features) to (..., out_features)."""
        return sparse.linear(input, self.weight, self.bias)


class SparseInputConv2d(nn.Conv2d):
    """A drop-in replacement for `torch.nn.Conv2d` that accumulates only the footprints of nonzero inputs.

    Arguments, parameter names, results and gradients are those of `torch.nn.Conv2d`. The gradient of
    the weights is computed the same way; the gradient of the input is dense.

    The sparse convolution is used on the CPU, in float32 and float64, if at most one in ten inputs is
    nonzero and each group has at least 4 output channels. Otherwise, and without a C compiler, for
    ``padding="same"`` that differs between the two sides, and inside `torch.compile`, `torch.func` and
    autocast, the dense convolution is used.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Shape (batch, in_channels, height, width) to (batch, out_channels, ...)."""
        padding = self.padding
        if self.padding_mode != "zeros":
            # As `torch.nn.Conv2d` does, with the padding that it computed when it was constructed.
            input = functional.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = (0, 0)
        return sparse.conv2d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
