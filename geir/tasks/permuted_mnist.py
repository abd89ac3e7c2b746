"""Learn permuted MNIST task after task: `python -m geir.tasks.permuted_mnist --data mnist.npz --method metaplastic`.

Every task is MNIST with its pixels in another random order; the network has one output for each digit, shared by all
tasks, is not told which task it is in, and never sees an earlier task again. Two layers of `LIF` and a readout; images
are constant currents. The methods:

- ``plain``: Adam.
- ``intelligence``: Adam with `geir.learning.SynapticIntelligence`.
- ``elastic``: Adam with `geir.learning.ElasticWeightConsolidation`.
- ``binary``: binary weights, trained by Adam.
- ``metaplastic``: binary weights, trained by `geir.learning.MetaplasticAdam`.

References: F. Zenke, B. Poole & S. Ganguli, *Continual learning through synaptic intelligence*, 2017; A. Laborieux et
al., *Synaptic metaplasticity in binarized neural networks*, 2021. Networks and training are much smaller here.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn, Tensor
from torch.nn import functional
from tqdm import tqdm

from ..containers import Lift, SequentialState
from ..learning import (
    binarize,
    ElasticWeightConsolidation,
    metaplastic_groups,
    MetaplasticAdam,
    SynapticIntelligence,
)
from ..neurons import LI, LIF
from .command_line import build_parser, main, MNIST_FILES, Result, stop_on_interrupt
from .epochs import descend
from .files import write_atomically
from .mnist import load
from .settings import out_setting, seed_setting, setting, TaskSettings

METHODS = ("plain", "intelligence", "elastic", "binary", "metaplastic")
BINARY = ("binary", "metaplastic")
PIXELS, CLASSES = 28 * 28, 10
# Low, so that neurons spike several times while an image is shown.
V_TH = 0.25
# Samples from which elastic weight consolidation measures the Fisher information.
FISHER_SAMPLES = 500


@dataclass(frozen=True)
class Settings(TaskSettings):
    """Settings of a run. Each field is a flag of the command line."""

    method: str = setting("plain", f"one of {', '.join(METHODS)}", choices=METHODS)
    tasks: int = setting(5, "number of tasks")
    epochs: int = setting(1, "number of passes over the training images of a task")
    images: int = setting(10_000, "number of training images of a task")
    test_images: int = setting(2_000, "number of test images of a task")
    batch_size: int = setting(50, "images per training step")
    hidden: int = setting(200, "number of neurons of each hidden layer")
    steps: int = setting(8, "time steps of 1 ms for which an image is shown")
    learning_rate: float = setting(1e-3, "learning rate with real weights")
    binary_learning_rate: float = setting(5e-3, "learning rate with binary weights")
    metaplasticity: float = setting(8.0, "metaplasticity of binary weights")
    intelligence: float = setting(0.1, "strength of synaptic intelligence")
    damping: float = setting(1e-3, "damping of synaptic intelligence")
    elasticity: float = setting(100.0, "strength of elastic weight consolidation")
    seed: int = seed_setting("weights, permutations and order")
    out: Path = out_setting("permuted_mnist", "weights and accuracies")


class Images(NamedTuple):
    """Images and their classes."""

    pixels: Tensor  # (images, 784), standardized
    labels: Tensor  # (images,)

    def permuted(self, order: Tensor) -> "Images":
        """The same images with their pixels in another order."""
        return Images(self.pixels[:, order], self.labels)


class Classifier(nn.Module):
    """Two layers of LIF neurons and a leaky readout, shown a constant image."""

    def __init__(self, hidden: int, steps: int, binary: bool, seed: int):
        super().__init__()
        self.steps = steps
        sizes = (PIXELS, hidden, hidden, CLASSES)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = [nn.Linear(n, m, bias=False) for n, m in pairwise(sizes)]
        if binary:
            layers = [binarize(layer) for layer in layers]
        first, second, last = layers
        self.image = first
        self.spiking = SequentialState(LIF(v_th=V_TH), Lift(second), LIF(v_th=V_TH), Lift(last), LI())

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits, shape (images, 10), of images (images, 784)."""
        currents = self.image(pixels)
        vs, _ = self.spiking(currents.expand(self.steps, *currents.shape))
        return vs[-1]


