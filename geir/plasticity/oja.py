"""Oja's rule."""

from typing import NamedTuple

from torch import Tensor

from ..core.parameters import Parameter, parameter
from .rule import Rule
from .synapses import Synapses


class OjaState(NamedTuple):
    """State of `Oja`: it has none."""


class Oja(Rule[OjaState]):
    r"""Hebb's rule with a decay that keeps the weights of a neuron at length one: they turn to the first principal component of the input.

    .. math:: \dot w = \eta \, (y x - y^2 w),

    for rates :math:`x` before and :math:`y` behind, held during a step and advanced by Euler's method. Spikes become rates by `OnRates`.

    Reference: E. Oja, *A simplified neuron model as a principal component analyzer*, 1982.
    """

    eta: Parameter = parameter(default=1.0, doc="learning rate a second")

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> OjaState:
        return OjaState()

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: OjaState, synapses: Synapses
    ) -> tuple[Tensor, OjaState]:
        rate = self.eta * self.dt
        return synapses.outer(rate * post, pre) - synapses.spread(rate * post**2) * weight, state
