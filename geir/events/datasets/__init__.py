"""Published data sets, read from the files of their authors, with their splits into training and test sets."""

from .dvs_gesture import DVSGesture as DVSGesture
from .image_conversions import CIFAR10DVS as CIFAR10DVS, NCaltech101 as NCaltech101, NMNIST as NMNIST
from .spiking_heidelberg import SHD as SHD, SSC as SSC
