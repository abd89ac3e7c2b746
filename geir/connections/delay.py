"""Delays: of neurons' output, and of every synapse of a linear connection."""

import math
import numbers
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor

from .._runtime.sparse import linear
from ..core.parameters import Declared, Parameter, Range, setting


@dataclass(frozen=True)
class Interpolation:
    """What a delay means between steps: a weighted sum of whole steps. Abstract: subclass it and write `taps`."""

    def taps(self, delay: Tensor, longest: int, dt: float) -> tuple[Tensor, Tensor]:
        """Whole steps, each from 0 to `longest`, and their weights, for delays in steps of shape (...): both of shape (taps, ...)."""
        raise NotImplementedError


@dataclass(frozen=True)
class NearestStep(Interpolation):
    """Delays rounded to whole steps; they do not learn."""

    def taps(self, delay: Tensor, longest: int, dt: float) -> tuple[Tensor, Tensor]:
        return torch.round(delay.detach()).long()[None], torch.ones_like(delay)[None]


@dataclass(frozen=True)
class LinearInterpolation(Interpolation):
    """Between the two steps around the delay, in proportion to how near they are."""

    def taps(self, delay: Tensor, longest: int, dt: float) -> tuple[Tensor, Tensor]:
        # Of a delay by the longest whole number of steps, the second tap has weight 0.
        first = delay.detach().floor().clamp(max=max(0, longest - 1))
        after = delay - first
        steps = torch.stack([first, (first + 1).clamp(max=longest)]).long()
        return steps, torch.stack([1 - after, after])


@dataclass(frozen=True)
class GaussianInterpolation(Interpolation):
    r"""All steps, weighted by :math:`e^{-(k \Delta t - d)^2 / 2 \sigma^2}` and normalised, as in DCLS.

    A wide one tells learning about far steps. Shrink it while training, ``layer.interpolation = GaussianInterpolation(sigma)``; as it
    vanishes, it becomes `NearestStep`, with which to evaluate.

    I. Hammouamri, I. Khalfaoui-Hassani & T. Masquelier, *Learning delays in spiking neural networks using dilated convolutions with
    learnable spacings*, 2023.

    Args:
        sigma: Width in seconds.

    Raises:
        ValueError: If it is not positive.
    """

    sigma: float

    def __post_init__(self) -> None:
        if not (isinstance(self.sigma, numbers.Real) and 0 < self.sigma < math.inf):
            raise ValueError(f"GaussianInterpolation.sigma must be a positive number of seconds, got {self.sigma!r}.")

    def taps(self, delay: Tensor, longest: int, dt: float) -> tuple[Tensor, Tensor]:
        steps = torch.arange(longest + 1, device=delay.device).view(-1, *[1] * delay.dim()).expand(-1, *delay.shape)
        return steps, torch.softmax(-0.5 * ((steps - delay) * dt / self.sigma) ** 2, 0)


class DelayState(NamedTuple):
    """State of `Delay` and of `DelayedLinear`."""

    past: Tensor  # the last steps of input, as many as the longest delay, the latest last


class _Delays(Parameter):
    """A declared delay: no longer than its module's buffer, once that is known."""

    def check(self, module: Any, value: Tensor) -> None:
        super().check(module, value)
        longest = getattr(module, "max_delay", None)
        # To within rounding: 0.025 is not a number of float32.
        if longest is not None and not value.is_meta and bool((value.detach() > longest * (1 + 1e-6)).any()):
            raise ValueError(
                f"{self.qualified_name(module)} must be <= max_delay = {longest:g} s, the length of the buffer, got {value.detach().max().item():.6g}."
            )


