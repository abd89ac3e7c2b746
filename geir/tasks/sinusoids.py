r"""Learn sinusoids from examples without changing a weight: `python -m geir.tasks.sinusoids`.

In an episode, a recurrent network sees 20 examples of a sinusoid :math:`y = A \sin(x + \varphi)` of random amplitude
and phase. An example begins with the question :math:`x`, for which the network predicts :math:`y`. Then it sees the
answer, :math:`x` and :math:`y` together, and a pause follows, three times as long as the membrane time constant. The
weights are the same in all episodes, so that the network can learn a sinusoid in nothing but its state. Backpropagation
through time trains the weights on many episodes. In half of the neurons, spikes raise the threshold for a time. Another
network, in which no threshold adapts, is trained in the same way on the same episodes.

Adaptive thresholds carry what was seen over a pause without a spike; the other network has to keep firing. In a variant
without pauses, in which every question comes with the answer to the one before, that network is as good or better.

Reference: G. Bellec et al., *Long short-term memory and learning-to-learn in networks of spiking neurons*, 2018. The
size of the networks, their input, the pauses and the training are ours.
"""

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn, Tensor

from .adaptive_layer import half_adaptive
from .command_line import build_parser, main, Result
from .epochs import descend, IterationSettings, train_iterations
from .figure import draw_errors
from .settings import out_setting, resume_setting, seed_setting, setting

EXAMPLES = 20
# Sinusoids, and the range of x.
A_MIN, A_MAX, X_MAX = 0.1, 10.0, 5.0
# Neurons of the input for each of x and y, and the width of their tuning curves, relative to the range's half.
TUNED, WIDTH = 20, 0.1
# In seconds: steps and time constants.
DT = 5e-3
TAU_MEM, TAU_SYN, TAU_ADAPT, BETA = 20e-3, 5e-3, 1.0, 0.3
# Steps of the question, the answer and the pause of an example.
QUESTION, ANSWER, PAUSE = 4, 4, 12
STEPS = QUESTION + ANSWER + PAUSE
# Standard deviations of weights, before they are divided by the root of the number of inputs.
INPUT_GAIN, RECURRENT_GAIN = 12.0, 2.0
# Weight updates between two tests.
EPOCH = 100


@dataclass(frozen=True)
class Settings(IterationSettings):
    """Settings of a run. Each field is a flag of the command line."""

    iterations: int = setting(2000, "number of weight updates")
    batch_size: int = setting(32, "episodes per update")
    neurons: int = setting(100, "number of neurons, half of them with adaptive threshold")
    learning_rate: float = setting(2e-2, "learning rate of Adam in the first iteration")
    decay: float = setting(0.1, "learning rate of the last iteration, relative to the first")
    test_episodes: int = setting(1000, "number of test episodes", free=True)
    seed: int = seed_setting("weights and episodes")
    out: Path = out_setting("sinusoids", "checkpoint and figure")
    resume: bool = resume_setting()


class Episodes(NamedTuple):
    """Episodes, each with examples of one sinusoid."""

    x: Tensor  # (examples, episodes), within -X_MAX and X_MAX
    y: Tensor  # (examples, episodes), within -A_MAX and A_MAX


def draw_episodes(count: int, generator: torch.Generator) -> Episodes:
    """Draw episodes."""
    amplitude = A_MIN + (A_MAX - A_MIN) * torch.rand(count, generator=generator)
    phase = 2 * math.pi * torch.rand(count, generator=generator)
    x = X_MAX * (2 * torch.rand(EXAMPLES, count, generator=generator) - 1)
    return Episodes(x, amplitude * torch.sin(x + phase))


def encode(episodes: Episodes) -> Tensor:
    """Currents of neurons tuned to x, during question and answer, and of others tuned to y, during the answer.

    Returns:
        Shape (time, episodes, 2 * TUNED).
    """
    centers = torch.linspace(-1, 1, TUNED)
    values = torch.stack([episodes.x / X_MAX, episodes.y / A_MAX], -1)
    tuned = torch.exp(-(((values.unsqueeze(-1) - centers) / WIDTH) ** 2) / 2)
    currents = tuned.new_zeros(EXAMPLES, STEPS, *tuned.shape[1:])
    currents[:, : QUESTION + ANSWER, :, 0] = tuned[:, None, :, 0]
    currents[:, QUESTION : QUESTION + ANSWER, :, 1] = tuned[:, None, :, 1]
    return currents.flatten(-2).flatten(0, 1)


