"""Recognize MNIST digits as sequences of 56 steps: `python -m geir.tasks.sequential_mnist --data FILE`.

The 784 pixels of an image arrive row by row as currents, a few of them in each step, and the potentials after the last
step tell the digit. There is one recurrent layer: half of its neurons have a constant threshold (LIF), and half an
adaptive one (ALIF), which remembers for longer. With ``--permuted`` the pixels arrive in a random order, which is the
same for all images.

By default, half a row of 14 pixels arrives in each of 56 steps, which costs a fourteenth of the 784 steps of the papers
and needs a shorter memory; ``--steps 784`` presents the pixels one by one. ``--validate`` tests on the last 10,000
training images, which are then left out of training.

References: G. Bellec et al., *Long short-term memory and learning-to-learn in networks of spiking neurons*, 2018, whose
network of LIF and ALIF neurons it is; B. Yin, F. Corradi & S. M. Bohté, *Accurate and efficient time-domain
classification with adaptive spiking recurrent neural networks*, 2021, for pixels as currents.
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn, Tensor
from torch.utils.data import TensorDataset

from ..containers import Lift, SequentialState
from ..decode import last_potential, last_potential_loss
from ..neurons import LI
from . import mnist
from .adaptive_layer import half_adaptive
from .catalog import Published
from .command_line import build_parser, main, MNIST_FILES, Result
from .data import Data, recognized
from .settings import setting
from .training import Settings, train

PUBLISHED = Published(
    "test_accuracy",
    "above 96 %; permuted 94.7 %",
    "G. Bellec et al., 2018; permuted: B. Yin et al., 2021; both in 784 steps, not 56",
)
PIXELS, CLASSES = 28 * 28, 10
# In seconds.
TAU_MEM, TAU_SYN, TAU_ADAPT = 20e-3, 10e-3, 200e-3
BETA = 0.5


@dataclass(frozen=True)
class SequentialSettings(Settings):
    """Settings of a training run on images as sequences."""

    steps: int = setting(56, "time steps of 1 ms in which an image arrives, a divisor of 784")
    hidden: int = setting(256, "number of neurons, half of them with adaptive threshold")
    permuted: bool = setting(False, "present the pixels in a random order")
    validate: bool = setting(False, f"test on the last {mnist.HELD_OUT:,} training images instead")

    def __post_init__(self) -> None:
        super().__post_init__()
        if PIXELS % self.steps:
            raise ValueError(f"--steps must divide the {PIXELS} pixels, as do 56, 112 and 784; got {self.steps}.")


DEFAULTS = SequentialSettings(
    epochs=16,
    batch_size=128,
    learning_rate=1e-2,
    decay=0.8,
    max_gradient_norm=1.0,
    out=Path("runs/sequential_mnist"),
)


def network(hidden: int, steps: int) -> SequentialState:
    """A recurrent layer, of which the first half has a constant and the second half an adaptive threshold."""
    layer = half_adaptive(PIXELS // steps, hidden, BETA, tau_mem=TAU_MEM, tau_syn=TAU_SYN, tau_adapt=TAU_ADAPT)
    return SequentialState(layer, Lift(nn.Linear(hidden, CLASSES)), LI())


def load(path: Path, permuted: bool = False, validate: bool = False) -> Data[TensorDataset]:
    """Load MNIST as sequences.

    Args:
        path: See `geir.tasks.mnist.read`.
        permuted: Whether to present the pixels in a random order, which is always the same.
        validate: See `geir.tasks.mnist.read`.

    Raises:
        FileNotFoundError: If `path`, or a file in that folder, does not exist.
        ValueError: If a file does not hold MNIST.
    """
    images = mnist.load(path, validate)
    order = torch.randperm(PIXELS, generator=torch.Generator().manual_seed(0)) if permuted else torch.arange(PIXELS)
    return Data(
        images.train,
        images.test,
        encode=partial(arrive, order),
        loss=last_potential_loss,
        count_answers=partial(recognized, decode=last_potential),
    )


def arrive(order: Tensor, images: Tensor, steps: int) -> Tensor:
    """Currents, shape (steps, batch, 784 / steps), of images (batch, 1, 28, 28) whose pixels arrive in an order."""
    return images.flatten(1)[:, order].unflatten(1, (steps, -1)).transpose(0, 1)


def run(data: Path | str, **settings: object) -> Result:
    """Train and evaluate on MNIST; for `data`, see `geir.tasks.mnist.read`, for `settings` `geir.tasks`."""
    given = replace(DEFAULTS, **settings)
    samples = load(Path(data), given.permuted, given.validate)
    return train("sequential_mnist", partial(network, given.hidden, given.steps), samples, given)


if __name__ == "__main__":
    parser = build_parser("sequential_mnist", __doc__, DEFAULTS, data=MNIST_FILES)
    sys.exit(main(parser, run, several_processes=True))
