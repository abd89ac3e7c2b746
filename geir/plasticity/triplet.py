"""Spike-timing-dependent plasticity of triplets of spikes."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.parameters import Parameter, parameter
from .pairing import AllToAll, Pairing
from .rule import Rule
from .synapses import Synapses


class TripletSTDPState(NamedTuple):
    """State of `TripletSTDP`."""

    r1: Tensor  # fast trace of the spikes before
    r2: Tensor  # slow trace of the spikes before
    o1: Tensor  # fast trace of the spikes behind
    o2: Tensor  # slow trace of the spikes behind


class TripletSTDP(Rule[TripletSTDPState]):
    r"""Triplet rule: pairs and triplets of spikes, so that frequency counts too.

    .. math::
        \Delta w = z_\text{post} \, r_1 \, (A_2^+ + A_3^+ o_2) - z_\text{pre} \, o_1 \, (A_2^- + A_3^- r_2),

    with the slow traces :math:`o_2` and :math:`r_2` as they were before the spike itself. :math:`r_1, r_2, o_1, o_2` decay with
    :math:`\tau_+, \tau_x, \tau_-, \tau_y`. Defaults: visual cortex, minimal model, all-to-all. Two spikes in the same step count as pre
    before post. The bounds are hard.

    Reference: J.-P. Pfister & W. Gerstner, *Triplets of spikes in a model of spike timing-dependent plasticity*, 2006.

    Args:
        pairing: Which spikes count: `AllToAll` or `NearestSpike`.
    """

    a2_plus: Parameter = parameter(default=0.0, doc="potentiation by pairs")
    a3_plus: Parameter = parameter(default=6.5e-3, doc="potentiation by triplets")
    a2_minus: Parameter = parameter(default=7.1e-3, doc="depression by pairs")
    a3_minus: Parameter = parameter(default=0.0, doc="depression by triplets")
    tau_plus: Parameter = parameter(default=16.8e-3, unit="s", above=0.0, doc="fast time constant before")
    tau_x: Parameter = parameter(default=101e-3, unit="s", above=0.0, doc="slow time constant before")
    tau_minus: Parameter = parameter(default=33.7e-3, unit="s", above=0.0, doc="fast time constant behind")
    tau_y: Parameter = parameter(default=114e-3, unit="s", above=0.0, doc="slow time constant behind")
    w_min: Parameter = parameter(default=0.0, doc="lowest weight")
    w_max: Parameter = parameter(default=1.0, doc="highest weight")
    pairing: Pairing = AllToAll()

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> TripletSTDPState:
        silent_pre, silent_post = torch.zeros_like(pre, dtype=weight.dtype), torch.zeros_like(post, dtype=weight.dtype)
        return TripletSTDPState(silent_pre, silent_pre, silent_post, silent_post)

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: TripletSTDPState, synapses: Synapses
    ) -> tuple[Tensor, TripletSTDPState]:
        r1 = self.pairing(self.decay(self.tau_plus) * state.r1, pre)
        r2 = self.decay(self.tau_x) * state.r2
        o1 = self.decay(self.tau_minus) * state.o1
        o2 = self.decay(self.tau_y) * state.o2
        up = synapses.outer(post * (self.a2_plus + self.a3_plus * o2), r1)
        down = synapses.outer(o1, pre * (self.a2_minus + self.a3_minus * r2))
        return up - down, TripletSTDPState(r1, self.pairing(r2, pre), self.pairing(o1, post), self.pairing(o2, post))
