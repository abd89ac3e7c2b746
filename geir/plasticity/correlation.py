"""Correlation sensors in synapses, and a recurrent neuron that has them."""

import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from .._util.state import leaves
from ..core.neuron import Dynamics
from ..core.parameters import setting
from ..neurons import LIFRecurrent, LIFRecurrentCell
from ..wrappers.forms import CellMixin
from .pairing import PairState
from .sensors import CorrelationState

_TAU: dict[str, Any] = {
    "accepts": (int, float),
    "check": lambda tau: 0 < tau < math.inf,
    "expected": "a positive number of seconds",
}


class LIFCorrelationState(NamedTuple):
    """State of `LIFCorrelation`."""

    neuron: Any  # state of the recurrent model
    input: CorrelationState  # sensors of the input connection
    recurrent: CorrelationState  # sensors of the recurrent connection


class CorrelationSensors(Dynamics[Any]):
    r"""A recurrent model whose every synapse measures how the spikes before and after it follow one another.

    A spike of the target adds :math:`e^{-\Delta / \tau_\text{causal}}` to `causal`, where :math:`\Delta` is the time since the last spike of
    the source; a spike of the source adds :math:`e^{-\Delta / \tau_\text{anticausal}}` to `anticausal`, where :math:`\Delta` is the time since
    the last spike of the target (nearest neighbours only). A spike that arrives in the step in which the target fires is causal, with
    :math:`\Delta = 0`. What a plasticity rule has read it sets back with `CorrelationState.cleared`.

    Sensors do not act on the neurons, and no gradient passes through them: they are read off the spikes after a run, with decays that are
    exact and one matrix product. Weights are tensors.

    Reference: S. Friedmann et al., *Demonstrating hybrid learning in a flexible neuromorphic hardware system*, 2017.

    Args:
        tau_causal: Time constant of the trace of the source, in seconds.
        tau_anticausal: Time constant of the trace of the target, in seconds.
    """

    record_states: ClassVar[bool] = False  # pyright: ignore[reportIncompatibleVariableOverride]  (withdraws the option)

    tau_causal: float = setting(default=10e-3, **_TAU)
    tau_anticausal: float = setting(default=10e-3, **_TAU)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("input_weights", "recurrent_weights"):
            if not isinstance(weights := getattr(self, name, None), Tensor):
                raise TypeError(
                    f"{type(self).__name__} has a sensor for each of {name}, which must be a tensor, got {weights!r}."
                )

    def initial_state(self, x: Tensor) -> LIFCorrelationState:
        neuron = super().initial_state(x)
        return LIFCorrelationState(
            neuron, *(self._unseen(neuron.z, self._sources(name)) for name in ("input_weights", "recurrent_weights"))
        )

    def _sources(self, name: str) -> int:
        return getattr(self, name).shape[1]

    def _unseen(self, z: Tensor, sources: int) -> CorrelationState:
        traces, synapses = z.new_zeros(*z.shape[:-1], sources), z.new_zeros(*z.shape, sources)
        return CorrelationState(PairState(traces, torch.zeros_like(z)), synapses, synapses)

    def forward(self, xs: Any, state: Any = None) -> tuple[Tensor, LIFCorrelationState]:
        """Run over time, or as a cell by one step, as the model does; the state holds the sensors too.

        Raises:
            TypeError: If `xs` is not a floating-point tensor, or `state` not a state of this model.
            ValueError: If a part of `state` or a parameter does not fit the input.
        """
        xs = self.check_input(xs)
        one = isinstance(self, CellMixin)
        shape = (*xs.shape[0 if one else 1 : -1], len(getattr(self, "recurrent_weights")))  # noqa: B009  (the model's)
        rest = self.initial_state(xs.new_empty(()).expand(shape))
        state = self._checked(rest if state is None else state, rest)
        zs, neuron = super().forward(xs, state.neuron)
        with torch.no_grad():
            pre, post = (spikes.to(state.neuron.z.dtype)[None if one else ...] for spikes in (xs, zs))
            fed_back = torch.cat([state.neuron.z[None], post])[: len(post)]
            return zs, LIFCorrelationState(
                neuron, self._sensed(pre, post, state.input), self._sensed(fed_back, post, state.recurrent)
            )

    def _checked(self, state: Any, rest: LIFCorrelationState) -> LIFCorrelationState:
        if not isinstance(state, LIFCorrelationState):
            raise TypeError(f"{type(self).__name__} continues from a LIFCorrelationState, got {type(state).__name__}.")
        for connection in ("input", "recurrent"):
            for (name, part), (_, expected) in zip(
                leaves(getattr(state, connection)), leaves(getattr(rest, connection)), strict=True
            ):
                if part.shape != expected.shape:
                    shapes = f"has shape {tuple(part.shape)}, but the input asks for {tuple(expected.shape)}"
                    raise ValueError(f"LIFCorrelationState.{connection}.{name} {shapes}.")
        return state

    def _sensed(self, pre: Tensor, post: Tensor, state: CorrelationState) -> CorrelationState:
        pres = _traces(pre, state.traces.pre, self.dt / self.tau_causal)
        posts = _traces(post, state.traces.post, self.dt / self.tau_anticausal)
        earlier = math.exp(-self.dt / self.tau_anticausal) * posts[:-1]
        causal = state.causal + torch.einsum("t...k,t...j->...kj", post, pres[1:])
        anticausal = state.anticausal + torch.einsum("t...k,t...j->...kj", earlier, pre)
        return CorrelationState(PairState(pres[-1], posts[-1]), causal, anticausal)


def _traces(spikes: Tensor, before: Tensor, rate: float) -> Tensor:
    """The trace before a run and after every step: 1 at a spike, then decaying until the next."""
    steps = torch.arange(1, len(spikes) + 1, device=spikes.device).view(-1, *[1] * (spikes.dim() - 1))
    if not len(spikes):
        return before[None]
    last = torch.where(spikes != 0, steps, 0).cummax(0).values
    traces = torch.exp(-rate * (steps - last)) * torch.where(last > 0, 1, before)
    return torch.cat([before[None], traces])


class LIFCorrelation(CorrelationSensors, LIFRecurrent):
    """Recurrent `LIF` neurons with a correlation sensor in every synapse."""


class LIFCorrelationCell(CorrelationSensors, LIFRecurrentCell):
    """One step of `LIFCorrelation`."""
