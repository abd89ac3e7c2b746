"""Layers that skip silent inputs."""

from typing import Any

from torch import nn, Tensor
from torch.nn import functional

from .._runtime import sparse


class EventLinear(nn.Linear):
    """`torch.nn.Linear` that reads only the weights of the inputs that are not zero: with the same arguments, keys, results and gradients.

    So is the gradient of the weights; that of the input is dense. It does so on the CPU, in float32 and float64, where at most a quarter of
    the inputs are not zero: about there it takes as long as the dense product, which it calls otherwise, and without a C compiler, and inside
    `torch.compile`, `torch.func` and autocast. Its weights lie in memory input by input, so that those of an input are side by side.

    Args:
        *arguments: Those of `torch.nn.Linear`, and by name.

    >>> EventLinear(3, 2).state_dict().keys() == nn.Linear(3, 2).state_dict().keys()
    True
    """

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__(*arguments, **keywords)
        self.weight.data = self.weight.data.t().contiguous().t()

    def forward(self, input: Tensor) -> Tensor:
        """Shape (..., in_features) to (..., out_features)."""
        return sparse.linear(input, self.weight, self.bias)


class EventConv2d(nn.Conv2d):
    """`torch.nn.Conv2d` that adds up only the footprints of the inputs that are not zero: with the same arguments, keys, results and gradients.

    So is the gradient of the weights made; that of the input is dense. It does so on the CPU, in float32 and float64, where at most one in
    ten of the inputs is not zero and a group has at least 4 output channels. Else it calls the dense convolution, and without a C compiler,
    for ``padding="same"`` where that is not the same on both sides, and inside `torch.compile`, `torch.func` and autocast.

    Args:
        *arguments: Those of `torch.nn.Conv2d`, and by name.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Shape (batch, in_channels, height, width) to (batch, out_channels, ...)."""
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = (
                functional.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode),
                (0, 0),
            )
        return sparse.conv2d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
