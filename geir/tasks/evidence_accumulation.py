"""Accumulate evidence with e-prop and random feedback: `python -m geir.tasks.evidence_accumulation`.

Seven cues, each on the left or on the right, then a delay of one second; when recalled, the network must say on which
side there were more. It must count, and remember for longer than any of its neurons' membranes: half of them have an
adaptive threshold with a time constant of 2 s. One recurrent layer, trained by `Online` with ``EProp(Random())`` in its
offline form, `Online.sequence`.

Reference: G. Bellec et al., *A solution to the learning dilemma for recurrent networks of spiking neurons*, 2020, whose
task and time constants these are. The steps are longer, 5 ms instead of 1 ms, and the neurons have synaptic currents.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn, Tensor

from ..containers import Lift, SequentialState
from ..learning import EProp, FiringRate, Online, Random
from ..neurons import LI
from .adaptive_layer import half_adaptive
from .catalog import Published
from .command_line import build_parser, main, Result
from .epochs import descend, error_of, IterationSettings, train_iterations
from .settings import out_setting, resume_setting, seed_setting, setting

PUBLISHED = Published("test_error", "below 7 %", "G. Bellec et al., 2020")
DT = 5e-3
# Durations in seconds.
CUE, PAUSE, DELAY, RECALL = 0.1, 0.05, 1.05, 0.15
CUES = 7
# The probability that a cue is on the right is this or its complement.
P_SIDE = 0.3
# Groups of inputs: cues on the left, cues on the right, recall, background. Rates in Hz.
GROUP_SIZE, GROUPS = 10, 4
CUE_RATE, BACKGROUND_RATE = 40.0, 10.0
INPUTS = GROUPS * GROUP_SIZE
TAU_MEM, TAU_SYN, TAU_ADAPT, BETA = 20e-3, 5e-3, 2.0, 0.2
# Standard deviations of weights, before they are divided by the root of the number of inputs.
INPUT_GAIN, RECURRENT_GAIN = 15.0, 5.0
TARGET_RATE, PENALTY = 10.0, 1e-6
# Weight updates between two tests.
EPOCH = 50


@dataclass(frozen=True)
class Settings(IterationSettings):
    """Settings of a run. Each field is a flag of the command line."""

    iterations: int = setting(1500, "number of weight updates")
    batch_size: int = setting(32, "trials per update")
    neurons: int = setting(100, "number of neurons, half of them with adaptive threshold")
    learning_rate: float = setting(1e-2, "learning rate of Adam in the first iteration")
    decay: float = setting(0.1, "learning rate of the last iteration, relative to the first")
    test_trials: int = setting(1000, "number of test trials", free=True)
    seed: int = seed_setting("weights and trials")
    out: Path = out_setting("evidence_accumulation")
    resume: bool = resume_setting()


class Trials(NamedTuple):
    """Trials of the task."""

    xs: Tensor  # input spikes, (time, trials, inputs)
    sides: Tensor  # the side with more cues, (trials,): 0 left, 1 right


def _steps(seconds: float) -> int:
    return round(seconds / DT)


def draw_trials(count: int, generator: torch.Generator) -> Trials:
    """Draw trials. In half of them, each cue is on the right with a probability of 0.7, else of 0.3."""
    likely = torch.rand(count, generator=generator) < 0.5
    right = torch.rand(CUES, count, generator=generator) < torch.where(likely, 1 - P_SIDE, P_SIDE)
    spacing, trials = _steps(CUE + PAUSE), torch.arange(count)
    rates = torch.zeros(CUES * spacing + _steps(DELAY) + _steps(RECALL), count, GROUPS)
    for k, side in enumerate(right.long()):
        rates[k * spacing : k * spacing + _steps(CUE), trials, side] = CUE_RATE
    rates[-_steps(RECALL) :, :, 2] = CUE_RATE
    rates[:, :, 3] = BACKGROUND_RATE
    probabilities = DT * rates.repeat_interleave(GROUP_SIZE, -1)
    xs = (torch.rand(probabilities.shape, generator=generator) < probabilities).float()
    return Trials(xs, (right.sum(0) > CUES / 2).long())


def network(neurons: int, generator: torch.Generator) -> SequentialState:
    """A recurrent layer, of which the first half has a constant and the second half an adaptive threshold."""
    layer = half_adaptive(INPUTS, neurons, BETA, dt=DT, tau_mem=TAU_MEM, tau_syn=TAU_SYN, tau_adapt=TAU_ADAPT)
    for weights, gain in ((layer.input_weights, INPUT_GAIN), (layer.recurrent_weights, RECURRENT_GAIN)):
        assert isinstance(weights, Tensor)
        nn.init.normal_(weights, std=gain / weights.shape[1] ** 0.5, generator=generator)
        if weights is layer.recurrent_weights:
            weights.data.fill_diagonal_(0)
    readout = nn.Linear(neurons, 2)
    nn.init.normal_(readout.weight, std=neurons**-0.5, generator=generator)
    nn.init.zeros_(readout.bias)
    return SequentialState(layer, Lift(readout), LI(dt=DT, tau_mem=TAU_MEM, tau_syn=TAU_SYN))


def recall(ys: Tensor) -> Tensor:
    """The output during recall, (time, trials, 2)."""
    return ys[-_steps(RECALL) :]


def error_rate(model: SequentialState, trials: Trials) -> float:
    """Share of trials in which the larger mean output during recall is that of the wrong side."""
    wrong = 0
    with torch.no_grad():
        for xs, sides in zip(trials.xs.split(250, 1), trials.sides.split(250), strict=True):
            wrong += int((recall(model(xs)[0]).mean(0).argmax(-1) != sides).sum())
    return wrong / len(trials.sides)


def run(**settings: object) -> Result:
    """Train and evaluate; for `settings`, see `geir.tasks`. The result includes `test_error`."""
    given = replace(Settings(), **settings)
    # The feedback weights are drawn from the global generator.
    torch.manual_seed(given.seed)
    test = draw_trials(given.test_trials, torch.Generator().manual_seed(1_000_003))
    model = network(given.neurons, torch.Generator().manual_seed(given.seed))
    learner = Online(model, EProp(Random(), firing_rate=FiringRate(TARGET_RATE, strength=PENALTY)))
    optimizer = torch.optim.Adam(model.parameters(), lr=given.learning_rate)

    def update(trials: Trials) -> float:
        ys = recall(learner.sequence(trials.xs))
        return descend(optimizer, nn.functional.cross_entropy(ys.flatten(0, 1), trials.sides.repeat(len(ys))))

    result = train_iterations(
        "evidence_accumulation",
        given,
        learner,  # the network and the feedback weights
        optimizer,
        every=EPOCH,
        draw=lambda generator: draw_trials(given.batch_size, generator),
        update=update,
        evaluate=lambda: 1 - error_rate(model, test),
    )
    return result | {"test_error": error_of(result), "test_trials": given.test_trials}


if __name__ == "__main__":
    sys.exit(main(build_parser("evidence_accumulation", __doc__, Settings()), run))
