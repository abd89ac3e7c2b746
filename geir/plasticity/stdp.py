"""Spike-timing-dependent plasticity of pairs of spikes."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..parameters import Parameter, parameter
from .dependence import Additive, WeightDependence
from .pairing import AllToAll, Pairing
from .rule import Rule
from .synapses import Synapses


class STDPState(NamedTuple):
    """State of `STDP`."""

    pre: Tensor  # trace of the spikes before
    post: Tensor  # trace of the spikes behind


class STDP(Rule[STDPState]):
    r"""Pair-based spike-timing-dependent plasticity.

    .. math::
        \Delta_+ = A_+ \, z_\text{post} \, x, \qquad \Delta_- = A_- \, z_\text{pre} \, y, \qquad
        \tau_+ \dot x = -x, \qquad \tau_- \dot y = -y;

    spikes :math:`z_\text{pre}` enter :math:`x`, and spikes :math:`z_\text{post}` enter :math:`y`, as `pairing` says; `dependence` makes the
    change of the weight from :math:`\Delta_+` and :math:`\Delta_-`. Two spikes in the same step count as pre before post, with
    :math:`\Delta t = 0`: they potentiate by the full :math:`A_+` and do not depress.

    Reference: S. Song, K. Miller & L. Abbott, *Competitive Hebbian learning through spike-timing-dependent synaptic plasticity*, 2000;
    A. Morrison, M. Diesmann & W. Gerstner, *Phenomenological models of synaptic plasticity based on spike timing*, 2008.

    Args:
        dependence: How changes depend on the weight: `Additive`, `Multiplicative` or `PowerLaw`.
        pairing: Which spikes pair: `AllToAll` or `NearestSpike`.
    """

    a_plus: Parameter = parameter(default=5e-3, doc="potentiation by a pair at no distance")
    a_minus: Parameter = parameter(default=5.25e-3, doc="depression by a pair at no distance")
    tau_plus: Parameter = parameter(default=20e-3, unit="s", above=0.0, doc="time constant of potentiation")
    tau_minus: Parameter = parameter(default=20e-3, unit="s", above=0.0, doc="time constant of depression")
    w_min: Parameter = parameter(default=0.0, doc="lowest weight")
    w_max: Parameter = parameter(default=1.0, doc="highest weight")
    dependence: WeightDependence = Additive()
    pairing: Pairing = AllToAll()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dependence.needs_bounds and not bool((self.w_max - self.w_min).isfinite().all()):
            raise ValueError(f"STDP with {self.dependence} needs finite bounds, got w_min={self.w_min.tolist()} and w_max={self.w_max.tolist()}.")

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> STDPState:
        return STDPState(torch.zeros_like(pre, dtype=weight.dtype), torch.zeros_like(post, dtype=weight.dtype))

    def change(self, pre: Tensor, post: Tensor, weight: Tensor, state: STDPState, synapses: Synapses) -> tuple[Tensor, STDPState]:
        x = self.pairing(self.decay(self.tau_plus) * state.pre, pre)
        y = self.decay(self.tau_minus) * state.post
        up, down = synapses.outer(post, self.a_plus * x), synapses.outer(self.a_minus * y, pre)
        return self.dependence(up, down, weight, self.w_min, self.w_max), STDPState(x, self.pairing(y, post))
