"""MobileNetV2 with spiking neurons."""

from typing import NamedTuple, Unpack

from torch import nn, Tensor

from ..containers import Network, SequentialState, StateThread
from ..neurons import LI, LIF
from .base import DropoutOverTime, ImageNetwork, ImageSettings, ModuleFactory


class Stage(NamedTuple):
    """Inverted residual blocks with the same number of output channels."""

    expansion: int
    channels: int
    depth: int  # number of blocks
    stride: int  # of the first block


# Table 2 of the paper.
STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)


def _conv_layer(
    in_channels: int, out_channels: int, kernel_size: int, neuron: ModuleFactory, stride: int = 1, groups: int = 1
) -> SequentialState:
    """Convolution, batch normalization and neurons."""
    padding = kernel_size // 2
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=padding, groups=groups, bias=False)
    return SequentialState(conv, nn.BatchNorm2d(out_channels), neuron(), lift=True)


class InvertedResidual(Network):
    """Inverted residual block with a linear bottleneck.

    A 1 x 1 convolution expands the channels, a 3 x 3 convolution filters each channel separately, and a
    1 x 1 convolution projects them to `out_channels`, without neurons after it.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        stride: Factor by which height and width are reduced. If it is 1 and the numbers of channels are
            equal, the input is added to the output.
        expansion: Factor by which the number of channels is expanded.
        neuron: Returns the neurons of one layer.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int, neuron: ModuleFactory):
        super().__init__()
        self.has_shortcut = stride == 1 and in_channels == out_channels
        expanded = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(_conv_layer(in_channels, expanded, 1, neuron))
        layers.append(_conv_layer(expanded, expanded, 3, neuron, stride, groups=expanded))
        layers.append(nn.Conv2d(expanded, out_channels, 1, bias=False))
        layers.append(nn.BatchNorm2d(out_channels))
        self.conv = SequentialState(*layers, lift=True)

    def forward_over_time(self, xs: Tensor, run: StateThread) -> Tensor:
        ys = run(xs, self.conv)
        return xs + ys if self.has_shortcut else ys


class MobileNetV2(ImageNetwork):
    """Inverted residual blocks with depthwise convolutions, for low computational cost.

    Weights have the names and shapes of torchvision's MobileNetV2, so `load_weights` can load its
    pretrained weights.

    Reference: M. Sandler et al., *MobileNetV2: inverted residuals and linear bottlenecks*, 2018.

    Args:
        num_classes: Number of outputs.
        width_mult: Factor on all numbers of channels, which are rounded to multiples of 8.
        in_channels: Number of channels of the images.
        neuron: Returns the neurons of one layer, such as `LIF` or ``partial(LIF, tau_mem=20e-3)``.
        readout: Returns the module that follows the last weights; ``nn.Identity`` returns their output
            unchanged.
        dropout: Probability that a feature is dropped before the last weights in training mode.

    Raises:
        TypeError: If `neuron` or `readout` is a module or is not callable.
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        in_channels: int = 3,
        neuron: ModuleFactory = LIF,
        readout: ModuleFactory = LI,
        dropout: float = 0.2,
    ):
        super().__init__(in_channels, num_classes, neuron, readout)
        if not width_mult > 0:
            raise ValueError(f"MobileNetV2.width_mult must be positive, got {width_mult}.")
        channels = _round_to_multiple_of_8(32 * width_mult)
        layers: list[nn.Module] = [_conv_layer(in_channels, channels, 3, neuron, stride=2)]
        for stage in STAGES:
            out_channels = _round_to_multiple_of_8(stage.channels * width_mult)
            for index in range(stage.depth):
                stride = stage.stride if index == 0 else 1
                layers.append(InvertedResidual(channels, out_channels, stride, stage.expansion, neuron))
                channels = out_channels
        num_features = _round_to_multiple_of_8(1280 * max(1.0, width_mult))
        layers.append(_conv_layer(channels, num_features, 1, neuron))
        self.features = SequentialState(*layers, lift=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = SequentialState(DropoutOverTime(dropout), nn.Linear(num_features, num_classes), lift=True)
        self.readout = readout()
        self.reset_parameters()


def _round_to_multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8 that is at least 90 % of `channels`."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


class MobileNetV2Settings(ImageSettings, total=False):
    """Keyword arguments of `mobilenet_v2`."""

    width_mult: float
    dropout: float


def mobilenet_v2(**settings: Unpack[MobileNetV2Settings]) -> MobileNetV2:
    """`MobileNetV2`; takes its arguments by keyword."""
    return MobileNetV2(**settings)
