"""The interface between models and the code that runs them over time."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import nn, Tensor

from .._util.state import AnyState

# Values computed from parameters once per call, as further arguments of a step: tensors, and anything that
# holds tensors.
Prepared = tuple[Any, ...]
# From one step of input, the state and the prepared values to the output and the next state.
Step = Callable[..., tuple[Tensor, AnyState]]


class Feedback(NamedTuple):
    """How the output of a recurrent model returns as input.

    The state of such a model is a pair: the state of the inner model and the last output.
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


@runtime_checkable
class Steppable(Protocol):
    """A module that can be run over time."""

    def stepper(self, dtype: torch.dtype) -> Stepper:
        """The model, ready to run with states of this dtype."""
        ...

    def initial_state(self, x: Tensor, dtype: torch.dtype | None = None) -> AnyState:
        """The state at rest, in the shape of one step of input `x`."""
        ...
