"""Transformers for images with spiking neurons: Spikformer, the spike-driven transformer and QKFormer."""

from collections.abc import Iterable
from typing import Unpack

from torch import nn

from .._util.validation import check_integer
from ..containers import SequentialState
from ..neurons import LI, LIF
from .attention import SpikeDrivenSelfAttention, SpikingSelfAttention, TokenAttention
from .base import ImageNetwork, ImageSettings, ModuleFactory, NormFactory
from .blocks import conv_norm, Residual


class _Transformer(ImageNetwork):
    """Base class of the transformers: layers, pooling over space, the last weights and the readout."""

    min_depth: int = 1

    def __init__(
        self,
        channels: int,
        depth: int,
        patch_size: int,
        num_classes: int,
        in_channels: int,
        neuron: ModuleFactory,
        readout: ModuleFactory,
    ):
        super().__init__(in_channels, num_classes, neuron, readout)
        name = type(self).__name__
        if not isinstance(channels, int) or channels < 8 or channels % 8:
            raise ValueError(f"{name}.channels must be a positive multiple of 8, got {channels!r}.")
        check_integer(name, minimum=self.min_depth, depth=depth)
        if patch_size not in (1, 2, 4, 8, 16):
            raise ValueError(f"{name}.patch_size must be 1, 2, 4, 8 or 16, got {patch_size!r}.")

    def _define(self, layers: Iterable[nn.Module], channels: int, num_classes: int, readout: ModuleFactory) -> None:
        self.features = SequentialState(*layers, lift=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(channels, num_classes)
        self.readout = readout()
        self.reset_parameters()


def _patches(
    in_channels: int,
    channels: int,
    patch_size: int,
    neuron: ModuleFactory,
    norm: NormFactory,
    last: list[nn.Module],
) -> list[nn.Module]:
    """Four convolutions that split images into patches, with neurons; those after the last one are `last`."""
    layers: list[nn.Module] = []
    for halvings in (3, 2, 1, 0):
        out_channels = channels >> halvings
        layers += conv_norm(in_channels, out_channels, 3, norm)
        layers += [neuron()] if halvings else last
        if 2**halvings < patch_size:
            layers.append(nn.MaxPool2d(3, 2, padding=1))
        in_channels = out_channels
    return layers


def _maps(channels: int, norm: NormFactory) -> tuple[list[nn.Module], list[nn.Module]]:
    """Two linear maps of the channels, to four times as many and back, each with normalization."""
    inner = 4 * channels
    return conv_norm(channels, inner, 1, norm, bias=True), conv_norm(inner, channels, 1, norm, bias=True)


def _feed_forward(channels: int, neuron: ModuleFactory, norm: NormFactory) -> Residual:
    """A block of two linear maps of the channels, each with normalization and neurons."""
    first, second = _maps(channels, norm)
    return Residual(*first, neuron(), *second, neuron())


class Spikformer(_Transformer):
    r"""Transformer with `SpikingSelfAttention`, whose blocks add their spikes to those of their input.

    Four convolutions split images into patches and a fifth gives them a position; `depth` blocks of attention and of
    two linear maps of the channels follow.

    Reference: Z. Zhou et al., *Spikformer: when spiking neural network meets transformer*, 2023.

    Args:
        channels: Number of channels.
        depth: Number of blocks.
        heads: Number of heads of the attention.
        scale: The reciprocal of the product of queries, keys and values that makes a neuron spike at once.
        patch_size: Height and width of a patch in pixels: 1, 2, 4, 8 or 16.
        num_classes: Number of outputs.
        in_channels: Number of channels of the images.
        neuron: Returns the neurons of one layer, such as `LIF` or ``partial(LIF, tau_mem=20e-3)``.
        readout: Returns the module that follows the last weights; ``nn.Identity`` returns their output unchanged.
        norm: Returns the normalization of a given number of channels, whose statistics include time.

    Raises:
        TypeError: If `neuron` or `readout` is a module or is not callable.
        ValueError: If a number is out of range, or `heads` does not divide `channels`.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        heads: int,
        scale: float = 0.125,
        patch_size: int = 16,
        num_classes: int = 1000,
        in_channels: int = 3,
        neuron: ModuleFactory = LIF,
        readout: ModuleFactory = LI,
        norm: NormFactory = nn.BatchNorm2d,
    ):
        super().__init__(channels, depth, patch_size, num_classes, in_channels, neuron, readout)
        layers = _patches(in_channels, channels, patch_size, neuron, norm, last=[neuron()])
        layers.append(Residual(*conv_norm(channels, channels, 3, norm), neuron()))
        for _ in range(depth):
            layers.append(Residual(SpikingSelfAttention(channels, heads, scale * self.unit_weight, neuron, norm)))
            layers.append(_feed_forward(channels, neuron, norm))
        self._define(layers, channels, num_classes, readout)


class SpikeDrivenTransformer(_Transformer):
    r"""Transformer with `SpikeDrivenSelfAttention`, whose blocks add to the input currents of neurons.

    All weights but those of the first layer receive spikes. Four convolutions split images into patches and a fifth
    gives them a position; `depth` blocks of attention and of two linear maps of the channels follow, each after its
    neurons.

    Reference: M. Yao et al., *Spike-driven transformer*, 2023.

    Args:
        channels: Number of channels.
        depth: Number of blocks.
        patch_size: Height and width of a patch in pixels: 1, 2, 4, 8 or 16.
        num_classes: Number of outputs.
        in_channels: Number of channels of the images.
        neuron: Returns the neurons of one layer, such as `LIF` or ``partial(LIF, tau_mem=20e-3)``.
        readout: Returns the module that follows the last weights; ``nn.Identity`` returns their output unchanged.
        norm: Returns the normalization of a given number of channels, whose statistics include time.

    Raises:
        TypeError: If `neuron` or `readout` is a module or is not callable.
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        patch_size: int = 16,
        num_classes: int = 1000,
        in_channels: int = 3,
        neuron: ModuleFactory = LIF,
        readout: ModuleFactory = LI,
        norm: NormFactory = nn.BatchNorm2d,
    ):
        super().__init__(channels, depth, patch_size, num_classes, in_channels, neuron, readout)
        layers = _patches(in_channels, channels, patch_size, neuron, norm, last=[])
        layers.append(Residual(neuron(), *conv_norm(channels, channels, 3, norm)))
        for _ in range(depth):
            # A single coincidence of spikes makes a neuron spike at once.
            attention = SpikeDrivenSelfAttention(channels, self.unit_weight, neuron, norm)
            layers.append(Residual(neuron(), attention, *conv_norm(channels, channels, 1, norm, bias=True)))
            first, second = _maps(channels, norm)
            layers.append(Residual(neuron(), *first, neuron(), *second))
        self._define([*layers, neuron()], channels, num_classes, readout)


