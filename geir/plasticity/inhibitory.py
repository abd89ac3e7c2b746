"""Plasticity of inhibition."""

import torch
from torch import Tensor

from ..core.parameters import Parameter, parameter
from .pairing import PairState
from .rule import Rule
from .synapses import Synapses


class InhibitorySTDP(Rule[PairState]):
    r"""Inhibition that balances excitation: it grows until the neuron behind fires at a target rate.

    .. math::
        \Delta w = -\eta \, \big(z_\text{post} \, x + z_\text{pre} \, (y - 2 \rho \tau)\big), \qquad \tau \dot x = -x, \quad \tau \dot y = -y;

    spikes :math:`z_\text{pre}` add to :math:`x`, and spikes :math:`z_\text{post}` to :math:`y`. Weights are those of an inhibitory connection,
    hence not positive; the window is symmetric, and two spikes in the same step count as one pair, of :math:`\Delta t = 0`.

    Reference: T. Vogels et al., *Inhibitory plasticity balances excitation and inhibition in sensory pathways and memory networks*, 2011.
    """

    eta: Parameter = parameter(default=1e-3, doc="learning rate")
    tau: Parameter = parameter(default=20e-3, unit="s", above=0.0, doc="time constant of the window")
    target_rate: Parameter = parameter(default=5.0, unit="Hz", at_least=0.0, doc="rate to reach")
    w_max: Parameter = parameter(default=0.0, doc="highest weight")

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> PairState:
        return PairState(torch.zeros_like(pre, dtype=weight.dtype), torch.zeros_like(post, dtype=weight.dtype))

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: PairState, synapses: Synapses
    ) -> tuple[Tensor, PairState]:
        x, y = self.decay(self.tau) * state.pre + pre, self.decay(self.tau) * state.post
        grown = synapses.outer(self.eta * post, x) + synapses.outer(
            self.eta * (y - 2 * self.target_rate * self.tau), pre
        )
        return -grown, PairState(x, y + post)
