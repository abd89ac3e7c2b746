"""Models that are differential equations with jumps: they say only those, and an integrator makes the step."""

import inspect
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .integrators import Exact, ExponentialEuler, Integrator, structure
from .neuron import Dynamics, Neuron, State
from .resets import Reset, ResetToValue


class ODE(Dynamics[State]):
    """Dynamics given by a flow between jumps.

    Abstract: a subclass writes `rest`, `derivative` and, if input makes the state jump, `receive`. A subclass declared affine,
    ``class LIF(ODENeuron[LIFState], affine=True)``, promises that its derivative is affine in state and input, and is integrated exactly.

    Args:
        integrator: How the flow is advanced by `dt`. Default: `Exact()` for models declared affine, else `ExponentialEuler()`.
    """

    affine: ClassVar[bool] = False
    integrator: Integrator = ExponentialEuler()

    def __init_subclass__(cls, affine: bool | None = None, **keywords: Any) -> None:
        if affine is not None:
            cls.affine = affine
            if "integrator" not in vars(cls):
                cls.integrator = Exact() if affine else ExponentialEuler()
                cls.__annotations__ = {**inspect.get_annotations(cls), "integrator": Integrator}
        super().__init_subclass__(**keywords)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.integrator, Exact) and not self.affine:
            raise ValueError(
                f"{type(self).__name__} is not declared affine, so Exact() cannot integrate it; take ExponentialEuler()."
            )
        self.structure = structure(self) if self.affine else frozenset()

    def receive(self, x: Tensor, state: State) -> State:
        """The jump that the input makes before the flow."""
        return state

    def derivative(self, x: Tensor, state: State) -> State:
        """The time derivative of each part of the state, per second; `x` is held during a step."""
        raise NotImplementedError(f"{type(self).__name__} does not define `derivative`.")

    def prepare(self) -> tuple[Any, ...]:
        return (_prepared(self), *super().prepare())

    def advance(self, x: Tensor, state: State, prepared: tuple[Any, ...]) -> State:
        """Receive the input, then flow for `dt`."""
        (coefficients,) = prepared or self.prepare()
        return self.integrator.advance(self, x, self.receive(x, state), coefficients)


class ODENeuron(ODE[State], Neuron[State]):
    """A neuron given by a flow, a threshold and a reset; in every step in this order: receive, flow, threshold, reset.

    Abstract: a subclass writes `rest`, `derivative`, `threshold`, `reset` and, if input makes the state jump, `receive`.
    """

    def threshold(self, before: State, after: State) -> Tensor:
        """Distance to threshold, from the state before the step and after the flow: the neuron spikes where it is > 0."""
        raise NotImplementedError(f"{type(self).__name__} does not define `threshold`.")

    def reset(self, z: Tensor, state: State) -> State:
        """What spikes `z` do to the state."""
        raise NotImplementedError(f"{type(self).__name__} does not define `reset`.")

    def step(self, x: Tensor, state: State, *prepared: Any) -> tuple[Tensor, State]:
        after = self.advance(x, state, prepared)
        z = self.surrogate(self.threshold(state, after))
        return z, self.reset(z, after)


class IntegrateAndFire(ODENeuron[State]):
    """An `ODENeuron` whose spikes reset its membrane potential, the part `v` of its state.

    Abstract: a subclass has parameters `v_th` and `v_reset`, and writes `reset` only if a spike does more or they have other names.

    Args:
        reset_mechanism: What a spike does to the membrane potential.
    """

    reset_mechanism: Reset = ResetToValue()

    def reset(self, z: Tensor, state: State) -> State:
        own: Any = self
        return state._replace(v=self.reset_mechanism(z, getattr(state, "v"), own.v_reset, own.v_th))  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B009


_memo: WeakKeyDictionary[ODE, tuple[Any, list[tuple[Tensor | None, int]], Any]] = WeakKeyDictionary()


def _prepared(model: ODE) -> Any:
    """The integrator's coefficients, remembered while nothing that they depend on has changed."""
    if torch.compiler.is_compiling():
        return model.integrator.prepare(model)
    tensors, setting = [*model._parameters.values(), *model._buffers.values()], (model.integrator, model.dt)
    known = _memo.get(model)
    if known and known[0] == setting and len(tensors) == len(known[1]) and all(map(_unchanged, tensors, known[1])):
        return known[2]
    if not all(map(_rememberable, tensors)):
        return model.integrator.prepare(model)
    # Tensors made in inference mode could not be used outside of it; of parameters that are to be remembered no gradient is wanted now.
    with torch.inference_mode(False), torch.no_grad():
        coefficients = model.integrator.prepare(model)
    _memo[model] = setting, [(t, 0 if t is None else t._version) for t in tensors], coefficients
    return coefficients


def _unchanged(tensor: Tensor | None, known: tuple[Tensor | None, int]) -> bool:
    before, version = known
    return tensor is before and (
        tensor is None or (tensor._version == version and not (tensor.requires_grad and torch.is_grad_enabled()))
    )


def _rememberable(tensor: Tensor | None) -> bool:
    """Not part of a gradient, of a function transform or of a trace."""
    if tensor is None:
        return True
    transformed = torch._C._functorch.is_functorch_wrapped_tensor(tensor)  # pyright: ignore[reportAttributeAccessIssue]  (not in its stubs)
    plain = type(tensor) in (Tensor, torch.nn.Parameter) and not transformed
    return plain and not tensor.is_inference() and not (tensor.requires_grad and torch.is_grad_enabled())
