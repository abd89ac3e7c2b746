"""States: named tuples of tensors, nested where a wrapper holds the state of a neuron."""

import inspect
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import nn, Tensor
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals
from torch.utils import _pytree as pytree

# A named tuple of tensors or of further states. Functions here work on all of them and access fields by name, which no
# type expresses.
AnyState = Any


_Kind = TypeVar("_Kind", bound=type)
_registered: set[type] = set()


def state_type(kind: _Kind) -> _Kind:
    """Let PyTorch save and load states of this type, as a decorator of the named tuple.

    `torch.export.save` can then save models that take or return them, and `torch.load` can load them with its
    default, `weights_only=True`, also in another process that has defined the type. The types of the fields
    are registered too.
    """
    if kind in _registered:
        return kind
    _registered.add(kind)
    name = _full_name(kind)
    if kind not in pytree.SUPPORTED_SERIALIZED_TYPES:  # else the user did it
        # PyTorch's own way for named tuples; there is no public one.
        pytree._register_namedtuple(kind, serialized_type_name=name)
    safe = get_safe_globals()
    others = [entry for entry in safe if not (isinstance(entry, type) and _full_name(entry) == name)]
    if len(others) < len(safe):  # the type is defined again, for example in a notebook: the new one counts
        clear_safe_globals()
        add_safe_globals(others)
    add_safe_globals([kind])
    for part in inspect.get_annotations(kind).values():
        if _is_state_type(part):
            state_type(part)
    return kind


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_state_type(kind: object) -> typing.TypeGuard[type]:
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


def register_state_types(model_class: type) -> None:
    """Register the state types in the base classes of a model: `LIFState` of ``class LIF(Neuron[LIFState])``."""
    for base in vars(model_class).get("__orig_bases__", ()):
        for argument in typing.get_args(base):
            if _is_state_type(argument):
                state_type(argument)


def register_states(state: AnyState) -> None:
    """Register the types of a state and of the states in it, where their definition did not."""
    if type(state) not in _registered and _is_state_type(type(state)):
        state_type(type(state))
    for part in state:
        if isinstance(part, tuple):
            register_states(part)


def leaves(state: AnyState, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a state with its dotted name, such as `neuron.v`."""
    for name, part in zip(state._fields, state, strict=True):
        if isinstance(part, tuple):
            yield from leaves(part, f"{prefix}{name}.")
        else:
            yield prefix + name, part


def map_state(function: Callable[..., Any], *states: AnyState) -> AnyState:
    """A state of the same structure, each tensor replaced by the function of the given states' tensors."""
    parts = (map_state(function, *p) if isinstance(p[0], tuple) else function(*p) for p in zip(*states, strict=True))
    return type(states[0])(*parts)


def expand_state(state: AnyState, x: Tensor, dtype: torch.dtype) -> AnyState:
    """A resting state expanded to the shape of one step of input `x`, on its device."""
    return map_state(lambda part: torch.as_tensor(part, device=x.device, dtype=dtype).expand(x.shape), state)


def potential(state: AnyState) -> Tensor:
    """The membrane potential `v` of a state, or of the neuron state inside it."""
    return state.v if "v" in state._fields else potential(state.neuron)


def has_potential(state: AnyState) -> bool:
    """Whether a state, or the neuron state inside it, has a membrane potential `v`."""
    return "v" in state._fields or ("neuron" in state._fields and has_potential(state.neuron))


def with_potential(state: AnyState, v: Tensor) -> AnyState:
    """The state with its membrane potential replaced."""
    if "v" in state._fields:
        return state._replace(v=v)
    return state._replace(neuron=with_potential(state.neuron, v))


def working_dtype(parameters: Iterable[Tensor]) -> torch.dtype:
    """Dtype of states and coefficients: float64 if any parameter is, else float32."""
    return torch.float64 if any(t.dtype == torch.float64 for t in parameters) else torch.float32


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a module and its submodules, by name."""
    if not module._modules:
        return {
            name: tensor
            for tensors in (module._parameters, module._buffers)
            for name, tensor in tensors.items()
            if tensor is not None
        }
    return {
        f"{prefix}.{name}" if prefix else name: tensor
        for prefix, part in module.named_modules()
        for tensors in (part._parameters, part._buffers)
        for name, tensor in tensors.items()
        if tensor is not None
    }


def map_tensors(function: Callable[[Tensor], Any], value: Any) -> Any:
    """Nested tuples, lists and dictionaries with every tensor replaced by the function of it."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: map_tensors(function, part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [map_tensors(function, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value
