"""The training loop of all tasks: epochs with a progress bar, checkpoints, resuming and Ctrl-C."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sized
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn
from tqdm import tqdm

from .checkpoint import load_checkpoint, Optimizer, Progress, save_checkpoint
from .command_line import stop_on_interrupt
from .processes import means
from .settings import TaskSettings

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Batch = TypeVar("Batch")


def seed_of_epoch(seed: int, epoch: int) -> int:
    """A seed that depends on nothing but the seed of the run and the epoch, so that a resumed run draws the same."""
    return seed * 100_003 + epoch


def begin(task: str, settings: TaskSettings, model: nn.Module, optimizer: Optimizer) -> Progress:
    """The position at which a run begins: that of its checkpoint, which is restored, if it is resumed."""
    settings.out.mkdir(parents=True, exist_ok=True)
    if not settings.resume:
        return Progress()
    return load_checkpoint(checkpoint_path(settings), task, settings.fixed(), model, optimizer)


def checkpoint_path(settings: TaskSettings) -> Path:
    """The file of the checkpoint."""
    return settings.out / "checkpoint.json"


def run_epochs(
    task: str,
    settings: TaskSettings,
    epochs: int,
    model: nn.Module,
    optimizer: Optimizer,
    progress: Progress,
    *,
    started: float,
    learning_rate: Callable[[int], float],
    batches: Callable[[int], Iterable[Batch]],
    update: Callable[[Batch], float],
    evaluate: Callable[[], Mapping[str, float]],
    fabric: "Fabric | None" = None,
) -> bool:
    """The loop of `train_epochs` and of `geir.tasks.training.train`.

    Args:
        progress: From `begin`; updated in place.
        started: When the run was started, as returned by `time.perf_counter`.
        fabric: For several processes, which all call this function.

    The other arguments are those of `train_epochs`.

    Returns:
        Whether the run was interrupted.
    """
    first, rank, barrier = (
        (fabric.is_global_zero, fabric.global_rank, fabric.barrier) if fabric else (True, 0, _nothing)
    )
    path, seconds_before, stop = checkpoint_path(settings), progress.seconds, False
    with stop_on_interrupt() as asked_to_stop:
        while progress.epoch < epochs and not stop:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(progress.epoch)
            # All that is drawn in an epoch depends on nothing but the seed and the epoch. A resumed run skips the
            # batches that were already used and so sees the same as an uninterrupted one. Processes augment
            # differently.
            torch.manual_seed(seed_of_epoch(settings.seed, progress.epoch) + (rank << 32))
            drawn = batches(progress.epoch)
            with tqdm(
                islice(drawn, progress.batch, None),
                desc=f"epoch {progress.epoch + 1}/{epochs}",
                total=len(drawn) if isinstance(drawn, Sized) else None,
                initial=progress.batch,
                unit="batch",
                leave=False,
                disable=None if first else True,  # None: shown on a terminal only
            ) as bar:
                for batch in bar:
                    progress.loss += update(batch)
                    progress.batch += 1
                    bar.set_postfix(loss=f"{progress.loss / progress.batch:.4f}", refresh=False)
                    stop = _agree(asked_to_stop(), fabric)
                    if stop:
                        break
                else:
                    _finish_epoch(progress, evaluate(), epochs, first)
                    stop = _agree(asked_to_stop(), fabric)
            progress.seconds = seconds_before + time.perf_counter() - started
            save_checkpoint(path, task, settings.fixed(), model, optimizer, progress, first, barrier)
    interrupted = progress.epoch < epochs
    if interrupted and first:
        print(f"Stopped and saved to {path}. To continue, run the same command with --resume.", file=sys.stderr)
    return interrupted


def _nothing() -> None: ...


def _agree(stop: bool, fabric: "Fabric | None") -> bool:
    """Whether one of the processes was asked to stop."""
    return means(fabric, float(stop))[0] > 0 if fabric else stop


def _finish_epoch(progress: Progress, results: Mapping[str, float], epochs: int, first: bool) -> None:
    """Move `progress` to the next epoch, and print the results of the finished one in the first process."""
    loss = progress.loss / max(progress.batch, 1)
    progress.history.append({"loss": loss, **results})
    progress.epoch += 1
    progress.batch, progress.loss = 0, 0.0
    if first:
        shown = "  ".join(f"{name.replace('_', ' ')} {_shown(name, value)}" for name, value in results.items())
        tqdm.write(f"epoch {progress.epoch}/{epochs}  loss {loss:.4f}  {shown}", file=sys.stderr)


def _shown(name: str, value: float) -> str:
    return f"{100 * value:.2f} %" if name.endswith("accuracy") else f"{value:.6g}"
