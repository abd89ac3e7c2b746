"""Homeostatic synaptic scaling."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.parameters import Parameter, parameter
from .connection_view import ConnectionView
from .rule import Rule


class SynapticScalingState(NamedTuple):
    """State of `SynapticScaling`."""

    rate: Tensor  # average postsynaptic rate, in Hz


class SynapticScaling(Rule[SynapticScalingState]):
    r"""All weights of a neuron are scaled by one factor: up if the neuron fires below a target rate,
    down if above.

    .. math:: \dot w = \eta \, (\rho - a) \, w, \qquad \tau \dot a = \sum_k \delta(t - t_k) - a,

    solved exactly between spikes. The ratios of the weights are preserved.

    Reference: G. Turrigiano et al., *Activity-dependent scaling of quantal amplitude in neocortical
    neurons*, 1998; M. van Rossum, G. Bi & G. Turrigiano, *Stable Hebbian learning from spike
    timing-dependent plasticity*, 2000.
    """

    eta: Parameter = parameter(default=1e-2, at_least=0.0, doc="relative change per second and hertz")
    target_rate: Parameter = parameter(
        default=10.0, unit="Hz", at_least=0.0, doc="target rate of the postsynaptic neuron"
    )
    tau: Parameter = parameter(default=1.0, unit="s", above=0.0, doc="time constant of the average")

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> SynapticScalingState:
        return SynapticScalingState(torch.zeros_like(post, dtype=weight.dtype))

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: SynapticScalingState, connection: ConnectionView
    ) -> tuple[Tensor, SynapticScalingState]:
        decay = self.decay(self.tau)
        # The integral of (target - average) over the step.
        deficit = self.target_rate * self.dt - state.rate * self.tau * (1 - decay)
        relative_change = torch.expm1(connection.broadcast_post(self.eta * deficit))
        return relative_change * weight, SynapticScalingState(decay * state.rate + post / self.tau)
