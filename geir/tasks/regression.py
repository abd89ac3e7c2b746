r"""Regression: a membrane potential that follows a curve: `python -m geir.tasks.regression`.

The input is a current that grows linearly from 0 to a random end in (0, 1); the potential of the output neuron must
follow its square root. Two layers of spiking neurons, whose thresholds differ and whose decays are learned, drive the
output neuron, which does not spike. Nothing is downloaded: the curves are drawn.

``test_error`` is the relative error of all test curves together, :math:`\lVert v - y \rVert / \lVert y \rVert`, and
``linear_error`` that of the best linear function :math:`a + b x` of the input at the same step, which a network must
beat to have learned more than a scale.

References: A. Henkes, J. Eshraghian & H. Wessels, *Spiking neural networks for nonlinear regression*, 2022; the first
tutorial of snnTorch on regression, with this network, which learns a single curve instead of all.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn, Tensor
from torch.nn import functional

from ..containers import Lift, SequentialState
from ..core.parameters import learnable
from ..neurons import Leaky, LIBox
from ..surrogates import ATan
from .command_line import build_parser, main, Result
from .epochs import descend, draw_batches, error_of, train_epochs
from .settings import out_setting, resume_setting, seed_setting, setting, TaskSettings

# Weight updates between two tests.
EPOCH = 100


@dataclass(frozen=True)
class Settings(TaskSettings):
    """Settings of a run. Each field is a flag of the command line."""

    epochs: int = setting(20, f"number of tests, each after {EPOCH} weight updates", free=True)
    batch_size: int = setting(32, "curves per update")
    hidden: int = setting(128, "neurons of each hidden layer")
    steps: int = setting(50, "time steps of 1 ms of a curve")
    learning_rate: float = setting(2e-3, "learning rate of Adam in the first epoch")
    decay: float = setting(0.85, "factor applied to the learning rate after every epoch")
    test_curves: int = setting(500, "number of test curves", free=True)
    seed: int = seed_setting("network and curves")
    out: Path = out_setting("regression")
    resume: bool = resume_setting()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 2:
            raise ValueError(f"--steps must be at least 2, got {self.steps}.")


class Curves(NamedTuple):
    """Inputs and what the potential must follow, each of shape (time, curves, 1)."""

    xs: Tensor
    ys: Tensor


def draw_curves(count: int, steps: int, generator: torch.Generator) -> Curves:
    """Draw lines from 0 to a random end in (0, 1), and their square roots."""
    xs = torch.linspace(0, 1, steps)[:, None, None] * torch.rand(count, 1, generator=generator)
    return Curves(xs, xs.sqrt())


def network(hidden: int) -> SequentialState:
    """Two layers of leaky neurons with random thresholds and decays, and a leaky integrator."""
    layers: list[nn.Module] = []
    for inputs in (1, hidden):
        neuron = Leaky(beta=learnable(0.1 + 0.8 * torch.rand(hidden)), v_th=torch.rand(hidden), surrogate=ATan())
        layers += [Lift(nn.Linear(inputs, hidden)), neuron]
    return SequentialState(*layers, Lift(nn.Linear(hidden, 1)), LIBox(tau_mem=learnable(5e-3)))


def relative_error(vs: Tensor, ys: Tensor) -> float:
    """The norm of the difference of all curves, relative to that of the second ones."""
    return float((vs - ys).norm() / ys.norm())


def linear_error(curves: Curves) -> float:
    """The relative error of the best linear function of the input."""
    xs = torch.stack([torch.ones_like(curves.xs), curves.xs], -1).reshape(-1, 2).double()
    ys = curves.ys.reshape(-1, 1).double()
    return relative_error(xs @ torch.linalg.lstsq(xs, ys).solution, ys)


def run(**settings: object) -> Result:
    """Train and evaluate; for `settings`, see `geir.tasks`. The result has `test_error` and `linear_error`."""
    given = replace(Settings(), **settings)
    # The test curves are the same for all seeds.
    test = draw_curves(given.test_curves, given.steps, torch.Generator().manual_seed(1_000_003))
    torch.manual_seed(given.seed)
    model = network(given.hidden)
    optimizer = torch.optim.Adam(model.parameters(), lr=given.learning_rate)

    def draw(generator: torch.Generator) -> Curves:
        return draw_curves(given.batch_size, given.steps, generator)

    def test_error() -> float:
        with torch.no_grad():
            return relative_error(model(test.xs)[0], test.ys)

    result = train_epochs(
        "regression",
        given,
        given.epochs,
        model,
        optimizer,
        learning_rate=lambda epoch: given.learning_rate * given.decay**epoch,
        batches=lambda epoch: draw_batches(given.seed, epoch, EPOCH, draw),
        update=lambda curves: descend(optimizer, functional.mse_loss(model(curves.xs)[0], curves.ys)),
        evaluate=lambda: 1 - test_error(),
    )
    error = error_of(result)
    del result["test_accuracy"]
    return result | {"test_error": error, "linear_error": linear_error(test), "test_curves": given.test_curves}


if __name__ == "__main__":
    sys.exit(main(build_parser("regression", __doc__, Settings()), run))
