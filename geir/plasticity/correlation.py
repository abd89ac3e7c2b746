"""Correlation sensors in the synapses of a recurrent layer."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._util.precision import no_autocast
from .._util.state import AnyState, leaves, state_type
from .._util.validation import Input, unwrap_output
from ..core.parameters import setting
from ..neurons import LIFRecurrent
from ..wrappers import Composite, RecurrentMixin
from .pairing import PairState
from .sensors import CorrelationState

_TAU: dict[str, Any] = {
    "accepts": (int, float),
    "check": lambda tau: 0 < tau < math.inf,
    "expected": "a positive number of seconds",
}


@state_type
class LIFCorrelationState(NamedTuple):
    """State of a recurrent layer with correlation sensors."""

    neuron: AnyState  # state of the recurrent layer
    input: CorrelationState  # sensors of the input connection
    recurrent: CorrelationState  # sensors of the recurrent connection


class CorrelationSensors(Composite):
    r"""A recurrent layer with sensors in every synapse that measure correlations of pre- and postsynaptic spikes.

    A postsynaptic spike adds :math:`e^{-\Delta / \tau_\text{causal}}` to `causal`, where :math:`\Delta` is
    the time since the last presynaptic spike; a presynaptic spike adds :math:`e^{-\Delta /
    \tau_\text{anticausal}}` to `anticausal`, where :math:`\Delta` is the time since the last postsynaptic
    spike (nearest neighbors only). An input spike in the same step as the postsynaptic one is causal, with
    :math:`\Delta = 0`. After reading the sensors, a plasticity rule resets them with
    `CorrelationState.cleared`.

    Sensors do not act on the neurons, and no gradient passes through them: they are computed from the spikes
    after a run, with exact decays and one matrix product. Weights must be tensors.

    Reference: S. Friedmann et al., *Demonstrating hybrid learning in a flexible neuromorphic hardware system*, 2017.

    Args:
        neuron: A recurrent layer, such as `LIFRecurrent(...)`.
        tau_causal: Time constant of the presynaptic trace, in seconds.
        tau_anticausal: Time constant of the postsynaptic trace, in seconds.

    Raises:
        TypeError: If `neuron` is not a recurrent layer whose weights are tensors.
    """

    tau_causal: float = setting(default=10e-3, **_TAU)
    tau_anticausal: float = setting(default=10e-3, **_TAU)

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if not isinstance(self.neuron, RecurrentMixin):
            raise TypeError(f"{name} needs a recurrent layer, such as LIFRecurrent(2, 4), got {self.neuron}.")
        for key in ("input_weights", "recurrent_weights"):
            if not isinstance(weights := getattr(self.neuron, key), Tensor):
                raise TypeError(f"{name} has a sensor for each of {key}, which must be a tensor, got {weights!r}.")

    def initial_state(self, x: Tensor) -> LIFCorrelationState:
        """The state at rest, without correlations.

        Args:
            x: One step of the neurons' input, shape (..., neurons); it determines shape and device.
        """
        neuron = self.neuron.initial_state(x)
        return LIFCorrelationState(
            neuron,
            self._initial_sensors(neuron.z, "input_weights"),
            self._initial_sensors(neuron.z, "recurrent_weights"),
        )

    def _initial_sensors(self, z: Tensor, connection: str) -> CorrelationState:
        sources = getattr(self.neuron, connection).shape[1]
        traces = z.new_zeros(*z.shape[:-1], sources)
        synapses = z.new_zeros(*z.shape, sources)
        return CorrelationState(PairState(traces, torch.zeros_like(z)), synapses, synapses)

    def forward(self, xs: Input, state: AnyState = None) -> tuple[Tensor, LIFCorrelationState]:
        """Run over time.

        Args:
            xs: Input, shape (time, ..., inputs), or the previous module's `(output, state)` tuple; its state
                is ignored.
            state: State to continue from. Default: at rest, without correlations.

        Returns:
            Spikes, shape (time, ..., neurons), and the state after the last step, sensors included.

        Raises:
            TypeError: If `xs` is not a floating-point tensor, or `state` is not a `LIFCorrelationState`.
            ValueError: If a part of `state` or a parameter does not fit the input.
        """
        xs = unwrap_output(type(self).__name__, xs)
        recurrent_weights: Any = self.neuron.recurrent_weights
        x = xs.new_empty(()).expand(*xs.shape[1:-1], len(recurrent_weights))
        start = self.initial_state(x)
        if state is None:
            state = start
        self._check_state(state, start)
        zs, neuron = self.neuron(xs, state.neuron)
        with torch.no_grad(), no_autocast(zs):
            dtype = state.neuron.z.dtype
            pre, post = xs.to(dtype), zs.to(dtype)
            fed_back = torch.cat([state.neuron.z[None], post])[: len(post)]
            sensors = self._measure(pre, post, state.input), self._measure(fed_back, post, state.recurrent)
        return zs, LIFCorrelationState(neuron, *sensors)

    def _check_state(self, state: AnyState, start: LIFCorrelationState) -> None:
        if not isinstance(state, LIFCorrelationState):
            raise TypeError(
                f"{type(self).__name__} expected a LIFCorrelationState as its state, got {type(state).__name__}."
            )
        for connection in ("input", "recurrent"):
            given, expected = (dict(leaves(getattr(s, connection))) for s in (state, start))
            for name, part in given.items():
                if part.shape != expected[name].shape:
                    raise ValueError(
                        f"LIFCorrelationState.{connection}.{name} has shape {tuple(part.shape)}, "
                        f"but for this input it must have {tuple(expected[name].shape)}."
                    )

    def _measure(self, pre: Tensor, post: Tensor, state: CorrelationState) -> CorrelationState:
        """The sensors of one connection after a run."""
        dt = self.neuron.dt
        pre_traces = _spike_traces(pre, state.traces.pre, dt / self.tau_causal)
        post_traces = _spike_traces(post, state.traces.post, dt / self.tau_anticausal)
        earlier = math.exp(-dt / self.tau_anticausal) * post_traces[:-1]
        causal = state.causal + torch.einsum("t...k,t...j->...kj", post, pre_traces[1:])
        anticausal = state.anticausal + torch.einsum("t...k,t...j->...kj", earlier, pre)
        return CorrelationState(PairState(pre_traces[-1], post_traces[-1]), causal, anticausal)


def _spike_traces(spikes: Tensor, before: Tensor, rate: float) -> Tensor:
    """The trace before a run and after every step: 1 at a spike, then decaying until the next."""
    steps = torch.arange(1, len(spikes) + 1, device=spikes.device).view(-1, *[1] * (spikes.dim() - 1))
    if not len(spikes):
        return before[None]
    last = torch.where(spikes != 0, steps, 0).cummax(0).values
    traces = torch.exp(-rate * (steps - last).to(before.dtype)) * torch.where(last > 0, 1, before)
    return torch.cat([before[None], traces])


class LIFCorrelation(CorrelationSensors, wraps=LIFRecurrent):
    """Recurrent `LIF` neurons with a correlation sensor in every synapse.

    It takes the arguments of `LIFRecurrent` and of `CorrelationSensors`.
    """


class LIFCorrelationCell(LIFCorrelation):
    """One step of `LIFCorrelation`."""

    def forward(self, xs: Input, state: AnyState = None) -> tuple[Tensor, LIFCorrelationState]:
        """Advance by one step.

        Args:
            xs: One step of input, shape (..., inputs), or the previous module's `(output, state)` tuple; its
                state is ignored.
            state: State before the step. Default: at rest, without correlations.

        Returns:
            Spikes, shape (..., neurons), and the state after the step.

        Raises:
            TypeError: If `xs` is not a floating-point tensor, or `state` is not a `LIFCorrelationState`.
            ValueError: If a part of `state` or a parameter does not fit the input.
        """
        zs, after = super().forward(unwrap_output(type(self).__name__, xs)[None], state)
        return zs[0], after
