"""Training of spiking classifiers on Lightning Fabric: epochs, checkpoints, a figure, one or several processes."""

import sys
import time
from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast, NamedTuple, TYPE_CHECKING

import torch
from torch import nn, Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, DistributedSampler
from tqdm import tqdm

from ..containers import SequentialState
from .checkpoint import EpochResult, load_checkpoint, Progress, save_checkpoint, whole_state
from .command_line import check_positive_settings, Result, stop_on_interrupt
from .data import Data
from .figure import draw_run
from .files import write_atomically
from .processes import launch

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@dataclass(frozen=True)
class Settings:
    """Settings of a training run. Each field is a flag of the command line."""

    epochs: int = field(default=10, metadata={"help": "number of passes over the training set"})
    batch_size: int = field(default=64, metadata={"help": "samples per training step, over all processes"})
    learning_rate: float = field(default=2e-3, metadata={"help": "learning rate of Adam in the first epoch"})
    decay: float = field(default=0.8, metadata={"help": "factor applied to the learning rate after every epoch"})
    max_gradient_norm: float = field(
        default=0.0, metadata={"help": "norm to which larger gradients of a step are scaled down; 0 for no limit"}
    )
    steps: int = field(default=32, metadata={"help": "time steps of 1 ms for which an image is shown"})
    seed: int = field(default=0, metadata={"help": "seed of the weights and the sample order; runs are reproducible"})
    device: str = field(default="auto", metadata={"help": "cpu, cuda, cuda:1, ...; auto uses a GPU if there is one"})
    precision: str = field(default="32-true", metadata={"help": "32-true, bf16-mixed, 64-true, ... as in Lightning"})
    strategy: str = field(default="ddp", metadata={"help": "for several processes: ddp, or fsdp to shard the network"})
    logger: str = field(default="none", metadata={"help": "log the loss of every batch: none, csv or tensorboard"})
    out: Path = field(default=Path("runs"), metadata={"help": "folder for checkpoint and figure, created if missing"})
    resume: bool = field(default=False, metadata={"help": "continue from the checkpoint in the folder"})

    def __post_init__(self) -> None:
        check_positive_settings(self, ("epochs", "batch_size", "steps", "learning_rate", "decay"))
        if not self.max_gradient_norm >= 0:
            raise ValueError(f"--max-gradient-norm must not be negative, got {self.max_gradient_norm}.")


# Settings that may change when a run is resumed. All others, of every task, must agree with the checkpoint.
FREE_SETTINGS = ("epochs", "device", "strategy", "logger", "out", "resume")


def _sized(dataset: Dataset[Any]) -> Sized:
    # PyTorch's `Dataset` does not declare the length that map-style datasets have.
    return cast(Sized, dataset)


