"""The kinds of layers that can be converted, and what to do about others."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import nn, Tensor
from torch.nn import functional

from ..core.neuron import Dynamics
from .activations import QCFS

# Kinds of layers. Each is linear in its input, apart from the activations.
CONNECTIONS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
ACTIVATIONS = (nn.ReLU, nn.ReLU6, QCFS)
POOLS = (
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
IGNORED = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)

# Modules that cannot be converted, and what to do instead.
_TRAIN_AGAIN = "and train again"
CURES: tuple[tuple[tuple[type[nn.Module], ...], str], ...] = (
    (
        (
            nn.MaxPool1d,
            nn.MaxPool2d,
            nn.MaxPool3d,
            nn.AdaptiveMaxPool1d,
            nn.AdaptiveMaxPool2d,
            nn.AdaptiveMaxPool3d,
        ),
        f"the maximum of spikes is not the maximum of rates; use average pooling {_TRAIN_AGAIN}",
    ),
    ((nn.Softmax, nn.LogSoftmax, nn.Softmax2d), "remove it from the model and apply it to the converted output"),
    (
        (
            nn.LayerNorm,
            nn.GroupNorm,
            nn.RMSNorm,
            nn.InstanceNorm1d,
            nn.InstanceNorm2d,
            nn.InstanceNorm3d,
        ),
        f"it depends on the input; use batch normalization, which is folded into weights, {_TRAIN_AGAIN}",
    ),
    (
        (
            nn.LeakyReLU,
            nn.PReLU,
            nn.ELU,
            nn.CELU,
            nn.SELU,
            nn.GELU,
            nn.SiLU,
            nn.Mish,
            nn.Hardswish,
            nn.Sigmoid,
            nn.Hardsigmoid,
            nn.Tanh,
            nn.Hardtanh,
            nn.Softplus,
            nn.Softsign,
        ),
        f"rates of spikes follow a ReLU only; use torch.nn.ReLU or geir.hardware.QCFS {_TRAIN_AGAIN}",
    ),
    ((Dynamics,), "it has a state already; convert a network without time"),
)


class Add(nn.Module):
    """The sum of two inputs."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Add."""
        return x + y


# Functions and methods in terms of modules: the arguments after the input make the module. Methods are keyed by name.
FUNCTIONS: dict[Callable[..., Any] | str, Callable[..., nn.Module]] = {
    torch.relu: nn.ReLU,
    functional.relu: nn.ReLU,
    "relu": nn.ReLU,
    torch.flatten: lambda start_dim=0, end_dim=-1: nn.Flatten(start_dim, end_dim),
    "flatten": lambda start_dim=0, end_dim=-1: nn.Flatten(start_dim, end_dim),
    functional.dropout: lambda *arguments, **keywords: nn.Identity(),
    functional.avg_pool1d: nn.AvgPool1d,
    functional.avg_pool2d: nn.AvgPool2d,
    functional.adaptive_avg_pool1d: nn.AdaptiveAvgPool1d,
    functional.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
}
ADDITIONS = (operator.add, torch.add, "add", "add_")
