"""Recurrent connections, for any neuron."""

import math
from typing import Any, cast, ClassVar, NamedTuple, TYPE_CHECKING

import torch
from torch import nn, Tensor
from torch.nn import functional

from .._runtime.sparse import linear
from .._runtime.stepper import DelayedConnection, Feedback, Prepared, Stepper, SynapticConnection
from .._util.attributes import derived_attribute
from .._util.inputs import AnyInput
from .._util.state import AnyState, state_type
from .._util.time_distributed import fold_time
from .._util.validation import add_inputs, check_input_type, unwrap_input
from ..core.neuron import Dynamics
from ..core.parameters import setting
from .wrapper import Wrapper

Weights = nn.Module | Tensor | None


@state_type
class RecurrentState(NamedTuple):
    """State of a recurrent neuron."""

    neuron: AnyState  # state of the neuron
    z: Tensor  # its last output


@state_type
class DelayedRecurrentState(NamedTuple):
    """State of a recurrent neuron whose recurrent connection has delays."""

    neuron: AnyState  # state of the neuron
    z: Tensor  # its last output
    connection: AnyState  # state of the connection: earlier outputs, of shape (longest delay in steps, ...)


class RecurrentMixin(Dynamics):
    r"""Makes a model recurrent: its input is :math:`W_\text{in} x_t + W_\text{rec} z_{t-1}` instead of :math:`x_t`.

    Written in front of the model: ``class LIFRecurrent(RecurrentMixin, LIF): ...``. `Recurrent` does the same
    for an instance.

    Weights are initialized from :math:`N(0, 2 / \text{fan-in})`.

    Args:
        input_size: Number of inputs.
        hidden_size: Number of neurons.
        autapses: Whether neurons connect to themselves; if not, the diagonal of the recurrent weights stays zero.
        input_weights: Module or tensor of shape (hidden_size, input_size) in place of the dense, randomly
            initialized connection. For a model with several receptors, a `geir.connections.Receptors`.
        recurrent_weights: The same for the recurrent connection, (hidden_size, hidden_size). A module ignores
            `autapses`. It may have delays, which are added to the step that recurrence takes anyway. Sparse connections
            and delays run inside the kernel; there, the time of `SparseLinear` and `DelayedSparseLinear` grows with
            the number of spikes, not with that of synapses.
    """

    weight_names: ClassVar[tuple[str, ...]] = ("input_weights", "recurrent_weights")

    input_size: int = setting(
        kw_only=False, accepts=int, check=lambda size: size > 0, expected="a positive number of inputs"
    )
    hidden_size: int = setting(
        kw_only=False, accepts=int, check=lambda size: size > 0, expected="a positive number of neurons"
    )
    autapses: bool = False
    input_weights: Weights = setting(
        default=None, accepts=(nn.Module, Tensor, type(None)), expected="a module or a tensor"
    )
    recurrent_weights: Weights = setting(
        default=None, accepts=(nn.Module, Tensor, type(None)), expected="a module or a tensor"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_receptors()
        given = self.recurrent_weights
        self._register_weights("input_weights", self.input_size)
        self._register_weights("recurrent_weights", self.hidden_size)
        self._check_connection()
        if self.recurrent_weights is not given and isinstance(self.recurrent_weights, Tensor):
            with torch.no_grad():
                self.recurrent_weights.copy_(self._mask_autapses(self.recurrent_weights))

    def _check_receptors(self) -> None:
        """Raise `TypeError` if the model takes no tensor, which weights that are a matrix return."""
        # Stored, because `torch.compile` cannot trace an attribute of `super()`.
        self._inner_input_types = types = super().input_types
        modules = isinstance(self.input_weights, nn.Module) and isinstance(self.recurrent_weights, nn.Module)
        if Tensor not in types and not modules:
            receptors = ", ".join((types[0].__name__, *(f"{name}=..." for name in types[0]._fields)))
            raise TypeError(
                f"{type(self).__name__} has several receptors, so its weights must say which they reach; make "
                f"input_weights and recurrent_weights Receptors({receptors})."
            )

    def _register_weights(self, name: str, fan_in: int) -> None:
        given, shape = getattr(self, name), (self.hidden_size, fan_in)
        if isinstance(given, nn.Module):
            return
        if given is not None and given.shape != shape:
            raise ValueError(f"{type(self).__name__}.{name} must have shape {shape}, got {tuple(given.shape)}.")
        if not isinstance(given, nn.Parameter):
            weights = torch.randn(shape) * math.sqrt(2 / fan_in) if given is None else given.detach().clone()
            delattr(self, name)
            self.register_parameter(name, nn.Parameter(weights))

    def _check_connection(self) -> None:
        connection: Any = self.recurrent_weights
        size = self.hidden_size
        if isinstance(self.input_weights, DelayedConnection):
            raise TypeError(
                f"{type(self).__name__}.input_weights must not have delays, got {type(self.input_weights).__name__}; "
                "put it in front of the neuron, with input_weights=nn.Identity()."
            )
        if isinstance(self.recurrent_weights, SynapticConnection) and not (
            connection.in_features == connection.out_features == size
        ):
            raise ValueError(
                f"{type(self).__name__}.recurrent_weights must connect {size} neurons with {size}, "
                f"got {connection.in_features} with {connection.out_features}."
            )

    def _mask_autapses(self, weights: Tensor) -> Tensor:
        if self.autapses:
            return weights
        return weights * (1 - torch.eye(self.hidden_size, dtype=weights.dtype, device=weights.device))

    def check_state_type(self, state: AnyState) -> None:
        delayed = isinstance(self.recurrent_weights, DelayedConnection)
        self.expect_state(state, DelayedRecurrentState if delayed else RecurrentState)
        super().check_state_type(state.neuron)

    def initial_state(self, x: Tensor, dtype: torch.dtype | None = None) -> AnyState:
        dtype = dtype or self.state_dtype(x)
        z = x.new_zeros((), dtype=dtype).expand(x.shape)
        neuron = super().initial_state(x, dtype)
        if isinstance(self.recurrent_weights, DelayedConnection):
            return DelayedRecurrentState(neuron, z, self.recurrent_weights.initial_state(z))
        return RecurrentState(neuron, z)

    def start_state(self, x: Tensor, state: AnyState, dtype: torch.dtype) -> AnyState:
        if not isinstance(state, DelayedRecurrentState):
            return super().start_state(x, state, dtype)
        self.check_state_type(state)
        past, longest = state.connection.past, cast(DelayedConnection, self.recurrent_weights).longest
        if past.shape != (longest, *x.shape) or past.dtype != dtype or past.device != x.device:
            raise ValueError(
                f"{type(self).__name__} expected earlier outputs `connection.past` of shape {(longest, *x.shape)}, "
                f"{dtype}, on {x.device}, got {tuple(past.shape)}, {past.dtype}, on {past.device}."
            )
        # All other parts have the shape of one step.
        super().start_state(x, state._replace(connection=RecurrentState(state.z, state.z)), dtype)
        return state

    def prepare(self) -> Prepared:
        weights = self.recurrent_weights
        matrix = self._mask_autapses(weights) if isinstance(weights, Tensor) else None
        return matrix, super().prepare()

    @derived_attribute
    def input_types(self) -> tuple[type, ...]:
        """A tensor, the input of `input_weights`, whatever the input of the neuron is."""
        return (Tensor,)

    def check_input_type(self, x: AnyInput) -> None:
        """Input of any type is passed to `input_weights`; what these return is checked in `transform_input`."""

    def transform_input(self, x: AnyInput, over_time: bool) -> AnyInput:
        weights: Any = self.input_weights
        if isinstance(weights, nn.Module):
            return self._checked(fold_time(weights, x) if over_time else weights(x))
        check_input_type(type(self).__name__, x, (Tensor,))
        if x.dim() == 0 or x.shape[-1] != self.input_size:
            raise ValueError(
                f"{type(self).__name__} expected {self.input_size} inputs in the last dimension, got shape "
                f"{tuple(x.shape)}."
            )
        return self._checked(linear(x, weights))

    def _checked(self, inputs: AnyInput) -> AnyInput:
        name = type(self).__name__
        check_input_type(name, inputs, self._inner_input_types)
        return inputs if isinstance(inputs, Tensor) else unwrap_input(name, inputs)

    if TYPE_CHECKING:
        # A signature compatible with the step of any model.
        def step(self, *arguments: Any, **keywords: Any) -> tuple[Tensor, AnyState]: ...

    else:

        def step(self, x, state, matrix, inner):
            connection = self.recurrent_weights
            if isinstance(connection, DelayedConnection):
                feedback, past = connection.advance(state.z, state.connection)
                z, after = self.inner_step(add_inputs(type(self).__name__, x, feedback), state.neuron, *inner)
                return z, DelayedRecurrentState(after, z, past)
            feedback = connection(state.z) if matrix is None else functional.linear(state.z.to(matrix.dtype), matrix)
            z, after = self.inner_step(add_inputs(type(self).__name__, x, feedback), state.neuron, *inner)
            return z, RecurrentState(after, z)

    def inner_step(self, x: AnyInput, state: AnyState, *prepared: Any) -> tuple[Tensor, AnyState]:
        """The step of the model without recurrence, given input and feedback added up."""
        return super().step(x, state, *prepared)

    def stepper(self, dtype: torch.dtype) -> Stepper:
        self._check_connection()
        matrix, inner = prepared = self.prepare()
        connection: Any = self.recurrent_weights if matrix is None else matrix
        feedback = Feedback(self.inner_step, inner, connection)
        return Stepper(self, self.step, prepared, dtype, self.elementwise, feedback)


class _Plain(Wrapper):
    """A wrapper that adds nothing."""

    def prepare(self) -> Prepared:
        return self.neuron.prepare()

    def step(self, x: Tensor, state: AnyState, *prepared: Any) -> tuple[Tensor, AnyState]:
        return self.neuron.step(x, state, *prepared)


class Recurrent(RecurrentMixin, _Plain):
    """Any neuron made recurrent: ``Recurrent(Refractory(LIF()), 100, 100)`` has 100 inputs and 100 neurons."""
