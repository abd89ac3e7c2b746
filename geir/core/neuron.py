"""The contract: declared parameters, a resting state and a pure step. Everything else follows from it."""

import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from .._runtime.kernels import Fused, fused, prepare_call, run_directly
from .._runtime.stepper import Prepared, Stepper
from .._util.class_edits import is_code_of_geir
from .._util.inputs import AnyInput, first_receptor
from .._util.state import AnyState, expand_state, leaves, register_states, tensors_of, working_dtype
from .._util.validation import check_broadcastable, check_input_type, Input, unwrap_input
from ..surrogates import SuperSpike
from .parameters import Declared, setting
from .units import warn_of_units

State = TypeVar("State", bound=tuple)
Runner = Callable[..., tuple[Tensor, AnyState]]


class Dynamics(Declared, ABC, Generic[State]):
    """A stateful model advanced in steps of `dt`: a neuron, a synapse, a filter. Calling it runs it over time.

    Abstract: a subclass defines `rest` and `step`.

    Args:
        dt: Step size in seconds.
        record_states: Whether a run returns the states after every step instead of only the last.
        unroll: The code that runs the step over time: `geir.Fused(...)`, kernels derived from the step, or
            `geir.reference`, the loop that defines the result.

    A model with several receptors declares the type of its input, a named tuple with a tensor for each:
    ``input_types = (ConductanceInput,)``.
    """

    # Of any type, because named tuples are accessed by name.
    input_types: ClassVar[tuple[Any, ...]] = (Tensor,)
    dt: float = setting(
        default=1e-3,
        accepts=numbers.Real,
        check=lambda dt: 0 < dt < float("inf"),
        expected="a positive number of seconds",
    )
    record_states: bool = False
    unroll: Runner = setting(default=fused, accepts=Callable, expected="geir.Fused(...) or geir.reference")

    def __post_init__(self) -> None:
        super().__post_init__()
        warn_of_units(self)

    @abstractmethod
    def rest(self) -> State:
        """The resting state of the model, broadcastable to one step of input."""

    if TYPE_CHECKING:
        # How many arguments a step takes depends on the model's `prepare`; this signature is compatible with all.
        def step(self, *arguments: Any, **keywords: Any) -> tuple[Tensor, AnyState]: ...

    else:

        @abstractmethod
        def step(self, x, state, *prepared):
            """Advance by `dt`: input and state to output and next state, elementwise and without side effects.

            Args:
                x: One step of input, shape (...); of several receptors a named tuple, each part of shape (...).
                state: State before the step, each part of shape (...).
                *prepared: The values returned by `prepare`, one argument each; none for a model without `prepare`.
            """

    def prepare(self) -> Prepared:
        """Further arguments of `step` that depend on parameters only, computed once per call."""
        return ()

    @property
    def spiking(self) -> bool:
        """Whether the output is spikes."""
        return False

    @property
    def elementwise(self) -> bool:
        """Whether the step is elementwise over neurons; if not, the reference loop is used."""
        return True

    def transform_input(self, x: AnyInput, over_time: bool) -> AnyInput:
        """Map the input to the input of the step, for all time steps at once or for one."""
        return x

    def state_dtype(self, x: Tensor) -> torch.dtype:
        """Dtype of the state: float64 if a parameter is, else float32, whatever the dtype of the input.

        Without parameters it is float64 if the input is. Buffers of integers and masks do not count.
        """
        return working_dtype([t for t in tensors_of(self).values() if t.is_floating_point()] or [x])

    def initial_state(self, x: Tensor, dtype: torch.dtype | None = None) -> AnyState:
        """The state at the start of a run: at rest.

        Args:
            x: One step of input, shape (...); it determines shape and device.
            dtype: Dtype of the state. Default: `state_dtype(x)`.

        Raises:
            TypeError: If `rest` returns anything but a NamedTuple.
        """
        rest = self.rest()
        if not hasattr(rest, "_fields"):
            raise TypeError(
                f"{type(self).__name__}.rest must return a NamedTuple of tensors, got {type(rest).__name__}. Of a "
                "neuron without state it is one without fields: `class NoState(NamedTuple): pass`."
            )
        return expand_state(rest, x, dtype or self.state_dtype(x))

    def stepper(self, dtype: torch.dtype) -> Stepper:
        """The model, ready to run with states of this dtype."""
        return Stepper(self, self.step, self.prepare(), dtype, self.elementwise)

    def forward(self, xs: Input, state: AnyState = None) -> tuple[Tensor, AnyState]:
        """Run over time.

        Args:
            xs: Input, shape (time, ...), or the previous module's `(output, state)` tuple; its state is ignored. Of
                several receptors a named tuple, each part of shape (time, ...).
            state: State to continue from, each part of shape (...). Default: the resting state.

        Returns:
            Output, shape (time, ...), in the dtype of the input, and the state after the last step; with
            `record_states` the states after every step, each part of shape (time, ...).

        Raises:
            TypeError: If `xs` is not a floating-point tensor or of the model's `input_types`, or `state` is not a state
                of this model.
            ValueError: If `xs` has no time dimension, the shapes of its parts differ, or a part of `state` or a
                parameter does not fit one step of input.
        """
        if (result := run_directly(self, xs, state)) is not None:
            return result
        given, initial = xs, state is None and self._rests_in_the_same_state()
        xs = self.check_input(xs)
        if first_receptor(xs).dim() == 0:
            raise ValueError(
                f"{type(self).__name__} runs over time: expected input of shape (time, ...), got a tensor without "
                "dimensions; for one step use a cell."
            )
        inputs = self.transform_input(xs, over_time=True)
        first = first_receptor(inputs)
        dtype = self.state_dtype(first)
        # Not `first[0]`: the run may have no steps.
        state = self.start_state(first.new_empty(()).expand(first.shape[1:]), state, dtype)
        stepper = self.stepper(dtype)
        unroll = self.unroll
        result = unroll(stepper, inputs, state, self.record_states)
        # Not of a subclass, which may do more.
        if isinstance(unroll, Fused) and type(unroll) is Fused and first is given and not self.record_states:
            prepare_call(self, stepper, first, state, unroll.output_dtype or first.dtype, True, initial)
        return result

    def _rests_in_the_same_state(self) -> bool:
        """Whether the initial state depends only on parameters; that of a user may depend on anything."""
        kind = type(self)
        return kind.initial_state is Dynamics.initial_state and is_code_of_geir(kind.rest)

    def check_input(self, x: Input) -> AnyInput:
        """The input, taken out of an `(output, state)` tuple if necessary.

        Raises:
            TypeError: If it is not of floating-point tensors or of the type that the model takes, or is float64 where
                parameters are float32.
            ValueError: If the shapes of its parts differ.
        """
        name = type(self).__name__
        x = unwrap_input(name, x)
        self.check_input_type(x)
        first = first_receptor(x)
        if first.dtype == torch.float64 and self.state_dtype(first) != torch.float64:
            raise TypeError(
                f"{name} has float32 parameters, but its input is float64; convert one of them: "
                "input.float() or neuron.double()."
            )
        return x

    def check_input_type(self, x: AnyInput) -> None:
        """Raise `TypeError` if input of the step is of another type than those in `input_types`."""
        if type(x) not in self.input_types:
            check_input_type(type(self).__name__, x, self.input_types)

    def check_parameters(self, x: Tensor) -> None:
        """Raise `ValueError` if a parameter does not fit one step of input `x`."""
        tensors = (*self._parameters.values(), *self._buffers.values())
        if all(t is None or (t.dim() == 0 and t.device == x.device) for t in tensors):
            return
        name = type(self).__name__
        for key, tensor in self.declared_parameters().items():
            if tensor.device != x.device:
                raise ValueError(
                    f"{name}.{key} is on {tensor.device}, but the input on {x.device}; move one with .to(...)."
                )
            check_broadcastable(name, key, tensor, x.shape)

    def start_state(self, x: Tensor, state: AnyState, dtype: torch.dtype) -> AnyState:
        """The state that a run starts from: the given one, or the initial one if it is None.

        Args:
            x: One step of the step's input, shape (...).
            state: State to continue from, or None.
            dtype: Dtype of states.

        Raises:
            TypeError: If `state` is not a state of this model.
            ValueError: If a parameter or a part of `state` does not fit one step of input.
        """
        self.check_parameters(x)
        if state is None:
            state = self.initial_state(x, dtype)
            if not torch.compiler.is_dynamo_compiling():
                register_states(state)
            return state
        self.check_state_type(state)
        name, kind = type(self).__name__, type(state).__name__
        for key, part in leaves(state):
            if part.shape != x.shape:
                hint = ""
                if part.shape[1:] == x.shape:
                    hint = " Take the last step of a recorded state."
                elif part.shape[1:] == x.shape[1:]:
                    hint = " The batch has another size: start it at rest, without a state."
                raise ValueError(
                    f"{kind}.{key} has shape {tuple(part.shape)}, but one step of input has shape "
                    f"{tuple(x.shape)}.{hint}"
                )
            if part.dtype != dtype:
                raise ValueError(
                    f"{kind}.{key} has dtype {part.dtype}, but the state of {name} is {dtype}; "
                    "convert it with .to(...)."
                )
            if part.device != x.device:
                raise ValueError(
                    f"{kind}.{key} is on {part.device}, but the input on {x.device}; move it with .to(...)."
                )
        return state

    def check_state_type(self, state: AnyState) -> None:
        """Raise `TypeError` if this is not a state of this model."""
        self.expect_state(state, type(self.rest()))

    def expect_state(self, state: AnyState, expected: type) -> None:
        """Raise `TypeError` if the state is not of the expected type."""
        if not isinstance(state, expected):
            raise TypeError(
                f"{type(self).__name__} expected a {expected.__name__} as its state, got {type(state).__name__}. "
                "Without a state it starts at rest; geir.replace_parts changes parts of a state."
            )


