"""The forms of a model: one step, recurrent, and wrapped around another.

Each is a mixin in front of a model, and they combine: ``class QIFRecurrentCell(CellMixin, RecurrentMixin, QIF): ...``.
"""

import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._runtime.sparse import linear
from .._util.time_distributed import fold_time
from ..core.neuron import Dynamics
from ..core.parameters import setting


class CellMixin(Dynamics[Any]):
    """One step of a model instead of a run over time."""

    record_states: ClassVar[bool] = False  # pyright: ignore[reportIncompatibleVariableOverride]  (withdraws the option)
    unroll: ClassVar[None] = None  # pyright: ignore[reportIncompatibleMethodOverride]  (likewise)

    def forward(self, xs: Any, state: Any = None) -> tuple[Tensor, Any]:
        """Advance by one step.

        Args:
            xs: One step of input, shape (...), or the pair of output and state that the module before returned, whose state is passed over.
            state: State before the step, each part of shape (...). Default: at rest.

        Returns:
            Output, shape (...), in the input's dtype, and the state after the step.

        Raises:
            TypeError: If `xs` is not a floating-point tensor, or `state` not a state of this model.
            ValueError: If a part of `state` or a parameter does not fit the input.
        """
        x = self.transform_input(self.check_input(xs), over_time=False)
        dtype = self.state_dtype(x)
        z, state = self.step(x.to(dtype), self.check_state(x, state, dtype), *self.prepare())
        return z.to(x.dtype), state


class RecurrentState(NamedTuple):
    """State of a recurrent model."""

    neuron: Any  # state of the model
    z: Tensor  # its last output


class RecurrentMixin(Dynamics[Any]):
    r"""A model that receives :math:`W_\text{in} x_t + W_\text{rec} z_{t-1}` instead of :math:`x_t`.

    Weights start as :math:`N(0, 2 / \text{fan-in})`.

    Args:
        input_size: Number of inputs.
        hidden_size: Number of neurons.
        autapses: Whether neurons feed back to themselves; else the diagonal of the recurrent weights stays zero.
        input_weights: Module or tensor of shape (hidden_size, input_size) in place of the dense, randomly initialised connection.
        recurrent_weights: The same for the recurrent connection, (hidden_size, hidden_size). A module decides about autapses itself.
    """

    recurrent: ClassVar[bool] = True

    input_size: int = setting(
        kw_only=False, accepts=int, check=lambda size: size > 0, expected="a positive number of inputs"
    )
    hidden_size: int = setting(
        kw_only=False, accepts=int, check=lambda size: size > 0, expected="a positive number of neurons"
    )
    autapses: bool = False
    input_weights: nn.Module | Tensor | None = setting(
        default=None, accepts=(nn.Module, Tensor, type(None)), expected="a module or a tensor"
    )
    recurrent_weights: nn.Module | Tensor | None = setting(
        default=None, accepts=(nn.Module, Tensor, type(None)), expected="a module or a tensor"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.recurrent_weights
        self._connect("input_weights", self.input_size)
        self._connect("recurrent_weights", self.hidden_size)
        if self.recurrent_weights is not given and isinstance(self.recurrent_weights, Tensor):
            with torch.no_grad():
                self.recurrent_weights.copy_(self._masked(self.recurrent_weights))

    def _connect(self, name: str, fan_in: int) -> None:
        given, shape = getattr(self, name), (self.hidden_size, fan_in)
        if isinstance(given, nn.Module):
            return
        if given is not None and given.shape != shape:
            raise ValueError(f"{type(self).__name__}.{name} must have shape {shape}, got {tuple(given.shape)}.")
        if not isinstance(given, nn.Parameter):
            weights = torch.randn(shape) * math.sqrt(2 / fan_in) if given is None else given.detach().clone()
            delattr(self, name)
            self.register_parameter(name, nn.Parameter(weights))

    def _masked(self, weights: Tensor) -> Tensor:
        return (
            weights
            if self.autapses
            else weights * (1 - torch.eye(self.hidden_size, dtype=weights.dtype, device=weights.device))
        )

    def resting_state(self) -> Any:
        return RecurrentState(super().resting_state(), torch.zeros(()))

    def prepare(self) -> tuple[Any, ...]:
        weights = self.recurrent_weights
        return (self._masked(weights) if isinstance(weights, Tensor) else None, *super().prepare())

    def transform_input(self, x: Tensor, over_time: bool) -> Tensor:
        weights: Any = self.input_weights
        if isinstance(weights, nn.Module):
            return fold_time(weights, x) if over_time else weights(x)
        if x.dim() == 0 or x.shape[-1] != self.input_size:
            raise ValueError(
                f"{type(self).__name__} takes {self.input_size} inputs in the last dimension, got shape {tuple(x.shape)}."
            )
        return linear(x, weights)

    def step(self, x: Tensor, state: Any, *prepared: Any) -> tuple[Tensor, Any]:
        weights, *inner = prepared or self.prepare()
        connection: Any = self.recurrent_weights
        feedback = connection(state.z) if weights is None else functional.linear(state.z.to(weights.dtype), weights)
        z, moved = self.react(x + feedback, state.neuron, *inner)
        return z, RecurrentState(moved, z)

    def react(self, x: Tensor, state: Any, *prepared: Any) -> tuple[Tensor, Any]:
        """The step of the model alone, with all input that it gets."""
        return super().step(x, state, *prepared)


class Wrapper(Dynamics[Any]):
    """Another model's dynamics unchanged: what mixins that extend a given instance stand in front of.

    Args:
        neuron: The model to wrap.
    """

    neuron: Dynamics[Any] = setting(kw_only=False, accepts=Dynamics, expected="a neuron")

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.neuron, CellMixin) or self.neuron.record_states:
            raise ValueError(
                f"{type(self).__name__} wraps a layer over time that does not record states, such as LIF(), got {self.neuron}."
            )

    @property
    def dt(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]  (the wrapped model's)
        return self.neuron.dt

    @property
    def surrogate(self) -> Any:
        return self.neuron.surrogate

    @property
    def elementwise(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  (likewise)
        return self.neuron.elementwise

    def rest(self) -> Any:
        return self.neuron.resting_state()

    def prepare(self) -> tuple[Any, ...]:
        return self.neuron.prepare()

    def transform_input(self, x: Tensor, over_time: bool) -> Tensor:
        return self.neuron.transform_input(x, over_time)

    def step(self, x: Tensor, state: Any, *prepared: Any) -> tuple[Tensor, Any]:
        return self.neuron.step(x, state, *prepared)


class Recurrent(RecurrentMixin, Wrapper):
    """Any neuron made recurrent: ``Recurrent(Refractory(LIF()), 100, 100)`` has 100 inputs and 100 neurons."""
