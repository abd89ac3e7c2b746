"""Sensors, modeled on those of BrainScaleS-2: they measure quantities for a learning rule and do not
change the weight.

Reference: S. Friedmann et al., *Demonstrating hybrid learning in a flexible neuromorphic hardware
system*, 2017.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .connection_view import ConnectionView
from .pairing import initial_traces, NearestSpike, Pairing, PairRule, PairState


class STDPSensor(PairRule[PairState]):
    r"""The traces of both sides of a connection, one for each neuron.

    .. math:: \tau_+ \dot x = -x, \qquad \tau_- \dot y = -y;

    presynaptic spikes, scaled by :math:`A_+`, enter :math:`x`, and postsynaptic spikes, scaled by
    :math:`A_-`, enter :math:`y`, as defined by `pairing`.

    Args:
        pairing: Which spikes count: `NearestSpike` or `AllToAll`.
    """

    pairing: Pairing = NearestSpike()

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> PairState:
        return initial_traces(pre, post, weight)

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: PairState, connection: ConnectionView
    ) -> tuple[Tensor, PairState]:
        return weight.new_zeros(()), self.traces(pre, post, state).next_state


class CorrelationState(NamedTuple):
    """State of `CorrelationSensor`."""

    traces: PairState
    causal: Tensor  # sum over pre-before-post pairs, shape (batch, *weight)
    anticausal: Tensor  # sum over post-before-pre pairs, shape (batch, *weight)

    def cleared(self) -> "CorrelationState":
        """The state after a readout: sums set to zero, traces unchanged."""
        return self._replace(causal=torch.zeros_like(self.causal), anticausal=torch.zeros_like(self.anticausal))


class CorrelationSensor(PairRule[CorrelationState]):
    r"""Sums over pairs of spikes at every synapse, for a rule that reads them from time to time.

    .. math::
        c_+ = A_+ \sum e^{-(t_\text{post} - t_\text{pre}) / \tau_+}, \qquad
        c_- = A_- \sum e^{-(t_\text{pre} - t_\text{post}) / \tau_-}

    over causal (pre-before-post) and anticausal (post-before-pre) pairs, each spike with the nearest
    earlier spike of the other side. Two spikes in the same step are a causal pair. Each sample of a
    batch has its own sums, which accumulate until ``state.cleared()``.

    Args:
        pairing: Which spikes form pairs: `NearestSpike` or `AllToAll`.
    """

    pairing: Pairing = NearestSpike()

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> CorrelationState:
        batch = post.shape[: 1 - weight.dim()].numel()
        zeros = weight.new_zeros(batch, *weight.shape)
        return CorrelationState(initial_traces(pre, post, weight), causal=zeros, anticausal=zeros)

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: CorrelationState, connection: ConnectionView
    ) -> tuple[Tensor, CorrelationState]:
        traces = self.traces(pre, post, state.traces)
        per_sample = connection.per_sample()
        next_state = CorrelationState(
            traces=traces.next_state,
            causal=state.causal + per_sample.outer(post, traces.pre),
            anticausal=state.anticausal + per_sample.outer(traces.post, pre),
        )
        return weight.new_zeros(()), next_state