class QKFormer(_Transformer):
    r"""Hierarchical transformer: `TokenAttention` at high resolution, `SpikingSelfAttention` at low resolution.

    Convolutions reduce images by 4, 8 and 16 and raise the channels to a quarter, a half and all of `channels`; one,
    two and ``depth - 3`` blocks of attention and of two linear maps of the channels follow at these resolutions.

    Reference: C. Zhou et al., *QKFormer: hierarchical spiking transformer using Q-K attention*, 2024.

    Args:
        channels: Number of channels at the lowest resolution.
        depth: Number of blocks, at least 4.
        heads: Number of heads of the attention.
        scale: The reciprocal of the product of queries, keys and values that makes a neuron spike at once.
        num_classes: Number of outputs.
        in_channels: Number of channels of the images.
        neuron: Returns the neurons of one layer, such as `LIF` or ``partial(LIF, tau_mem=20e-3)``.
        readout: Returns the module that follows the last weights; ``nn.Identity`` returns their output unchanged.
        norm: Returns the normalization of a given number of channels, whose statistics include time.

    Raises:
        TypeError: If `neuron` or `readout` is a module or is not callable.
        ValueError: If a number is out of range, or `heads` does not divide a quarter of `channels`.
    """

    min_depth = 4

    def __init__(
        self,
        channels: int,
        depth: int,
        heads: int,
        scale: float = 0.125,
        num_classes: int = 1000,
        in_channels: int = 3,
        neuron: ModuleFactory = LIF,
        readout: ModuleFactory = LI,
        norm: NormFactory = nn.BatchNorm2d,
    ):
        super().__init__(channels, depth, 16, num_classes, in_channels, neuron, readout)
        width = channels // 8
        layers: list[nn.Module] = [*conv_norm(in_channels, width, 3, norm), nn.MaxPool2d(3, 2, padding=1), neuron()]
        for number, blocks in enumerate((1, 2, depth - 3), 1):
            layers.append(_downsampling(width, neuron, norm))
            width *= 2
            for _ in range(blocks):
                if number < 3:
                    # A single spike makes a neuron spike at once.
                    attention = TokenAttention(width, heads, self.unit_weight, neuron, norm)
                else:
                    attention = SpikingSelfAttention(width, heads, scale * self.unit_weight, neuron, norm)
                layers += [Residual(attention), _feed_forward(width, neuron, norm)]
        self._define(layers, channels, num_classes, readout)


