"""Parallel spiking neurons: they have no reset and compute the spikes of all time steps at once."""

import functools
import math
from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import nn, Tensor

from .._util.precision import widen
from .._util.state import state_type
from .._util.validation import check_run, Input
from ..core.parameters import Declared, setting
from ..surrogates import ATan

_COUNT = {"kw_only": False, "accepts": int, "check": lambda count: count > 0, "expected": "a positive number of steps"}


class ParallelSpikingNeuron(Declared):
    r"""Parallel spiking neuron (PSN): the potential of every step is a weighted sum of the input of all steps.

    .. math:: h = W x, \qquad z_t = \Theta(h_t - b_t)

    Weights :math:`W`, shape (steps, steps), and thresholds :math:`b` are learnable. It is not causal unless
    `order` masks the weights. It has no state: runs have a fixed length and cannot be split.

    Reference: W. Fang et al., *Parallel spiking neurons with high efficiency and ability to learn long-term
    dependencies*, 2023.

    Args:
        steps: Number of steps of a run.
        order: Number of most recent steps, the present one included, whose input is used (masked PSN).
            Default: all steps.
        surrogate: Threshold function, from the distance to threshold to spikes, with its surrogate derivative.

    >>> ParallelSpikingNeuron(8, order=3)(torch.zeros(8, 2, 10)).shape
    torch.Size([8, 2, 10])
    """

    steps: int = setting(**_COUNT)
    order: int | None = setting(
        default=None,
        accepts=(int, type(None)),
        check=lambda order: order is None or order > 0,
        expected="a positive number of steps, or None",
    )
    surrogate: Callable[[Tensor], Tensor] = setting(
        default=ATan(), accepts=Callable, expected="a surrogate such as geir.surrogates.ATan()"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.weight = nn.Parameter(torch.empty(self.steps, self.steps).uniform_(-1, 1) / math.sqrt(self.steps))
        self.threshold = nn.Parameter(torch.ones(self.steps))

    def time_role(self) -> Literal["time"]:
        """It takes all steps."""
        return "time"

    def forward(self, xs: Input) -> Tensor:
        """Run over time.

        Args:
            xs: Input, shape (steps, ...), or the previous module's `(output, state)` tuple; its state is ignored.

        Returns:
            Spikes, shape (steps, ...).

        Raises:
            TypeError: If `xs` is not a floating-point tensor, or is float64 where the weights are not.
            ValueError: If `xs` has another number of steps.
        """
        xs = check_run(self, xs, self.weight)
        if len(xs) != self.steps:
            raise ValueError(
                f"{type(self).__name__} runs for {self.steps} steps, got input of shape {tuple(xs.shape)}."
            )
        weight = widen(self.weight)
        weight = weight if self.order is None else weight.tril().triu(1 - self.order)
        inputs, threshold = widen(xs), widen(self.threshold)
        distance = weight @ inputs.flatten(1) - threshold[:, None] if xs.dim() > 1 else weight @ inputs - threshold
        return self.surrogate(distance).to(xs.dtype).view(xs.shape)


@state_type
class SlidingState(NamedTuple):
    """State of `SlidingParallelSpikingNeuron`."""

    xs: Tensor  # the last inputs, shape (order - 1, ...)


class SlidingParallelSpikingNeuron(Declared):
    r"""Sliding parallel spiking neuron: the potential is a weighted sum of the most recent inputs, with the
    same weights at all times.

    .. math:: h_t = \sum_{j=0}^{k-1} w_j x_{t-j}, \qquad z_t = \Theta(h_t - b)

    Weights, initialized as :math:`w_j = 2^{-j}`, and the threshold :math:`b` are learnable. The state holds
    the most recent inputs.

    Reference: W. Fang et al., *Parallel spiking neurons with high efficiency and ability to learn long-term
    dependencies*, 2023.

    Args:
        order: Number of steps :math:`k`.
        surrogate: Threshold function, from the distance to threshold to spikes, with its surrogate derivative.
    """

    order: int = setting(**_COUNT)
    surrogate: Callable[[Tensor], Tensor] = setting(
        default=ATan(), accepts=Callable, expected="a surrogate such as geir.surrogates.ATan()"
    )

    # For `geir.reset` and `geir.initial_state`.
    rests_at_zero: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.weight = nn.Parameter(0.5 ** torch.arange(self.order))
        self.threshold = nn.Parameter(torch.ones(()))

    def time_role(self) -> Literal["time"]:
        """It takes all steps."""
        return "time"

    def forward(self, xs: Input, state: SlidingState | None = None) -> tuple[Tensor, SlidingState]:
        """Run over time.

        Args:
            xs: Input, shape (time, ...), or the previous module's `(output, state)` tuple; its state is ignored.
            state: State to continue from. Default: zero input before the run.

        Returns:
            Spikes, shape (time, ...), and the state after the last step.

        Raises:
            TypeError: If `xs` is not a floating-point tensor, or is float64 where the weights are not.
            ValueError: If `xs` has no time dimension, or `state` does not fit.
        """
        xs = check_run(self, xs, self.weight)
        shape = (self.order - 1, *xs.shape[1:])
        past = xs.new_zeros(shape) if state is None else state.xs
        if past.shape != shape:
            raise ValueError(f"SlidingState.xs has shape {tuple(past.shape)}, but {type(self).__name__} needs {shape}.")
        inputs = torch.cat([past, xs])
        wide = widen(inputs)
        delayed = (wide[self.order - 1 - j : len(wide) - j] for j in range(self.order))
        potential = functools.reduce(torch.add, (w * x for w, x in zip(widen(self.weight), delayed, strict=True)))
        zs = self.surrogate(potential - widen(self.threshold)).to(xs.dtype)
        return zs, SlidingState(inputs[len(xs) :])