def train(task: str, network: Callable[[], SequentialState], data: Data[Any], settings: Settings) -> Result:
    """Train and evaluate a network.

    All processes that `torchrun` or SLURM started train it together: each takes its share of every batch. The loss and
    the accuracy are those over all processes.

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
        ValueError: If `settings.resume` is set and the checkpoint is unreadable, or from another network or run; if the
            batch size is no multiple of the number of processes.
    """
    started = time.perf_counter()
    fabric = launch(settings.device, settings.precision, settings.strategy, settings.logger, settings.out)
    if settings.batch_size % fabric.world_size:
        raise ValueError(
            f"--batch-size is the size over all processes and must be a multiple of their number, "
            f"got {settings.batch_size} for {fabric.world_size} processes."
        )
    torch.manual_seed(settings.seed)
    model = network()
    wrapped = fabric.setup_module(_Classifier(model, data, settings.steps))
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    run = _Run(fabric, wrapped, cast(torch.optim.Optimizer, fabric.setup_optimizers(optimizer)), data, settings)
    settings.out.mkdir(parents=True, exist_ok=True)
    fixed = {name: value for name, value in vars(settings).items() if name not in FREE_SETTINGS}
    checkpoint = settings.out / "checkpoint.json"
    progress = load_checkpoint(checkpoint, task, fixed, model, optimizer) if settings.resume else Progress()
    seconds_before = progress.seconds

    interrupted = False
    with stop_on_interrupt() as asked_to_stop:
        while progress.epoch < settings.epochs and not interrupted:
            interrupted = run.train_epoch(progress, asked_to_stop)
            if not interrupted:
                run.finish_epoch(progress)
            progress.seconds = seconds_before + time.perf_counter() - started
            first, barrier = fabric.is_global_zero, fabric.barrier
            save_checkpoint(checkpoint, task, fixed, model, optimizer, progress, first, barrier)
    for logger in fabric.loggers:
        logger.finalize("success")

    result: Result = {
        "task": task,
        "test_accuracy": progress.history[-1]["test_accuracy"] if progress.history else None,
        "seconds": round(progress.seconds, 1),
        "epochs": progress.epoch,
        f"train_{data.sample_noun}": len(_sized(data.train)),
        f"test_{data.sample_noun}": len(_sized(data.test)),
        "parameters": sum(p.numel() for p in model.parameters()),
        "processes": fabric.world_size,
        "interrupted": interrupted,
        "checkpoint": str(checkpoint),
    }
    if interrupted:
        if fabric.is_global_zero:
            message = f"Stopped and saved to {checkpoint}. To continue, run the same command with --resume."
            print(message, file=sys.stderr)
        return result
    weights, figure = settings.out / "weights.pt", settings.out / f"{task}.png"
    state = whole_state(model)
    if fabric.is_global_zero:
        write_atomically(weights, lambda file: torch.save(state, file))
        trained = network()
        trained.load_state_dict(state)
        x, label = (data.collate or default_collate)([data.test[0]])
        draw_run(trained, data.encode(x, settings.steps), label[0], progress.history, figure)
    return result | {"weights": str(weights), "figure": str(figure)}


class _Classifier(nn.Module):
    """A network with its input and its loss, all of which Lightning runs in the chosen precision."""

    def __init__(self, model: SequentialState, data: Data[Any], steps: int) -> None:
        super().__init__()
        self.model = model
        self.data = data
        self.steps = steps

    def forward(self, x: Tensor, labels: Tensor, share: "_Share") -> Tensor:
        """The loss of a share of a batch; in evaluation mode, its numbers of right answers and of all answers."""
        vs, _ = self.model(self.data.encode(x, self.steps))
        if not self.training:
            return torch.stack([counts[: share.own].sum() for counts in self.data.count_answers(vs, labels)])
        # Without a sample, another one is needed to take part in the backward pass.
        counted = max(share.own, 1)
        loss = self.data.loss(vs[:, :counted], labels[:counted])
        return loss if share.weight == 1 else share.weight * loss


class _Share(NamedTuple):
    """The share of this process in a batch: the first `own` samples; a sampler fills it up by repeating some."""

    own: int
    weight: float  # of the mean over these, so that the mean over the processes is the mean over the batch


