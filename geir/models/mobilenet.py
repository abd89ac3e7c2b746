"""MobileNetV2 with spiking neurons."""

from typing import Any

from torch import nn, Tensor

from ..containers.network import LiftedSequential, Run, Stateful
from ..neurons import LI, LIF
from .base import DropoutOverTime, Factory, ImageNetwork

# Expansion, channels, number of blocks and stride of the first of them: table 2 of the paper.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def _layer(width: int, out: int, kernel: int, neuron: Factory, stride: int = 1, groups: int = 1) -> LiftedSequential:
    conv = nn.Conv2d(width, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return LiftedSequential(conv, nn.BatchNorm2d(out), neuron())


class InvertedResidual(Stateful):
    """A convolution channel by channel between two of 1 x 1, the first widening and the second narrowing, no neurons after the last.

    Args:
        width: Channels that come in.
        out: Channels that go out.
        stride: By how much it reduces height and width; if 1 and as many channels go out as come in, the input is added.
        expansion: By how much the inside is wider.
        neuron: Makes neurons.
    """

    def __init__(self, width: int, out: int, stride: int, expansion: int, neuron: Factory):
        super().__init__()
        inner = width * expansion
        self.residual = stride == 1 and width == out
        widen = [] if expansion == 1 else [_layer(width, inner, 1, neuron)]
        depthwise = _layer(inner, inner, 3, neuron, stride, groups=inner)
        self.conv = LiftedSequential(*widen, depthwise, nn.Conv2d(inner, out, 1, bias=False), nn.BatchNorm2d(out))

    def connect(self, xs: Tensor, run: Run) -> Tensor:
        ys = run(xs, self.conv)
        return xs + ys if self.residual else ys


class MobileNetV2(ImageNetwork):
    """Inverted residual blocks, cheap by convolving channel by channel.

    Its weights are named and shaped as in torchvision, so `load_weights` takes theirs.

    Reference: M. Sandler et al., *MobileNetV2: inverted residuals and linear bottlenecks*, 2018.

    Args:
        num_classes: Number of outputs.
        width_mult: Factor on all numbers of channels, rounded to multiples of 8.
        in_channels: Channels of the images.
        neuron: Makes the neurons of one layer, such as `LIF` or ``partial(LIF, tau_mem=20e-3)``.
        readout: Makes what follows the last weights; ``nn.Identity`` leaves their sums as they are.
        dropout: Probability that a feature is dropped before the last weights, in training.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        in_channels: int = 3,
        neuron: Factory = LIF,
        readout: Factory = LI,
        dropout: float = 0.2,
    ):
        super().__init__(in_channels, num_classes, neuron, readout)
        if not width_mult > 0:
            raise ValueError(f"MobileNetV2.width_mult must be positive, got {width_mult}.")
        width = _multiple_of_8(32 * width_mult)
        layers: list[nn.Module] = [_layer(in_channels, width, 3, neuron, stride=2)]
        for expansion, channels, depth, stride in STAGES:
            out = _multiple_of_8(channels * width_mult)
            for index in range(depth):
                layers.append(InvertedResidual(width, out, stride if index == 0 else 1, expansion, neuron))
                width = out
        last = _multiple_of_8(1280 * max(1.0, width_mult))
        self.features = LiftedSequential(*layers, _layer(width, last, 1, neuron))
        self.avgpool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.classifier = LiftedSequential(DropoutOverTime(dropout), nn.Linear(last, num_classes))
        self.readout = readout()
        self.start(neuron)


def _multiple_of_8(width: float) -> int:
    """The nearest multiple of 8, but not less than 90 % of `width`."""
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * width else nearest + 8


def mobilenet_v2(**options: Any) -> MobileNetV2:
    """`MobileNetV2`; takes its arguments by name."""
    return MobileNetV2(**options)
