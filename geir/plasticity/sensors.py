"""Sensors, which measure what a learning rule may use, and leave the weight alone; after those of BrainScaleS-2.

Reference: S. Friedmann et al., *Demonstrating hybrid learning in a flexible neuromorphic hardware system*, 2017.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .pairing import NearestSpike, Pairing, PairRule, PairState
from .synapses import Synapses


class STDPSensor(PairRule[PairState]):
    r"""The traces of both sides of a connection, one a neuron.

    .. math:: \tau_+ \dot x = -x, \qquad \tau_- \dot y = -y;

    spikes before, times :math:`A_+`, enter :math:`x`, and spikes behind, times :math:`A_-`, enter :math:`y`, as `pairing` says.

    Args:
        pairing: Which spikes count: `NearestSpike` or `AllToAll`.
    """

    pairing: Pairing = NearestSpike()

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> PairState:
        return self.silence(pre, post, weight)

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: PairState, synapses: Synapses
    ) -> tuple[Tensor, PairState]:
        *_, state = self.traces(pre, post, state)
        return weight.new_zeros(()), state


class CorrelationState(NamedTuple):
    """State of `CorrelationSensor`."""

    traces: PairState
    causal: Tensor  # sum over pairs with the spike before first; shape (batch, *weight)
    anticausal: Tensor  # the same with the spike behind first

    def cleared(self) -> "CorrelationState":
        """After reading: sums at zero, traces as they were."""
        return self._replace(causal=torch.zeros_like(self.causal), anticausal=torch.zeros_like(self.anticausal))


class CorrelationSensor(PairRule[CorrelationState]):
    r"""Sums over pairs of spikes, at every synapse, for a rule that reads them now and then.

    .. math::
        c_+ = A_+ \sum e^{-(t_\text{post} - t_\text{pre}) / \tau_+}, \qquad c_- = A_- \sum e^{-(t_\text{pre} - t_\text{post}) / \tau_-}

    over causal and anticausal pairs, each spike with the nearest earlier one of the other side. Two spikes in the same step are a causal
    pair. Each sample of a batch has its own sums, which hold until ``state.cleared()``.

    Args:
        pairing: Which spikes pair: `NearestSpike` or `AllToAll`.
    """

    pairing: Pairing = NearestSpike()

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> CorrelationState:
        none = weight.new_zeros(post.shape[: 1 - weight.dim()].numel(), *weight.shape)
        return CorrelationState(self.silence(pre, post, weight), none, none)

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: CorrelationState, synapses: Synapses
    ) -> tuple[Tensor, CorrelationState]:
        x, y, traces = self.traces(pre, post, state.traces)
        apart = synapses.apart()
        sums = CorrelationState(traces, state.causal + apart.outer(post, x), state.anticausal + apart.outer(y, pre))
        return weight.new_zeros(()), sums
