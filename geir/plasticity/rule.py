"""The contract of a learning rule: how pre- and postsynaptic spikes change a weight."""

import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, Self, TypeAlias, TypeVar

import torch
from torch import nn, Tensor

from .._util.attributes import derived_attribute
from .._util.precision import keep_wide, no_autocast, widen
from .._util.state import leaves
from .._util.validation import is_positive_finite
from ..core.parameters import Declared, Parameter, parameter, setting
from .connection_view import ConnectionView, has_concrete_values

State = TypeVar("State", bound=tuple)


def step_size() -> Any:
    """Declare the step size `dt` in seconds, 1 ms by default. Returns `Any`, as `setting` does."""
    return setting(
        default=1e-3, accepts=numbers.Real, check=is_positive_finite, expected="a positive number of seconds"
    )


class Rule(Declared, ABC, Generic[State]):
    """How a weight changes, step by step, with pre- and postsynaptic activity. A rule holds neither
    state nor weight.

    Abstract: a subclass declares its parameters and defines `initial_state` and `change`.

    Called as ``rule(pre, post, weight, state)``, it makes one step and returns the new weight and the
    new state. Within a step, presynaptic spikes come first, because they can cause postsynaptic spikes
    in the same step: two spikes at the same time are a pre-before-post pair. The change is the mean
    over the batch and, for convolutions, the sum over the places that share a weight. Rules are not
    differentiable. Their parameters stay in float32 when they are converted to half precision, and
    autocast does not affect them.

    Args:
        dt: Step size in seconds.
    """

    dt: float = step_size()
    w_min: Parameter = parameter(default=-float("inf"), doc="smallest weight; a hard bound")
    w_max: Parameter = parameter(default=float("inf"), doc="largest weight; a hard bound")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not bool((self.w_min < self.w_max).all()):
            raise ValueError(
                f"{type(self).__name__} needs w_min < w_max, got {self.w_min.tolist()} and {self.w_max.tolist()}."
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        return super()._apply(keep_wide(fn), recurse)

    @abstractmethod
    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> State:
        """The state before any activity.

        Args:
            pre: One step of presynaptic activity, shape (batch, *input); only its shape and device are used.
            post: One step of postsynaptic activity, shape (batch, *output); likewise.
            weight: The weight.
        """

    @abstractmethod
    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: State, connection: ConnectionView
    ) -> tuple[Tensor, State]:
        """The change of the weight in one step, and the state after it, without side effects.

        Args:
            pre: Presynaptic spikes, shape (batch, *input).
            post: Postsynaptic spikes, shape (batch, *output).
            weight: The weight before the step.
            state: State before the step.
            connection: Computes products of both sides in the shape of the weight.

        Returns:
            The change, broadcastable to the weight, and the next state.
        """

    def decay(self, tau: Tensor) -> Tensor:
        """The exact factor by which a trace with time constant `tau` decays in one step."""
        return torch.exp(-self.dt / widen(tau))

    def forward(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: State | None = None, connection: nn.Module | None = None
    ) -> tuple[Tensor, State]:
        """Make one step.

        Args:
            pre: Presynaptic spikes, shape (batch, *input) or (*input).
            post: Postsynaptic spikes, shape (batch, *output) or (*output).
            weight: The weight, for a dense layer of shape (output, input). It is not modified.
            state: State before the step. Default: the initial state.
            connection: The module that the weight belongs to, such as an `nn.Conv2d`. Default: a dense layer.

        Returns:
            The weight and the state after the step.

        Raises:
            TypeError: If an argument is not a floating-point tensor, or `state` is not a state of this rule.
            ValueError: If the shapes of the arguments do not match.
        """
        self._check_arguments(pre, post, weight)
        weight = weight.detach().clone()
        pre = pre.to(weight.dtype)
        post = post.to(weight.dtype)
        state = self.start_state(pre, post, weight, state)
        return weight, self.update_(pre, post, weight, state, connection)

    @torch.no_grad()
    def update_(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: State, connection: nn.Module | None = None
    ) -> State:
        """Make one step, changing the weight in place, and return the next state.

        For loops: arguments are as in `forward`, but nothing is checked. The first state comes from
        `start_state`.
        """
        view = ConnectionView(weight, connection)
        pre, post = pre.to(weight.dtype), post.to(weight.dtype)
        # Autocast would compute products of traces in half precision.
        with no_autocast(weight):
            change, state = self.change(pre, post, weight, state, view)
        # A zero without dimensions means that nothing fired, see `ConnectionView.outer`.
        if change.dim() or not has_concrete_values(change) or change:
            _clamp_(weight.add_(change), self.w_min, self.w_max)
        return state

    def start_state(self, pre: Tensor, post: Tensor, weight: Tensor, state: State | None = None) -> State:
        """The state that a run starts from: the given one, or the initial one if it is None.

        Raises:
            TypeError: If the state belongs to another rule.
            ValueError: If a part of the state does not have the shape that these arguments need.
        """
        initial = self.initial_state(pre, post, weight)
        if state is None:
            return initial
        kind = type(initial).__name__
        if not isinstance(state, type(initial)):
            raise TypeError(f"{type(self).__name__} expected a {kind} as its state, got {type(state).__name__}.")
        for (name, part), (_, expected) in zip(leaves(state), leaves(initial), strict=True):
            if part.shape != expected.shape:
                raise ValueError(
                    f"{kind}.{name} has shape {tuple(part.shape)}, but these inputs need {tuple(expected.shape)}."
                )
        return state

    def check_weight(self, weight: Tensor) -> None:
        """Check that a weight can learn.

        Raises:
            TypeError: If its precision is too low.
            ValueError: If it is outside the bounds.
        """
        self.check_precision(weight)
        outside = weight[(weight < self.w_min) | (weight > self.w_max)]
        if len(outside):
            bounds = f"[{self.w_min.min():g}, {self.w_max.max():g}]"
            raise ValueError(
                f"{type(self).__name__} keeps weights in {bounds}, got {outside[0]:.3g}; "
                "initialize the weight within the bounds, for example with nn.init.uniform_(connection.weight, 0, 0.3)."
            )

    def check_precision(self, weight: Tensor) -> None:
        """Raise `TypeError` if the precision of a weight is too low to learn."""
        if weight.dtype not in (torch.float32, torch.float64):
            raise TypeError(
                f"{type(self).__name__} changes weights in steps too small for {weight.dtype}; keep them in float32."
            )

    def _check_arguments(self, pre: Tensor, post: Tensor, weight: Tensor) -> None:
        caller = type(self).__name__
        for name, x in (("pre", pre), ("post", post), ("weight", weight)):
            if not isinstance(x, Tensor):
                raise TypeError(f"{caller} takes floating-point tensors, got {type(x).__name__} for `{name}`.")
            if not x.is_floating_point():
                raise TypeError(
                    f"{caller} takes floating-point tensors, got {x.dtype} for `{name}`; convert it with .float()."
                )
        self.check_precision(weight)
        # Dimensions of one sample: 1 for a dense layer, 3 for `nn.Conv2d`.
        sample_dims = weight.dim() - 1
        matches = (
            sample_dims > 0
            and min(pre.dim(), post.dim()) >= sample_dims
            and pre.shape[:-sample_dims] == post.shape[:-sample_dims]
            and post.shape[-sample_dims] == weight.shape[0]
            and (sample_dims > 1 or pre.shape[-1] == weight.shape[1])
        )
        if not matches:
            raise ValueError(
                f"{caller} takes pre (batch, *input), post (batch, *output) and a weight (output, input, ...), "
                f"got pre {tuple(pre.shape)}, post {tuple(post.shape)} and weight {tuple(weight.shape)}."
            )


AnyRule: TypeAlias = Rule[Any]


class RuleWrapper(Rule[State]):
    """A rule that modifies another, whose step size and bounds it has. Abstract, as `Rule`.

    Args:
        rule: The other rule.
    """

    rule: AnyRule = setting(kw_only=False, accepts=Rule, expected="a learning rule, such as STDP()")

    @derived_attribute
    def dt(self) -> float:
        return self.rule.dt

    @derived_attribute
    def w_min(self) -> Tensor:
        return self.rule.w_min

    @derived_attribute
    def w_max(self) -> Tensor:
        return self.rule.w_max


def _clamp_(weight: Tensor, low: Tensor, high: Tensor) -> None:
    """Clamp in place; by numbers where the bounds are scalars, because PyTorch is slow to clamp by tensors."""
    if has_concrete_values(low) and low.dim() == high.dim() == 0:
        weight.clamp_(low.item(), high.item())
    else:
        weight.clamp_(low, high)
