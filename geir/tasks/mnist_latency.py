"""Train on latency-coded MNIST by exact gradients of spike times: `python -m geir.tasks.mnist_latency --data PATH`.

Every pixel that is not dark spikes once, the earlier the brighter it is. Two layers of `LIF` in continuous time,
trained by `geir.learning.SpikeTimeLayer`; the output unit that spikes first is the prediction.

Reference: T. Wunderlich & C. Pehle, *Event-based backpropagation can compute exact gradients for spiking neural
networks*, 2021, whose task and number of hidden neurons these are. Weights start where neurons spike, for digits of few
pixels too. Loss and training are those of `geir.tasks.yin_yang`, with fewer epochs.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .catalog import Published
from .command_line import build_parser, main, MNIST_FILES, Result
from .epochs import train_epochs
from .mnist import HELD_OUT, read
from .settings import out_setting, resume_setting, seed_setting, setting, TaskSettings
from .spike_time_classifier import FirstSpikeClassifier

PUBLISHED = Published("test_accuracy", "97.6 %", "T. Wunderlich & C. Pehle, 2021")
# Seconds until the spike of the darkest pixel that spikes, and its brightness from 0 to 1.
T_MAX, DARK = 20e-3, 0.1
PIXELS, CLASSES = 28 * 28, 10
# See `FirstSpikeClassifier`. A digit 1 has so few pixels that no output unit spikes at first.
WAKE = 100.0


@dataclass(frozen=True)
class Settings(TaskSettings):
    """Settings of a run. Each field is a flag of the command line."""

    epochs: int = setting(12, "number of passes over the training images", free=True)
    batch_size: int = setting(32, "images per training step")
    hidden: int = setting(350, "number of hidden neurons")
    learning_rate: float = setting(5e-3, "learning rate of Adam in the first epoch")
    decay: float = setting(0.7, "factor applied to the learning rate after every epoch")
    train_images: int = setting(60_000, "number of training images, the first ones")
    test_images: int = setting(10_000, "number of test images, the first ones", free=True)
    validate: bool = setting(False, f"test on the last {HELD_OUT:,} training images, and leave them out")
    seed: int = seed_setting("the weights and the order")
    out: Path = out_setting("mnist_latency")
    resume: bool = resume_setting()


def encode(images: Tensor) -> tuple[Tensor, Tensor]:
    """Times and units of the spikes of images.

    Args:
        images: Pixels from 0 to 255, shape (batch, 784).

    Returns:
        Times in seconds, ascending, padded with infinity, and units, shape (batch, spikes).
    """
    brightness = images.double() / 255
    times, units = torch.where(brightness > DARK, T_MAX * (1 - brightness), torch.inf).sort(dim=1, stable=True)
    longest = int(times.isfinite().sum(1).max())
    return times[:, :longest], units[:, :longest]


def network(hidden: int, seed: int) -> FirstSpikeClassifier:
    """Two layers of LIF neurons, with weights at which they spike, also for digits of few pixels."""
    return FirstSpikeClassifier((PIXELS, hidden, CLASSES), ((0.1, 0.1), (0.2, 0.37)), 0.0, seed, wake=WAKE)


def accuracy(model: FirstSpikeClassifier, images: Tensor, labels: Tensor) -> float:
    """Share of images whose unit spikes first."""
    parts = zip(images.split(500), labels.split(500), strict=True)
    return sum(model.count_right(*encode(x), y) for x, y in parts) / len(labels)


def run(data: Path | str, **settings: object) -> Result:
    """Train and evaluate on MNIST; for `data`, see `geir.tasks.mnist.read`, for `settings` `geir.tasks`."""
    given = replace(Settings(), **settings)
    arrays = read(Path(data), given.validate)
    images, labels = _first(arrays.train_images, arrays.train_labels, given.train_images)
    test = _first(arrays.test_images, arrays.test_labels, given.test_images)
    model = network(given.hidden, given.seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=given.learning_rate)
    result = train_epochs(
        "mnist_latency",
        given,
        given.epochs,
        model,
        optimizer,
        learning_rate=lambda epoch: given.learning_rate * given.decay**epoch,
        batches=lambda _: torch.randperm(len(labels)).split(given.batch_size),
        update=lambda k: model.update(optimizer, *encode(images[k]), labels[k]),
        evaluate=lambda: accuracy(model, *test),
    )
    return result | {"train_images": len(labels), "test_images": len(test[1])}


def _first(images: np.ndarray, labels: np.ndarray, count: int) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(images[:count]).flatten(1), torch.from_numpy(labels[:count]).long()


if __name__ == "__main__":
    sys.exit(main(build_parser("mnist_latency", __doc__, Settings(), data=MNIST_FILES), run))
