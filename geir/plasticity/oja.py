"""Oja's rule."""

from typing import NamedTuple

from torch import Tensor

from ..core.parameters import Parameter, parameter
from .connection_view import ConnectionView
from .rule import Rule


class OjaState(NamedTuple):
    """State of `Oja`, which is empty."""


class Oja(Rule[OjaState]):
    r"""Hebb's rule with a decay that normalizes the weights of each neuron: they converge to the first
    principal component of the input.

    .. math:: \dot w = \eta \, (y x - y^2 w),

    for a presynaptic rate :math:`x` and a postsynaptic rate :math:`y`, held during a step; the weight
    is advanced by Euler's method. To apply the rule to spikes, wrap it in `RateBased`.

    Reference: E. Oja, *A simplified neuron model as a principal component analyzer*, 1982.
    """

    eta: Parameter = parameter(default=1.0, doc="learning rate per second")

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> OjaState:
        return OjaState()

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: OjaState, connection: ConnectionView
    ) -> tuple[Tensor, OjaState]:
        rate = self.eta * self.dt
        return connection.outer(rate * post, pre) - connection.broadcast_post(rate * post**2) * weight, state
