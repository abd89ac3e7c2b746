"""Plasticity of inhibitory connections."""

from torch import Tensor

from ..core.parameters import Parameter, parameter
from .connection_view import ConnectionView
from .pairing import initial_traces, PairState
from .rule import Rule


class InhibitorySTDP(Rule[PairState]):
    r"""Inhibition that balances excitation: it grows until the postsynaptic neuron fires at a target rate.

    .. math::
        \Delta w = -\eta \, \big(z_\text{post} \, x + z_\text{pre} \, (y - 2 \rho \tau)\big), \qquad
        \tau \dot x = -x, \quad \tau \dot y = -y;

    presynaptic spikes :math:`z_\text{pre}` add to :math:`x`, and postsynaptic spikes
    :math:`z_\text{post}` add to :math:`y`. The weights of an inhibitory connection are not positive.
    The window is symmetric; two spikes in the same step are one pair with :math:`\Delta t = 0`.

    Reference: T. Vogels et al., *Inhibitory plasticity balances excitation and inhibition in sensory
    pathways and memory networks*, 2011.
    """

    eta: Parameter = parameter(default=1e-3, doc="learning rate")
    tau: Parameter = parameter(default=20e-3, unit="s", above=0.0, doc="time constant of the window")
    target_rate: Parameter = parameter(
        default=5.0, unit="Hz", at_least=0.0, doc="target rate of the postsynaptic neuron"
    )
    w_max: Parameter = parameter(default=0.0, doc="largest weight")

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> PairState:
        return initial_traces(pre, post, weight)

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: PairState, connection: ConnectionView
    ) -> tuple[Tensor, PairState]:
        x = self.decay(self.tau) * state.pre + pre
        y = self.decay(self.tau) * state.post
        excess = y - 2 * self.target_rate * self.tau
        growth = connection.outer(self.eta * post, x) + connection.outer(self.eta * excess, pre)
        return -growth, PairState(x, y + post)
