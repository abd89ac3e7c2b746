"""Train on the Yin-Yang data set by exact gradients of spike times: `python -m geir.tasks.yin_yang`.

A point in a disc belongs to one of three classes: Yin, Yang and their dots. Its coordinates :math:`x, y, 1 - x, 1 - y`
are the times of four spikes; a fifth spike has a fixed time. Two layers of `LIF` in continuous time, trained by
`geir.learning.SpikeTimeLayer`; the output unit that spikes first is the prediction.

References: L. Kriener, J. Göltz & M. Petrovici, *The Yin-Yang dataset*, 2022; T. Wunderlich & C. Pehle, *Event-based
backpropagation can compute exact gradients for spiking neural networks*, 2021, whose network and settings these are.
Unlike there, the learning rate falls faster, over fewer epochs; silent units of the label are woken by their highest
potential; and gradients are clipped.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .catalog import Published
from .command_line import build_parser, main, Result
from .epochs import train_epochs
from .settings import out_setting, resume_setting, seed_setting, setting, TaskSettings
from .spike_time_classifier import FirstSpikeClassifier

PUBLISHED = Published("test_accuracy", "98.1 %", "T. Wunderlich & C. Pehle, 2021")
# In seconds: the range of times of the coordinates, and the time of the fifth spike.
T_MIN, T_MAX, T_BIAS = 10e-3, 40e-3, 20e-3
CLASSES = 3


@dataclass(frozen=True)
class Settings(TaskSettings):
    """Settings of a run. Each field is a flag of the command line."""

    epochs: int = setting(60, "number of passes over the training points", free=True)
    batch_size: int = setting(32, "points per training step")
    hidden: int = setting(200, "number of hidden neurons")
    learning_rate: float = setting(5e-3, "learning rate of Adam in the first epoch")
    decay: float = setting(0.93, "factor applied to the learning rate after every epoch")
    points: int = setting(5000, "number of training points")
    test_points: int = setting(1000, "number of test points", free=True)
    seed: int = seed_setting("weights, points and their order")
    out: Path = out_setting("yin_yang")
    resume: bool = resume_setting()


class Points(NamedTuple):
    """Points of the data set."""

    coordinates: Tensor  # (points, 2), from 0 to 1
    labels: Tensor  # (points,): 0 Yin, 1 Yang, 2 dot


def draw_points(count: int, seed: int) -> Points:
    """Draw points of the Yin-Yang data set, with equal numbers of the three classes.

    A disc of radius 0.5 around (0.5, 0.5). Dots have radius 0.1 and are centered at (0.25, 0.5) and (0.75, 0.5).
    """
    generator = np.random.default_rng(seed)
    wanted = np.arange(count) % CLASSES
    coordinates = np.empty((count, 2))
    missing = np.ones(count, dtype=bool)
    while missing.any():
        drawn = generator.random((count, 2))
        inside = np.hypot(*(drawn - 0.5).T) <= 0.5
        accepted = missing & inside & (classify(drawn) == wanted)
        coordinates[accepted] = drawn[accepted]
        missing &= ~accepted
    order = generator.permutation(count)
    return Points(torch.tensor(coordinates[order]), torch.tensor(wanted[order]))


def classify(points: np.ndarray) -> np.ndarray:
    """The class of points in the disc, shape (points, 2)."""
    x, y = points.T
    left, right = np.hypot(x - 0.25, y - 0.5), np.hypot(x - 0.75, y - 0.5)
    dot = (left < 0.1) | (right < 0.1)
    # The upper half, with the half disc around the right dot removed and that around the left added.
    yin = (right <= 0.1) | ((left > 0.1) & (left <= 0.25)) | ((y > 0.5) & (right > 0.25))
    return np.where(dot, 2, np.where(yin, 0, 1))


def encode(coordinates: Tensor) -> tuple[Tensor, Tensor]:
    """Times and units of the five input spikes of each point."""
    values = torch.cat([coordinates, 1 - coordinates], 1)
    times = T_MIN + (T_MAX - T_MIN) * values
    times = torch.cat([times, torch.full_like(times[:, :1], T_BIAS)], 1)
    return times.sort(1)


def network(hidden: int, seed: int) -> FirstSpikeClassifier:
    """Two layers of LIF neurons, with weights at which they spike."""
    return FirstSpikeClassifier((5, hidden, CLASSES), ((1.5, 0.78), (0.93, 0.1)), T_MIN, seed)


def accuracy(model: FirstSpikeClassifier, points: Points) -> float:
    """Share of points whose unit spikes first."""
    parts = zip(points.coordinates.split(500), points.labels.split(500), strict=True)
    return sum(model.count_right(*encode(x), labels) for x, labels in parts) / len(points.labels)


def run(**settings: object) -> Result:
    """Train and evaluate; for `settings`, see `geir.tasks`."""
    given = replace(Settings(), **settings)
    # The test points are the same for all seeds.
    train, test = draw_points(given.points, 1000 + given.seed), draw_points(given.test_points, 1)
    model = network(given.hidden, given.seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=given.learning_rate)
    result = train_epochs(
        "yin_yang",
        given,
        given.epochs,
        model,
        optimizer,
        learning_rate=lambda epoch: given.learning_rate * given.decay**epoch,
        batches=lambda _: torch.randperm(given.points).split(given.batch_size),
        update=lambda k: model.update(optimizer, *encode(train.coordinates[k]), train.labels[k]),
        evaluate=lambda: accuracy(model, test),
    )
    return result | {"train_points": given.points, "test_points": given.test_points}


if __name__ == "__main__":
    sys.exit(main(build_parser("yin_yang", __doc__, Settings()), run))
