"""Training of spiking classifiers: epochs with a progress bar, checkpoints, and a figure at the end."""

import sys
import time
from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast, Generic, TypeVar

import torch
from torch import nn, Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, RandomSampler
from tqdm import tqdm

from ..containers import SequentialState
from ..decode import max_potential, max_potential_loss
from .checkpoint import EpochResult, load_checkpoint, Progress, save_checkpoint
from .command_line import check_positive_settings, Result, stop_on_interrupt
from .figure import draw_run


@dataclass(frozen=True)
class Settings:
    """Settings of a training run. Each field is a flag of the command line."""

    epochs: int = field(default=10, metadata={"help": "number of passes over the training set"})
    batch_size: int = field(default=64, metadata={"help": "samples per training step"})
    learning_rate: float = field(default=2e-3, metadata={"help": "learning rate of Adam in the first epoch"})
    decay: float = field(default=0.8, metadata={"help": "factor applied to the learning rate after every epoch"})
    steps: int = field(default=32, metadata={"help": "time steps of 1 ms for which an image is shown"})
    seed: int = field(default=0, metadata={"help": "seed of the weights and the sample order; runs are reproducible"})
    device: str = field(default="auto", metadata={"help": "cpu, cuda, cuda:1, ...; auto uses a GPU if there is one"})
    out: Path = field(default=Path("runs"), metadata={"help": "folder for checkpoint and figure, created if missing"})
    resume: bool = field(default=False, metadata={"help": "continue from the checkpoint in the folder"})

    def __post_init__(self) -> None:
        check_positive_settings(self, ("epochs", "batch_size", "steps", "learning_rate", "decay"))


# Settings that must agree with the checkpoint when a run is resumed.
FIXED_SETTINGS = ("batch_size", "learning_rate", "decay", "steps", "seed")


def repeat_over_time(x: Tensor, steps: int) -> Tensor:
    """Repeat a batch as a constant current, without copying: shape (...) to (steps, ...)."""
    return x.expand(steps, *x.shape)


SampleSet = TypeVar("SampleSet", bound=Dataset[Any])  # each task has its own type of samples


@dataclass(frozen=True)
class Data(Generic[SampleSet]):
    """Training and test samples, and how they are presented to a network.

    Args:
        train: Samples for training: pairs of a sample and its label. Must have a length.
        test: Samples for testing. Must have a length.
        collate: Makes a batch from a list of samples. Default: that of `DataLoader`.
        encode: Makes input currents, shape (time, batch, ...), from a batch and the number of steps.
            Default: every sample is a constant current.
        sample_noun: Plural noun for the samples; it names entries of the result.
    """

    train: SampleSet
    test: SampleSet
    collate: Callable[[list[tuple[Tensor, int]]], tuple[Tensor, Tensor]] | None = None
    encode: Callable[[Tensor, int], Tensor] = repeat_over_time
    sample_noun: str = "images"


def _sized(dataset: Dataset[Any]) -> Sized:
    # PyTorch's `Dataset` does not declare the length that map-style datasets have.
    return cast(Sized, dataset)


