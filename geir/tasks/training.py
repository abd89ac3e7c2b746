"""Training of spiking classifiers on Lightning Fabric: epochs, checkpoints, a figure, one or several processes."""

import math
import time
from collections.abc import Callable, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, NamedTuple, TYPE_CHECKING

import torch
from torch import nn, Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, DistributedSampler

from ..containers import SequentialState
from .checkpoint import Progress, whole_state
from .command_line import Result
from .data import Data
from .figure import draw_run
from .files import write_atomically
from .loop import begin, checkpoint_path, run_epochs, seed_of_epoch
from .processes import launch, LOGGERS, means, STRATEGIES
from .settings import out_setting, resume_setting, seed_setting, setting, TaskSettings

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@dataclass(frozen=True)
class Settings(TaskSettings):
    """Settings of a training run. Each field is a flag of the command line."""

    epochs: int = setting(10, "number of passes over the training set", free=True)
    batch_size: int = setting(64, "samples per training step, over all processes")
    learning_rate: float = setting(2e-3, "learning rate of Adam in the first epoch")
    decay: float = setting(0.8, "factor applied to the learning rate after every epoch")
    max_gradient_norm: float = setting(
        0.0, "norm to which larger gradients of a step are scaled down; 0 for no limit", allowed="not negative"
    )
    steps: int = setting(32, "time steps of 1 ms for which an image is shown")
    seed: int = seed_setting("the weights and the sample order")
    device: str = setting("auto", "cpu, cuda, cuda:1, ...; auto uses a GPU if there is one", free=True)
    precision: str = setting("32-true", "32-true, bf16-mixed, 64-true, ... as in Lightning")
    strategy: str = setting(
        "ddp", "for several processes: ddp, or fsdp to shard the network", choices=STRATEGIES, free=True
    )
    logger: str = setting("none", "log the loss of every batch: none, csv or tensorboard", choices=LOGGERS, free=True)
    out: Path = out_setting("", "checkpoint and figure")
    resume: bool = resume_setting()


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
    wrapped_optimizer = cast(torch.optim.Optimizer, fabric.setup_optimizers(optimizer))
    progress = begin(task, settings, model, optimizer)
    run = _Run(fabric, wrapped, wrapped_optimizer, data, settings, progress)
    interrupted = run_epochs(
        task,
        settings,
        settings.epochs,
        model,
        optimizer,
        progress,
        started=started,
        learning_rate=lambda epoch: settings.learning_rate * settings.decay**epoch,
        batches=run.load_epoch,
        update=run.update,
        evaluate=run.evaluate,
        fabric=fabric,
    )
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
        "checkpoint": str(checkpoint_path(settings)),
    }
    if interrupted:
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
    progress: Progress

    def load_epoch(self, epoch: int) -> DataLoader[Any]:
        """The batches of an epoch, of which every process loads its share.

        Their order depends on the seed and the epoch only, also with another number of processes: the shares of all
        processes make up the same batches.
        """
        self.model.train()
        sampler = self._sampler(self.data.train, shuffle=True, seed=seed_of_epoch(self.settings.seed, 0))
        sampler.set_epoch(epoch)
        return self._loader(self.data.train, sampler, self.settings.batch_size)

    def update(self, batch: tuple[Tensor, Tensor]) -> float:
        """Train on the next batch; returns its loss over all processes."""
        fabric, settings, progress = self.fabric, self.settings, self.progress
        x, labels = batch
        share = self._share(self.data.train, progress.batch, settings.batch_size)
        loss = self.model(fabric.to_device(x), fabric.to_device(labels), share)
        self.optimizer.zero_grad()
        fabric.backward(loss)
        if settings.max_gradient_norm:
            fabric.clip_gradients(self.model, self.optimizer, max_norm=settings.max_gradient_norm)
        self.optimizer.step()
        (mean_loss,) = means(fabric, loss.item())
        batches = math.ceil(len(_sized(self.data.train)) / settings.batch_size)
        fabric.log("loss", mean_loss, progress.epoch * batches + progress.batch)
        return mean_loss

    def evaluate(self) -> dict[str, float]:
        """Test accuracy in [0, 1], at the end of an epoch."""
        self.model.eval()
        test, fabric = self.data.test, self.fabric
        size = 4 * self.settings.batch_size
        counts = torch.zeros(2, dtype=torch.int64)
        with torch.inference_mode():
            for number, (x, labels) in enumerate(self._loader(test, self._sampler(test, shuffle=False), size)):
                share = self._share(test, number, size)
                counts += self.model(fabric.to_device(x), fabric.to_device(labels), share).cpu()
        right, answers = means(fabric, *counts.tolist())
        fabric.log("test_accuracy", right / answers, (self.progress.epoch + 1) * self.progress.batch - 1)
        return {"test_accuracy": right / answers}

    def _sampler(self, samples: Dataset[Any], shuffle: bool, seed: int = 0) -> DistributedSampler[Any]:
        return DistributedSampler(samples, self.fabric.world_size, self.fabric.global_rank, shuffle=shuffle, seed=seed)

    def _loader(self, samples: Dataset[Any], sampler: DistributedSampler[Any], batch_size: int) -> DataLoader[Any]:
        share = batch_size // self.fabric.world_size
        return DataLoader(samples, batch_size=share, sampler=sampler, collate_fn=self.data.collate)

    def _share(self, samples: Dataset[Any], number: int, batch_size: int) -> _Share:
        size = min(batch_size, len(_sized(samples)) - number * batch_size)
        own = len(range(self.fabric.global_rank, size, self.fabric.world_size))
        return _Share(own, own * self.fabric.world_size / size)
