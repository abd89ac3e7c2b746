"""Triplet-based spike-timing-dependent plasticity."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.parameters import Parameter, parameter
from .connection_view import ConnectionView
from .pairing import AllToAll, Pairing
from .rule import Rule


class TripletSTDPState(NamedTuple):
    """State of `TripletSTDP`."""

    r1: Tensor  # fast trace of the presynaptic spikes
    r2: Tensor  # slow trace of the presynaptic spikes
    o1: Tensor  # fast trace of the postsynaptic spikes
    o2: Tensor  # slow trace of the postsynaptic spikes


class TripletSTDP(Rule[TripletSTDPState]):
    r"""Triplet rule: pairs and triplets of spikes change the weight, so it depends on firing rates as
    well as on timing.

    .. math::
        \Delta w = z_\text{post} \, r_1 \, (A_2^+ + A_3^+ o_2) - z_\text{pre} \, o_1 \, (A_2^- + A_3^- r_2),

    with the slow traces :math:`o_2` and :math:`r_2` just before the spike. :math:`r_1, r_2, o_1, o_2`
    decay with :math:`\tau_+, \tau_x, \tau_-, \tau_y`. The defaults are those of visual cortex, minimal
    model, all-to-all. Two spikes in the same step are a pre-before-post pair. The bounds are hard.

    Reference: J.-P. Pfister & W. Gerstner, *Triplets of spikes in a model of spike timing-dependent
    plasticity*, 2006.

    Args:
        pairing: Which spikes count: `AllToAll` or `NearestSpike`.
    """

    a2_plus: Parameter = parameter(default=0.0, doc="potentiation by pairs")
    a3_plus: Parameter = parameter(default=6.5e-3, doc="potentiation by triplets")
    a2_minus: Parameter = parameter(default=7.1e-3, doc="depression by pairs")
    a3_minus: Parameter = parameter(default=0.0, doc="depression by triplets")
    tau_plus: Parameter = parameter(default=16.8e-3, unit="s", above=0.0, doc="fast presynaptic time constant")
    tau_x: Parameter = parameter(default=101e-3, unit="s", above=0.0, doc="slow presynaptic time constant")
    tau_minus: Parameter = parameter(default=33.7e-3, unit="s", above=0.0, doc="fast postsynaptic time constant")
    tau_y: Parameter = parameter(default=114e-3, unit="s", above=0.0, doc="slow postsynaptic time constant")
    w_min: Parameter = parameter(default=0.0, doc="smallest weight")
    w_max: Parameter = parameter(default=1.0, doc="largest weight")
    pairing: Pairing = AllToAll()

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> TripletSTDPState:
        pre_zeros = torch.zeros_like(pre, dtype=weight.dtype)
        post_zeros = torch.zeros_like(post, dtype=weight.dtype)
        return TripletSTDPState(r1=pre_zeros, r2=pre_zeros, o1=post_zeros, o2=post_zeros)

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: TripletSTDPState, connection: ConnectionView
    ) -> tuple[Tensor, TripletSTDPState]:
        r1 = self.pairing(self.decay(self.tau_plus) * state.r1, pre)
        r2 = self.decay(self.tau_x) * state.r2
        o1 = self.decay(self.tau_minus) * state.o1
        o2 = self.decay(self.tau_y) * state.o2
        potentiation = connection.outer(post * (self.a2_plus + self.a3_plus * o2), r1)
        depression = connection.outer(o1, pre * (self.a2_minus + self.a3_minus * r2))
        next_state = TripletSTDPState(
            r1=r1, r2=self.pairing(r2, pre), o1=self.pairing(o1, post), o2=self.pairing(o2, post)
        )
        return potentiation - depression, next_state
