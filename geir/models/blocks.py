"""Parts that several models share: convolutions with normalization, and residual connections."""

from torch import nn, Tensor

from ..containers import Network, SequentialState, StateThread
from .base import NormFactory


def conv_norm(
    in_channels: int, out_channels: int, kernel_size: int, norm: NormFactory, stride: int = 1, bias: bool = False
) -> list[nn.Module]:
    """A convolution that keeps height and width, divided by `stride`, and the normalization of its output."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=bias)
    return [conv, norm(out_channels)]


class Residual(Network):
    """Modules in sequence over time, whose output is added to their input.

    Args:
        *modules: The modules, with and without state; stateless ones are lifted.
        shortcut: Module whose output is added instead of the input.

    >>> import torch
    >>> from geir import LIF
    >>> Residual(nn.Linear(5, 5), LIF())(torch.ones(10, 2, 5))[0].shape
    torch.Size([10, 2, 5])
    """

    def __init__(self, *modules: nn.Module, shortcut: nn.Module | None = None):
        super().__init__()
        self.branch = SequentialState(*modules, lift=True)
        self.shortcut = nn.Identity() if shortcut is None else shortcut

    def forward_over_time(self, xs: Tensor, run: StateThread) -> Tensor:
        return run(xs, self.branch) + run(xs, self.shortcut)
