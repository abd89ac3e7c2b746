"""Delays of neurons' outputs, and the base of connections with delays."""

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Self, TypeAlias

import torch
from torch import nn, Tensor

from .._runtime.stepper import DelayedConnection
from .._util.precision import keep_wide, wide_dtype, widen
from .._util.state import state_type
from .._util.validation import (
    check_broadcastable,
    is_positive_finite,
    time_indices,
    unwrap_output,
)
from ..core.parameters import Declared, Parameter, Range, setting
from .interpolation import Interpolation, LinearInterpolation, Taps

# A tensor, or the (output, state) tuple of the previous module.
Input: TypeAlias = Tensor | tuple[Tensor, object]


@state_type
class DelayState(NamedTuple):
    """State of `Delay` and of `DelayedLinear`."""

    past: Tensor  # the last steps of input, shape (longest delay in steps, ...), the most recent last


class _DelayParameter(Parameter):
    """A declared delay, which must fit into the buffer of its module once the length of the buffer is known."""

    def check(self, module: nn.Module, value: Tensor) -> None:
        super().check(module, value)
        longest = getattr(module, "max_delay", None)
        # Up to rounding: 0.025 is not representable in float32.
        if longest is not None and not value.is_meta and bool((value.detach() > longest * (1 + 1e-6)).any()):
            raise ValueError(
                f"{self.qualified_name(module)} must be <= max_delay = {longest:g} s, the length of the buffer, "
                f"got {value.detach().max().item():.6g}."
            )


class _DelayBase(Declared, DelayedConnection, ABC):
    """A module with delays, which keeps the part of its input that the delays still need.

    Delays stay in float32 when the module is converted to half precision, in which few of them would remain whole
    numbers of steps. Sums over delays are computed in float32 too.

    Abstract: a subclass defines `respond`.
    """

    dt: float = setting(
        default=1e-3, accepts=numbers.Real, check=is_positive_finite, expected="a positive number of seconds"
    )
    max_delay: float | None = setting(
        default=None,
        accepts=(numbers.Real, type(None)),
        check=lambda longest: longest is None or 0 <= longest < math.inf,
        expected="a number of seconds >= 0",
    )
    delay: Parameter = _DelayParameter(
        default=0.0, unit="s", range=Range(at_least=0.0), doc="time from input to output"
    )
    interpolation: Interpolation = LinearInterpolation()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_delay is None:
            self.max_delay = self.delay.max().item()
        type(self).declarations()["delay"].check(self, self.delay)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        delays = [t for name in ("delay", "log_delay", "initial_delay") for t in self._stored(name)]

        def convert(tensor: Tensor) -> Tensor:
            return keep_wide(fn)(tensor) if any(tensor is delay for delay in delays) else fn(tensor)

        return super()._apply(convert, recurse)

    def _stored(self, name: str) -> list[Tensor]:
        """The stored tensor of this name and its gradient, those that exist."""
        tensor = self._parameters.get(name, self._buffers.get(name))
        return [] if tensor is None else [t for t in (tensor, tensor.grad) if t is not None]

    @abstractmethod
    def respond(self, all_steps: Tensor) -> Tensor:
        """The output of a run.

        Args:
            all_steps: The past, `longest` steps, followed by the input of the run, shape (longest + time, ...).

        Returns:
            Output, shape (time, ...).
        """

    def forward(self, xs: Input, state: DelayState | None = None) -> tuple[Tensor, DelayState]:
        """Run over time.

        Args:
            xs: Input, shape (time, ...), or the previous module's `(output, state)` tuple; its state is
                ignored.
            state: State to continue from. Default: a silent past.

        Returns:
            Output, shape (time, ...), and the state after the last step.

        Raises:
            TypeError: If `xs` is not a floating-point tensor, or `state` is not a `DelayState`.
            ValueError: If `xs` has no time dimension, or the state, the delays or the weights do not
                match one step of it.
        """
        all_steps, next_state = self.prepend_past(xs, state)
        return self.respond(all_steps), next_state

    @property
    def longest(self) -> int:
        """Length of the buffer in steps: the longest delay, rounded up."""
        return math.ceil(round((self.max_delay or 0.0) / self.dt, 4))

    def taps(self, shape: torch.Size | None = None) -> Taps:
        """The whole steps that make up each delay, and their weights.

        Args:
            shape: Shape to expand the delays to. Default: their own shape.

        Returns:
            Steps and weights, each of shape (taps, *shape).
        """
        return self.taps_of(self.delay.expand(self.delay.shape if shape is None else shape))

    def taps_of(self, delay: Tensor) -> Taps:
        """The same for other delays, in seconds."""
        delay = widen(delay) / self.dt
        # A delay that is a whole number of steps up to rounding is made exact; otherwise, interpolation would spread
        # each spike over two steps. Training can move a delay out of the buffer. It is then clamped to the end of the
        # buffer in the forward pass only, so that its gradient can bring it back.
        rounded = torch.round(delay)
        clamped = torch.where((delay - rounded).abs() < 1e-4, rounded, delay).clamp(0, self.longest)
        return self.interpolation.taps(clamped.detach() + (delay - delay.detach()), self.longest, self.dt)

    def initial_state(self, x: Tensor) -> DelayState:
        """The state after a silent past.

        Args:
            x: One step of input, shape (...); only its shape, dtype and device are used.
        """
        return DelayState(x.new_zeros(self.longest, *x.shape))

    def prepend_past(self, xs: Input, state: DelayState | None) -> tuple[Tensor, DelayState]:
        """Past and present input in one tensor, shape (longest + time, ...), and the state after it."""
        caller = type(self).__name__
        inputs = unwrap_output(caller, xs)
        if inputs.dim() == 0:
            raise ValueError(
                f"{caller} runs over time: expected input of shape (time, ...), got a tensor without dimensions; "
                "use a cell for one step."
            )
        past = self._checked_past(inputs, state)
        all_steps = torch.cat([past, inputs])
        return all_steps, DelayState(all_steps[len(inputs) :])

    def _checked_past(self, xs: Tensor, state: DelayState | None) -> Tensor:
        if state is None:
            return xs.new_zeros(self.longest, *xs.shape[1:])
        if not isinstance(state, DelayState):
            raise TypeError(f"{type(self).__name__} expected a DelayState as its state, got {type(state).__name__}.")
        past = state.past
        shape = (self.longest, *xs.shape[1:])
        if past.shape != shape or past.dtype != xs.dtype:
            raise ValueError(
                f"DelayState.past must have shape {shape} and dtype {xs.dtype} to match the input, "
                f"got {tuple(past.shape)} and {past.dtype}."
            )
        return past


