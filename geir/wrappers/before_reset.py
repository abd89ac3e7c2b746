"""The membrane potential before the reset, for any neuron given by a differential equation."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._runtime.stepper import Prepared
from .._util.inputs import AnyInput
from .._util.state import AnyState, potential, state_type
from ..core.ode import ODENeuron
from .cell import CellMixin
from .wrapper import Wrapper


@state_type
class BeforeResetState(NamedTuple):
    """State of `BeforeReset`."""

    neuron: AnyState  # state of the wrapped neuron, after the reset
    v_before: Tensor  # potential of the last step before the reset


class BeforeReset(Wrapper):
    """Any neuron given by a differential equation, which also keeps its potential before the reset.

    The potential that a neuron records is that after the reset, so it never exceeds the threshold. Losses on the
    potential of neurons that should spike need the one before:
    ``BeforeReset(LIF(), record_states=True)`` records it as ``states.v_before``, shape (time, ...). Spikes and all
    other parts of the state are those of the neuron. At rest, `v_before` is the resting potential.

    `geir.Leaky` resets its potential one step later, so what it records is the potential before the reset.

    Raises:
        TypeError: If the neuron's step is not that of `ODENeuron`, or it has no potential `v`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.neuron).step is not ODENeuron.step:
            raise TypeError(
                f"{type(self).__name__} needs a neuron whose step is that of geir.ODENeuron, such as LIF(), got "
                f"{self.neuron}; apply other wrappers around it: Refractory(BeforeReset(LIF()))."
            )
        self.require_potential()

    def check_state_type(self, state: AnyState) -> None:
        self.expect_state(state, BeforeResetState)
        self.neuron.check_state_type(state.neuron)

    def initial_state(self, x: Tensor, dtype: torch.dtype | None = None) -> AnyState:
        inner = self.neuron.initial_state(x, dtype or self.state_dtype(x))
        return BeforeResetState(inner, potential(inner))

    def step(self, x: AnyInput, state: BeforeResetState, inner: Prepared) -> tuple[Tensor, BeforeResetState]:
        neuron: Any = self.neuron  # an ODENeuron, as checked at construction
        after = neuron.advance(x, state.neuron, *inner)
        z = neuron.surrogate(neuron.threshold(state.neuron, after))
        return z, BeforeResetState(neuron.reset(z, after), potential(after))


class BeforeResetCell(CellMixin, BeforeReset): ...
