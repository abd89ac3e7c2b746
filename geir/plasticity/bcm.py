"""The rule of Bienenstock, Cooper and Munro."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.parameters import Parameter, parameter
from .connection_view import ConnectionView
from .rule import Rule


class BCMState(NamedTuple):
    """State of `BCM`."""

    theta: Tensor  # threshold between depression and potentiation


class BCM(Rule[BCMState]):
    r"""Rate-based rule with a sliding threshold: postsynaptic rates above it potentiate, rates below it
    depress.

    .. math::
        \dot w = \eta \, y (y - \theta) \, x, \qquad \tau_\theta \dot \theta = y^2 / y_0 - \theta,

    for a presynaptic rate :math:`x` and a postsynaptic rate :math:`y`. Rates are held during a step, in
    which :math:`\theta` decays exactly and the weight is advanced by Euler's method. To apply the rule
    to spikes, wrap it in `RateBased`.

    Reference: E. Bienenstock, L. Cooper & P. Munro, *Theory for the development of neuron selectivity*,
    1982; N. Intrator & L. Cooper, *Objective function formulation of the BCM theory of visual cortical
    plasticity*, 1992.
    """

    eta: Parameter = parameter(default=1e-2, doc="learning rate per second")
    tau_theta: Parameter = parameter(default=1.0, unit="s", above=0.0, doc="time constant of the threshold")
    y_0: Parameter = parameter(default=1.0, above=0.0, doc="rate at which threshold and rate are equal")

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> BCMState:
        return BCMState(torch.zeros_like(post, dtype=weight.dtype))

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: BCMState, connection: ConnectionView
    ) -> tuple[Tensor, BCMState]:
        decay = self.decay(self.tau_theta)
        theta = decay * state.theta + (1 - decay) * post**2 / self.y_0
        return connection.outer(self.eta * self.dt * post * (post - state.theta), pre), BCMState(theta)
