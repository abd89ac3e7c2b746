"""The interface between models and the code that runs them over time."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from torch import nn, Tensor

from .._util.inputs import AnyInput
from .._util.state import AnyState

# Values computed from parameters once per call, as further arguments of a step: tensors, and anything that
# holds tensors.
Prepared = tuple[Any, ...]
# From one step of input, the state and the prepared values to the output and the next state.
Step = Callable[..., tuple[Tensor, AnyState]]


class Synapses(NamedTuple):
    """Sparse connections, ordered by presynaptic neuron."""

    weights: Tensor  # shape (synapses,)
    starts: Tensor  # first synapse of each presynaptic neuron, and the number of synapses, shape (neurons + 1,)
    targets: Tensor  # postsynaptic neuron of each synapse, shape (synapses,)
    delays: Tensor  # in whole steps, shape (synapses,), or (1,) if all are the same
    bias: Tensor | None  # shape (postsynaptic neurons,)


class SynapticConnection(ABC):
    """A connection, a module, that consists of synapses; kernels call it by these."""

    @abstractmethod
    def synapses(self) -> Synapses:
        """The synapses; differentiable."""


class DelayedConnection(ABC):
    """A connection, a module, that runs over time: from input and state to output and next state.

    Its state is a named tuple with one field, `past`: the last `longest` steps of input, shape (longest, ...), the most
    recent last.
    """

    over_time: ClassVar[bool] = True  # whether it takes a run; if not, one step

    def advance(self, x: Tensor, state: AnyState) -> tuple[Tensor, AnyState]:
        """One step: output and next state."""
        call: Any = self
        if not self.over_time:
            return call(x, state)
        ys, state = call(x[None], state)
        return ys[0], state

    @property
    @abstractmethod
    def longest(self) -> int:
        """Longest delay in steps."""

    @abstractmethod
    def initial_state(self, x: Tensor) -> AnyState:
        """The state after a silent past, in the shape of one step of input `x`."""


class Feedback(NamedTuple):
    """How the output of a recurrent model returns as input.

    The state of such a model has two parts: the state of the inner model and the last output. With a connection that
    has delays, the state of the connection is the third.
    """

    step: Step  # step of the inner model, given input and feedback added up
    prepared: Prepared  # prepared values of the inner model
    connection: nn.Module | Tensor  # recurrent weights, shape (neurons, neurons), or a module


class Stepper(NamedTuple):
    """A model that is ready to run: all that the reference loop and the kernels know of it."""

    module: nn.Module  # a `Steppable` that holds the parameters, buffers and settings that `step` reads
    step: Step
    prepared: Prepared  # further arguments of `step`: they depend on parameters only
    dtype: torch.dtype  # of state and arithmetic
    elementwise: bool  # whether the step is elementwise over neurons
    feedback: Feedback | None = None  # of a recurrent model

    def advance(self, x: AnyInput, state: AnyState) -> tuple[Tensor, AnyState]:
        """Make one step.

        Raises:
            TypeError: If the step does not return its output and the next state.
        """
        result: object = self.step(x, state, *self.prepared)
        if isinstance(result, tuple | list) and len(result) == 2:
            z, after = result
            if isinstance(z, Tensor) and type(after) is type(state):
                return z, after
        raise TypeError(
            f"{type(self.module).__name__}.step must return the output and the next state, "
            f"(z, {type(state).__name__}), got {_types(result)}."
        )


def _types(result: object) -> str:
    """The type of a result, or those of its parts."""
    if isinstance(result, tuple | list) and not hasattr(result, "_fields"):
        return f"({', '.join(type(part).__name__ for part in result)})"
    return type(result).__name__


@runtime_checkable
class Steppable(Protocol):
    """A module that can be run over time."""

    def stepper(self, dtype: torch.dtype) -> Stepper:
        """The model, ready to run with states of this dtype."""
        ...

    def initial_state(self, x: Tensor, dtype: torch.dtype | None = None) -> AnyState:
        """The state at rest, in the shape of one step of input `x`."""
        ...
