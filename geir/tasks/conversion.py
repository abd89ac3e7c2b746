"""Train a convolutional network without time on MNIST and convert it: `python -m geir.tasks.conversion --data FILE`.

Two convolutional layers with batch normalization and average pooling, and a linear readout. It is trained with ReLU
activations, or with `geir.hardware.QCFS` if `--levels` is not 0, and converted by `geir.hardware.from_ann` to
integrate-and-fire neurons. An image is presented as a constant current.
"""

import math
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn, Tensor
from torch.nn import functional
from torch.utils.data import TensorDataset
from tqdm import tqdm

from ..hardware import conversion_report, from_ann, QCFS
from .command_line import add_mnist_argument, build_parser, check_positive_settings, main, Result, stop_on_interrupt
from .files import write_atomically
from .mnist import load

# Images in a batch of the test.
TEST_BATCH = 50


@dataclass(frozen=True)
class Settings:
    """Settings of a run. Each field is a flag of the command line."""

    epochs: int = field(default=4, metadata={"help": "number of passes over the training images"})
    batch_size: int = field(default=64, metadata={"help": "images per training step"})
    learning_rate: float = field(default=2e-3, metadata={"help": "learning rate of Adam, annealed to zero"})
    levels: int = field(default=0, metadata={"help": "levels of the QCFS activations; 0 for ReLU"})
    threshold: float = field(default=2.0, metadata={"help": "threshold at which QCFS activations start"})
    steps: int = field(default=64, metadata={"help": "largest number of time steps"})
    percentile: float = field(default=99.9, metadata={"help": "percentile of a ReLU that becomes its threshold"})
    per_channel: bool = field(default=False, metadata={"help": "one threshold for each channel"})
    calibration: int = field(default=500, metadata={"help": "training images that choose the thresholds"})
    seed: int = field(default=0, metadata={"help": "seed of weights and image order; runs are reproducible"})
    out: Path = field(default=Path("runs/conversion"), metadata={"help": "folder for the weights, created if missing"})
    resume: bool = field(default=False, metadata={"help": "convert the network in the folder instead of training one"})

    def __post_init__(self) -> None:
        check_positive_settings(
            self, ("epochs", "batch_size", "learning_rate", "threshold", "steps", "percentile", "calibration")
        )


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
    """Train, convert and evaluate.

    Args:
        data: See `geir.tasks.mnist.read`.
        **settings: Settings by name, as on the command line, with underscores.

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
    interrupted = False
    if given.resume:
        if not weights.exists():
            raise FileNotFoundError(f"There is no trained network at {weights}; run without --resume first.")
        model.load_state_dict(torch.load(weights))
    else:
        interrupted = not train(model, images.train, given)
        given.out.mkdir(parents=True, exist_ok=True)
        write_atomically(weights, lambda file: torch.save(model.state_dict(), file))
    result: Result = {
        "task": "conversion",
        "test_accuracy": None,
        "parameters": sum(p.numel() for p in model.parameters()),
        "interrupted": interrupted,
        "weights": str(weights),
    }
    if not interrupted:
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
    pixels, labels = images.tensors
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    batches = math.ceil(len(labels) / settings.batch_size) * settings.epochs
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, batches)
    order = torch.Generator().manual_seed(settings.seed)
    model.train()
    with stop_on_interrupt() as stopped:
        for epoch in range(settings.epochs):
            shuffled = torch.randperm(len(labels), generator=order).split(settings.batch_size)
            total = 0.0
            for indices in tqdm(shuffled, desc=f"epoch {epoch + 1}/{settings.epochs}", leave=False, disable=None):
                loss = functional.cross_entropy(model(pixels[indices]), labels[indices])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.item() * len(indices)
                if stopped():
                    return False
            tqdm.write(f"epoch {epoch + 1}/{settings.epochs}  loss {total / len(labels):.4f}", file=sys.stderr)
    return True


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
    description = (
        "Train a convolutional network without time on MNIST, convert it to a spiking network, and compare the two. "
        "Prints the result as a JSON object on the last line."
    )
    parser = build_parser("conversion", description, Settings())
    add_mnist_argument(parser)
    sys.exit(main(parser, run))
