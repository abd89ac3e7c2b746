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
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn, Tensor
from torch.utils.data import TensorDataset

from ..containers import Lift, SequentialState
from ..decode import last_potential, last_potential_loss
from ..neurons import ALIFRecurrent, LI
from ..surrogates import Triangle
from . import mnist
from .catalog import Published
from .command_line import add_mnist_argument, build_parser, check_positive_settings, main, Result
from .data import Data, recognized
from .training import Settings, train

PUBLISHED = Published(
    "test_accuracy",
    "above 96 %; permuted 94.7 %",
    "G. Bellec et al., 2018; permuted: B. Yin et al., 2021; both in 784 steps, not 56",
)
PIXELS, CLASSES = 28 * 28, 10
# Images at the end of the training set that `--validate` tests on.
HELD_OUT = 10_000
# In seconds.
TAU_MEM, TAU_SYN, TAU_ADAPT = 20e-3, 10e-3, 200e-3
BETA = 0.5


@dataclass(frozen=True)
class SequentialSettings(Settings):
    """Settings of a training run on images as sequences."""

    steps: int = field(default=56, metadata={"help": "time steps of 1 ms in which an image arrives, a divisor of 784"})
    hidden: int = field(default=256, metadata={"help": "number of neurons, half of them with adaptive threshold"})
    permuted: bool = field(default=False, metadata={"help": "present the pixels in a random order"})
    validate: bool = field(default=False, metadata={"help": "test on the last 10,000 training images instead"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive_settings(self, ("hidden",))
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
    beta = torch.zeros(hidden)
    beta[hidden // 2 :] = BETA
    layer = ALIFRecurrent(
        PIXELS // steps,
        hidden,
        tau_mem=TAU_MEM,
        tau_syn=TAU_SYN,
        tau_adapt=TAU_ADAPT,
        beta=beta,
        surrogate=Triangle(gamma=0.3, width=1.0),
    )
    return SequentialState(layer, Lift(nn.Linear(hidden, CLASSES)), LI())


def load(path: Path, permuted: bool = False, validate: bool = False) -> Data[TensorDataset]:
    """Load MNIST as sequences.

    Args:
        path: See `geir.tasks.mnist.read`.
        permuted: Whether to present the pixels in a random order, which is always the same.
        validate: Whether to test on the last training images, and leave them out of training.

    Raises:
        FileNotFoundError: If `path`, or a file in that folder, does not exist.
        ValueError: If a file does not hold MNIST.
    """
    images = mnist.load(path)
    train_set, test_set = images.train, images.test
    if validate:
        train_set, test_set = (
            TensorDataset(*(tensor[part] for tensor in images.train.tensors))
            for part in (slice(-HELD_OUT), slice(-HELD_OUT, None))
        )
    order = torch.randperm(PIXELS, generator=torch.Generator().manual_seed(0)) if permuted else torch.arange(PIXELS)
    return Data(
        train_set,
        test_set,
        encode=partial(arrive, order),
        loss=last_potential_loss,
        count_answers=partial(recognized, decode=last_potential),
    )


def arrive(order: Tensor, images: Tensor, steps: int) -> Tensor:
    """Currents, shape (steps, batch, 784 / steps), of images (batch, 1, 28, 28) whose pixels arrive in an order."""
    return images.flatten(1)[:, order].unflatten(1, (steps, -1)).transpose(0, 1)


def run(data: Path | str, **settings: object) -> Result:
    """Train and evaluate.

    Args:
        data: MNIST; see `geir.tasks.mnist.read`.
        **settings: Settings by name, as on the command line, with underscores.

    Returns:
        The result, including `test_accuracy`.
    """
    given = replace(DEFAULTS, **settings)
    samples = load(Path(data), given.permuted, given.validate)
    return train("sequential_mnist", partial(network, given.hidden, given.steps), samples, given)


if __name__ == "__main__":
    description = (
        "Train a recurrent network of LIF and ALIF neurons on MNIST as a sequence of pixels. "
        "Prints the result as a JSON object on the last line."
    )
    parser = build_parser("sequential_mnist", description, DEFAULTS)
    add_mnist_argument(parser)
    sys.exit(main(parser, run, several_processes=True))
