"""The rule of Bienenstock, Cooper and Munro."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.parameters import Parameter, parameter
from .rule import Rule
from .synapses import Synapses


class BCMState(NamedTuple):
    """State of `BCM`."""

    theta: Tensor  # the threshold between depression and potentiation


class BCM(Rule[BCMState]):
    r"""Rates that potentiate above a threshold and depress below, with a threshold that slides with the activity behind.

    .. math::
        \dot w = \eta \, y (y - \theta) \, x, \qquad \tau_\theta \dot \theta = y^2 / y_0 - \theta,

    for rates :math:`x` before and :math:`y` behind, held during a step; :math:`\theta` then decays exactly, and the weight is advanced by
    Euler's method. Spikes become rates by `OnRates`.

    Reference: E. Bienenstock, L. Cooper & P. Munro, *Theory for the development of neuron selectivity*, 1982; N. Intrator & L. Cooper,
    *Objective function formulation of the BCM theory of visual cortical plasticity*, 1992.
    """

    eta: Parameter = parameter(default=1e-2, doc="learning rate a second")
    tau_theta: Parameter = parameter(default=1.0, unit="s", above=0.0, doc="time constant of the threshold")
    y_0: Parameter = parameter(default=1.0, above=0.0, doc="rate at which the threshold is the rate")

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> BCMState:
        return BCMState(torch.zeros_like(post, dtype=weight.dtype))

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: BCMState, synapses: Synapses
    ) -> tuple[Tensor, BCMState]:
        left = self.decay(self.tau_theta)
        theta = left * state.theta + (1 - left) * post**2 / self.y_0
        return synapses.outer(self.eta * self.dt * post * (post - state.theta), pre), BCMState(theta)
