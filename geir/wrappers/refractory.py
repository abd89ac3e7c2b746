"""Refractoriness, for any spiking neuron."""

from typing import NamedTuple

import torch
from torch import Tensor

from .._runtime.stepper import Prepared
from .._util.inputs import AnyInput
from .._util.precision import widen
from .._util.state import AnyState, potential, state_type, with_potential
from ..core.neuron import emits_multiple_spikes
from ..core.parameters import Parameter, parameter
from .cell import CellMixin
from .wrapper import Wrapper


@state_type
class RefractoryState(NamedTuple):
    """State of a refractory neuron."""

    neuron: AnyState  # state of the wrapped neuron
    wait: Tensor  # remaining refractory steps


class Refractory(Wrapper):
    """Any spiking neuron made refractory: ``Refractory(LIF(), period=5e-3)``.

    After a spike, the potential `v` stays where the reset put it for `period`, and the neuron does not spike.
    Everything else (synaptic current, adaptation) goes on. The period is rounded to whole steps of `dt`.
    Being refractory is a threshold on the number of remaining steps, so the gradient passes through it by the
    neuron's surrogate derivative.

    Raises:
        TypeError: If the neuron does not spike or has no potential `v`.
        ValueError: If it emits several spikes per step.
    """

    period: Parameter = parameter(
        default=5e-3, unit="s", at_least=0.0, doc="time after a spike in which the neuron cannot spike"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_potential()
        if not self.neuron.spiking:
            raise TypeError(f"{type(self).__name__} needs a neuron that spikes, such as LIF(), got {self.neuron}.")
        if emits_multiple_spikes(self.surrogate):
            raise ValueError(
                f"{type(self).__name__} waits after every spike, but {self.surrogate} emits several per step; "
                "use another surrogate."
            )

    def check_state_type(self, state: AnyState) -> None:
        self.expect_state(state, RefractoryState)
        self.neuron.check_state_type(state.neuron)

    def initial_state(self, x: Tensor, dtype: torch.dtype | None = None) -> AnyState:
        dtype = dtype or self.state_dtype(x)
        return RefractoryState(self.neuron.initial_state(x, dtype), x.new_zeros((), dtype=dtype).expand(x.shape))

    def step(self, x: AnyInput, state: RefractoryState, inner: Prepared) -> tuple[Tensor, RefractoryState]:
        z, after = self.neuron.step(x, state.neuron, *inner)
        held = self.surrogate(state.wait - 0.5)
        z = (1 - held) * z
        v = (1 - held) * potential(after) + held * potential(state.neuron)
        steps = torch.round(widen(self.period) / self.dt)
        wait = (1 - z) * torch.relu(state.wait - 1) + z * steps
        return z, RefractoryState(with_potential(after, v), wait)


class RefractoryCell(CellMixin, Refractory): ...
