"""Train a spiking classifier: progress, checkpoints that survive interruption, a figure, and the result as a dictionary."""

import argparse
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler, default_collate
from tqdm import tqdm

from ..containers import SequentialState
from ..decode.decoders import max_decode, max_membrane_loss


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a training run can be told. Each field is a flag of the command line."""

    epochs: int = dataclasses.field(default=10, metadata={"help": "times through the training images"})
    batch_size: int = dataclasses.field(default=64, metadata={"help": "images a training step"})
    learning_rate: float = dataclasses.field(default=2e-3, metadata={"help": "Adam's step size in the first epoch"})
    decay: float = dataclasses.field(default=0.8, metadata={"help": "factor on the step size after every epoch"})
    steps: int = dataclasses.field(default=32, metadata={"help": "time steps of 1 ms that the network sees an image"})
    seed: int = dataclasses.field(
        default=0, metadata={"help": "seed of weights and order of images; the same seed gives the same run"}
    )
    device: str = dataclasses.field(
        default="auto", metadata={"help": "cpu, cuda, cuda:1, ...; auto takes a GPU if there is one"}
    )
    out: Path = dataclasses.field(
        default=Path("runs"), metadata={"help": "folder for checkpoint and figure, made if missing"}
    )
    resume: bool = dataclasses.field(default=False, metadata={"help": "go on from the checkpoint in the folder"})

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "steps", "learning_rate", "decay"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--{name.replace('_', '-')} must be positive, got {getattr(self, name)}.")


# Settings that must agree with the checkpoint to go on from it.
FIXED = ("batch_size", "learning_rate", "decay", "steps", "seed")


def over_time(x: Tensor, steps: int) -> Tensor:
    """The same current at every step: shape (steps, *x.shape)."""
    return x.expand(steps, *x.shape)


@dataclasses.dataclass(frozen=True)
class Data:
    """Samples and their labels, and how a network is shown them."""

    train: Dataset[Any]  # with a length
    test: Dataset[Any]
    collate: Callable[[list[Any]], tuple[Tensor, Tensor]] | None = None  # makes a batch; default: as `DataLoader`
    present: Callable[[Tensor, int], Tensor] = (
        over_time  # makes currents (time, batch, ...) of a batch and the number of steps
    )
    things: str = "images"


def train(task: str, network: Callable[[], SequentialState], data: Data, settings: Settings) -> dict[str, Any]:
    """Train and evaluate a network on samples shown as currents, by default images as constant ones.

    Args:
        task: Its name.
        network: Makes the network: currents (time, batch, channels, height, width) to potentials (time, batch, classes).
        data: The samples.
        settings: How.

    Returns:
        The figures of the run, among them `test_accuracy` after the last epoch.

    Raises:
        ValueError: If asked to resume from a checkpoint that is broken or of another network or run.
        FileNotFoundError: If asked to resume where there is no checkpoint.
    """
    started = time.perf_counter()
    torch.manual_seed(settings.seed)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if settings.device == "auto" else settings.device
    model = network().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    progress: dict[str, Any] = {"epoch": 0, "batch": 0, "loss": 0.0, "seconds": 0.0, "history": []}
    settings.out.mkdir(parents=True, exist_ok=True)
    path = settings.out / "checkpoint.pt"
    if settings.resume:
        progress = load_checkpoint(path, task, settings, model, optimizer)
    before = progress["seconds"]

    def save() -> None:
        progress["seconds"] = before + time.perf_counter() - started
        fixed = {name: getattr(settings, name) for name in FIXED}
        parts = {
            "task": task,
            "settings": fixed,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "progress": progress,
        }
        write_atomically(path, lambda file: torch.save(parts, file))

    with stop_on_interrupt() as stopped:
        while progress["epoch"] < settings.epochs and not stopped():
            _train_epoch(model, optimizer, data, settings, progress, device, stopped)
            if not stopped():
                accuracy = evaluate(model, data, settings, device)
                loss = progress["loss"] / progress["batch"]
                progress["history"].append({"loss": loss, "test_accuracy": accuracy})
                progress |= {"epoch": progress["epoch"] + 1, "batch": 0, "loss": 0.0}
                tqdm.write(
                    f"epoch {progress['epoch']}/{settings.epochs}  loss {loss:.4f}  test accuracy {100 * accuracy:.2f} %",
                    file=sys.stderr,
                )
            save()
        interrupted = progress["epoch"] < settings.epochs
    history = progress["history"]
    result = {
        "task": task,
        "test_accuracy": history[-1]["test_accuracy"] if history else None,
        "seconds": round(progress["seconds"], 1),
        "epochs": progress["epoch"],
        f"train_{data.things}": len(data.train),  # pyright: ignore[reportArgumentType]  (it has a length)
        f"test_{data.things}": len(data.test),  # pyright: ignore[reportArgumentType]
        "parameters": sum(p.numel() for p in model.parameters()),
        "interrupted": interrupted,
        "checkpoint": str(path),
    }
    if interrupted:
        print(f"Stopped and saved. To go on: the same command with --resume (it reads {path}).", file=sys.stderr)
        return result
    from .figure import draw

    figure = settings.out / f"{task}.png"
    x, label = (data.collate or default_collate)([data.test[0]])
    draw(model, data.present(x.to(device), settings.steps), int(label), history, figure)
    return result | {"figure": str(figure)}


def _train_epoch(
    model: SequentialState,
    optimizer: torch.optim.Optimizer,
    data: Data,
    settings: Settings,
    progress: dict[str, Any],
    device: str,
    stopped: Callable[[], bool],
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * settings.decay ** progress["epoch"]
    # The order of an epoch and its augmentations depend on seed and epoch alone, so that a resumed run sees what an uninterrupted one would have.
    order = torch.Generator().manual_seed(settings.seed * 100_003 + progress["epoch"])
    torch.manual_seed(order.initial_seed())
    sampler = RandomSampler(data.train, generator=order)  # pyright: ignore[reportArgumentType]  (it has a length)
    loader = DataLoader(data.train, batch_size=settings.batch_size, sampler=sampler, collate_fn=data.collate)
    model.train()
    title = f"epoch {progress['epoch'] + 1}/{settings.epochs}"
    with tqdm(total=len(loader), initial=progress["batch"], desc=title, unit="batch", leave=False, disable=None) as bar:
        for x, labels in islice(loader, progress["batch"], None):
            vs, _ = model(data.present(x.to(device), settings.steps))
            loss = max_membrane_loss(vs, labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress["batch"] += 1
            progress["loss"] += loss.item()
            bar.update()
            bar.set_postfix(loss=f"{progress['loss'] / progress['batch']:.4f}")
            if stopped():
                return


def evaluate(model: nn.Module, data: Data, settings: Settings, device: str) -> float:
    """The share of test samples whose largest membrane potential is that of their class."""
    model.eval()
    correct = 0
    with torch.inference_mode():
        for x, labels in DataLoader(data.test, batch_size=4 * settings.batch_size, collate_fn=data.collate):
            vs, _ = model(data.present(x.to(device), settings.steps))
            correct += int((max_decode(vs).argmax(-1).cpu() == labels).sum())
    return correct / len(data.test)  # pyright: ignore[reportArgumentType]  (it has a length)


def load_checkpoint(
    path: Path, task: str, settings: Settings, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Restore model and optimizer, and return how far the run had come."""
    if not path.exists():
        raise FileNotFoundError(f"There is no checkpoint {path} to resume from; start without --resume.")
    try:
        parts = torch.load(path, weights_only=True, map_location="cpu")
        kept, progress = parts["settings"], parts["progress"]
    except Exception as error:
        raise ValueError(
            f"{path} is not a readable checkpoint ({type(error).__name__}); delete it and start without --resume."
        ) from error
    if parts["task"] != task:
        raise ValueError(f"{path} is a checkpoint of the task {parts['task']!r}, not of {task!r}; give another --out.")
    for name in FIXED:
        if kept[name] != getattr(settings, name):
            flag = f"--{name.replace('_', '-')}"
            raise ValueError(
                f"{path} was made with {flag} {kept[name]}, not {getattr(settings, name)}; give {flag} {kept[name]} or another --out."
            )
    try:
        model.load_state_dict(parts["model"])
        optimizer.load_state_dict(parts["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is a checkpoint of another network: {error}") from error
    return progress


def write_atomically(path: Path, write: Callable[[Any], None]) -> None:
    """Write a file so that, whatever interrupts, either the old or the new one is there, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Within it, the first Ctrl-C only makes the yielded function return True; a second one interrupts as usual."""
    seen = False

    def handle(number: int, frame: Any) -> None:
        nonlocal seen
        seen = True
        signal.signal(number, signal.default_int_handler)

    try:
        previous = signal.signal(signal.SIGINT, handle)
    except ValueError:  # not in the main thread: nothing to catch
        yield lambda: False
        return
    try:
        yield lambda: seen
    finally:
        signal.signal(signal.SIGINT, previous)


def parser(task: str, description: str, defaults: Any) -> argparse.ArgumentParser:
    """A command line with one flag for each field of a dataclass of settings."""
    arguments = argparse.ArgumentParser(f"python -m geir.tasks.{task}", description=description)
    for field in dataclasses.fields(defaults):
        flag, default = f"--{field.name.replace('_', '-')}", getattr(defaults, field.name)
        if isinstance(default, bool):
            arguments.add_argument(flag, action="store_true", help=field.metadata["help"])
        else:
            arguments.add_argument(
                flag,
                type=type(default),
                default=default,
                metavar=field.name.upper(),
                help=f"{field.metadata['help']} (default: {default})",
            )
    return arguments


def main(arguments: argparse.ArgumentParser, run: Callable[..., dict[str, Any]], argv: list[str] | None) -> int:
    """Run a task from its command line; its result is the last line, and a clear message what went wrong."""
    try:
        result = run(**vars(arguments.parse_args(argv)))
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 130 if result["interrupted"] else 0
