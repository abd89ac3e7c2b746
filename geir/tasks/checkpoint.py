"""Checkpoints of a training run, by `torch.distributed.checkpoint`: any number of processes continues from them.

A checkpoint is a file ``checkpoint.json`` with task, settings and progress, and the folder that it names, with the
weights and the state of the optimizer.
"""

import json
import shutil
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
    StateDictOptions,
)
from torch.distributed.checkpoint.state_dict_loader import load as load_state
from torch.distributed.checkpoint.state_dict_saver import save as save_state

from ..learning._optimizer_wrapper import OptimizerWrapper
from .files import write_atomically
from .settings import flag_name

Optimizer = torch.optim.Optimizer | OptimizerWrapper
# Results of one epoch by name: `loss`, the mean over the batches, and in most tasks `test_accuracy` in [0, 1].
EpochResult = dict[str, float]


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
    optimizer: Optimizer,
    progress: Progress,
    first: bool = True,
    barrier: Callable[[], None] = lambda: None,
) -> None:
    """Write a checkpoint; all processes of the run call this.

    The tensors go to a new folder, which replaces the previous one when it is complete.

    Args:
        path: The file ``checkpoint.json``; the folder is written beside it.
        task: Name of the task.
        fixed_settings: The settings that must not change when the run is resumed.
        model: The network, not wrapped for several processes.
        optimizer: Its optimizer.
        progress: Position of the run.
        first: Whether this is the first process of the run.
        barrier: Waits for the other processes.
    """
    folder = path.with_name(f"checkpoint-{progress.epoch}-{progress.batch}")
    with _without_warning():
        save_state(_state(model, optimizer), checkpoint_id=folder)
    if first:
        content = {
            "task": task,
            "settings": dict(fixed_settings),
            "progress": asdict(progress),
            "folder": folder.name,
            "checksums": _checksums(folder),
        }
        write_atomically(path, lambda file: file.write(json.dumps(content, indent=1).encode()))
        for old in path.parent.glob("checkpoint-*-*"):
            if old != folder:
                shutil.rmtree(old)
    barrier()


def load_checkpoint(
    path: Path,
    task: str,
    fixed_settings: Mapping[str, object],
    model: nn.Module,
    optimizer: Optimizer,
) -> Progress:
    """Restore model and optimizer in place from a checkpoint; all processes of the run call this.

    Args:
        path: The file ``checkpoint.json``.
        task: Name of the task.
        fixed_settings: The settings that must agree with those of the checkpoint.
        model: The network to restore.
        optimizer: The optimizer to restore.

    Returns:
        Position of the run that wrote the checkpoint.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the checkpoint is unreadable, or one of another task, network or run.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no checkpoint {path} to resume from; start without --resume.")
    try:
        content = json.loads(path.read_bytes())
        saved_task, saved_settings = content["task"], content["settings"]
        progress = Progress(**content["progress"])
        folder = path.parent / content["folder"]
        # PyTorch does not notice changed bytes.
        if _checksums(folder) != content["checksums"]:
            raise ValueError(f"{folder} is damaged")
        shapes = _saved_shapes(folder)
    except Exception as error:
        raise _unreadable(path, error) from error
    if saved_task != task:
        raise ValueError(f"{path} is a checkpoint of the task {saved_task!r}, not of {task!r}; choose another --out.")
    for name, value in fixed_settings.items():
        saved = saved_settings.get(name)
        if saved != value:
            flag = flag_name(name)
            raise ValueError(
                f"{path} was written with {flag} {saved}, but this run has {flag} {value}; "
                f"use {flag} {saved} or choose another --out."
            )
    state = _state(model, optimizer)
    _check_network(path, state["model"], shapes)
    try:
        with _without_warning():
            load_state(state, checkpoint_id=folder)
    # Not an `Exception` in PyTorch.
    except (Exception, CheckpointException) as error:
        raise _unreadable(path, error) from error
    inner = _inner(optimizer)
    set_state_dict(model, inner, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    if isinstance(optimizer, OptimizerWrapper):
        optimizer.load_state_dict(state["wrapper"] | {"optimizer": inner.state_dict()})
    return progress


def _state(model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    model_state, optimizer_state = get_state_dict(model, _inner(optimizer))
    state = {"model": model_state, "optimizer": optimizer_state}
    if isinstance(optimizer, OptimizerWrapper):
        state["wrapper"] = {name: part for name, part in optimizer.state_dict().items() if name != "optimizer"}
    return state


def _inner(optimizer: Optimizer) -> torch.optim.Optimizer:
    return optimizer.optimizer if isinstance(optimizer, OptimizerWrapper) else optimizer


def _unreadable(path: Path, error: BaseException) -> ValueError:
    return ValueError(
        f"{path} is not a readable checkpoint ({type(error).__name__}); delete it and start without --resume."
    )


def _check_network(path: Path, model: Mapping[str, Any], saved: Mapping[str, torch.Size]) -> None:
    expected = {name: value.size() for name, value in model.items() if isinstance(value, torch.Tensor)}
    for name in sorted(expected.keys() | saved.keys()):
        if expected.get(name) != saved.get(name):
            raise ValueError(
                f"{path} is a checkpoint of another network: {name} has shape {_shape(saved.get(name))} there and "
                f"{_shape(expected.get(name))} here; use the settings it was written with or choose another --out."
            )


def whole_state(model: nn.Module) -> dict[str, Any]:
    """The weights of a network on the CPU, put together from all processes; on other than the first, nothing.

    All processes of the run call this.
    """
    return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def _checksums(folder: Path) -> dict[str, int]:
    checksums = {}
    for path in folder.iterdir():
        checksum = 0
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                checksum = zlib.crc32(part, checksum)
        checksums[path.name] = checksum
    return checksums


def _saved_shapes(folder: Path) -> dict[str, torch.Size]:
    """Shapes of the tensors of the model in a checkpoint."""
    metadata = FileSystemReader(folder).read_metadata()
    prefix = "model."
    return {
        name.removeprefix(prefix): entry.size
        for name, entry in metadata.state_dict_metadata.items()
        if name.startswith(prefix) and isinstance(entry, TensorStorageMetadata)
    }


def _shape(size: torch.Size | None) -> str:
    return "none" if size is None else str(tuple(size))


@contextmanager
def _without_warning() -> Iterator[None]:
    # PyTorch warns whenever one process writes or reads a checkpoint alone.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield
