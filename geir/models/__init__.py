"""Networks for images over time, with any neuron.

All take (time, batch, channels, height, width) and an optional state, and return (time, batch, classes) and the state, so they stream. In
training, batch normalisation takes its statistics over the time steps it is given, so only `model.eval()` makes a run in parts the same as one run.
"""

from .base import DropoutOverTime, LoadedWeights, init_weights, load_weights, threshold_weight
from .convnet import ConvNet, ConvNet4
from .mobilenet import InvertedResidual, MobileNetV2, mobilenet_v2
from .resnet import (
    ResidualBlock,
    ResNet,
    SEWResNet,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    sew_add,
    sew_and,
    sew_iand,
    sew_resnet18,
    sew_resnet34,
    sew_resnet50,
)
from .vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn

__all__ = [
    "VGG",
    "ConvNet",
    "ConvNet4",
    "DropoutOverTime",
    "InvertedResidual",
    "LoadedWeights",
    "MobileNetV2",
    "ResNet",
    "ResidualBlock",
    "SEWResNet",
    "init_weights",
    "load_weights",
    "mobilenet_v2",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "sew_add",
    "sew_and",
    "sew_iand",
    "sew_resnet18",
    "sew_resnet34",
    "sew_resnet50",
    "threshold_weight",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
]
