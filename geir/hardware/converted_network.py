"""The parts of a converted network that are not neurons or layers of the original."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn, Tensor

from ..containers import Network, StateThread
from ..core.neuron import Dynamics
from ._kinds import Add
from ._layers import INPUT, Layer


class AccumulatorState(NamedTuple):
    """State of `Accumulator`."""

    v: Tensor  # sum of all input


class Accumulator(Dynamics[AccumulatorState]):
    r"""Sums its input, :math:`v \leftarrow v + x`, without leak and threshold; its output is :math:`v`."""

    def rest(self) -> AccumulatorState:
        return AccumulatorState(v=torch.zeros(()))

    def step(self, x: Tensor, state: AccumulatorState) -> tuple[Tensor, AccumulatorState]:
        v = state.v + x
        return v, AccumulatorState(v=v)


class Scale(nn.Module):
    """Multiplies its input by a fixed factor for each channel: the value of one spike where no weight absorbs it."""

    weight: Tensor

    def __init__(self, weight: Tensor):
        super().__init__()
        # Of two dimensions at least, like every weight, so that its operations are counted.
        self.register_buffer("weight", weight.clone() if weight.dim() >= 2 else weight.reshape(1, -1).clone())

    def forward(self, x: Tensor) -> Tensor:
        """Scale."""
        return x * self.weight


class ConvertedNetwork(Network):
    """A converted network in which layers branch and join."""

    def __init__(self, layers: Sequence[Layer]):
        super().__init__()
        self.layers = nn.ModuleDict({layer.name: layer.module for layer in layers})
        self._last = layers[-1].name
        self._inputs = {layer.name: layer.inputs for layer in layers}

    def forward_over_time(self, xs: Tensor, run: StateThread) -> Tensor:
        values = {INPUT: xs}
        for name, module in self.layers.items():
            inputs = [values[source] for source in self._inputs[name]]
            values[name] = module(*inputs) if isinstance(module, Add) else run(inputs[0], module)
        return values[self._last]
