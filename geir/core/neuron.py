"""The contract: declared parameters, a resting state and a pure step. Everything else follows from it."""

import numbers
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from .._runtime.kernels import fused
from .._util.state import leaves, spread, tensors_of
from ..surrogates import SuperSpike
from .integrators import working_dtype
from .parameters import Declared, setting

State = TypeVar("State", bound=tuple)


class Dynamics(Declared, Generic[State]):
    """A module with a state that moves in steps of `dt`: neurons, synapses, filters.

    Abstract: a subclass writes `rest` and `step`, elementwise over neurons. Called, it runs over time.

    Args:
        dt: Step size in seconds.
        record_states: Whether a run returns the states after every step instead of only the last.
        unroll: What runs the step over time: kernels derived from it, or `geir.reference`, the loop that defines them.
    """

    recurrent: ClassVar[bool] = False  # whether output feeds back; then `react` is the step given all input
    elementwise: ClassVar[bool] = (
        True  # whether neurons leave one another alone within a step; else it runs on the reference loop
    )

    dt: float = setting(
        default=1e-3,
        accepts=numbers.Real,
        check=lambda dt: 0 < dt < float("inf"),
        expected="a positive number of seconds",
    )
    record_states: bool = False
    unroll: Callable[..., tuple[Tensor, Any]] = setting(
        default=fused, accepts=Callable, expected="geir.Fused(...) or geir.reference"
    )

    def rest(self) -> State:
        """The state of a silent neuron, broadcastable to one step of input."""
        raise NotImplementedError(f"{type(self).__name__} does not define `rest`.")

    def step(self, x: Tensor, state: State, *prepared: Any) -> tuple[Tensor, State]:
        """Advance by `dt`: input and state to output and next state, elementwise and without side effect.

        Args:
            x: One step of input, shape (...).
            state: State before the step, each part of shape (...).
            *prepared: What `prepare` returned; models that prepare nothing leave it out.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define `step`.")

    def prepare(self) -> tuple[Any, ...]:
        """What depends on parameters only, computed once per call and passed to every step."""
        return ()

    def resting_state(self) -> Any:
        """`rest`, and what the forms of the model add to it."""
        return self.rest()

    def transform_input(self, x: Tensor, over_time: bool) -> Tensor:
        """What happens to the input before the step, for all times at once or for one."""
        return x

    def state_dtype(self, x: Tensor) -> torch.dtype:
        """float64 if a parameter is, else float32, whatever the dtype of the input; without parameters float64 if the input is."""
        return working_dtype(tensors_of(self).values() or [x])

    def initial_state(self, x: Tensor) -> Any:
        """The state at rest.

        Args:
            x: One step of input, shape (...); it gives shape and device.
        """
        return self._at_rest(x, self.state_dtype(x))

    def _at_rest(self, x: Tensor, dtype: torch.dtype) -> Any:
        return spread(self.resting_state(), x, dtype)

    def forward(self, xs: Any, state: Any = None) -> tuple[Tensor, Any]:
        """Run over time.

        Args:
            xs: Input, shape (time, ...), or the pair of output and state that the module before returned, whose state is passed over.
            state: State to continue from, each part of shape (...). Default: at rest.

        Returns:
            Output, shape (time, ...), in the input's dtype, and the state after the last step; with `record_states` the states after
            every step, each part of shape (time, ...).

        Raises:
            TypeError: If `xs` is not a floating-point tensor, or `state` not a state of this model.
            ValueError: If `xs` has no time, or a part of `state` or a parameter does not fit one step of input.
        """
        xs = self.check_input(xs)
        if xs.dim() == 0:
            raise ValueError(
                f"{type(self).__name__} runs over time: it takes (time, ...), got a tensor without dimensions; for one step take a cell."
            )
        inputs = self.transform_input(xs, over_time=True)
        # Not `inputs[0]`: there may be no step at all.
        state = self.check_state(inputs.new_empty(()).expand(inputs.shape[1:]), state, self.state_dtype(inputs))
        return self.unroll(self, inputs, state, self.record_states)

    def check_parameters(self, x: Tensor) -> None:
        """Raise `ValueError` if a parameter does not fit one step of input `x`."""
        own = (*self._parameters.values(), *self._buffers.values())
        if all(t is None or (t.dim() == 0 and t.device == x.device) for t in own):
            return
        name = type(self).__name__
        for key, tensor in self.declared_parameters().items():
            if tensor.device != x.device:
                raise ValueError(
                    f"{name}.{key} is on {tensor.device}, but its input on {x.device}; move one with .to(...)."
                )
            if tensor.dim() > x.dim() or any(a != b != 1 for a, b in zip(x.shape[::-1], tensor.shape[::-1])):  # noqa: B905  (the shorter broadcasts)
                raise ValueError(
                    f"{name}.{key} has shape {tuple(tensor.shape)}, which does not broadcast to one step of input, {tuple(x.shape)}."
                )

    def check_input(self, x: Any) -> Tensor:
        """The input tensor, out of an (output, state) pair if need be, refused if it is not one for this neuron."""
        name = type(self).__name__
        if isinstance(x, tuple):
            x = x[0]
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} takes a tensor, got {type(x).__name__}.")
        if not x.is_floating_point():
            raise TypeError(f"{name} takes floating-point input, got {x.dtype}; convert it with .float().")
        if x.dtype == torch.float64 and self.state_dtype(x) != torch.float64:
            raise TypeError(
                f"{name} has float32 parameters, but its input is float64; convert one: input.float() or neuron.double()."
            )
        return x

    def check_state(self, x: Tensor, state: Any, dtype: torch.dtype) -> Any:
        """The state to start from: at rest, or the one given, refused if it does not fit one step of input `x`."""
        for part in (self, *(child for child in self.children() if isinstance(child, Dynamics))):
            part.check_parameters(x)
        if state is None:
            return self._at_rest(x, dtype)
        name, rest = type(self).__name__, self.resting_state()
        kind = type(rest).__name__
        if not isinstance(state, type(rest)):
            raise TypeError(f"{name} continues from a {kind}, got {type(state).__name__}.")
        for key, part in leaves(state):
            if part.shape != x.shape:
                hint = " Take the last step of a recorded state." if part.shape[1:] == x.shape else ""
                raise ValueError(
                    f"{kind}.{key} has shape {tuple(part.shape)}, but one step of input has shape {tuple(x.shape)}.{hint}"
                )
            if part.dtype != dtype:
                raise ValueError(
                    f"{kind}.{key} has dtype {part.dtype}, but {name} keeps its state in {dtype}; convert it with .to(...)."
                )
            if part.device != x.device:
                raise ValueError(
                    f"{kind}.{key} is on {part.device}, but the input on {x.device}; move it with .to(...)."
                )
        return state


class Neuron(Dynamics[State]):
    """A model that spikes: it has a `surrogate`, the derivative that its threshold uses backward.

    Abstract: a subclass declares its parameters and writes `rest` and `step`.

    Args:
        surrogate: The threshold: from the distance to threshold to spikes.

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

    def __post_init__(self) -> None:
        super().__post_init__()
        reset = getattr(self, "reset_mechanism", None)
        if getattr(self.surrogate, "multiple_spikes", False) and not getattr(reset, "multiple_spikes", False):
            given = f"reset_mechanism={reset}" if reset else "no `reset_mechanism`"
            raise ValueError(
                f"{type(self).__name__} with {given} cannot take back several spikes of one step, which {self.surrogate} counts; "
                "that needs a `reset_mechanism` by subtraction, such as geir.ResetBySubtraction()."
            )