class _Delayed(Declared):
    """What has delays and keeps as much of its input as they reach back."""

    dt: float = setting(
        default=1e-3, accepts=numbers.Real, check=lambda dt: 0 < dt < math.inf, expected="a positive number of seconds"
    )
    max_delay: float | None = setting(
        default=None,
        accepts=(numbers.Real, type(None)),
        check=lambda longest: longest is None or 0 <= longest < math.inf,
        expected="a number of seconds, not negative",
    )
    delay: Parameter = _Delays(default=0.0, unit="s", range=Range(at_least=0.0), doc="time from input to output")
    interpolation: Interpolation = LinearInterpolation()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_delay is None:
            self.max_delay = self.delay.max().item()
        type(self).declarations()["delay"].check(self, self.delay)

    @property
    def longest(self) -> int:
        """How many steps of input are kept: the longest delay, rounded up."""
        return math.ceil(round((self.max_delay or 0.0) / self.dt, 4))

    def taps(self, shape: torch.Size | None = None) -> tuple[Tensor, Tensor]:
        """Whole steps, and their weights, that make up each delay, by default of the delays' own shape: both of shape (taps, *shape)."""
        delay = self.delay.expand(self.delay.shape if shape is None else shape) / self.dt
        # Learning may take a delay out of the buffer, where it is held at its end; its gradient brings it back. Rounding must not smear a whole step.
        whole = torch.round(delay)
        held = torch.where((delay - whole).abs() < 1e-4, whole, delay).clamp(0, self.longest)
        return self.interpolation.taps(held.detach() + (delay - delay.detach()), self.longest, self.dt)

    def initial_state(self, x: Tensor) -> DelayState:
        """Silence.

        Args:
            x: One step of input, shape (...); it gives shape, dtype and device.
        """
        return DelayState(x.new_zeros(self.longest, *x.shape))

    def remember(self, xs: Any, state: DelayState | None) -> tuple[Tensor, DelayState]:
        """The past and the input one after the other, and the state after them."""
        name = type(self).__name__
        xs = xs[0] if isinstance(xs, tuple) else xs
        if not isinstance(xs, Tensor) or not xs.is_floating_point():
            raise TypeError(
                f"{name} takes a floating-point tensor, got {xs.dtype if isinstance(xs, Tensor) else type(xs).__name__}."
            )
        if xs.dim() == 0:
            raise ValueError(
                f"{name} runs over time: it takes (time, ...), got a tensor without dimensions; for one step take a cell."
            )
        if state is not None and not isinstance(state, DelayState):
            raise TypeError(f"{name} continues from a DelayState, got {type(state).__name__}.")
        shape = (self.longest, *xs.shape[1:])
        past = (self.initial_state(xs.new_empty(()).expand(xs.shape[1:])) if state is None else state).past
        if past.shape != shape or past.dtype != xs.dtype:
            raise ValueError(
                f"DelayState.past must be of shape {shape} and {xs.dtype}, as one step of input, got {tuple(past.shape)}, {past.dtype}."
            )
        all_steps = torch.cat([past, xs])
        return all_steps, DelayState(all_steps[len(xs) :])


class Delay(_Delayed):
    r"""Delays its input: :math:`y_t = x_{t - d / \Delta t}`, of every neuron by a time of its own.

    Its state is the past that it still has to put out: a stream in parts comes out as in one run. Delays learn where they are
    ``geir.learnable(...)`` or an `nn.Parameter`.

    Args:
        max_delay: How far the buffer reaches back, in seconds. Default: as far as the delays that are given.
        dt: Step size in seconds.
        interpolation: What a delay between steps means: `LinearInterpolation()`, `GaussianInterpolation(...)` or `NearestStep()`.

    Raises:
        ValueError: If a delay is longer than the buffer.

    >>> ys, state = Delay(delay=2e-3)(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    >>> ys
    tensor([0., 0., 1., 0.])
    """

    def forward(self, xs: Any, state: DelayState | None = None) -> tuple[Tensor, DelayState]:
        """Run over time.

        Args:
            xs: Input, shape (time, ...), or the pair of output and state that the module before returned, whose state is passed over.
            state: State to continue from. Default: silence.

        Returns:
            Output, shape (time, ...), and the state after the last step.

        Raises:
            TypeError: If `xs` is not a floating-point tensor.
            ValueError: If `xs` has no time, or the state or the delays do not fit one step of input.
        """
        all_steps, after = self.remember(xs, state)
        shape = all_steps.shape[1:]
        if self.delay.dim() > len(shape) or any(a != b != 1 for a, b in zip(shape[::-1], self.delay.shape[::-1])):  # noqa: B905  (the shorter broadcasts)
            raise ValueError(
                f"{type(self).__name__}.delay has shape {tuple(self.delay.shape)}, which does not broadcast to one step of input, {tuple(shape)}."
            )
        times = torch.arange(self.longest, len(all_steps), device=all_steps.device).view(-1, *[1] * len(shape))
        ys = torch.zeros((), dtype=all_steps.dtype, device=all_steps.device)
        for steps, weights in zip(*self.taps(), strict=True):
            ys = ys + weights.to(all_steps.dtype) * all_steps.gather(0, (times - steps).expand(-1, *shape))
        return ys, after


