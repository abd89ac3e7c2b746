"""Training by updates that a task defines itself: epochs with a progress bar, checkpoints and resuming."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import nn
from tqdm import tqdm

from .checkpoint import EpochResult, load_checkpoint, Progress, save_checkpoint
from .command_line import Result, stop_on_interrupt
from .files import write_atomically

Batch = TypeVar("Batch")


class EpochSettings(Protocol):
    """The settings that `train_epochs` reads."""

    @property
    def seed(self) -> int: ...

    @property
    def out(self) -> Path: ...

    @property
    def resume(self) -> bool: ...


def seed_of_epoch(seed: int, epoch: int) -> int:
    """A seed that depends on nothing but the seed of the run and the epoch, so that a resumed run draws the same."""
    return seed * 100_003 + epoch


def train_epochs(
    task: str,
    epochs: int,
    settings: EpochSettings,
    fixed_settings: Mapping[str, object],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    learning_rate: Callable[[int], float],
    batches: Callable[[int], Iterable[Batch]],
    update: Callable[[Batch], float],
    evaluate: Callable[[], float | Mapping[str, float]],
    finish: Callable[[Sequence[EpochResult]], Result] = lambda history: {},
) -> Result:
    """Train for a number of epochs, with a checkpoint after each.

    Args:
        task: Name of the task.
        epochs: Number of epochs.
        settings: Seed, folder of the checkpoint, and whether to resume.
        fixed_settings: The settings that must not change when the run is resumed.
        model: What is saved and restored: all weights, fixed ones included.
        optimizer: Its optimizer.
        learning_rate: The learning rate of an epoch, counted from 0.
        batches: The batches of an epoch. They must be the same each time they are drawn; the global random generator
            is seeded before.
        update: Changes the weights by one batch; returns its loss.
        evaluate: Accuracy in [0, 1] on the test samples; or several results of an epoch by name.
        finish: Called after the last epoch with the results of all; what it returns is added to the result.

    Returns:
        The result, including `test_accuracy`, or the results by name, of the last epoch.

    Raises:
        FileNotFoundError: If `settings.resume` is set and there is no checkpoint.
        ValueError: If `settings.resume` is set and the checkpoint is unreadable, or from another network or run.
    """
    started = time.perf_counter()
    settings.out.mkdir(parents=True, exist_ok=True)
    checkpoint = settings.out / "checkpoint.json"
    progress = Progress()
    if settings.resume:
        progress = load_checkpoint(checkpoint, task, fixed_settings, model, optimizer)
    seconds_before = progress.seconds
    with stop_on_interrupt() as stopped:
        while progress.epoch < epochs and not stopped():
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(progress.epoch)
            torch.manual_seed(seed_of_epoch(settings.seed, progress.epoch))
            drawn = batches(progress.epoch)
            bar = tqdm(
                islice(drawn, progress.batch, None),
                desc=f"epoch {progress.epoch + 1}/{epochs}",
                total=len(drawn) if isinstance(drawn, Sized) else None,
                initial=progress.batch,
                leave=False,
                disable=None,
            )
            for batch in bar:
                progress.loss += update(batch)
                progress.batch += 1
                if stopped():
                    break
            else:
                _finish_epoch(progress, evaluate(), epochs)
            progress.seconds = seconds_before + time.perf_counter() - started
            save_checkpoint(checkpoint, task, fixed_settings, model, optimizer, progress)
    interrupted = progress.epoch < epochs
    if interrupted:
        print(f"Stopped and saved to {checkpoint}. To continue, run the same command with --resume.", file=sys.stderr)
    weights = settings.out / "weights.pt"
    write_atomically(weights, lambda file: torch.save(model.state_dict(), file))
    last = progress.history[-1] if progress.history else {"test_accuracy": None}
    result: Result = {
        "task": task,
        **{name: value for name, value in last.items() if name != "loss"},
        "seconds": round(progress.seconds, 1),
        "epochs": progress.epoch,
        "seed": settings.seed,
        "parameters": sum(p.numel() for p in model.parameters()),
        "interrupted": interrupted,
        "checkpoint": str(checkpoint),
        "weights": str(weights),
    }
    return result if interrupted else result | finish(progress.history)


def _finish_epoch(progress: Progress, found: float | Mapping[str, float], epochs: int) -> None:
    results = found if isinstance(found, Mapping) else {"test_accuracy": found}
    loss = progress.loss / max(progress.batch, 1)
    progress.history.append({"loss": loss, **results})
    progress.epoch += 1
    progress.batch, progress.loss = 0, 0.0
    shown = "  ".join(f"{name.replace('_', ' ')} {_shown(name, value)}" for name, value in results.items())
    tqdm.write(f"epoch {progress.epoch}/{epochs}  loss {loss:.4f}  {shown}", file=sys.stderr)


def _shown(name: str, value: float) -> str:
    return f"{100 * value:.2f} %" if name.endswith("accuracy") else f"{value:.6g}"