class Neuron(Dynamics[State], ABC):
    """A model that spikes: it has a `surrogate`, the derivative used in place of the threshold's when going backward.

    Abstract: a subclass declares its parameters and defines `rest` and `step`.

    Args:
        surrogate: The threshold function, from distance to threshold to spikes, with its surrogate derivative.

    >>> from typing import NamedTuple
    >>> import geir
    >>> class QIFState(NamedTuple):
    ...     v: torch.Tensor
    >>> class QIF(geir.Neuron[QIFState]):
    ...     tau: geir.Parameter = geir.parameter(default=20e-3, unit="s", above=0.0)
    ...
    ...     def rest(self):
    ...         return QIFState(v=torch.zeros(()))
    ...
    ...     def step(self, x, state):
    ...         v = state.v + self.dt / self.tau * (state.v**2 + x)
    ...         z = self.surrogate(v - 1)
    ...         return z, QIFState(v=v * (1 - z))
    >>> zs, state = QIF()(5 * torch.ones(100, 3))
    >>> zs.sum(0)
    tensor([25., 25., 25.])
    """

    surrogate: Callable[[Tensor], Tensor] = setting(
        default=SuperSpike(), accepts=Callable, expected="a surrogate such as geir.surrogates.SuperSpike()"
    )

    @property
    def spiking(self) -> bool:
        return True

    def __post_init__(self) -> None:
        super().__post_init__()
        reset = getattr(self, "reset_mechanism", None)
        if emits_multiple_spikes(self.surrogate) and not (reset and reset.multiple_spikes):
            given = f"reset_mechanism={reset}" if reset else "no `reset_mechanism`"
            raise ValueError(
                f"{type(self).__name__} with {given} cannot undo several spikes per step, "
                f"which {self.surrogate} emits; "
                "use a `reset_mechanism` by subtraction, such as geir.ResetBySubtraction()."
            )


def emits_multiple_spikes(surrogate: Callable[[Tensor], Tensor]) -> bool:
    """Whether a threshold function counts several spikes per step."""
    return getattr(surrogate, "multiple_spikes", False)  # any callable may be a surrogate
