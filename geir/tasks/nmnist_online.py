"""Learn N-MNIST while it streams in, in one pass: `python -m geir.tasks.nmnist_online --data PATH`.

Every recording is seen once, frame by frame, and the weights change after every frame, by the gradient of that frame:
OTTT or e-prop through `geir.learning.Online`. Only traces are kept of earlier frames, of every input or every synapse:
there is no backpropagation through time. The loss is the cross entropy of the readout's potentials in each frame; the
class with the largest mean potential is the prediction.

References: `geir.tasks.nmnist` for the data; M. Xiao et al., *Online training through time for spiking neural
networks*, 2022; G. Bellec et al., *A solution to the learning dilemma for recurrent networks of spiking neurons*, 2020.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import nn, Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from ..containers import Lift, SequentialState
from ..events.dataset import collate, Sample
from ..learning import EProp, Online, OnlineRule, OTTT
from ..neurons import LI, LIF
from ..surrogates import SuperSpike
from .command_line import build_parser, main, Result
from .epochs import descend, train_epochs
from .nmnist import DT, FILES, load, SENSOR_SIZE
from .settings import out_setting, resume_setting, seed_setting, setting, TaskSettings

TEST_BATCH = 50
RULES: dict[str, OnlineRule] = {"ottt": OTTT(), "eprop": EProp()}


@dataclass(frozen=True)
class Settings(TaskSettings):
    """Settings of a run. Each field is a flag of the command line."""

    rule: str = setting("ottt", "the learning rule: ottt or eprop", choices=tuple(RULES))
    batch_size: int = setting(4, "recordings that stream in at the same time")
    hidden: int = setting(200, "number of hidden neurons")
    learning_rate: float = setting(1e-3, "learning rate of Adam")
    steps: int = setting(16, "number of 20 ms frames for which a recording is shown")
    seed: int = seed_setting("the weights and the order")
    out: Path = out_setting("nmnist_online")
    resume: bool = resume_setting()


def network(hidden: int) -> SequentialState:
    """A layer of spiking neurons and a leaky readout, for frames of `geir.tasks.nmnist.DT`."""
    height, width = SENSOR_SIZE
    return SequentialState(
        Lift(nn.Flatten()),
        Lift(nn.Linear(2 * height * width, hidden)),
        LIF(dt=DT, tau_mem=40e-3, tau_syn=20e-3, v_th=0.2, surrogate=SuperSpike(alpha=25)),
        Lift(nn.Linear(hidden, 10)),
        LI(dt=DT, tau_mem=80e-3, tau_syn=20e-3),
    )


def learn(learner: Online, optimizer: torch.optim.Optimizer, xs: Tensor, labels: Tensor) -> float:
    """Learn from recordings frame by frame.

    Args:
        learner: The network and its rule.
        optimizer: Takes a step after every frame.
        xs: Frames, shape (time, batch, 2, height, width).
        labels: Class of each recording, shape (batch,).

    Returns:
        The mean loss of the frames.
    """
    state, total = None, 0.0
    for x in xs:
        y, state = learner(x, state)
        total += descend(optimizer, nn.functional.cross_entropy(y, labels))
    return total / len(xs)


def load_batches(recordings: Dataset[Sample], batch_size: int) -> Iterable[tuple[Tensor, Tensor]]:
    """Frames (time, batch, 2, height, width) and labels of recordings, in their order."""
    # A loader has the type of its samples, not of what `collate` makes of them.
    return cast(Iterable[tuple[Tensor, Tensor]], DataLoader(recordings, batch_size, collate_fn=collate))


@torch.inference_mode()
def accuracy(model: SequentialState, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Share of recordings whose class has the largest mean potential."""
    right = total = 0
    for xs, labels in batches:
        right += int((model(xs)[0].mean(0).argmax(-1) == labels).sum())
        total += len(labels)
    return right / total


def run(data: Path | str, **settings: object) -> Result:
    """Learn from the recordings of `geir.tasks.nmnist.load` once, and test; for `settings`, see `geir.tasks`."""
    given = replace(Settings(), **settings)
    recordings = load(Path(data), given.steps, augment=False)
    torch.manual_seed(given.seed)
    model = network(given.hidden)
    learner = Online(model, RULES[given.rule])
    optimizer = torch.optim.Adam(model.parameters(), lr=given.learning_rate)

    def stream(_: int) -> Iterable[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(recordings.train)).tolist()
        return load_batches(Subset(recordings.train, order), given.batch_size)

    result = train_epochs(
        "nmnist_online",
        given,
        1,
        learner,
        optimizer,
        learning_rate=lambda _: given.learning_rate,
        batches=stream,
        update=lambda batch: learn(learner, optimizer, *batch),
        evaluate=lambda: accuracy(model, load_batches(recordings.test, TEST_BATCH)),
    )
    return result | {
        "rule": given.rule,
        "train_recordings": len(recordings.train),
        "test_recordings": len(recordings.test),
    }


if __name__ == "__main__":
    sys.exit(main(build_parser("nmnist_online", __doc__, Settings(), data=FILES), run))
