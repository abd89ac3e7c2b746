"""Residual networks whose shortcuts carry the input currents of neurons."""

from collections.abc import Sequence
from typing import Unpack

from torch import nn

from ..containers import SequentialState
from ..neurons import LI, LIF
from .base import ImageNetwork, ModuleFactory, NormFactory
from .blocks import conv_norm, Residual
from .resnet import check_depths, ResNetSettings, STAGE_CHANNELS


def _block(in_channels: int, channels: int, stride: int, neuron: ModuleFactory, norm: NormFactory) -> Residual:
    """Two convolutions, each after neurons and before normalization, and a shortcut around all of them."""
    shortcut = None
    if stride != 1 or in_channels != channels:
        shortcut = SequentialState(*conv_norm(in_channels, channels, 1, norm, stride), lift=True)
    first = conv_norm(in_channels, channels, 3, norm, stride)
    second = conv_norm(channels, channels, 3, norm)
    return Residual(neuron(), *first, neuron(), *second, shortcut=shortcut)


class MSResNet(ImageNetwork):
    """Membrane-shortcut residual network: blocks add to the input currents of neurons.

    All weights but those of the first layer and of shortcuts receive spikes. There is no max pooling: the first stage
    halves height and width too.

    Reference: Y. Hu et al., *Advancing spiking neural networks toward deep residual learning*, 2021. The authors' code
    has an average pooling in the shortcuts of the network with 104 layers, and three 3 x 3 convolutions in place of the
    first; here all depths have the form of the others.

    Args:
        depths: Number of blocks in each of the four stages.
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
        num_classes: int = 1000,
        in_channels: int = 3,
        neuron: ModuleFactory = LIF,
        readout: ModuleFactory = LI,
        norm: NormFactory = nn.BatchNorm2d,
    ):
        super().__init__(in_channels, num_classes, neuron, readout)
        check_depths(self, depths)
        width = STAGE_CHANNELS[0]
        self.conv1, self.bn1 = conv_norm(in_channels, width, 7, norm, stride=2)
        for number, (depth, channels) in enumerate(zip(depths, STAGE_CHANNELS, strict=True), 1):
            blocks = []
            for index in range(depth):
                blocks.append(_block(width, channels, 2 if index == 0 else 1, neuron, norm))
                width = channels
            self.add_module(f"layer{number}", SequentialState(*blocks, lift=True))
        self.neuron = neuron()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(width, num_classes)
        self.readout = readout()
        self.reset_parameters()


def ms_resnet18(**settings: Unpack[ResNetSettings]) -> MSResNet:
    """`MSResNet` with 18 weight layers; takes its arguments from `num_classes` on by keyword."""
    return MSResNet((2, 2, 2, 2), **settings)


def ms_resnet34(**settings: Unpack[ResNetSettings]) -> MSResNet:
    """`MSResNet` with 34 weight layers; takes its arguments from `num_classes` on by keyword."""
    return MSResNet((3, 4, 6, 3), **settings)


def ms_resnet104(**settings: Unpack[ResNetSettings]) -> MSResNet:
    """`MSResNet` with 104 weight layers; takes its arguments from `num_classes` on by keyword."""
    return MSResNet((3, 8, 32, 8), **settings)
