"""Residual networks with spiking neurons: joined before the spike (`ResNet`) or after it (`SEWResNet`)."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn, Tensor

from ..containers.network import LiftedSequential, Run, Stateful
from ..neurons import LI, LIF
from .base import Factory, ImageNetwork

Join = Callable[[Tensor, Tensor], Tensor]

WIDTHS = (64, 128, 256, 512)


def sew_add(branch: Tensor, shortcut: Tensor) -> Tensor:
    """Spikes of both, counted: up to one more than the shortcut carries."""
    return branch + shortcut


def sew_and(branch: Tensor, shortcut: Tensor) -> Tensor:
    """Spikes where both spike."""
    return branch * shortcut


def sew_iand(branch: Tensor, shortcut: Tensor) -> Tensor:
    """Spikes of the shortcut where the branch is silent."""
    return (1 - branch) * shortcut


def _conv(width: int, out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width, out, kernel, stride, padding=kernel // 2, bias=False)


class ResidualBlock(Stateful):
    """Two or, as a bottleneck, three convolutions, each normalised and followed by neurons, and a shortcut around them.

    Args:
        width: Channels that come in.
        inner: Channels of the branch; out come as many, from a bottleneck four times as many.
        stride: By how much it reduces height and width.
        bottleneck: Whether the 3 x 3 convolution stands between two of 1 x 1.
        join: Of the spikes of branch and shortcut; if `None`, the last neurons receive the sum of both.
        neuron: Makes neurons.
        norm: Makes the normalisation of a number of channels.
    """

    def __init__(
        self,
        width: int,
        inner: int,
        stride: int,
        bottleneck: bool,
        join: Join | None,
        neuron: Factory,
        norm: Callable[[int], nn.Module],
    ):
        super().__init__()
        self.join = join
        out = 4 * inner if bottleneck else inner
        narrow = [(width, inner, 1, 1), (inner, inner, 3, stride), (inner, out, 1, 1)]
        shapes = narrow if bottleneck else [(width, inner, 3, stride), (inner, inner, 3, 1)]
        for k, shape in enumerate(shapes, 1):
            self.add_module(f"conv{k}", _conv(*shape))
            self.add_module(f"bn{k}", norm(shape[1]))
            self.add_module(f"sn{k}", neuron())
        self.downsample = nn.Identity()
        if stride != 1 or width != out:
            self.downsample = LiftedSequential(_conv(width, out, 1, stride), norm(out), *([neuron()] if join else []))

    def connect(self, xs: Tensor, run: Run) -> Tensor:
        *branch, neuron, downsample = self.children()
        ys, shortcut = run(xs, *branch), run(xs, downsample)
        return run(ys + shortcut, neuron) if self.join is None else self.join(run(ys, neuron), shortcut)


class _ResNet(ImageNetwork):
    def __init__(
        self,
        depths: Sequence[int],
        bottleneck: bool,
        join: Join | None,
        num_classes: int,
        in_channels: int,
        neuron: Factory,
        readout: Factory,
        norm: Callable[[int], nn.Module],
    ):
        super().__init__(in_channels, num_classes, neuron, readout)
        name = type(self).__name__
        if len(depths) != len(WIDTHS) or min(depths) < 1:
            raise ValueError(
                f"{name} takes the number of blocks in each of {len(WIDTHS)} stages, such as (2, 2, 2, 2), got {depths!r}."
            )
        self.conv1, self.bn1, self.sn1 = _conv(in_channels, 64, 7, 2), norm(64), neuron()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        width = 64
        for k, (depth, inner) in enumerate(zip(depths, WIDTHS, strict=True), 1):
            blocks = []
            for index in range(depth):
                stride = 2 if k > 1 and index == 0 else 1
                blocks.append(ResidualBlock(width, inner, stride, bottleneck, join, neuron, norm))
                width = 4 * inner if bottleneck else inner
            self.add_module(f"layer{k}", LiftedSequential(*blocks))
        self.avgpool, self.flatten, self.fc = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)
        self.readout = readout()
        self.start(neuron)


class ResNet(_ResNet):
    """Residual network whose blocks add the shortcut before their last neurons.

    Its weights are named and shaped as in torchvision, so `load_weights` takes theirs.

    Reference: K. He et al., *Deep residual learning for image recognition*, 2016.

    Args:
        depths: Number of blocks in each of the four stages.
        bottleneck: Whether blocks are bottlenecks, of three convolutions.
        num_classes: Number of outputs.
        in_channels: Channels of the images.
        neuron: Makes the neurons of one layer, such as `LIF` or ``partial(LIF, tau_mem=20e-3)``.
        readout: Makes what follows the last weights; ``nn.Identity`` leaves their sums as they are.
        norm: Makes the normalisation of a number of channels, with statistics over time too.
    """

    def __init__(
        self,
        depths: Sequence[int],
        bottleneck: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        neuron: Factory = LIF,
        readout: Factory = LI,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ):
        super().__init__(depths, bottleneck, None, num_classes, in_channels, neuron, readout, norm)


class SEWResNet(_ResNet):
    """Spike-element-wise residual network: blocks join the spikes of branch and shortcut, so that a silent branch passes spikes on unchanged.

    Reference: W. Fang et al., *Deep residual learning in spiking neural networks*, 2021.

    Args:
        depths: As for `ResNet`, and so are the others.
        join: `sew_add`, `sew_and` or `sew_iand`, or any function of the spikes of branch and shortcut.
    """

    def __init__(
        self,
        depths: Sequence[int],
        bottleneck: bool = False,
        join: Join = sew_add,
        num_classes: int = 1000,
        in_channels: int = 3,
        neuron: Factory = LIF,
        readout: Factory = LI,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ):
        if not callable(join):
            raise TypeError(f"SEWResNet.join must be a function of branch and shortcut, such as sew_add, got {join!r}.")
        super().__init__(depths, bottleneck, join, num_classes, in_channels, neuron, readout, norm)


def resnet18(**options: Any) -> ResNet:
    """`ResNet` with 18 layers of weights; takes its arguments by name, from `num_classes` on."""
    return ResNet((2, 2, 2, 2), **options)


def resnet34(**options: Any) -> ResNet:
    """`ResNet` with 34 layers of weights."""
    return ResNet((3, 4, 6, 3), **options)


def resnet50(**options: Any) -> ResNet:
    """`ResNet` with 50 layers of weights, in bottlenecks."""
    return ResNet((3, 4, 6, 3), bottleneck=True, **options)


def resnet101(**options: Any) -> ResNet:
    """`ResNet` with 101 layers of weights, in bottlenecks."""
    return ResNet((3, 4, 23, 3), bottleneck=True, **options)


def resnet152(**options: Any) -> ResNet:
    """`ResNet` with 152 layers of weights, in bottlenecks."""
    return ResNet((3, 8, 36, 3), bottleneck=True, **options)


def sew_resnet18(**options: Any) -> SEWResNet:
    """`SEWResNet` with 18 layers of weights; takes its arguments by name, from `join` on."""
    return SEWResNet((2, 2, 2, 2), **options)


def sew_resnet34(**options: Any) -> SEWResNet:
    """`SEWResNet` with 34 layers of weights."""
    return SEWResNet((3, 4, 6, 3), **options)


def sew_resnet50(**options: Any) -> SEWResNet:
    """`SEWResNet` with 50 layers of weights, in bottlenecks."""
    return SEWResNet((3, 4, 6, 3), bottleneck=True, **options)
