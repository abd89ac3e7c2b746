"""Spike-timing-dependent plasticity of pairs of spikes."""

from torch import Tensor

from ..core.parameters import Parameter, parameter
from .dependence import Additive, WeightDependence
from .pairing import PairRule, PairState
from .synapses import Synapses


class STDP(PairRule[PairState]):
    r"""Pair-based spike-timing-dependent plasticity.

    .. math::
        \Delta_+ = z_\text{post} \, x, \qquad \Delta_- = z_\text{pre} \, y, \qquad \tau_+ \dot x = -x, \qquad \tau_- \dot y = -y;

    spikes before, times :math:`A_+`, enter :math:`x`, and spikes behind, times :math:`A_-`, enter :math:`y`, as `pairing` says; `dependence`
    makes the change of the weight from :math:`\Delta_+` and :math:`\Delta_-`. Two spikes in the same step count as pre before post, with
    :math:`\Delta t = 0`: they potentiate by the full :math:`A_+` and do not depress.

    Reference: S. Song, K. Miller & L. Abbott, *Competitive Hebbian learning through spike-timing-dependent synaptic plasticity*, 2000;
    A. Morrison, M. Diesmann & W. Gerstner, *Phenomenological models of synaptic plasticity based on spike timing*, 2008.

    Args:
        dependence: How changes depend on the weight: `Additive`, `Multiplicative` or `PowerLaw`.
        pairing: Which spikes pair: `AllToAll` or `NearestSpike`.
    """

    a_plus: Parameter = parameter(default=5e-3, doc="potentiation by a pair at no distance")
    a_minus: Parameter = parameter(default=5.25e-3, doc="depression by a pair at no distance")
    w_min: Parameter = parameter(default=0.0, doc="lowest weight")
    w_max: Parameter = parameter(default=1.0, doc="highest weight")
    dependence: WeightDependence = Additive()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dependence.needs_bounds and not bool((self.w_max - self.w_min).isfinite().all()):
            raise ValueError(
                f"STDP with {self.dependence} needs finite bounds, got w_min={self.w_min.tolist()} and w_max={self.w_max.tolist()}."
            )

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> PairState:
        return self.silence(pre, post, weight)

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: PairState, synapses: Synapses
    ) -> tuple[Tensor, PairState]:
        x, y, state = self.traces(pre, post, state)
        return self.dependence(synapses.outer(post, x), synapses.outer(y, pre), weight, self.w_min, self.w_max), state
