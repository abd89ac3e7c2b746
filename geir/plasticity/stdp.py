"""Pair-based spike-timing-dependent plasticity."""

from torch import Tensor

from ..core.parameters import Parameter, parameter
from .connection_view import ConnectionView
from .dependence import Additive, WeightDependence
from .pairing import initial_traces, PairRule, PairState


class STDP(PairRule[PairState]):
    r"""Pair-based spike-timing-dependent plasticity.

    .. math::
        \Delta_+ = z_\text{post} \, x, \qquad \Delta_- = z_\text{pre} \, y, \qquad
        \tau_+ \dot x = -x, \qquad \tau_- \dot y = -y;

    presynaptic spikes, scaled by :math:`A_+`, enter :math:`x`, and postsynaptic spikes, scaled by
    :math:`A_-`, enter :math:`y`, as defined by `pairing`. `dependence` combines potentiation
    :math:`\Delta_+` and depression :math:`\Delta_-` into the change of the weight. Two spikes in the
    same step are a pre-before-post pair with :math:`\Delta t = 0`: they potentiate by the full
    :math:`A_+` and do not depress.

    Reference: S. Song, K. Miller & L. Abbott, *Competitive Hebbian learning through
    spike-timing-dependent synaptic plasticity*, 2000; A. Morrison, M. Diesmann & W. Gerstner,
    *Phenomenological models of synaptic plasticity based on spike timing*, 2008.

    Args:
        dependence: How changes depend on the weight: `Additive`, `Multiplicative` or `PowerLaw`.
        pairing: Which spikes form pairs: `AllToAll` or `NearestSpike`.

    Raises:
        ValueError: If `dependence` needs finite bounds and a bound is infinite.
    """

    a_plus: Parameter = parameter(default=5e-3, doc="potentiation by a pair at zero lag")
    a_minus: Parameter = parameter(default=5.25e-3, doc="depression by a pair at zero lag")
    w_min: Parameter = parameter(default=0.0, doc="smallest weight")
    w_max: Parameter = parameter(default=1.0, doc="largest weight")
    dependence: WeightDependence = Additive()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dependence.needs_bounds and not bool((self.w_max - self.w_min).isfinite().all()):
            raise ValueError(
                f"STDP with {self.dependence} needs finite bounds, "
                f"got w_min={self.w_min.tolist()} and w_max={self.w_max.tolist()}."
            )

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> PairState:
        return initial_traces(pre, post, weight)

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: PairState, connection: ConnectionView
    ) -> tuple[Tensor, PairState]:
        traces = self.traces(pre, post, state)
        potentiation = connection.outer(post, traces.pre)
        depression = connection.outer(traces.post, pre)
        return self.dependence(potentiation, depression, weight, self.w_min, self.w_max), traces.next_state