def run(data: Path | str, **settings: object) -> Result:
    """Train and evaluate on MNIST; for `data`, see `geir.tasks.mnist.read`, for `settings` `geir.tasks`.

    Returns:
        The result after the last task, including `test_accuracy`, the mean over all tasks.
    """
    given = replace(Settings(), **settings)
    samples = load(Path(data))
    train, test = (
        Images(pixels.flatten(1), labels) for pixels, labels in (samples.train.tensors, samples.test.tensors)
    )
    test = Images(test.pixels[: given.test_images], test.labels[: given.test_images])
    started = time.perf_counter()
    model = Classifier(given.hidden, given.steps, given.method in BINARY, given.seed)
    learner = Learner(model, given)
    generator = torch.Generator().manual_seed(given.seed)
    orders = [torch.randperm(PIXELS, generator=generator) for _ in range(given.tasks)]
    history: list[list[float]] = []  # for each task, the accuracies of all tasks up to it
    with stop_on_interrupt() as stopped:
        for number, order in enumerate(orders, 1):
            task = train.permuted(order)
            batches = _batches(len(task.labels), given, generator)
            total = given.epochs * -(-min(given.images, len(task.labels)) // given.batch_size)
            for chosen in tqdm(batches, f"task {number}/{given.tasks}", total, leave=False, disable=None):
                learner.step(task.pixels[chosen], task.labels[chosen])
                if stopped():
                    break
            history.append([accuracy(model, test.permuted(other)) for other in orders[:number]])
            tqdm.write(f"task {number}/{given.tasks}  test accuracies {_percent(history[-1])} %", file=sys.stderr)
            if stopped():
                break
            learner.end_task(task)
    given.out.mkdir(parents=True, exist_ok=True)
    weights, accuracies = given.out / "weights.pt", given.out / "accuracies.json"
    write_atomically(weights, lambda file: torch.save(model.state_dict(), file))
    write_atomically(accuracies, lambda file: file.write(json.dumps(history).encode()))
    learned = [after[-1] for after in history]
    final = history[-1]
    return {
        "task": "permuted_mnist",
        "method": given.method,
        "seed": given.seed,
        "test_accuracy": float(np.mean(final)),
        "first_task": final[0],
        "last_task": final[-1],
        "when_learned": float(np.mean(learned)),
        "seconds": round(time.perf_counter() - started, 1),
        "tasks": len(history),
        "interrupted": len(history) < given.tasks or stopped(),
        "weights": str(weights),
        "accuracies": str(accuracies),
    }


class Learner:
    """A model, its optimizer and what protects earlier tasks."""

    def __init__(self, model: Classifier, given: Settings):
        self.model = model
        self.optimizer: torch.optim.Optimizer
        if given.method in BINARY:
            metaplasticity = given.metaplasticity if given.method == "metaplastic" else 0.0
            self.optimizer = MetaplasticAdam(metaplastic_groups(model, metaplasticity), lr=given.binary_learning_rate)
        else:
            self.optimizer = torch.optim.Adam(model.parameters(), lr=given.learning_rate)
        self.intelligence = self.elastic = None
        if given.method == "intelligence":
            self.intelligence = SynapticIntelligence(model.parameters(), given.intelligence, given.damping)
        if given.method == "elastic":
            self.elastic = ElasticWeightConsolidation(model.parameters(), given.elasticity)
        self.generator = torch.Generator().manual_seed(given.seed)

    def step(self, pixels: Tensor, labels: Tensor) -> None:
        """Learn from a batch."""
        loss = functional.cross_entropy(self.model(pixels), labels)
        consolidation = self.intelligence or self.elastic
        if consolidation is not None:
            loss = loss + consolidation.penalty()
        descend(self.optimizer, loss)
        if self.intelligence is not None:
            self.intelligence.update()

    def end_task(self, task: Images) -> None:
        """Protect what the task needs."""
        if self.intelligence is not None:
            self.intelligence.consolidate()
        if self.elastic is not None:
            self.elastic.consolidate(self._losses(task))

    def _losses(self, task: Images) -> Iterator[Tensor]:
        chosen = torch.randperm(len(task.labels), generator=self.generator)[:FISHER_SAMPLES]
        for k in chosen.split(1):
            logits = self.model(task.pixels[k])
            drawn = torch.multinomial(logits.detach().softmax(-1), 1, generator=self.generator)[:, 0]
            yield functional.cross_entropy(logits, drawn, reduction="none")


def accuracy(model: Callable[[Tensor], Tensor], images: Images) -> float:
    """Share of images that are recognized."""
    with torch.no_grad():
        predicted = torch.cat([model(part).argmax(-1) for part in images.pixels.split(1000)])
    return float((predicted == images.labels).double().mean())


def _batches(count: int, given: Settings, generator: torch.Generator) -> Iterator[Tensor]:
    for _ in range(given.epochs):
        # Another part of the images in every epoch.
        yield from torch.randperm(count, generator=generator)[: given.images].split(given.batch_size)


def _percent(values: list[float]) -> str:
    return " ".join(f"{100 * value:.1f}" for value in values)


if __name__ == "__main__":
    sys.exit(main(build_parser("permuted_mnist", __doc__, Settings(), data=MNIST_FILES), run))
