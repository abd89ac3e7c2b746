"""Train a convolutional network without time on MNIST and convert it: `python -m geir.tasks.conversion --data FILE`.

Two convolutional layers with batch normalization and average pooling, and a linear readout. It is trained with ReLU
activations, or with `geir.hardware.QCFS` if `--levels` is not 0, and converted by `geir.hardware.from_ann` to
integrate-and-fire neurons. An image is presented as a constant current.
"""

import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn, Tensor
from torch.nn import functional
from torch.utils.data import TensorDataset
from tqdm import tqdm

from ..hardware import conversion_report, from_ann, QCFS
from .command_line import build_parser, main, MNIST_FILES, Result
from .epochs import descend
from .mnist import load
from .settings import out_setting, seed_setting, setting, TaskSettings
from .short_training import restore_or_train, train_briefly

# Images in a batch of the test.
TEST_BATCH = 50


@dataclass(frozen=True)
class Settings(TaskSettings):
    """Settings of a run. Each field is a flag of the command line."""

    epochs: int = setting(4, "number of passes over the training images")
    batch_size: int = setting(64, "images per training step")
    learning_rate: float = setting(2e-3, "learning rate of Adam, annealed to zero")
    levels: int = setting(0, "levels of the QCFS activations; 0 for ReLU", allowed="not negative")
    threshold: float = setting(2.0, "threshold at which QCFS activations start")
    steps: int = setting(64, "largest number of time steps")
    percentile: float = setting(99.9, "percentile of a ReLU that becomes its threshold")
    per_channel: bool = setting(False, "one threshold for each channel")
    calibration: int = setting(500, "training images that choose the thresholds")
    seed: int = seed_setting("weights and image order")
    out: Path = out_setting("conversion", "the weights")
    resume: bool = setting(False, "convert the network in the folder instead of training one")


def network(levels: int = 0, threshold: float = 2.0) -> nn.Sequential:
    """The network without time, for images of 28 x 28 pixels."""

    def activation() -> nn.Module:
        return QCFS(levels, threshold=threshold) if levels else nn.ReLU()

    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        activation(),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        activation(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 10),
    )


def run(data: Path | str, **settings: object) -> Result:
    """Train on MNIST, convert and evaluate; for `data`, see `geir.tasks.mnist.read`, for `settings` `geir.tasks`.

    Returns:
        The result: `test_accuracy` of the trained network, and `spiking_accuracy_1`, `_2`, `_4`, ... after these
        numbers of time steps.

    Raises:
        FileNotFoundError: If the data does not exist, or `resume` is set and there is no network.
    """
    given = replace(Settings(), **settings)
    started = time.perf_counter()
    images = load(Path(data))
    torch.manual_seed(given.seed)
    model = network(given.levels, given.threshold)
    weights = given.out / f"{'qcfs' if given.levels else 'relu'}.pt"
    finished = restore_or_train(model, weights, given.resume, lambda: train(model, images.train, given))
    result: Result = {
        "task": "conversion",
        "test_accuracy": None,
        "parameters": sum(p.numel() for p in model.parameters()),
        "interrupted": not finished,
        "weights": str(weights),
    }
    if finished:
        model.eval()
        spiking = from_ann(
            model,
            images.train.tensors[0][: given.calibration],
            percentile=given.percentile,
            per_channel=given.per_channel,
        )
        with torch.inference_mode():
            result |= evaluate(model, spiking, images.test, given.steps)
        print(conversion_report(model, spiking, images.test.tensors[0][:TEST_BATCH], given.steps), file=sys.stderr)
    return result | {"seconds": round(time.perf_counter() - started, 1)}


def train(model: nn.Module, images: TensorDataset, settings: Settings) -> bool:
    """Train by cross entropy, until the end (True) or Ctrl-C (False)."""
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    batches = math.ceil(len(images) / settings.batch_size) * settings.epochs
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, batches)

    def update(pixels: Tensor, labels: Tensor) -> float:
        loss = descend(optimizer, functional.cross_entropy(model(pixels), labels))
        schedule.step()
        return loss

    return train_briefly(
        model, images, update, epochs=settings.epochs, batch_size=settings.batch_size, seed=settings.seed
    )


def evaluate(model: nn.Module, spiking: nn.Module, images: TensorDataset, steps: int) -> Result:
    """Accuracy of the trained network, and of the converted one after 1, 2, 4, ... steps and after `steps`."""
    times = sorted({2**k for k in range(steps.bit_length())} | {steps})
    correct = dict.fromkeys(times, 0)
    original = 0
    pixels, labels = images.tensors
    batches = list(zip(pixels.split(TEST_BATCH), labels.split(TEST_BATCH), strict=True))
    for x, y in tqdm(batches, desc="test", leave=False, disable=None):
        original += _hits(model(x), y)
        sums, _ = spiking(x.expand(steps, *x.shape))
        for t in times:
            correct[t] += _hits(sums[t - 1], y)
    accuracies = {f"spiking_accuracy_{t}": hits / len(labels) for t, hits in correct.items()}
    return {"test_accuracy": original / len(labels), **accuracies}


def _hits(outputs: Tensor, labels: Tensor) -> int:
    return int((outputs.argmax(1) == labels).sum())


if __name__ == "__main__":
    sys.exit(main(build_parser("conversion", __doc__, Settings(), data=MNIST_FILES), run))