@dataclass(frozen=True)
class _Run:
    """Training and evaluation by this process, together with the others."""

    fabric: "Fabric"
    model: nn.Module  # as wrapped by `fabric`
    optimizer: torch.optim.Optimizer  # likewise
    data: Data[Any]
    settings: Settings

    def train_epoch(self, progress: Progress, asked_to_stop: Callable[[], bool]) -> bool:
        """Train for the rest of the current epoch; updates `progress` in place.

        Returns:
            Whether one of the processes was asked to stop before the end of the epoch.
        """
        fabric, settings = self.fabric, self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * settings.decay**progress.epoch
        # The sample order and the augmentations of an epoch depend on nothing but the seed and the epoch. A resumed run
        # skips the batches that were already used and so sees the same samples as an uninterrupted run, also with
        # another number of processes: the shares of all processes make up the same batches.
        sampler = self._sampler(self.data.train, shuffle=True, seed=settings.seed * 100_003)
        sampler.set_epoch(progress.epoch)
        # Processes augment differently.
        torch.manual_seed(settings.seed * 100_003 + progress.epoch + (fabric.global_rank << 32))
        loader = self._loader(self.data.train, sampler, settings.batch_size)
        self.model.train()
        title = f"epoch {progress.epoch + 1}/{settings.epochs}"
        with tqdm(
            total=len(loader),
            initial=progress.batch,
            desc=title,
            unit="batch",
            leave=False,
            disable=None if fabric.is_global_zero else True,  # None: shown on a terminal only
        ) as bar:
            for x, labels in islice(loader, progress.batch, None):
                share = self._share(self.data.train, progress.batch, settings.batch_size)
                loss = self.model(fabric.to_device(x), fabric.to_device(labels), share)
                self.optimizer.zero_grad()
                fabric.backward(loss)
                if settings.max_gradient_norm:
                    fabric.clip_gradients(self.model, self.optimizer, max_norm=settings.max_gradient_norm)
                self.optimizer.step()
                mean_loss, stop = self._mean(loss.item(), float(asked_to_stop()))
                fabric.log("loss", mean_loss, progress.epoch * len(loader) + progress.batch)
                progress.batch += 1
                progress.loss += mean_loss
                bar.update()
                bar.set_postfix(loss=f"{progress.loss / progress.batch:.4f}")
                if stop:
                    return True
        return False

    def finish_epoch(self, progress: Progress) -> None:
        """Move `progress` to the next epoch and print the result of the finished one."""
        accuracy = self.evaluate()
        self.fabric.log("test_accuracy", accuracy, (progress.epoch + 1) * progress.batch - 1)
        loss = progress.loss / progress.batch
        progress.history.append(EpochResult(loss=loss, test_accuracy=accuracy))
        progress.epoch += 1
        progress.batch = 0
        progress.loss = 0.0
        if self.fabric.is_global_zero:
            epoch = f"epoch {progress.epoch}/{self.settings.epochs}"
            tqdm.write(f"{epoch}  loss {loss:.4f}  test accuracy {100 * accuracy:.2f} %", file=sys.stderr)

    def evaluate(self) -> float:
        """Test accuracy in [0, 1]."""
        self.model.eval()
        test, fabric = self.data.test, self.fabric
        size = 4 * self.settings.batch_size
        counts = torch.zeros(2, dtype=torch.int64)
        with torch.inference_mode():
            for number, (x, labels) in enumerate(self._loader(test, self._sampler(test, shuffle=False), size)):
                share = self._share(test, number, size)
                counts += self.model(fabric.to_device(x), fabric.to_device(labels), share).cpu()
        right, answers = self._mean(*counts.tolist())
        return right / answers

    def _sampler(self, samples: Dataset[Any], shuffle: bool, seed: int = 0) -> DistributedSampler[Any]:
        return DistributedSampler(samples, self.fabric.world_size, self.fabric.global_rank, shuffle=shuffle, seed=seed)

    def _loader(self, samples: Dataset[Any], sampler: DistributedSampler[Any], batch_size: int) -> DataLoader[Any]:
        share = batch_size // self.fabric.world_size
        return DataLoader(samples, batch_size=share, sampler=sampler, collate_fn=self.data.collate)

    def _share(self, samples: Dataset[Any], number: int, batch_size: int) -> _Share:
        size = min(batch_size, len(_sized(samples)) - number * batch_size)
        own = len(range(self.fabric.global_rank, size, self.fabric.world_size))
        return _Share(own, own * self.fabric.world_size / size)

    def _mean(self, *values: float) -> list[float]:
        """Means over all processes."""
        if self.fabric.world_size == 1:
            return list(values)
        sent = torch.tensor(values, dtype=torch.float64, device=self.fabric.device)
        return cast(Tensor, self.fabric.all_reduce(sent, reduce_op="mean")).tolist()
