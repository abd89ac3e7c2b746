"""Checkpoints of a training run: model, optimizer and progress in one file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypedDict

import torch
from torch import nn

from .command_line import flag_name
from .files import write_atomically


class EpochResult(TypedDict):
    """Result of one epoch."""

    loss: float  # mean over the batches
    test_accuracy: float  # in [0, 1]


@dataclass
class Progress:
    """Position of a training run."""

    epoch: int = 0  # number of finished epochs
    batch: int = 0  # number of finished batches of the current epoch
    loss: float = 0.0  # sum over these batches
    seconds: float = 0.0  # wall-clock time, summed over all resumed parts of the run
    history: list[EpochResult] = field(default_factory=list)


def save_checkpoint(
    path: Path,
    task: str,
    fixed_settings: Mapping[str, object],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Write a checkpoint atomically.

    Args:
        path: The file to write.
        task: Name of the task.
        fixed_settings: The settings that must not change when the run is resumed.
        model: The network.
        optimizer: Its optimizer.
        progress: Position of the run.
    """
    content = {
        "task": task,
        "settings": dict(fixed_settings),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": asdict(progress),
    }
    write_atomically(path, lambda file: torch.save(content, file))


def load_checkpoint(
    path: Path,
    task: str,
    fixed_settings: Mapping[str, object],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> Progress:
    """Restore model and optimizer in place from a checkpoint.

    Args:
        path: The file to read.
        task: Name of the task.
        fixed_settings: The settings that must agree with those of the checkpoint.
        model: The network to restore.
        optimizer: The optimizer to restore.

    Returns:
        Position of the run that wrote the checkpoint.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not a readable checkpoint, or one of another task, network or run.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no checkpoint {path} to resume from; start without --resume.")
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        saved_settings = content["settings"]
        progress = Progress(**content["progress"])
    except Exception as error:
        raise ValueError(
            f"{path} is not a readable checkpoint ({type(error).__name__}); delete it and start without --resume."
        ) from error
    if content["task"] != task:
        raise ValueError(
            f"{path} is a checkpoint of the task {content['task']!r}, not of {task!r}; choose another --out."
        )
    for name, value in fixed_settings.items():
        saved = saved_settings[name]
        if saved != value:
            flag = flag_name(name)
            raise ValueError(
                f"{path} was written with {flag} {saved}, but this run has {flag} {value}; "
                f"use {flag} {saved} or choose another --out."
            )
    try:
        model.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is a checkpoint of another network: {error}") from error
    return progress
