"""The base class of features that apply to any neuron: modules around a neuron."""

import inspect
from abc import ABC
from collections.abc import Callable
from typing import Any, cast, ClassVar

import torch
from torch import Tensor

from .._runtime.stepper import Prepared
from .._util.attributes import derived_attribute
from .._util.inputs import AnyInput
from .._util.state import AnyState, has_potential
from ..core.neuron import Dynamics, Neuron
from ..core.parameters import Declared, setting
from .cell import CellMixin

# Arguments of the outer module only: the inner one is a plain layer.
_OUTER_ONLY = ("record_states", "unroll")


def _forward_attribute(name: str) -> Any:
    """A property of a module around a neuron: the attribute of the neuron."""

    def get(module: "Composite") -> object:
        return getattr(module.neuron, name)

    return property(get, doc=f"`{name}` of the wrapped neuron.")


class Composite(Declared):
    """A module around a neuron.

    It is given the neuron, ``Refractory(LIF(tau_mem=0.02), period=5e-3)``. A named variant is a subclass that
    says which neuron it wraps, ``class LIFRefrac(Refractory, wraps=LIF): ...``; it takes the parameters of
    both, ``LIFRefrac(tau_mem=0.02, period=5e-3)``, and makes the neuron itself. The parameters of the inner
    neuron are attributes of a named variant too, ``variant.tau_mem``; in its `state_dict` they are called
    ``neuron.tau_mem``.

    Args:
        neuron: The neuron to wrap.
    """

    wraps: ClassVar[type[Dynamics] | None] = None
    _forwarded: ClassVar[frozenset[str]] = frozenset()

    neuron: Dynamics = setting(kw_only=False, accepts=Dynamics, expected="a neuron")

    def __init_subclass__(cls, wraps: type[Dynamics] | None = None, **keywords: object) -> None:
        if wraps is not None:
            cls.wraps = wraps
            if cls.__doc__ is None:
                wrapper = next(base for base in cls.__bases__ if issubclass(base, Composite))
                cls.__doc__ = f"`{wrapper.__name__}` around `{wraps.__name__}`.\n\n{inspect.getdoc(wrapper)}"
        super().__init_subclass__(**keywords)
        if wraps is not None:
            cls._forwarded = frozenset(_inner_parameters(wraps)) - cls._declarations.keys()
            for name in cls._forwarded:
                if not hasattr(cls, name):
                    setattr(cls, name, _forward_attribute(name))

    @classmethod
    def _argument_sources(cls) -> tuple[type, ...]:
        return () if cls.wraps is None else (cls.wraps,)

    @classmethod
    def _make_signature(cls) -> inspect.Signature:
        signature = super()._make_signature()
        if cls.wraps is None:
            return signature
        entries = {name: entry for name, entry in signature.parameters.items() if name != "neuron"}
        entries |= {name: entry for name, entry in _inner_parameters(cls.wraps).items() if name not in entries}
        return inspect.Signature(sorted(entries.values(), key=lambda entry: entry.kind))

    @classmethod
    def _bind_arguments(cls, arguments: tuple[object, ...], keywords: dict[str, object]) -> dict[str, Any]:
        values = super()._bind_arguments(arguments, keywords)
        if cls.wraps is None:
            return values
        neuron = cls.wraps(**{name: values[name] for name in _inner_parameters(cls.wraps)})
        return {"neuron": neuron} | {name: value for name, value in values.items() if name in cls._declarations}

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.neuron, CellMixin) or self.neuron.record_states:
            raise ValueError(
                f"{type(self).__name__} wraps a layer over time that does not record states, such as LIF(), "
                f"got {self.neuron}. The wrapper records states itself: {type(self).__name__}(..., record_states=True)."
            )

    def __setattr__(self, name: str, value: Any) -> None:
        if name in type(self)._forwarded:
            setattr(self.neuron, name, value)
        else:
            super().__setattr__(name, value)


def _inner_parameters(wraps: type[Dynamics]) -> dict[str, inspect.Parameter]:
    """The constructor arguments of a wrapped class that a named variant passes on to it."""
    signature = inspect.signature(wraps)
    return {name: entry for name, entry in signature.parameters.items() if name not in _OUTER_ONLY}


class Wrapper(Composite, Dynamics, ABC):
    """A model made of another model.

    Abstract: a subclass defines `step`, which calls that of `self.neuron`, and, if it adds to the state,
    `initial_state` and `check_state_type`. What it does not define is that of the wrapped model.
    """

    @derived_attribute
    def input_types(self) -> tuple[type, ...]:
        """Types of input of the wrapped model."""
        return self.neuron.input_types

    @derived_attribute
    def dt(self) -> float:
        """Step size of the wrapped model in seconds."""
        return self.neuron.dt

    @property
    def surrogate(self) -> Callable[[Tensor], Tensor]:
        """The threshold function of the wrapped neuron."""
        if not self.neuron.spiking:
            raise AttributeError(
                f"{type(self).__name__} has no surrogate: {type(self.neuron).__name__} does not spike."
            )
        return cast(Neuron, self.neuron).surrogate

    @property
    def elementwise(self) -> bool:
        return self.neuron.elementwise

    @property
    def spiking(self) -> bool:
        return self.neuron.spiking

    def rest(self) -> AnyState:
        """The resting state of the wrapped model, without what the wrapper adds in `initial_state`."""
        return self.neuron.rest()

    def prepare(self) -> Prepared:
        return (self.neuron.prepare(),)

    def transform_input(self, x: AnyInput, over_time: bool) -> AnyInput:
        return self.neuron.transform_input(x, over_time)

    def initial_state(self, x: Tensor, dtype: torch.dtype | None = None) -> AnyState:
        return self.neuron.initial_state(x, dtype or self.state_dtype(x))

    def check_parameters(self, x: Tensor) -> None:
        super().check_parameters(x)
        self.neuron.check_parameters(x)

    def check_state_type(self, state: AnyState) -> None:
        self.neuron.check_state_type(state)

    def require_potential(self) -> None:
        """Raise `TypeError` if the wrapped model has no membrane potential."""
        rest = self.neuron.rest()
        # With one value for each neuron, the resting state has their shape.
        shape = (
            torch.broadcast_tensors(*map(torch.as_tensor, rest))[0].shape if hasattr(rest, "_fields") and rest else ()
        )
        state = self.neuron.initial_state(torch.empty(shape, device="meta"))
        if not has_potential(state):
            parts = f"has only {', '.join(state._fields)}" if state else "is empty"
            raise TypeError(
                f"{type(self).__name__} needs a neuron with a membrane potential `v`, but the state of "
                f"{type(self.neuron).__name__} {parts}."
            )
