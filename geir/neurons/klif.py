"""Leaky integrate-and-fire neuron with a learnable slope between its potential and its threshold."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.integrators import Coefficients
from ..core.ode import IntegrateAndFire
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin, RecurrentMixin


class KLIFState(NamedTuple):
    v: Tensor  # membrane potential, scaled and rectified


class KLIF(IntegrateAndFire[KLIFState], affine=True):
    r"""Leaky integrate-and-fire neuron that scales its potential by a learnable :math:`k` and rectifies it.

    .. math:: \tau_\text{mem} \dot v = -v + x, \qquad v \leftarrow \max(0, k v)

    The input is constant during each step; at the end of the step the potential is scaled. Where it is then
    :math:`> v_\text{th}` the neuron spikes and :math:`v` is reset. In the backward pass :math:`k` makes the
    surrogate derivative steeper or flatter.

    Reference: C. Jiang & Y. Zhang, *KLIF: an optimized spiking neuron unit for tuning surrogate gradient
    slope and membrane potential*, 2023.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    k: Parameter = parameter(default=1.0, above=0.0, learnable=True, doc="factor of the potential")
    v_th: Parameter = parameter(default=1.0, doc="threshold")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")

    def rest(self) -> KLIFState:
        return KLIFState(v=torch.zeros(()))

    def derivative(self, x: Tensor, state: KLIFState) -> KLIFState:
        return KLIFState(v=(x - state.v) / self.tau_mem)

    def advance(self, x: Tensor, state: KLIFState, coefficients: Coefficients) -> KLIFState:
        return KLIFState(v=torch.relu(self.k * super().advance(x, state, coefficients).v))

    def threshold(self, before: KLIFState, after: KLIFState) -> Tensor:
        return after.v - self.v_th


class KLIFCell(CellMixin, KLIF): ...


class KLIFRecurrent(RecurrentMixin, KLIF): ...


class KLIFRecurrentCell(CellMixin, RecurrentMixin, KLIF): ...