def train(task: str, network: Callable[[], SequentialState], data: Data[Any], settings: Settings) -> Result:
    """Train and evaluate a network.

    Args:
        task: Name of the task.
        network: Builds the network, which maps currents (time, batch, channels, height, width) to potentials
            (time, batch, classes).
        data: The samples.
        settings: Settings of the run.

    Returns:
        The result, including `test_accuracy` after the last epoch.

    Raises:
        FileNotFoundError: If `settings.resume` is set and there is no checkpoint.
        ValueError: If `settings.resume` is set and the checkpoint is unreadable, or from another network or run.
    """
    started = time.perf_counter()
    torch.manual_seed(settings.seed)
    device = _choose_device(settings.device)
    model = network().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    settings.out.mkdir(parents=True, exist_ok=True)
    checkpoint = settings.out / "checkpoint.pt"
    fixed = {name: getattr(settings, name) for name in FIXED_SETTINGS}
    progress = load_checkpoint(checkpoint, task, fixed, model, optimizer) if settings.resume else Progress()
    seconds_before = progress.seconds

    with stop_on_interrupt() as stopped:
        while progress.epoch < settings.epochs and not stopped():
            _train_epoch(model, optimizer, data, settings, progress, device, stopped)
            if not stopped():
                _finish_epoch(progress, evaluate(model, data, settings, device), settings.epochs)
            progress.seconds = seconds_before + time.perf_counter() - started
            save_checkpoint(checkpoint, task, fixed, model, optimizer, progress)

    interrupted = progress.epoch < settings.epochs
    result: Result = {
        "task": task,
        "test_accuracy": progress.history[-1]["test_accuracy"] if progress.history else None,
        "seconds": round(progress.seconds, 1),
        "epochs": progress.epoch,
        f"train_{data.sample_noun}": len(_sized(data.train)),
        f"test_{data.sample_noun}": len(_sized(data.test)),
        "parameters": sum(p.numel() for p in model.parameters()),
        "interrupted": interrupted,
        "checkpoint": str(checkpoint),
    }
    if interrupted:
        print(f"Stopped and saved to {checkpoint}. To continue, run the same command with --resume.", file=sys.stderr)
        return result
    figure = settings.out / f"{task}.png"
    x, label = (data.collate or default_collate)([data.test[0]])
    draw_run(model, data.encode(x.to(device), settings.steps), int(label), progress.history, figure)
    return result | {"figure": str(figure)}


def _choose_device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def _train_epoch(
    model: SequentialState,
    optimizer: torch.optim.Optimizer,
    data: Data[Any],
    settings: Settings,
    progress: Progress,
    device: str,
    stopped: Callable[[], bool],
) -> None:
    """Train for the rest of the current epoch, or until `stopped()`; updates `progress` in place."""
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * settings.decay**progress.epoch
    # The sample order and the augmentations of an epoch depend on nothing but the seed and the epoch. A resumed run
    # skips the batches that were already used and so sees the same samples as an uninterrupted run.
    order = torch.Generator().manual_seed(settings.seed * 100_003 + progress.epoch)
    torch.manual_seed(order.initial_seed())
    sampler = RandomSampler(_sized(data.train), generator=order)
    loader = DataLoader(data.train, batch_size=settings.batch_size, sampler=sampler, collate_fn=data.collate)
    model.train()
    title = f"epoch {progress.epoch + 1}/{settings.epochs}"
    with tqdm(total=len(loader), initial=progress.batch, desc=title, unit="batch", leave=False, disable=None) as bar:
        for x, labels in islice(loader, progress.batch, None):
            vs, _ = model(data.encode(x.to(device), settings.steps))
            loss = max_potential_loss(vs, labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.batch += 1
            progress.loss += loss.item()
            bar.update()
            bar.set_postfix(loss=f"{progress.loss / progress.batch:.4f}")
            if stopped():
                return


def _finish_epoch(progress: Progress, accuracy: float, epochs: int) -> None:
    """Move `progress` to the next epoch and print the result of the finished one."""
    loss = progress.loss / progress.batch
    progress.history.append(EpochResult(loss=loss, test_accuracy=accuracy))
    progress.epoch += 1
    progress.batch = 0
    progress.loss = 0.0
    tqdm.write(
        f"epoch {progress.epoch}/{epochs}  loss {loss:.4f}  test accuracy {100 * accuracy:.2f} %", file=sys.stderr
    )


def evaluate(model: nn.Module, data: Data[Any], settings: Settings, device: str) -> float:
    """Test accuracy in [0, 1]: the predicted class is the one with the largest membrane potential over time."""
    model.eval()
    correct = 0
    with torch.inference_mode():
        for x, labels in DataLoader(data.test, batch_size=4 * settings.batch_size, collate_fn=data.collate):
            vs, _ = model(data.encode(x.to(device), settings.steps))
            correct += int((max_potential(vs).argmax(-1).cpu() == labels).sum())
    return correct / len(_sized(data.test))
