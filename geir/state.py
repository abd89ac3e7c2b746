"""States: named tuples of tensors, nested where one neuron holds another."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor


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