class DelayedLinear(_Delayed):
    r"""A linear connection whose every synapse has a delay: :math:`y_{t, k} = b_k + \sum_j w_{k j}\, x_{t - d_{k j} / \Delta t,\, j}`.

    The delays are of shape (out_features, in_features), or broadcast to it: one for each input has shape (in_features,), for each output
    (out_features, 1). A run takes as many linear products as there are steps in the buffer, and skips silent inputs in them.

    Args:
        in_features: Number of inputs.
        out_features: Number of outputs.
        bias: Whether there is a bias.
        max_delay: How far the buffer reaches back, in seconds. Default: as far as the delays that are given.
        dt: Step size in seconds.
        interpolation: What a delay between steps means: `LinearInterpolation()`, `GaussianInterpolation(...)` or `NearestStep()`.

    Raises:
        ValueError: If a delay is longer than the buffer, or the delays do not fit the weights.
    """

    in_features: int = setting(
        kw_only=False, accepts=int, check=lambda size: size > 0, expected="a positive number of inputs"
    )
    out_features: int = setting(
        kw_only=False, accepts=int, check=lambda size: size > 0, expected="a positive number of outputs"
    )
    weight: Tensor
    bias: Any = setting(default=True, accepts=(bool, Tensor, type(None)), expected="True or False")

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes, bound = (self.out_features, self.in_features), 1 / math.sqrt(self.in_features)
        shape = self.delay.shape
        if len(shape) > 2 or any(a not in (1, b) for a, b in zip(shape[::-1], sizes[::-1])):  # noqa: B905  (the shorter broadcasts)
            raise ValueError(
                f"{type(self).__name__}.delay has shape {tuple(shape)}, which does not broadcast to that of the weights, {sizes}."
            )
        given = self.bias
        del self.bias
        self.register_parameter("weight", nn.Parameter(torch.empty(sizes).uniform_(-bound, bound)))
        self.register_parameter(
            "bias",
            nn.Parameter(torch.empty(self.out_features).uniform_(-bound, bound)) if given is True else given or None,
        )

    def kernel(self) -> Tensor:
        """The weights by whole steps of delay, shape (steps, in_features, out_features), differentiable."""
        steps, weights = (t.transpose(1, 2) for t in self.taps(self.weight.shape))
        empty = self.weight.new_zeros(self.longest + 1, self.in_features, self.out_features)
        return empty.scatter_add(0, steps, weights.to(self.weight.dtype) * self.weight.t())

    def forward(self, xs: Any, state: DelayState | None = None) -> tuple[Tensor, DelayState]:
        """Run over time.

        Args:
            xs: Input, shape (time, ..., in_features), or the pair of output and state that the module before returned, whose state is passed over.
            state: State to continue from. Default: silence.

        Returns:
            Output, shape (time, ..., out_features), and the state after the last step.

        Raises:
            TypeError: If `xs` is not a floating-point tensor.
            ValueError: If `xs` has no time or not `in_features` inputs, or the state does not fit one step of it.
        """
        all_steps, after = self.remember(xs, state)
        if all_steps.dim() < 2 or all_steps.shape[-1] != self.in_features:
            got = tuple(all_steps.shape[1:])
            raise ValueError(
                f"{type(self).__name__} takes {self.in_features} inputs in the last dimension, got one step of shape {got}."
            )
        count = len(all_steps) - self.longest
        ys = torch.zeros((), dtype=all_steps.dtype, device=all_steps.device) if self.bias is None else self.bias
        for steps, weights in enumerate(self.kernel().unbind(0)):
            ys = ys + linear(all_steps[self.longest - steps :][:count], weights.t())
        return ys, after


class _OneStep(nn.Module):
    """One step of a delay instead of a run over time."""

    def forward(self, xs: Any, state: DelayState | None = None) -> tuple[Tensor, DelayState]:
        """Advance by one step.

        Args:
            xs: One step of input, or the pair of output and state that the module before returned, whose state is passed over.
            state: State before the step. Default: silence.
        """
        x = xs[0] if isinstance(xs, tuple) else xs
        ys, state = super().forward(x[None] if isinstance(x, Tensor) else x, state)
        return ys[0], state  # pyright: ignore[reportReturnType]  (a mixin's `super` is not known)


class DelayCell(_OneStep, Delay):
    """One step of `Delay`: input and output of shape (...)."""


class DelayedLinearCell(_OneStep, DelayedLinear):
    """One step of `DelayedLinear`: from (..., in_features) to (..., out_features)."""
