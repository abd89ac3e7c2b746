"""Integrate-and-fire neuron without leak."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.neuron import Neuron
from ..core.parameters import Parameter, parameter
from ..core.resets import Reset, ResetToValue
from ..wrappers import CellMixin, RecurrentMixin


class IAFState(NamedTuple):
    v: Tensor  # membrane potential


class IAF(Neuron[IAFState]):
    r"""Integrate-and-fire neuron without leak.

    .. math:: v \leftarrow v + x

    in every step, whatever `dt`; where :math:`v > v_\text{th}` the neuron spikes and :math:`v` is reset.

    Reference: L. Lapicque, *Recherches quantitatives sur l'excitation électrique des nerfs traitée comme une
    polarisation*, 1907.

    Args:
        reset_mechanism: Effect of a spike on the membrane potential.
    """

    v_th: Parameter = parameter(default=1.0, doc="threshold")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")
    reset_mechanism: Reset = ResetToValue()

    def rest(self) -> IAFState:
        return IAFState(v=torch.zeros(()))

    def step(self, x: Tensor, state: IAFState) -> tuple[Tensor, IAFState]:
        v = state.v + x
        z = self.surrogate(v - self.v_th)
        return z, IAFState(v=self.reset_mechanism(z, v, self.v_reset, self.v_th))


class IAFCell(CellMixin, IAF): ...


class IAFRecurrent(RecurrentMixin, IAF): ...


class IAFRecurrentCell(CellMixin, RecurrentMixin, IAF): ...
