"""The interface of integrators."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from ..._util.class_edits import Watched
from ..._util.inputs import AnyInput
from ..._util.state import AnyState

# Nested tuples and dictionaries of tensors; every integrator has its own structure.
Coefficients = Any


class Flow(Protocol):
    """The interface of a differential equation: its derivative, resting state, step size and parameters."""

    input_types: ClassVar[tuple[Any, ...]]
    dt: float
    structure: frozenset[tuple[int, int]]

    def rest(self) -> AnyState: ...
    def derivative(self, x: AnyInput, state: AnyState) -> AnyState: ...
    def declared_parameters(self) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Integrator(metaclass=Watched):
    """A numerical method. Abstract: a subclass defines `advance`, and `prepare` if it has coefficients."""

    def prepare(self, flow: Flow) -> Coefficients:
        """Coefficients that depend on parameters only; nested tuples and dictionaries of tensors."""
        return ()

    @abstractmethod
    def advance(self, flow: Flow, x: AnyInput, state: AnyState, coefficients: Coefficients) -> AnyState:
        """The state after `dt`."""


def input_names(flow: Flow) -> list[str]:
    """The name of the input, or the names of the receptors."""
    kind = flow.input_types[-1]
    return ["input"] if kind is Tensor else [f"input_{name}" for name in kind._fields]


def make_input(flow: Flow, values: Sequence[Tensor]) -> AnyInput:
    """One step of input, given a tensor for each name in `input_names`."""
    kind = flow.input_types[-1]
    return values[0] if kind is Tensor else kind(*values)


def parameter_shape(parameters: Iterable[Tensor]) -> torch.Size:
    """The shape to which parameters broadcast."""
    # Not `torch.broadcast_shapes`: its first call imports symbolic mathematics, which takes half a second.
    return torch.broadcast_tensors(torch.zeros(()), *parameters)[0].shape


def parameter_device(parameters: Iterable[Tensor]) -> torch.device | None:
    """The device of the parameters; None if there are none."""
    return next((t.device for t in parameters), None)
