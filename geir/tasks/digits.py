"""Train a spiking convolutional network on scikit-learn's 8x8 handwritten digits: `python -m geir.tasks.digits`."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import TensorDataset

from ..containers import Lift, SequentialState
from ..neurons import LI, LIF
from .command_line import build_parser, main, Result
from .data import Data
from .training import Settings, train

DEFAULTS = Settings(epochs=25, batch_size=32, learning_rate=4e-3, decay=0.9, steps=24, out=Path("runs/digits"))


def network() -> SequentialState:
    """Two spiking convolutional layers and a leaky readout."""
    return SequentialState(
        Lift(nn.Conv2d(1, 20, 3, padding=1)),
        LIF(),
        Lift(nn.MaxPool2d(2, 2)),
        Lift(nn.Conv2d(20, 50, 3, padding=1)),
        LIF(),
        Lift(nn.MaxPool2d(2, 2)),
        Lift(nn.Flatten()),
        Lift(nn.Linear(200, 10)),
        LI(),
    )


def load() -> Data[TensorDataset]:
    """The digits, split into 1,437 training images and 360 test images; the split is always the same."""
    pixels, targets = load_digits(return_X_y=True)
    images = torch.tensor(pixels.reshape(-1, 1, 8, 8) / 16, dtype=torch.float32)
    labels = torch.tensor(targets)
    train, test = train_test_split(np.arange(len(labels)), test_size=360, stratify=targets, random_state=0)
    return Data(train=TensorDataset(images[train], labels[train]), test=TensorDataset(images[test], labels[test]))


def run(**settings: object) -> Result:
    """Train and evaluate; for `settings`, see `geir.tasks`."""
    return train("digits", network, load(), replace(DEFAULTS, **settings))


if __name__ == "__main__":
    sys.exit(main(build_parser("digits", __doc__, DEFAULTS), run, several_processes=True))
