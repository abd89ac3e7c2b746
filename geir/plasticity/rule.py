"""The contract of a learning rule: what spikes before and behind a connection do to its weight."""

import numbers
from typing import Any, Generic, TypeVar

import torch
from torch import nn, Tensor

from .._util.state import leaves
from ..core.parameters import Declared, Parameter, parameter, setting
from .synapses import concrete, Synapses

State = TypeVar("State", bound=tuple)


class Rule(Declared, Generic[State]):
    """A rule by which a weight changes, step by step, from what is before and behind it. A rule holds no state and no weight.

    Abstract: a subclass declares its parameters and writes `initial_state` and `change`.

    Called as ``rule(pre, post, weight, state)`` it makes one step and returns the new weight and the new state. Spikes before come first in
    a step, because they can cause spikes behind in the same step: at equal times, a spike before counts as the earlier one.
    The change is the mean over the batch, and for convolutions the sum over the places that share a weight. No gradient passes.

    Args:
        dt: Step size in seconds.
    """

    dt: float = setting(
        default=1e-3,
        accepts=numbers.Real,
        check=lambda dt: 0 < dt < float("inf"),
        expected="a positive number of seconds",
    )
    w_min: Parameter = parameter(default=-float("inf"), doc="lowest weight; a hard bound")
    w_max: Parameter = parameter(default=float("inf"), doc="highest weight; a hard bound")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not bool((self.w_min < self.w_max).all()):
            raise ValueError(
                f"{type(self).__name__} needs w_min < w_max, got {self.w_min.tolist()} and {self.w_max.tolist()}."
            )

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> State:
        """The state in which nothing has happened.

        Args:
            pre: One step of what is before the connection, shape (batch, *input); it gives shape and device.
            post: The same of what is behind it, shape (batch, *output).
            weight: The weight.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define `initial_state`.")

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: State, synapses: Synapses
    ) -> tuple[Tensor, State]:
        """The change of the weight in one step, and the state after it, without side effect.

        Args:
            pre: Spikes before the connection, shape (batch, *input).
            post: Spikes behind it, shape (batch, *output).
            weight: The weight before the step.
            state: State before the step.
            synapses: Makes products of both sides, in the shape of the weight.

        Returns:
            What to add to the weight, broadcastable to it, and the next state.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define `change`.")

    def decay(self, tau: Tensor) -> Tensor:
        """What is left after `dt` of a trace with time constant `tau`, exactly."""
        return torch.exp(-self.dt / tau)

    def forward(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: Any = None, connection: nn.Module | None = None
    ) -> tuple[Tensor, Any]:
        """Make one step.

        Args:
            pre: Spikes before the connection, shape (batch, *input) or (*input).
            post: Spikes behind it, shape (batch, *output) or (*output).
            weight: The weight, for a dense layer of shape (output, input). It is not changed.
            state: State before the step. Default: nothing has happened.
            connection: The module that the weight belongs to, such as an `nn.Conv2d`. Default: a dense layer.

        Returns:
            The weight and the state after the step.

        Raises:
            TypeError: If an argument is not a floating-point tensor, or `state` not a state of this rule.
            ValueError: If shapes do not fit.
        """
        self._check(pre, post, weight)
        weight, pre, post = weight.detach().clone(), pre.to(weight.dtype), post.to(weight.dtype)
        return weight, self.learn_(pre, post, weight, self.start(pre, post, weight, state), connection)

    @torch.no_grad()
    def learn_(self, pre: Tensor, post: Tensor, weight: Tensor, state: Any, connection: nn.Module | None = None) -> Any:
        """Make one step, changing the weight in place, and return the next state. It checks nothing: see `start` for the first state."""
        change, state = self.change(
            pre.to(weight.dtype), post.to(weight.dtype), weight, state, Synapses(weight, connection)
        )
        # Not the zero of a step in which nothing fired, see `Synapses.outer`.
        if change.dim() or not concrete(change) or change:
            weight.add_(change).clamp_(*_limits(self.w_min, self.w_max))
        return state

    def check_weight(self, weight: Tensor) -> None:
        """Raise if the weight is too coarse for learning, or out of bounds."""
        self._check_precision(weight)
        outside = weight[(weight < self.w_min) | (weight > self.w_max)]
        if len(outside):
            raise ValueError(
                f"{type(self).__name__} keeps weights in [{self.w_min.min():g}, {self.w_max.max():g}], got {outside[0]:.3g}; start within, "
                "such as with nn.init.uniform_(connection.weight, 0, 0.3)."
            )

    def _check(self, pre: Tensor, post: Tensor, weight: Tensor) -> None:
        name = type(self).__name__
        for what, x in (("pre", pre), ("post", post), ("weight", weight)):
            if not isinstance(x, Tensor):
                raise TypeError(f"{name} takes floating-point tensors, got {type(x).__name__} for `{what}`.")
            if not x.is_floating_point():
                raise TypeError(
                    f"{name} takes floating-point tensors, got {x.dtype} for `{what}`; convert it with .float()."
                )
        self._check_precision(weight)
        lead = 1 - weight.dim()
        fits = weight.dim() > 1 and min(pre.dim(), post.dim()) >= -lead and post.shape[lead] == weight.shape[0]
        if not fits or pre.shape[:lead] != post.shape[:lead] or (lead == -1 and pre.shape[-1] != weight.shape[1]):
            shapes = f"pre {tuple(pre.shape)}, post {tuple(post.shape)} and weight {tuple(weight.shape)}"
            raise ValueError(
                f"{name} takes pre (batch, *input), post (batch, *output) and a weight (output, input, ...), got {shapes}."
            )

    def _check_precision(self, weight: Tensor) -> None:
        if weight.dtype not in (torch.float32, torch.float64):
            raise TypeError(
                f"{type(self).__name__} changes weights in steps too small for {weight.dtype}; keep them in float32."
            )

    def start(self, pre: Tensor, post: Tensor, weight: Tensor, state: Any = None) -> Any:
        """The state to continue from: the one given, refused if it does not fit, or one in which nothing has happened."""
        fresh = self.initial_state(pre, post, weight)
        if state is None:
            return fresh
        if not isinstance(state, type(fresh)):
            raise TypeError(
                f"{type(self).__name__} continues from a {type(fresh).__name__}, got {type(state).__name__}."
            )
        for (key, part), (_, expected) in zip(leaves(state), leaves(fresh), strict=True):
            if part.shape != expected.shape:
                raise ValueError(
                    f"{type(fresh).__name__}.{key} has shape {tuple(part.shape)}, but here it takes {tuple(expected.shape)}."
                )
        return state


class Around(Rule[State]):
    """A rule around another, whose step size and bounds it has. Abstract, as `Rule`.

    Args:
        rule: The other.
    """

    rule: Rule[Any] = setting(kw_only=False, accepts=Rule, expected="a learning rule, such as STDP()")

    @property
    def dt(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]  (the rule's)
        return self.rule.dt

    @property
    def w_min(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.rule.w_min

    @property
    def w_max(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.rule.w_max


def _limits(low: Tensor, high: Tensor) -> Any:
    """Numbers where there are such, because PyTorch is slow to clamp by tensors."""
    return (low.item(), high.item()) if concrete(low) and low.dim() == high.dim() == 0 else (low, high)
