r"""Add two numbers that are far apart in time, by FPTT: `python -m geir.tasks.adding`.

The first input is a random number in (0, 1) at every step. The second marks one step of the first half and one of the
second half; after the last step, the output must be the sum of the two marked numbers. `test_error` is the mean squared
error relative to 1/6, that of the mean sum, 1. In the reference, backpropagation through time over 1,000 steps does not
get below it.

By `geir.learning.FPTT`, weights change after every chunk of steps, by the gradient within the chunk and toward their
running average; the loss of a chunk, the error that its end would have as the answer, has a weight that grows with
time. By backpropagation, they change once for each batch. The network is the same: one layer of
`geir.models.SpikingLTC` with a constant threshold, whose time constants depend on input and potential, and a linear
readout of its potentials. Training is not steady, so what is tested are the weights with the smallest error on
validation sequences.

References: S. Hochreiter & J. Schmidhuber, *Long short-term memory*, 1997; A. Kag & V. Saligrama, *Training recurrent
neural networks via forward propagation through time*, 2021; B. Yin, F. Corradi & S. Bohté, *Accurate online training of
dynamical spiking neural networks through Forward Propagation Through Time*, 2023, whose network and penalty these are,
with half as many neurons, sequences in a batch and steps in a chunk. There, the last chunk has no loss.
"""

import copy
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn, Tensor

from ..containers import detach
from ..learning import FPTT
from ..models import SpikingLTC, SpikingLTCState
from .catalog import Published
from .command_line import build_parser, main, Result
from .epochs import descend, IterationSettings, train_iterations
from .settings import out_setting, resume_setting, seed_setting, setting

PUBLISHED = Published("test_error", "2 % by FPTT, 100 % by BPTT", "logs of the code of B. Yin et al., 2023")
METHODS = ("fptt", "bptt")
# The mean squared error of the mean of the sum of two numbers from 0 to 1.
BASELINE = 1 / 6
V_TH = 0.5
# Norm to which gradients are clipped, and the strength of the penalty of FPTT.
MAX_GRADIENT, ALPHA = 1.0, 0.5
# Weight updates of backpropagation, or sequences of updates of FPTT, between two tests.
EPOCH = 20


@dataclass(frozen=True)
class Settings(IterationSettings):
    """Settings of a run. Each field is a flag of the command line."""

    method: str = setting("fptt", "fptt, or bptt: backpropagation through time", choices=METHODS)
    steps: int = setting(1000, "length of a sequence in steps")
    chunk: int = setting(50, "steps between two updates of FPTT")
    iterations: int = setting(300, "number of batches")
    batch_size: int = setting(64, "sequences per batch")
    hidden: int = setting(64, "number of neurons")
    learning_rate: float = setting(2e-3, "learning rate of Adam in the first batch")
    decay: float = setting(0.1, "learning rate of the last batch, relative to the first")
    test_sequences: int = setting(500, "number of sequences of the test, and as many of the validation", free=True)
    seed: int = seed_setting("weights and sequences")
    out: Path = out_setting("adding")
    resume: bool = resume_setting()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 2:
            raise ValueError(f"--steps must be at least 2, one for each number, got {self.steps}.")


class Sequences(NamedTuple):
    """Sequences of the adding problem."""

    xs: Tensor  # numbers and marks, (steps, sequences, 2)
    sums: Tensor  # of the marked numbers, (sequences,)


def draw_sequences(count: int, steps: int, generator: torch.Generator) -> Sequences:
    """Draw sequences: one step of the first half and one of the second half are marked."""
    numbers, marks = torch.rand(steps, count, generator=generator), torch.zeros(steps, count)
    first = torch.randint(steps // 2, (1, count), generator=generator)
    second = torch.randint(steps // 2, steps, (1, count), generator=generator)
    marks.scatter_(0, torch.cat([first, second]), 1.0)
    return Sequences(torch.stack([numbers, marks], -1), (numbers * marks).sum(0))


class Adder(nn.Module):
    """A layer of `SpikingLTC`, and a linear readout of its potentials.

    Args:
        hidden: Number of neurons.
    """

    def __init__(self, hidden: int):
        super().__init__()
        self.layer = SpikingLTC(2, hidden, v_th=V_TH, beta=0.0)
        self.readout = nn.Linear(hidden, 1)
        nn.init.xavier_normal_(self.readout.weight)

    def forward(self, xs: Tensor, state: SpikingLTCState | None = None) -> tuple[Tensor, SpikingLTCState]:
        """Run over time.

        Args:
            xs: Numbers and marks, shape (time, batch, 2).
            state: State to continue from.

        Returns:
            The answer after the last step, shape (batch,), and the state.
        """
        _, after = self.layer(xs, state)
        return self.readout(after.v)[:, 0], after


def mean_squared_error(model: Adder, sequences: Sequences) -> float:
    """The mean squared error of the answers."""
    with torch.no_grad():
        return nn.functional.mse_loss(model(sequences.xs)[0], sequences.sums).item()


class Best(nn.Module):
    """A network, and its weights at the time of the smallest error on validation sequences.

    Args:
        model: The network.
    """

    error: Tensor

    def __init__(self, model: Adder):
        super().__init__()
        self.model, self.kept = model, copy.deepcopy(model).requires_grad_(False)
        self.register_buffer("error", torch.tensor(math.inf))

    def compare(self, sequences: Sequences) -> float:
        """Keep the present weights if their error is the smallest; returns their error."""
        error = mean_squared_error(self.model, sequences)
        if error < self.error:
            self.error.fill_(error)
            self.kept.load_state_dict(self.model.state_dict())
        return error


def run(**settings: object) -> Result:
    """Train and evaluate; for `settings`, see `geir.tasks`.

    Returns:
        The result, including `validation_mse` after the last batch, `test_mse` and `test_error` of the weights with
        the smallest error on validation sequences, and `baseline_mse`, the mean squared error of the mean.
    """
    given = replace(Settings(), **settings)
    torch.manual_seed(given.seed)
    best = Best(model := Adder(given.hidden))
    adam = torch.optim.Adam(model.parameters(), lr=given.learning_rate)
    online = given.method == "fptt"
    optimizer = FPTT(adam, alpha=ALPHA) if online else adam
    chunks = math.ceil(given.steps / given.chunk) if online else 1
    validation, test = (
        draw_sequences(given.test_sequences, given.steps, torch.Generator().manual_seed(1_000_003 + k)) for k in (0, 1)
    )

    def update(batch: Sequences) -> float:
        state, error = None, 0.0
        for number, xs in enumerate(batch.xs.tensor_split(chunks), 1):
            answers, state = model(xs, state)
            loss = nn.functional.mse_loss(answers, batch.sums)
            descend(optimizer, number * loss, MAX_GRADIENT)
            state, error = detach(state), loss.item()
        return error

    def finish(_: object) -> Result:
        error = mean_squared_error(best.kept, test)
        return {"test_mse": error, "test_error": error / BASELINE}

    result = train_iterations(
        "adding",
        given,
        best,
        optimizer,
        every=EPOCH,
        draw=lambda generator: draw_sequences(given.batch_size, given.steps, generator),
        update=update,
        evaluate=lambda: {"validation_mse": best.compare(validation)},
        finish=finish,
    )
    count = sum(p.numel() for p in model.parameters())
    return result | {"method": given.method, "steps": given.steps, "baseline_mse": BASELINE, "parameters": count}


if __name__ == "__main__":
    sys.exit(main(build_parser("adding", __doc__, Settings()), run))