class Delay(_DelayBase):
    r"""Delays its input, each neuron by its own time: :math:`y_t = x_{t - d / \Delta t}`.

    The state holds the input that has not left the buffer yet, so a stream can be processed in chunks.
    Delays are learnable if set to ``geir.learnable(...)`` or to an `nn.Parameter`.

    Args:
        max_delay: Length of the buffer in seconds. Default: the longest of the given delays.
        dt: Step size in seconds.
        interpolation: How a delay between two steps is realized: `LinearInterpolation()`,
            `GaussianInterpolation(...)` or `NearestStep()`.

    Raises:
        ValueError: If a delay is longer than the buffer.

    >>> ys, state = Delay(delay=2e-3)(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    >>> ys
    tensor([0., 0., 1., 0.])
    """

    def respond(self, all_steps: Tensor) -> Tensor:
        shape = all_steps.shape[1:]
        check_broadcastable(type(self).__name__, "delay", self.delay, shape)
        now = self.longest + time_indices(len(all_steps) - self.longest, all_steps.new_empty(()).expand(shape))
        dtype = wide_dtype(all_steps.dtype)
        ys = torch.zeros((), dtype=dtype, device=all_steps.device)
        for steps, weights in zip(*self.taps(), strict=True):
            ys = ys + weights.to(dtype) * all_steps.gather(0, (now - steps).expand(-1, *shape))
        return ys.to(all_steps.dtype)


class _DelayCellMixin(_DelayBase):
    """One step instead of a run over time."""

    over_time = False

    def forward(self, xs: Input, state: DelayState | None = None) -> tuple[Tensor, DelayState]:
        """Advance by one step.

        Args:
            xs: One step of input, or the previous module's `(output, state)` tuple; its state is ignored.
            state: State before the step. Default: a silent past.

        Returns:
            Output of the step and the state after it.

        Raises:
            TypeError: If `xs` is not a floating-point tensor, or `state` is not a `DelayState`.
            ValueError: If the state or the delays do not match the input.
        """
        x = unwrap_output(type(self).__name__, xs)
        ys, state = super().forward(x[None], state)
        return ys[0], state


class DelayCell(_DelayCellMixin, Delay):
    """One step of `Delay`: input and output of shape (...)."""
