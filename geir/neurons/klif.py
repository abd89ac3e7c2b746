"""Leaky integrate-and-fire neuron with a learnable slope between its potential and its threshold."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.ode import ODENeuron
from ..core.parameters import Parameter, parameter
from ..core.resets import Reset, ResetToValue
from ..wrappers.forms import CellMixin, RecurrentMixin


class KLIFState(NamedTuple):
    v: Tensor  # membrane potential, scaled and rectified


class KLIF(ODENeuron[KLIFState], affine=True):
    r"""Leaky integrate-and-fire neuron that scales its potential by a learnable :math:`k` and rectifies it.

    .. math:: \tau_\text{mem} \dot v = -v + x, \qquad v \leftarrow \max(0, k v)

    The input is held during each step, at whose end the potential is scaled; where it is then :math:`> v_\text{th}` the neuron spikes and
    :math:`v` is reset. Backward, :math:`k` steepens or flattens the surrogate derivative.

    Reference: C. Jiang & Y. Zhang, *KLIF: an optimized spiking neuron unit for tuning surrogate gradient slope and membrane potential*, 2023.

    Args:
        reset_mechanism: What a spike does to the membrane potential.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    k: Parameter = parameter(default=1.0, above=0.0, learnable=True, doc="factor of the potential")
    v_th: Parameter = parameter(default=1.0, doc="threshold")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")
    reset_mechanism: Reset = ResetToValue()

    def rest(self) -> KLIFState:
        return KLIFState(v=torch.zeros(()))

    def derivative(self, x: Tensor, state: KLIFState) -> KLIFState:
        return KLIFState(v=(x - state.v) / self.tau_mem)

    def advance(self, x: Tensor, state: KLIFState, prepared: tuple[Any, ...]) -> KLIFState:
        return KLIFState(v=torch.relu(self.k * super().advance(x, state, prepared).v))

    def threshold(self, before: KLIFState, after: KLIFState) -> Tensor:
        return after.v - self.v_th

    def reset(self, z: Tensor, state: KLIFState) -> KLIFState:
        return KLIFState(v=self.reset_mechanism(z, state.v, self.v_reset, self.v_th))


class KLIFCell(CellMixin, KLIF): ...


class KLIFRecurrent(RecurrentMixin, KLIF): ...


class KLIFRecurrentCell(CellMixin, RecurrentMixin, KLIF): ...
