"""Refractoriness, for any spiking model."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._util.state import has_potential, potential, with_potential
from ..core.neuron import Dynamics
from ..core.parameters import Parameter, parameter
from ..neurons import LIF, AdEx
from .forms import CellMixin, RecurrentMixin, Wrapper


class RefractoryState(NamedTuple):
    """State of a refractory model."""

    neuron: Any  # state of the model
    wait: Tensor  # steps left in which it cannot spike


class Refractoriness(Dynamics[Any]):
    """After a spike, the potential `v` stays where the reset put it for `period`, and the neuron does not spike.

    All else (synaptic current, adaptation) goes on. The period is rounded to whole steps of `dt`. Being refractory is a threshold on the
    steps left, so credit passes through it by the model's surrogate.
    """

    period: Parameter = parameter(
        default=5e-3, unit="s", at_least=0.0, doc="time after a spike in which the neuron cannot spike"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        surrogate = getattr(self, "surrogate", None)
        if getattr(surrogate, "multiple_spikes", False):
            raise ValueError(
                f"{type(self).__name__} waits after every spike, but {surrogate} counts several in a step; take another surrogate."
            )

    def resting_state(self) -> Any:
        rest = super().resting_state()
        if not has_potential(rest):
            raise TypeError(
                f"{type(self).__name__} holds the potential `v`, but {type(rest).__name__} has only {', '.join(rest._fields)}."
            )
        return RefractoryState(rest, torch.zeros(()))

    def step(self, x: Tensor, state: Any, *prepared: Any) -> tuple[Tensor, Any]:
        z, moved = super().step(x, state.neuron, *prepared)
        surrogate: Any = getattr(self, "surrogate")  # noqa: B009  (the model's, which a mixin cannot declare)
        held = surrogate(state.wait - 0.5)
        z = (1 - held) * z
        v = (1 - held) * potential(moved) + held * potential(state.neuron)
        steps = torch.round(self.period / self.dt)
        wait = (1 - z) * torch.relu(state.wait - 1) + z * steps
        return z, RefractoryState(with_potential(moved, v), wait)


class Refractory(Refractoriness, Wrapper):
    """Any spiking neuron made refractory: ``Refractory(LIF(), period=5e-3)``."""


class RefractoryCell(CellMixin, Refractory):
    """One step of any spiking neuron made refractory."""


class LIFRefrac(Refractoriness, LIF): ...


class LIFRefracCell(CellMixin, LIFRefrac): ...


class LIFRefracRecurrent(RecurrentMixin, LIFRefrac): ...


class LIFRefracRecurrentCell(CellMixin, RecurrentMixin, LIFRefrac): ...


class AdExRefrac(Refractoriness, AdEx): ...


class AdExRefracCell(CellMixin, AdExRefrac): ...


class AdExRefracRecurrent(RecurrentMixin, AdExRefrac): ...


class AdExRefracRecurrentCell(CellMixin, RecurrentMixin, AdExRefrac): ...
