"""Train a spiking convolutional network on the 8x8 handwritten digits that come with scikit-learn: `python -m geir.tasks.digits`."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import TensorDataset

from ..containers import Lift, SequentialState
from ..neurons import LI, LIF
from .training import Data, Settings, main, parser, train

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


def digits() -> Data:
    """1,437 images to train on and 360 held out, the same in every run."""
    bunch: Any = load_digits()
    images = torch.tensor(bunch.images / 16, dtype=torch.float32)[:, None]
    labels = torch.tensor(bunch.target)
    train, test = train_test_split(np.arange(len(labels)), test_size=360, stratify=bunch.target, random_state=0)
    return Data(train=TensorDataset(images[train], labels[train]), test=TensorDataset(images[test], labels[test]))


def run(**settings: Any) -> dict[str, Any]:
    """Train and evaluate; settings as on the command line, with underscores. Returns the figures of the run."""
    return train("digits", network, digits(), Settings(**{**vars(DEFAULTS), **settings}))


if __name__ == "__main__":
    description = "Train a spiking convolutional network on scikit-learn's 8x8 digits. The last line printed is a JSON object with the result."
    sys.exit(main(parser("digits", description, DEFAULTS), run, None))
