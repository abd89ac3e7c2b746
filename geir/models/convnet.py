"""Small convolutional networks, as for MNIST."""

from typing import ClassVar

from torch import nn

from ..neurons import LI, LIF
from .base import Factory, ImageNetwork


class _ConvNet(ImageNetwork):
    widths: ClassVar[tuple[int, int, int]]  # channels of both convolutions, neurons of the hidden layer

    def __init__(
        self,
        num_channels: int = 1,
        feature_size: int = 28,
        num_classes: int = 10,
        neuron: Factory = LIF,
        readout: Factory = LI,
    ):
        super().__init__(num_channels, num_classes, neuron, readout)
        first, second, hidden = self.widths
        side = ((feature_size - 4) // 2 - 4) // 2
        if side < 1:
            raise ValueError(f"{type(self).__name__}.feature_size must be at least 16, got {feature_size}.")
        self.smallest = feature_size
        self.conv1, self.neuron1, self.pool1 = nn.Conv2d(num_channels, first, 5), neuron(), nn.MaxPool2d(2)
        self.conv2, self.neuron2, self.pool2 = nn.Conv2d(first, second, 5), neuron(), nn.MaxPool2d(2)
        # Of larger images it sees the mean, of those of `feature_size` everything.
        self.avgpool, self.flatten = nn.AdaptiveAvgPool2d(side), nn.Flatten()
        self.fc1, self.neuron3 = nn.Linear(side**2 * second, hidden), neuron()
        self.out, self.readout = nn.Linear(hidden, num_classes), readout()
        self.start(neuron)


class ConvNet(_ConvNet):
    """Convolutions of 20 and 50 channels, 5 x 5, each pooled by 2, and a hidden layer of 500 neurons.

    Args:
        num_channels: Channels of the images.
        feature_size: Height and width of the images, or more.
        num_classes: Number of outputs.
        neuron: Makes the neurons of one layer, such as `LIF` or ``partial(LIF, tau_mem=20e-3)``.
        readout: Makes what follows the last weights; ``nn.Identity`` leaves their sums as they are.
    """

    widths = (20, 50, 500)


class ConvNet4(_ConvNet):
    """`ConvNet` with 32 and 64 channels and 1,024 hidden neurons; takes the same arguments."""

    widths = (32, 64, 1024)