def _downsampling(channels: int, neuron: ModuleFactory, norm: NormFactory) -> Residual:
    """Convolutions that halve height and width and double the channels, beside a shortcut that does so."""
    shortcut = SequentialState(*conv_norm(channels, 2 * channels, 1, norm, stride=2), neuron(), lift=True)
    convolutions = [*conv_norm(channels, 2 * channels, 3, norm), nn.MaxPool2d(3, 2, padding=1), neuron()]
    convolutions += [*conv_norm(2 * channels, 2 * channels, 3, norm), neuron()]
    return Residual(*convolutions, shortcut=shortcut)


class TransformerSettings(ImageSettings, total=False):
    """Keyword arguments of `qkformer_10_384` and the other transformers."""

    norm: NormFactory


class PatchTransformerSettings(TransformerSettings, total=False):
    """Keyword arguments of `spikformer_8_384` and of transformers with patches of any size."""

    patch_size: int


def spikformer_4_384(**settings: Unpack[PatchTransformerSettings]) -> Spikformer:
    """`Spikformer` with 4 blocks of 384 channels and 12 heads, on patches of 4 x 4 pixels and for 10 classes.

    This is the network for CIFAR-10, with a scale of 0.25; takes its arguments from `patch_size` on by keyword.
    """
    settings.setdefault("patch_size", 4)
    settings.setdefault("num_classes", 10)
    return Spikformer(384, 4, 12, 0.25, **settings)


def spikformer_8_384(**settings: Unpack[PatchTransformerSettings]) -> Spikformer:
    """`Spikformer` with 8 blocks of 384 channels and 6 heads; takes its arguments from `patch_size` on by keyword."""
    return Spikformer(384, 8, 6, **settings)


def spikformer_8_512(**settings: Unpack[PatchTransformerSettings]) -> Spikformer:
    """`Spikformer` with 8 blocks of 512 channels and 8 heads; takes its arguments from `patch_size` on by keyword."""
    return Spikformer(512, 8, 8, **settings)


def spikformer_8_768(**settings: Unpack[PatchTransformerSettings]) -> Spikformer:
    """`Spikformer` with 8 blocks of 768 channels and 12 heads; takes its arguments from `patch_size` on by keyword."""
    return Spikformer(768, 8, 12, **settings)


def spike_driven_transformer_8_384(**settings: Unpack[PatchTransformerSettings]) -> SpikeDrivenTransformer:
    """`SpikeDrivenTransformer`, 8 blocks of 384 channels; takes its arguments from `patch_size` on by keyword."""
    return SpikeDrivenTransformer(384, 8, **settings)


def spike_driven_transformer_8_512(**settings: Unpack[PatchTransformerSettings]) -> SpikeDrivenTransformer:
    """`SpikeDrivenTransformer`, 8 blocks of 512 channels; takes its arguments from `patch_size` on by keyword."""
    return SpikeDrivenTransformer(512, 8, **settings)


def spike_driven_transformer_8_768(**settings: Unpack[PatchTransformerSettings]) -> SpikeDrivenTransformer:
    """`SpikeDrivenTransformer`, 8 blocks of 768 channels; takes its arguments from `patch_size` on by keyword."""
    return SpikeDrivenTransformer(768, 8, **settings)


def qkformer_10_384(**settings: Unpack[TransformerSettings]) -> QKFormer:
    """`QKFormer`, 10 blocks of up to 384 channels, 6 heads; takes its arguments from `num_classes` on by keyword."""
    return QKFormer(384, 10, 6, **settings)


def qkformer_10_512(**settings: Unpack[TransformerSettings]) -> QKFormer:
    """`QKFormer`, 10 blocks of up to 512 channels, 8 heads; takes its arguments from `num_classes` on by keyword."""
    return QKFormer(512, 10, 8, **settings)


def qkformer_10_768(**settings: Unpack[TransformerSettings]) -> QKFormer:
    """`QKFormer`, 10 blocks of up to 768 channels, 12 heads; takes its arguments from `num_classes` on by keyword."""
    return QKFormer(768, 10, 12, **settings)
