"""Store a bit and recall it later: `python -m geir.tasks.memory`.

A sequence is made of periods of 100 ms. In each, one of two groups of inputs shows a random bit; in some, a third group
gives the command to store it, and some time later a fourth, without a bit, that to recall it. During the recall the
output must tell the stored bit, whatever was shown since. Each sequence has several stores, each followed by its
recall, so that a network must also forget. One recurrent layer: half of its neurons have an adaptive threshold with a
time constant of 1 s. With ``--constant`` no threshold adapts: the same network is then left with its recurrence.

Nothing is downloaded: the sequences are drawn. The answer to a recall is the class with the larger mean output during
its period; chance is 50 %.

References: G. Bellec et al., *Long short-term memory and learning-to-learn in networks of spiking neurons*, 2018; the
task ``memory`` of Norse, with its groups of five inputs, and the store in the first half of 12 periods, the recall in
the second. Steps are longer, 5 ms instead of 1 ms, and there are 2 stores in a sequence instead of 4.
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn, Tensor
from torch.nn import functional
from torch.utils.data import TensorDataset

from ..containers import Lift, SequentialState
from ..neurons import LI
from .adaptive_layer import half_adaptive
from .command_line import build_parser, main, Result
from .data import Data, time_first
from .settings import setting
from .training import Settings, train

DT = 5e-3
# Steps of a period, and stores in a sequence.
PERIOD, STORES = 20, 2
# Groups of inputs: bit 0, bit 1, store, recall. Rate in Hz.
GROUP_SIZE, GROUPS = 5, 4
RATE = 50.0
INPUTS = GROUPS * GROUP_SIZE
STORE, RECALL = 2, 3
# The label of steps without a recall.
UNKNOWN = -1
TAU_MEM, TAU_SYN, TAU_ADAPT, BETA = 20e-3, 5e-3, 1.0, 0.3
# Standard deviations of weights, before they are divided by the root of the number of inputs.
INPUT_GAIN, RECURRENT_GAIN = 5.0, 1.0


@dataclass(frozen=True)
class MemorySettings(Settings):
    """Settings of a training run on sequences of bits and commands."""

    steps: int = setting(480, "number of 5 ms steps of a sequence, a multiple of 80")
    sequences: int = setting(4000, "number of training sequences")
    test_sequences: int = setting(1000, "number of test sequences")
    hidden: int = setting(60, "number of neurons, half of them with adaptive threshold")
    constant: bool = setting(False, "constant thresholds: no neuron adapts")

    def __post_init__(self) -> None:
        super().__post_init__()
        multiple = 2 * STORES * PERIOD
        if self.steps % multiple:
            raise ValueError(f"--steps must be a multiple of {multiple}, got {self.steps}.")


DEFAULTS = MemorySettings(epochs=6, batch_size=50, learning_rate=1e-2, decay=0.7, out=Path("runs/memory"))


def draw(count: int, steps: int, generator: torch.Generator) -> TensorDataset:
    """Draw sequences.

    Args:
        count: Number of sequences.
        steps: Number of steps.
        generator: Source of randomness.

    Returns:
        Spikes, bytes of shape (count, steps, inputs), and at each step the bit to recall, shape (count, steps), -1
        where there is none.
    """
    half = steps // (2 * STORES * PERIOD)  # periods in which there is a store, and then a recall
    bits = torch.randint(2, (count, STORES, 2 * half), generator=generator)
    store = torch.randint(half, (count, STORES, 1), generator=generator)
    recall = half + torch.randint(half, (count, STORES, 1), generator=generator)
    active = torch.zeros(count, STORES, 2 * half, GROUPS)
    active[..., :STORE] = functional.one_hot(bits, 2)
    active[..., :STORE].scatter_(2, recall[..., None].expand(-1, -1, -1, STORE), 0.0)
    active[..., STORE].scatter_(2, store, 1.0)
    active[..., RECALL].scatter_(2, recall, 1.0)
    labels = torch.full_like(bits, UNKNOWN).scatter_(2, recall, bits.gather(2, store))
    probabilities = DT * RATE * active.flatten(1, 2).repeat_interleave(PERIOD, 1).repeat_interleave(GROUP_SIZE, 2)
    spikes = torch.rand(probabilities.shape, generator=generator) < probabilities
    return TensorDataset(spikes.byte(), labels.flatten(1).repeat_interleave(PERIOD, 1))


def network(hidden: int, constant: bool = False) -> SequentialState:
    """A recurrent layer, of which the second half has an adaptive threshold unless it is constant, and a readout."""
    layer = half_adaptive(
        INPUTS,
        hidden,
        0.0 if constant else BETA,
        dt=DT,
        tau_mem=TAU_MEM,
        tau_syn=TAU_SYN,
        tau_adapt=TAU_ADAPT,
        input_weights=INPUT_GAIN * INPUTS**-0.5 * torch.randn(hidden, INPUTS),
        recurrent_weights=RECURRENT_GAIN * hidden**-0.5 * torch.randn(hidden, hidden),
    )
    return SequentialState(layer, Lift(nn.Linear(hidden, 2)), LI(dt=DT, tau_mem=TAU_MEM, tau_syn=TAU_SYN))


def encode(spikes: Tensor, steps: int) -> Tensor:
    """Spikes as numbers, shape (steps, batch, inputs), from bytes (batch, time, inputs)."""
    return time_first(spikes, steps).float()


def answers(vs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The mean outputs in each period, shape (periods, batch, 2), and its labels (periods, batch)."""
    return vs.unflatten(0, (-1, PERIOD)).mean(1), labels[:, ::PERIOD].T


def recall_loss(vs: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the mean outputs in periods of recall."""
    means, bits = answers(vs, labels)
    return functional.cross_entropy(means.flatten(0, 1), bits.flatten(), ignore_index=UNKNOWN)


def recalled(vs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """For each sequence, the numbers of right answers and of recalls."""
    means, bits = answers(vs, labels)
    return (means.argmax(-1) == bits).sum(0), (bits != UNKNOWN).sum(0)


def run(**settings: object) -> Result:
    """Train and evaluate; for `settings`, see `geir.tasks`."""
    given = replace(DEFAULTS, **settings)
    # The test sequences are the same for all seeds.
    train_set = draw(given.sequences, given.steps, torch.Generator().manual_seed(given.seed))
    test_set = draw(given.test_sequences, given.steps, torch.Generator().manual_seed(1_000_003))
    data = Data(train_set, test_set, encode=encode, loss=recall_loss, count_answers=recalled, sample_noun="sequences")
    return train("memory", partial(network, given.hidden, given.constant), data, given)


if __name__ == "__main__":
    sys.exit(main(build_parser("memory", __doc__, DEFAULTS), run, several_processes=True))
