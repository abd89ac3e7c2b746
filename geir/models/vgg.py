"""VGG with spiking neurons."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from ..containers.network import LiftedSequential
from ..neurons import LI, LIF
from .base import DropoutOverTime, Factory, ImageNetwork

WIDTHS = (64, 128, 256, 512, 512)


class VGG(ImageNetwork):
    """Stages of 3 x 3 convolutions, each pooled by 2, and two hidden layers.

    Its weights are named and shaped as in torchvision, so `load_weights` takes theirs. Images are at least 32 x 32.

    Reference: K. Simonyan & A. Zisserman, *Very deep convolutional networks for large-scale image recognition*, 2015.

    Args:
        depths: Number of convolutions in each of the five stages.
        norm: Makes the normalisation of a number of channels, with statistics over time too; none if `None`.
        num_classes: Number of outputs.
        in_channels: Channels of the images.
        neuron: Makes the neurons of one layer, such as `LIF` or ``partial(LIF, tau_mem=20e-3)``.
        readout: Makes what follows the last weights; ``nn.Identity`` leaves their sums as they are.
        hidden_size: Neurons of a hidden layer.
        grid: The hidden layers see the last features averaged to grid x grid; 1 is enough for images of 32 x 32.
        dropout: Probability that a hidden neuron is dropped, in training.
    """

    smallest = 32

    def __init__(
        self,
        depths: Sequence[int],
        norm: Callable[[int], nn.Module] | None = None,
        num_classes: int = 1000,
        in_channels: int = 3,
        neuron: Factory = LIF,
        readout: Factory = LI,
        hidden_size: int = 4096,
        grid: int = 7,
        dropout: float = 0.5,
    ):
        super().__init__(in_channels, num_classes, neuron, readout)
        if len(depths) != len(WIDTHS) or min(depths) < 1:
            raise ValueError(
                f"VGG takes the number of convolutions in each of {len(WIDTHS)} stages, such as (1, 1, 2, 2, 2), got {depths!r}."
            )
        layers, width = [], in_channels
        for depth, wider in zip(depths, WIDTHS, strict=True):
            for _ in range(depth):
                layers += [nn.Conv2d(width, wider, 3, padding=1), *([norm(wider)] if norm else []), neuron()]
                width = wider
            layers.append(nn.MaxPool2d(2))
        self.features = LiftedSequential(*layers)
        self.avgpool, self.flatten = nn.AdaptiveAvgPool2d(grid), nn.Flatten()
        first, second = nn.Linear(width * grid**2, hidden_size), nn.Linear(hidden_size, hidden_size)
        hidden = [first, neuron(), DropoutOverTime(dropout), second, neuron(), DropoutOverTime(dropout)]
        self.classifier = LiftedSequential(*hidden, nn.Linear(hidden_size, num_classes))
        self.readout = readout()
        self.start(neuron)


def vgg11(**options: Any) -> VGG:
    """`VGG` with 11 layers of weights; takes its arguments by name, from `num_classes` on."""
    return VGG((1, 1, 2, 2, 2), **options)


def vgg13(**options: Any) -> VGG:
    """`VGG` with 13 layers of weights."""
    return VGG((2, 2, 2, 2, 2), **options)


def vgg16(**options: Any) -> VGG:
    """`VGG` with 16 layers of weights."""
    return VGG((2, 2, 3, 3, 3), **options)


def vgg19(**options: Any) -> VGG:
    """`VGG` with 19 layers of weights."""
    return VGG((2, 2, 4, 4, 4), **options)


def vgg11_bn(**options: Any) -> VGG:
    """`vgg11` with batch normalisation."""
    return vgg11(norm=nn.BatchNorm2d, **options)


def vgg13_bn(**options: Any) -> VGG:
    """`vgg13` with batch normalisation."""
    return vgg13(norm=nn.BatchNorm2d, **options)


def vgg16_bn(**options: Any) -> VGG:
    """`vgg16` with batch normalisation."""
    return vgg16(norm=nn.BatchNorm2d, **options)


def vgg19_bn(**options: Any) -> VGG:
    """`vgg19` with batch normalisation."""
    return vgg19(norm=nn.BatchNorm2d, **options)
