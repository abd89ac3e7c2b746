"""Homeostatic synaptic scaling."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.parameters import Parameter, parameter
from .rule import Rule
from .synapses import Synapses


class SynapticScalingState(NamedTuple):
    """State of `SynapticScaling`."""

    rate: Tensor  # average rate of the neuron behind, in Hz


class SynapticScaling(Rule[SynapticScalingState]):
    r"""All weights of a neuron are scaled by the same factor, up if it fires below a target rate, down if above.

    .. math:: \dot w = \eta \, (\rho - a) \, w, \qquad \tau \dot a = \sum_k \delta(t - t_k) - a,

    solved exactly between spikes. The proportions of the weights are kept.

    Reference: G. Turrigiano et al., *Activity-dependent scaling of quantal amplitude in neocortical neurons*, 1998; M. van Rossum, G. Bi &
    G. Turrigiano, *Stable Hebbian learning from spike timing-dependent plasticity*, 2000.
    """

    eta: Parameter = parameter(default=1e-2, at_least=0.0, doc="relative change for each second and hertz")
    target_rate: Parameter = parameter(default=10.0, unit="Hz", at_least=0.0, doc="rate to reach")
    tau: Parameter = parameter(default=1.0, unit="s", above=0.0, doc="time constant of the average")

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> SynapticScalingState:
        return SynapticScalingState(torch.zeros_like(post, dtype=weight.dtype))

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: SynapticScalingState, synapses: Synapses
    ) -> tuple[Tensor, SynapticScalingState]:
        left = self.decay(self.tau)
        # The integral over the step of the distance to the target.
        missing = self.target_rate * self.dt - state.rate * self.tau * (1 - left)
        factor = torch.expm1(synapses.spread(self.eta * missing))
        return factor * weight, SynapticScalingState(left * state.rate + post / self.tau)
