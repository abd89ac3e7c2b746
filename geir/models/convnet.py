"""Small convolutional networks, for images of the size of MNIST."""

from typing import NamedTuple

from torch import nn

from ..neurons import LI, LIF
from .base import ImageNetwork, ModuleFactory

KERNEL_SIZE = 5
MIN_FEATURE_SIZE = 16


class _Widths(NamedTuple):
    conv1: int  # channels
    conv2: int  # channels
    hidden: int  # neurons


class _ConvNet(ImageNetwork):
    widths: _Widths

    def __init__(
        self,
        num_channels: int = 1,
        feature_size: int = 28,
        num_classes: int = 10,
        neuron: ModuleFactory = LIF,
        readout: ModuleFactory = LI,
    ):
        super().__init__(num_channels, num_classes, neuron, readout)
        if feature_size < MIN_FEATURE_SIZE:
            raise ValueError(
                f"{type(self).__name__}.feature_size must be at least {MIN_FEATURE_SIZE}, got {feature_size}."
            )
        self.min_size = feature_size
        widths = self.widths
        pooled_size = (feature_size - KERNEL_SIZE + 1) // 2
        pooled_size = (pooled_size - KERNEL_SIZE + 1) // 2
        self.conv1 = nn.Conv2d(num_channels, widths.conv1, KERNEL_SIZE)
        self.neuron1 = neuron()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(widths.conv1, widths.conv2, KERNEL_SIZE)
        self.neuron2 = neuron()
        self.pool2 = nn.MaxPool2d(2)
        # The identity for images of `feature_size`; features of larger images are averaged.
        self.avgpool = nn.AdaptiveAvgPool2d(pooled_size)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(pooled_size**2 * widths.conv2, widths.hidden)
        self.neuron3 = neuron()
        self.out = nn.Linear(widths.hidden, num_classes)
        self.readout = readout()
        self.reset_parameters()


class ConvNet(_ConvNet):
    """Two convolutions and a hidden layer of 500 neurons.

    The convolutions are 5 x 5, have 20 and 50 channels, and are each followed by 2 x 2 max pooling.

    Args:
        num_channels: Number of channels of the images.
        feature_size: Minimum height and width of the images, at least 16.
        num_classes: Number of outputs.
        neuron: Returns the neurons of one layer, such as `LIF` or ``partial(LIF, tau_mem=20e-3)``.
        readout: Returns the module that follows the last weights; ``nn.Identity`` returns their output
            unchanged.

    Raises:
        TypeError: If `neuron` or `readout` is a module or is not callable.
        ValueError: If a number is out of range.
    """

    widths = _Widths(conv1=20, conv2=50, hidden=500)


class ConvNet4(_ConvNet):
    """`ConvNet` with 32 and 64 channels and 1,024 hidden neurons. It takes the same arguments."""

    widths = _Widths(conv1=32, conv2=64, hidden=1024)
