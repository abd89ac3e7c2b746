"""States: named tuples of tensors, nested where one neuron holds another."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn


def leaves(state: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Each tensor of a state with its dotted name, such as `neuron.v`."""
    for name, part in zip(state._fields, state, strict=True):
        if isinstance(part, tuple):
            yield from leaves(part, f"{prefix}{name}.")
        else:
            yield prefix + name, part


def map_state(function: Callable[..., Tensor], *states: Any) -> Any:
    """A state of the same structure, each tensor the function of the given states' tensors."""
    parts = (map_state(function, *p) if isinstance(p[0], tuple) else function(*p) for p in zip(*states, strict=True))
    return type(states[0])(*parts)


def spread(state: Any, x: Tensor, dtype: torch.dtype) -> Any:
    """A resting state in every place of one step of input `x`; a part with a method `spread` says itself how it starts in each."""
    if isinstance(state, tuple):
        own: Any = getattr(state, "spread", None)
        return own(x, dtype) if own else type(state)(*(spread(part, x, dtype) for part in state))
    return torch.as_tensor(state, device=x.device, dtype=dtype).expand(x.shape)


def potential(state: Any) -> Tensor:
    """The potential `v` in a state, or in that of the neuron in it."""
    return state.v if "v" in state._fields else potential(state.neuron)


def has_potential(state: Any) -> bool:
    """Whether there is one."""
    return "v" in state._fields or ("neuron" in state._fields and has_potential(state.neuron))


def with_potential(state: Any, v: Tensor) -> Any:
    """The state with another potential."""
    return state._replace(v=v) if "v" in state._fields else state._replace(neuron=with_potential(state.neuron, v))


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """The module's parameters and buffers by name."""
    if not module._modules:
        return {
            name: tensor
            for own in (module._parameters, module._buffers)
            for name, tensor in own.items()
            if tensor is not None
        }
    return {
        f"{prefix}.{name}" if prefix else name: tensor
        for prefix, part in module.named_modules()
        for own in (part._parameters, part._buffers)
        for name, tensor in own.items()
        if tensor is not None
    }


def map_tensors(function: Callable[[Tensor], Any], value: Any) -> Any:
    """Anything nested with each tensor in it replaced by its function."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: map_tensors(function, part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [map_tensors(function, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value
