"""VGG with spiking neurons."""

from collections.abc import Sequence
from typing import Unpack

from torch import nn

from ..containers import SequentialState
from ..neurons import LI, LIF
from .base import DropoutOverTime, ImageNetwork, ImageSettings, ModuleFactory, NormFactory

STAGE_CHANNELS = (64, 128, 256, 512, 512)


class VGG(ImageNetwork):
    """Five stages of 3 x 3 convolutions, each followed by 2 x 2 max pooling, and two hidden layers.

    Weights have the names and shapes of torchvision's VGG, so `load_weights` can load its pretrained
    weights. Images must be at least 32 x 32.

    Reference: K. Simonyan & A. Zisserman, *Very deep convolutional networks for large-scale image
    recognition*, 2015.

    Args:
        depths: Number of convolutions in each of the five stages.
        norm: Returns the normalization of a given number of channels, whose statistics include time.
            Default: no normalization.
        num_classes: Number of outputs.
        in_channels: Number of channels of the images.
        neuron: Returns the neurons of one layer, such as `LIF` or ``partial(LIF, tau_mem=20e-3)``.
        readout: Returns the module that follows the last weights; ``nn.Identity`` returns their output
            unchanged.
        hidden_size: Number of neurons of each hidden layer.
        grid: Height and width to which the last features are averaged; 1 suffices for images of 32 x
            32.
        dropout: Probability that a hidden neuron is dropped in training mode.

    Raises:
        TypeError: If `neuron` or `readout` is a module or is not callable.
        ValueError: If `depths` does not have five positive entries, or a number is out of range.
    """

    min_size = 32

    def __init__(
        self,
        depths: Sequence[int],
        norm: NormFactory | None = None,
        num_classes: int = 1000,
        in_channels: int = 3,
        neuron: ModuleFactory = LIF,
        readout: ModuleFactory = LI,
        hidden_size: int = 4096,
        grid: int = 7,
        dropout: float = 0.5,
    ):
        super().__init__(in_channels, num_classes, neuron, readout)
        if len(depths) != len(STAGE_CHANNELS) or min(depths) < 1:
            raise ValueError(
                f"VGG.depths must be the number of convolutions in each of {len(STAGE_CHANNELS)} stages, "
                f"such as (1, 1, 2, 2, 2), got {depths!r}."
            )
        self.features = SequentialState(*_make_stages(depths, in_channels, neuron, norm), lift=True)
        self.avgpool = nn.AdaptiveAvgPool2d(grid)
        self.flatten = nn.Flatten()
        self.classifier = SequentialState(
            nn.Linear(STAGE_CHANNELS[-1] * grid**2, hidden_size),
            neuron(),
            DropoutOverTime(dropout),
            nn.Linear(hidden_size, hidden_size),
            neuron(),
            DropoutOverTime(dropout),
            nn.Linear(hidden_size, num_classes),
            lift=True,
        )
        self.readout = readout()
        self.reset_parameters()


def _make_stages(
    depths: Sequence[int], in_channels: int, neuron: ModuleFactory, norm: NormFactory | None
) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for depth, channels in zip(depths, STAGE_CHANNELS, strict=True):
        for _ in range(depth):
            layers.append(nn.Conv2d(in_channels, channels, 3, padding=1))
            if norm:
                layers.append(norm(channels))
            layers.append(neuron())
            in_channels = channels
        layers.append(nn.MaxPool2d(2))
    return layers


class VGGSettings(ImageSettings, total=False):
    """Keyword arguments of `vgg11_bn` and the other networks with batch normalization."""

    hidden_size: int
    grid: int
    dropout: float


class VGGNormSettings(VGGSettings, total=False):
    """Keyword arguments of `vgg11` and the other networks without batch normalization."""

    norm: NormFactory | None


def vgg11(**settings: Unpack[VGGNormSettings]) -> VGG:
    """`VGG` with 11 weight layers; takes its arguments after `depths` by keyword."""
    return VGG((1, 1, 2, 2, 2), **settings)


def vgg13(**settings: Unpack[VGGNormSettings]) -> VGG:
    """`VGG` with 13 weight layers; takes its arguments after `depths` by keyword."""
    return VGG((2, 2, 2, 2, 2), **settings)


def vgg16(**settings: Unpack[VGGNormSettings]) -> VGG:
    """`VGG` with 16 weight layers; takes its arguments after `depths` by keyword."""
    return VGG((2, 2, 3, 3, 3), **settings)


def vgg19(**settings: Unpack[VGGNormSettings]) -> VGG:
    """`VGG` with 19 weight layers; takes its arguments after `depths` by keyword."""
    return VGG((2, 2, 4, 4, 4), **settings)


def vgg11_bn(**settings: Unpack[VGGSettings]) -> VGG:
    """`vgg11` with batch normalization."""
    return vgg11(norm=nn.BatchNorm2d, **settings)


def vgg13_bn(**settings: Unpack[VGGSettings]) -> VGG:
    """`vgg13` with batch normalization."""
    return vgg13(norm=nn.BatchNorm2d, **settings)


def vgg16_bn(**settings: Unpack[VGGSettings]) -> VGG:
    """`vgg16` with batch normalization."""
    return vgg16(norm=nn.BatchNorm2d, **settings)


def vgg19_bn(**settings: Unpack[VGGSettings]) -> VGG:
    """`vgg19` with batch normalization."""
    return vgg19(norm=nn.BatchNorm2d, **settings)
