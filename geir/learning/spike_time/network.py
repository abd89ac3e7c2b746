"""Inputs and outputs of both implementations of a layer."""

from typing import NamedTuple

import torch
from torch import Tensor

from .equations import Equations


class Wiring(NamedTuple):
    """Weights and delays, float64, presynaptic unit first so that a spike reads one row."""

    weight: Tensor  # (inputs, neurons)
    delay: Tensor | None  # the same shape, or None without delays
    recurrent_weight: Tensor | None  # (neurons, neurons), or None without recurrence
    recurrent_delay: Tensor | None


class Setup(NamedTuple):
    """One simulation of a batch; tensors in float64."""

    owner: str  # for messages
    times: Tensor  # (batch, spikes)
    units: Tensor  # (batch, spikes), int32
    wiring: Wiring
    equations: Equations
    initial: Tensor  # S at time 0, (batch, neurons, n + 1)
    at: Tensor | None  # (samples,): times at which states are read, ascending
    duration: float
    max_spikes: int


class Outcome(NamedTuple):
    """The result; `times` and `states` are differentiable."""

    times: Tensor  # (batch, max_spikes)
    units: Tensor  # (batch, max_spikes), int64
    totals: Tensor  # (batch,): number of spikes, those beyond max_spikes included
    grazing: Tensor  # (batch,): number of spikes at which the potential hardly crossed its threshold
    states: Tensor | None  # (batch, samples, neurons, n + 1)


# A potential that crosses its threshold more slowly than this, relative to the terms of its slope, grazes it. The
# gradient, which grows with one over the slope, is that of this slope.
GRAZING = 1e-6


def most_counted(max_spikes: int) -> int:
    """The number of spikes of one sample after which even counting them ends."""
    return 10 * max_spikes + 1000


def refuse_second_derivative(owner: str) -> None:
    """Raise `NotImplementedError` in a backward pass that is itself differentiated."""
    if torch.is_grad_enabled():
        raise NotImplementedError(f"{owner} is differentiable once; call backward without create_graph=True.")
