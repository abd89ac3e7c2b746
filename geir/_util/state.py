"""States: named tuples of tensors, nested where a wrapper holds the state of a neuron."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn, Tensor

# A named tuple of tensors or of further states. Functions here work on all of them and access fields by name, which no
# type expresses.
AnyState = Any


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