class Predictor(nn.Module):
    """A recurrent layer and a linear readout of its rates during the questions.

    Args:
        neurons: Number of neurons.
        adaptive: Whether the thresholds of the second half of them adapt.
        generator: Source of the weights.
    """

    def __init__(self, neurons: int, adaptive: bool, generator: torch.Generator) -> None:
        super().__init__()
        inputs = INPUT_GAIN * torch.randn(neurons, 2 * TUNED, generator=generator) / (2 * TUNED) ** 0.5
        feedback = RECURRENT_GAIN * torch.randn(neurons, neurons, generator=generator) / neurons**0.5
        readout = torch.randn(1, neurons, generator=generator) / neurons**0.5
        self.layer = half_adaptive(
            2 * TUNED,
            neurons,
            BETA if adaptive else 0.0,
            dt=DT,
            tau_mem=TAU_MEM,
            tau_syn=TAU_SYN,
            tau_adapt=TAU_ADAPT,
            input_weights=nn.Parameter(inputs),
            recurrent_weights=nn.Parameter(feedback.fill_diagonal_(0)),
        )
        self.readout = nn.Linear(neurons, 1)
        self.readout.weight.data.copy_(readout)
        nn.init.zeros_(self.readout.bias)

    def forward(self, xs: Tensor) -> Tensor:
        """Predictions of y, shape (examples, episodes), from currents of `encode`."""
        zs, _ = self.layer(xs)
        rates = zs.unflatten(0, (EXAMPLES, STEPS))[:, :QUESTION].mean(1)
        return A_MAX * self.readout(rates).squeeze(-1)


def relative_errors(model: Predictor, episodes: Episodes) -> Tensor:
    """Mean squared error of each example, shape (examples,), relative to that of always predicting zero."""
    with torch.no_grad():
        parts = zip(episodes.x.split(250, 1), episodes.y.split(250, 1), strict=True)
        predictions = torch.cat([model(encode(Episodes(x, y))) for x, y in parts], 1)
    return ((predictions - episodes.y) ** 2).mean(1) / (episodes.y**2).mean()


def learned_error(model: Predictor, episodes: Episodes) -> float:
    """The relative error of the second half of an episode."""
    return relative_errors(model, episodes)[EXAMPLES // 2 :].mean().item()


def run(**settings: object) -> Result:
    """Train and evaluate; for `settings`, see `geir.tasks`.

    Returns:
        The result, including `test_error`, the mean squared error in the second half of an episode relative to that of
        always predicting zero, and `test_error_lif`, that of the network without adaptation.
    """
    given = replace(Settings(), **settings)
    # The test episodes are the same for all seeds.
    test = draw_episodes(given.test_episodes, torch.Generator().manual_seed(1_000_003))
    adaptive, lif = (
        Predictor(given.neurons, kind, torch.Generator().manual_seed(given.seed)) for kind in (True, False)
    )
    model = nn.ModuleDict({"adaptive": adaptive, "lif": lif})
    # Adam scales the gradient of every weight by itself, so the networks do not affect one another.
    optimizer = torch.optim.Adam(model.parameters(), lr=given.learning_rate)

    def update(episodes: Episodes) -> float:
        xs = encode(episodes)
        losses = [nn.functional.mse_loss(network(xs), episodes.y) / A_MAX**2 for network in model.values()]
        descend(optimizer, torch.stack(losses).sum())
        return losses[0].item()

    def draw_figure(_: object) -> Result:
        figure = given.out / "sinusoids.png"
        names = {"adaptive thresholds": adaptive, "LIF": lif}
        draw_errors({name: relative_errors(network, test) for name, network in names.items()}, figure)
        return {"figure": str(figure)}

    result = train_iterations(
        "sinusoids",
        given,
        model,
        optimizer,
        every=EPOCH,
        draw=lambda generator: draw_episodes(given.batch_size, generator),
        update=update,
        # The share of the variance that is predicted.
        evaluate=lambda: 1 - learned_error(adaptive, test),
        finish=draw_figure,
    )
    del result["test_accuracy"]
    return result | {
        "test_error": learned_error(adaptive, test),
        "test_error_lif": learned_error(lif, test),
        "test_episodes": given.test_episodes,
    }


if __name__ == "__main__":
    sys.exit(main(build_parser("sinusoids", __doc__, Settings()), run))
