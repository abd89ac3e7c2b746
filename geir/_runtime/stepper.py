"""The interface between models and the code that runs them over time."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import nn, Tensor

# A state: a named tuple of tensors, or of such tuples where a wrapper holds the state of a neuron.
State = Any
# From one step of input, the state and the prepared values to the output and the next state.
Step = Callable[..., tuple[Tensor, State]]


class Feedback(NamedTuple):
    """How the output of a recurrent model returns as input.

    The state of such a model is a pair: the state of the inner model and the last output.
    """

    step: Step  # step of the inner model, given input and feedback added up
    prepared: tuple[Any, ...]  # prepared values of the inner model
    connection: nn.Module | Tensor  # recurrent weights, shape (neurons, neurons), or a module


class Stepper(NamedTuple):
    """A model that is ready to run: all that the reference loop and the kernels know of it."""

    module: nn.Module  # a `Steppable` that holds the parameters, buffers and settings that `step` reads
    step: Step
    prepared: tuple[Any, ...]  # further arguments of `step`: they depend on parameters only
    dtype: torch.dtype  # of state and arithmetic
    elementwise: bool  # whether the step is elementwise over neurons
    feedback: Feedback | None = None  # of a recurrent model


@runtime_checkable
class Steppable(Protocol):
    """A module that can be run over time."""

    def stepper(self, dtype: torch.dtype) -> Stepper:
        """The model, ready to run with states of this dtype."""
        ...

    def initial_state(self, x: Tensor, dtype: torch.dtype | None = None) -> State:
        """The state at rest, in the shape of one step of input `x`."""
        ...
