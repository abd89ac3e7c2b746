"""Training by updates that a task defines itself, for a number of epochs or of iterations."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import nn, Tensor

from .checkpoint import EpochResult, Optimizer
from .command_line import Result
from .files import write_atomically
from .loop import Batch, begin, checkpoint_path, run_epochs, seed_of_epoch
from .settings import TaskSettings


class IterationSettings(TaskSettings):
    """The settings of tasks that are trained by `train_iterations`, which declare them as fields."""

    iterations: int
    learning_rate: float
    decay: float


def draw_batches(seed: int, epoch: int, count: int, draw: Callable[[torch.Generator], Batch]) -> Iterator[Batch]:
    """A number of batches of an epoch, each drawn from the generator of the epoch."""
    generator = torch.Generator().manual_seed(seed_of_epoch(seed, epoch))
    for _ in range(count):
        yield draw(generator)


def descend(optimizer: Optimizer, loss: Tensor, max_norm: float = math.inf) -> float:
    """Take one step of an optimizer; returns the loss.

    Args:
        optimizer: The optimizer.
        loss: The loss, shape ().
        max_norm: Norm to which larger gradients are scaled down.
    """
    optimizer.zero_grad()
    loss.backward()
    if max_norm < math.inf:
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], max_norm)
    optimizer.step()
    return loss.item()


def train_epochs(
    task: str,
    settings: TaskSettings,
    epochs: int,
    model: nn.Module,
    optimizer: Optimizer,
    *,
    learning_rate: Callable[[int], float],
    batches: Callable[[int], Iterable[Batch]],
    update: Callable[[Batch], float],
    evaluate: Callable[[], float | Mapping[str, float]],
    finish: Callable[[Sequence[EpochResult]], Result] = lambda history: {},
) -> Result:
    """Train by updates that a task defines itself for a number of epochs, with a checkpoint after each.

    Args:
        task: Name of the task.
        settings: Seed, folder of the checkpoint, whether to resume, and what must not change then.
        epochs: Number of epochs.
        model: What is saved and restored: all weights, fixed ones included.
        optimizer: Its optimizer, or a wrapper such as `geir.learning.FPTT`, whose state is saved too.
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

    def evaluate_by_name() -> Mapping[str, float]:
        found = evaluate()
        return found if isinstance(found, Mapping) else {"test_accuracy": found}

    started, progress = time.perf_counter(), begin(task, settings, model, optimizer)
    interrupted = run_epochs(
        task,
        settings,
        epochs,
        model,
        optimizer,
        progress,
        started=started,
        learning_rate=learning_rate,
        batches=batches,
        update=update,
        evaluate=evaluate_by_name,
    )
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
        "checkpoint": str(checkpoint_path(settings)),
        "weights": str(weights),
    }
    return result if interrupted else result | finish(progress.history)


def train_iterations(
    task: str,
    settings: IterationSettings,
    model: nn.Module,
    optimizer: Optimizer,
    *,
    every: int,
    draw: Callable[[torch.Generator], Batch],
    update: Callable[[Batch], float],
    evaluate: Callable[[], float | Mapping[str, float]],
    finish: Callable[[Sequence[EpochResult]], Result] = lambda history: {},
) -> Result:
    """`train_epochs` for a number of updates on batches that are drawn, each seen once.

    The learning rate falls exponentially, to `settings.decay` times the first.

    Args:
        every: Number of updates between two tests, which are an epoch.
        draw: Draws a batch from a generator.

    The other arguments are those of `train_epochs`.
    """
    total = settings.iterations
    return train_epochs(
        task,
        settings,
        math.ceil(total / every),
        model,
        optimizer,
        learning_rate=lambda epoch: settings.learning_rate * settings.decay ** (epoch * every / total),
        batches=lambda epoch: draw_batches(settings.seed, epoch, min(every, total - epoch * every), draw),
        update=update,
        evaluate=evaluate,
        finish=finish,
    )


def error_of(result: Result) -> float | None:
    """The share of errors, if there is an accuracy."""
    accuracy = result["test_accuracy"]
    return None if accuracy is None else round(1 - float(accuracy), 9)
