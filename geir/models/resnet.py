"""Residual networks with spiking neurons.

A block adds its shortcut before its last neurons (`ResNet`) or joins it after them (`SEWResNet`).
"""

from collections.abc import Callable, Sequence
from typing import Unpack

from torch import nn, Tensor

from ..containers import Network, SequentialState, StateThread
from ..neurons import LI, LIF
from .base import ImageNetwork, ImageSettings, ModuleFactory, NormFactory

# Joins the spikes of a residual branch and of its shortcut.
Join = Callable[[Tensor, Tensor], Tensor]

STAGE_CHANNELS = (64, 128, 256, 512)

# Ratio of the output channels of a bottleneck block to the channels of its branch.
BOTTLENECK_EXPANSION = 4


def sew_add(branch: Tensor, shortcut: Tensor) -> Tensor:
    """Add the spikes of branch and shortcut; the sum exceeds 1 where both spike."""
    return branch + shortcut


def sew_and(branch: Tensor, shortcut: Tensor) -> Tensor:
    """Spike where branch and shortcut both spike."""
    return branch * shortcut


def sew_iand(branch: Tensor, shortcut: Tensor) -> Tensor:
    """Spike where the shortcut spikes and the branch does not."""
    return (1 - branch) * shortcut


def _conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)


class ResidualBlock(Network):
    """Residual block: a branch of two convolutions, or three in a bottleneck block, and a shortcut.

    Each convolution is followed by normalization and neurons. Where the branch changes the shape of its
    input, the shortcut is a 1 x 1 convolution with normalization, followed by neurons if there is a
    `join`.

    Args:
        in_channels: Number of input channels.
        channels: Number of channels of the branch. The block has as many output channels, a bottleneck
            block four times as many.
        stride: Factor by which height and width are reduced.
        bottleneck: Whether the branch is a 3 x 3 convolution between two 1 x 1 convolutions.
        join: Function of the spikes of branch and shortcut that returns the output. If `None`, branch
            and shortcut are added before the last neurons.
        neuron: Returns the neurons of one layer.
        norm: Returns the normalization of a given number of channels.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        bottleneck: bool,
        join: Join | None,
        neuron: ModuleFactory,
        norm: NormFactory,
    ):
        super().__init__()
        self.join = join
        if bottleneck:
            out_channels = BOTTLENECK_EXPANSION * channels
            convolutions = [
                _conv(in_channels, channels, 1),
                _conv(channels, channels, 3, stride),
                _conv(channels, out_channels, 1),
            ]
        else:
            out_channels = channels
            convolutions = [_conv(in_channels, channels, 3, stride), _conv(channels, channels, 3)]
        for number, conv in enumerate(convolutions, 1):
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", norm(conv.out_channels))
            self.add_module(f"sn{number}", neuron())
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            layers = [_conv(in_channels, out_channels, 1, stride), norm(out_channels)]
            if join:
                layers.append(neuron())
            self.downsample = SequentialState(*layers, lift=True)

    def forward_over_time(self, xs: Tensor, run: StateThread) -> Tensor:
        *branch, neuron, downsample = self.children()
        ys = run(xs, *branch)
        shortcut = run(xs, downsample)
        if self.join is None:
            return run(ys + shortcut, neuron)
        return self.join(run(ys, neuron), shortcut)


def check_depths(model: nn.Module, depths: Sequence[int]) -> None:
    """Raise `ValueError` unless these are the numbers of blocks in each stage."""
    if len(depths) != len(STAGE_CHANNELS) or min(depths) < 1:
        raise ValueError(
            f"{type(model).__name__}.depths must be the number of blocks in each of {len(STAGE_CHANNELS)} stages, "
            f"such as (2, 2, 2, 2), got {depths!r}."
        )


class _ResNet(ImageNetwork):
    def __init__(
        self,
        depths: Sequence[int],
        bottleneck: bool,
        join: Join | None,
        num_classes: int,
        in_channels: int,
        neuron: ModuleFactory,
        readout: ModuleFactory,
        norm: NormFactory,
    ):
        super().__init__(in_channels, num_classes, neuron, readout)
        check_depths(self, depths)
        width = STAGE_CHANNELS[0]
        self.conv1 = _conv(in_channels, width, 7, stride=2)
        self.bn1 = norm(width)
        self.sn1 = neuron()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        for number, (depth, channels) in enumerate(zip(depths, STAGE_CHANNELS, strict=True), 1):
            blocks = []
            for index in range(depth):
                stride = 2 if number > 1 and index == 0 else 1
                blocks.append(ResidualBlock(width, channels, stride, bottleneck, join, neuron, norm))
                width = BOTTLENECK_EXPANSION * channels if bottleneck else channels
            self.add_module(f"layer{number}", SequentialState(*blocks, lift=True))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(width, num_classes)
        self.readout = readout()
        self.reset_parameters()


class ResNet(_ResNet):
    """Residual network whose blocks add the shortcut before their last neurons.

    Weights have the names and shapes of torchvision's ResNet, so `load_weights` can load its pretrained
    weights.

    Reference: K. He et al., *Deep residual learning for image recognition*, 2016.

    Args:
        depths: Number of blocks in each of the four stages.
        bottleneck: Whether blocks are bottlenecks with three convolutions.
        num_classes: Number of outputs.
        in_channels: Number of channels of the images.
        neuron: Returns the neurons of one layer, such as `LIF` or ``partial(LIF, tau_mem=20e-3)``.
        readout: Returns the module that follows the last weights; ``nn.Identity`` returns their output
            unchanged.
        norm: Returns the normalization of a given number of channels, whose statistics include time.

    Raises:
        TypeError: If `neuron` or `readout` is a module or is not callable.
        ValueError: If `depths` does not have four positive entries, or a number is out of range.
    """

    def __init__(
        self,
        depths: Sequence[int],
        bottleneck: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        neuron: ModuleFactory = LIF,
        readout: ModuleFactory = LI,
        norm: NormFactory = nn.BatchNorm2d,
    ):
        super().__init__(depths, bottleneck, None, num_classes, in_channels, neuron, readout, norm)


class SEWResNet(_ResNet):
    """Spike-element-wise residual network: blocks join the spikes of branch and shortcut after their last neurons.

    With `sew_add` and `sew_iand`, a block whose branch is silent passes its input spikes on unchanged.

    Reference: W. Fang et al., *Deep residual learning in spiking neural networks*, 2021.

    Args:
        depths: Number of blocks in each of the four stages.
        bottleneck: Whether blocks are bottlenecks with three convolutions.
        join: `sew_add`, `sew_and`, `sew_iand`, or any function of the spikes of branch and shortcut.
        num_classes: Number of outputs.
        in_channels: Number of channels of the images.
        neuron: Returns the neurons of one layer, such as `LIF` or ``partial(LIF, tau_mem=20e-3)``.
        readout: Returns the module that follows the last weights; ``nn.Identity`` returns their output
            unchanged.
        norm: Returns the normalization of a given number of channels, whose statistics include time.

    Raises:
        TypeError: If `join` is not callable, or if `neuron` or `readout` is a module or is not
            callable.
        ValueError: If `depths` does not have four positive entries, or a number is out of range.
    """

    def __init__(
        self,
        depths: Sequence[int],
        bottleneck: bool = False,
        join: Join = sew_add,
        num_classes: int = 1000,
        in_channels: int = 3,
        neuron: ModuleFactory = LIF,
        readout: ModuleFactory = LI,
        norm: NormFactory = nn.BatchNorm2d,
    ):
        if not callable(join):
            raise TypeError(f"SEWResNet.join must be a function of branch and shortcut, such as sew_add, got {join!r}.")
        super().__init__(depths, bottleneck, join, num_classes, in_channels, neuron, readout, norm)


class ResNetSettings(ImageSettings, total=False):
    """Keyword arguments of `resnet18` and the other residual networks."""

    norm: NormFactory


class SEWResNetSettings(ResNetSettings, total=False):
    """Keyword arguments of `sew_resnet18` and the other spike-element-wise residual networks."""

    join: Join


def resnet18(**settings: Unpack[ResNetSettings]) -> ResNet:
    """`ResNet` with 18 weight layers; takes its arguments from `num_classes` on by keyword."""
    return ResNet((2, 2, 2, 2), **settings)


def resnet34(**settings: Unpack[ResNetSettings]) -> ResNet:
    """`ResNet` with 34 weight layers; takes its arguments from `num_classes` on by keyword."""
    return ResNet((3, 4, 6, 3), **settings)


def resnet50(**settings: Unpack[ResNetSettings]) -> ResNet:
    """`ResNet` with 50 weight layers in bottleneck blocks; takes its arguments from `num_classes` on by keyword."""
    return ResNet((3, 4, 6, 3), bottleneck=True, **settings)


def resnet101(**settings: Unpack[ResNetSettings]) -> ResNet:
    """`ResNet` with 101 weight layers in bottleneck blocks; takes its arguments from `num_classes` on by keyword."""
    return ResNet((3, 4, 23, 3), bottleneck=True, **settings)


def resnet152(**settings: Unpack[ResNetSettings]) -> ResNet:
    """`ResNet` with 152 weight layers in bottleneck blocks; takes its arguments from `num_classes` on by keyword."""
    return ResNet((3, 8, 36, 3), bottleneck=True, **settings)


def sew_resnet18(**settings: Unpack[SEWResNetSettings]) -> SEWResNet:
    """`SEWResNet` with 18 weight layers; takes its arguments from `join` on by keyword."""
    return SEWResNet((2, 2, 2, 2), **settings)


def sew_resnet34(**settings: Unpack[SEWResNetSettings]) -> SEWResNet:
    """`SEWResNet` with 34 weight layers; takes its arguments from `join` on by keyword."""
    return SEWResNet((3, 4, 6, 3), **settings)


def sew_resnet50(**settings: Unpack[SEWResNetSettings]) -> SEWResNet:
    """`SEWResNet` with 50 weight layers in bottleneck blocks; takes its arguments from `join` on by keyword."""
    return SEWResNet((3, 4, 6, 3), bottleneck=True, **settings)


def sew_resnet101(**settings: Unpack[SEWResNetSettings]) -> SEWResNet:
    """`SEWResNet` with 101 weight layers in bottleneck blocks; takes its arguments from `join` on by keyword."""
    return SEWResNet((3, 4, 23, 3), bottleneck=True, **settings)


def sew_resnet152(**settings: Unpack[SEWResNetSettings]) -> SEWResNet:
    """`SEWResNet` with 152 weight layers in bottleneck blocks; takes its arguments from `join` on by keyword."""
    return SEWResNet((3, 8, 36, 3), bottleneck=True, **settings)
