"""States of neurons and networks: start anywhere, reset some samples, move."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn, Tensor
from torch.utils import _pytree as pytree

from .._util.state import AnyState, leaves
from .._util.validation import check_nested_state
from ..connections import Delay, DelayedLinear
from ..connections.delay import DelayState
from ..core.neuron import Dynamics
from ..neurons import SlidingState
from .lift import is_container_state, is_stateful, Lift
from .network import Network
from .populations import Populations, PopulationsState
from .recurrent import RecurrentSequential, RecurrentSequentialState
from .sequential import SequentialState
from .time_axis import role


def reset(model: nn.Module, state: Any, samples: Tensor, *, rest: Any = None) -> Any:
    """Set some samples of a batch to rest, and leave the others as they are.

    Args:
        model: The neuron or network whose state it is; it knows its resting state, which need not be zero.
        state: The state after the last step, however nested.
        samples: The samples to reset, a boolean tensor of shape (batch,).
        rest: State to set them to, of the structure of `state`. Default: the resting state of `model`.

    Returns:
        A new state. It keeps the gradient history of the other samples; see `detach`.

    Raises:
        TypeError: If `samples` is not a boolean tensor, the state is not one of `model`, or the model has a module
            whose resting state is not known.
        ValueError: If `samples` does not have the shape of the batch.

    >>> import geir
    >>> neuron = geir.Izhikevich()
    >>> _, state = neuron(20 * torch.ones(5, 3, 1))
    >>> state = geir.reset(neuron, state, torch.tensor([True, False, False]))
    >>> state.v.flatten()
    tensor([-70.0000, ...
    """
    if not (isinstance(samples, Tensor) and samples.dtype == torch.bool):
        given = str(samples.dtype) if isinstance(samples, Tensor) else type(samples).__name__
        raise TypeError(f"reset expected as `samples` a boolean tensor of shape (batch,), got {given}.")
    if samples.dim() != 1:
        raise ValueError(f"reset expected as `samples` a tensor of shape (batch,), got shape {tuple(samples.shape)}.")
    return _reset(model, state, samples, rest)


@torch.no_grad()
def initial_state(model: nn.Module, xs: Any) -> Any:
    """The state of a neuron or network at rest, for input like this.

    The model runs one step to find the shapes of its states; its buffers and random numbers are left as they are.

    Args:
        model: The neuron or network.
        xs: Input, as the model takes it, shape (time, batch, ...) with at least one step; one step for a cell or a
            network of cells.

    Returns:
        The state, as a call of the model returns it.

    Raises:
        TypeError: If the model has no state, or has a module whose resting state is not known.

    >>> import geir
    >>> model = geir.SequentialState(nn.Linear(3, 4), geir.LIF(v_rest=0.2), lift=True)
    >>> geir.initial_state(model, torch.rand(20, 1, 3))[1].v
    tensor([[0.2000, 0.2000, 0.2000, 0.2000]])
    """
    if not is_stateful(model):
        raise TypeError(f"initial_state expected a neuron or a network with state, got {type(model).__name__}.")
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.random.fork_rng():
        _, state = model(xs if role(model) == "step" else pytree.tree_map_only(Tensor, lambda part: part[:1], xs))
    for name, buffer in model.named_buffers():
        # Not those that stayed the same: a write would invalidate what depends on them.
        if not torch.equal(buffer, buffers[name]):
            buffer.copy_(buffers[name])
    return _reset(model, state, None, None)


def replace_parts(state: Any, **parts: float | Tensor | Callable[[Tensor], Tensor]) -> Any:
    """A state with some parts replaced by name, to start a run anywhere.

    Args:
        state: A state, however nested, such as that of `initial_state`.
        **parts: For each name of a part, such as `v`, a number, a tensor that broadcasts to it, or a function that
            maps the part to a new one. Parts of this name are replaced in all neurons of a network.

    Returns:
        A new state.

    Raises:
        ValueError: If no part has this name, or the new part has another shape.

    >>> import geir
    >>> state = geir.initial_state(geir.LIF(), torch.rand(20, 2, 3))
    >>> geir.replace_parts(state, v=torch.rand_like, i=0.5).i
    tensor([[0.5000, 0.5000, 0.5000],
            [0.5000, 0.5000, 0.5000]])
    """
    replaced: set[str] = set()
    result = _replace(state, parts, replaced)
    for name in parts:
        if name not in replaced:
            available = ", ".join(sorted(set(_names(state)))) or "none"
            raise ValueError(f"replace_parts: the state has no part {name!r}. It has: {available}.")
    return result


def move_state(state: Any, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Any:
    """A state on another device, or its floating-point parts in another dtype.

    Args:
        state: A state, however nested, or None.
        device: Where to move it. Default: where it is.
        dtype: Floating-point dtype. Default: as it is.

    Raises:
        TypeError: If `state` is no state, such as a model.

    >>> import geir
    >>> _, state = geir.LIF()(torch.rand(20, 2, 3))
    >>> geir.move_state(state, dtype=torch.float64).v.dtype
    torch.float64
    """

    check_nested_state("move_state", state)

    def move(part: Tensor) -> Tensor:
        return part.to(device=device, dtype=dtype if part.is_floating_point() else None)

    return pytree.tree_map_only(Tensor, move, state)


def _reset(module: nn.Module, state: Any, samples: Tensor | None, rest: Any) -> Any:
    """The state with these samples at rest, or with all of them if `samples` is None."""
    if state is None or (isinstance(state, tuple) and not state):
        return state
    name = type(module).__name__
    if isinstance(module, Lift):
        return _reset(module.module, state, samples, rest)
    if isinstance(module, SequentialState | Network):
        parts = list(module) if isinstance(module, SequentialState) else list(_stateful_modules(module))
        if not is_container_state(state):
            raise TypeError(f"reset expected the state of {name}, a tuple, got {type(state).__name__}.")
        if len(parts) != len(state):
            raise TypeError(
                f"reset found {len(parts)} modules with state in {name}, but the state has {len(state)} entries; "
                "its modules must be called once, in the order of their definition, or pass `rest`."
                if rest is None
                else f"reset expected a state of {len(parts)} entries, got {len(state)}."
            )
        rests = rest if rest is not None else (None,) * len(state)
        return tuple(_reset(*entry) for entry in zip(parts, state, (samples,) * len(state), rests, strict=True))
    if isinstance(module, RecurrentSequential):
        if not isinstance(state, RecurrentSequentialState):
            raise TypeError(f"reset expected a RecurrentSequentialState, got {type(state).__name__}.")
        cache = torch.zeros_like(state.cache) if rest is None else rest.cache
        inner = _reset(module.modules_in_sequence, state.state, samples, None if rest is None else rest.state)
        return RecurrentSequentialState(_choose(state.cache, cache, samples), inner)
    if isinstance(module, Populations):
        if not isinstance(state, PopulationsState):
            raise TypeError(f"reset expected a PopulationsState, got {type(state).__name__}.")
        silent = pytree.tree_map_only(Tensor, torch.zeros_like, state) if rest is None else rest
        rests = (None,) * len(state.neurons) if rest is None else rest.neurons
        layers = zip(module.neurons.values(), state.neurons, rests, strict=True)
        neurons = tuple(_reset(layer, part, samples, of) for layer, part, of in layers)
        return PopulationsState(neurons, *_choose(state[1:], silent[1:], samples))
    if isinstance(module, Dynamics):
        module.check_state_type(state)
        if rest is None:
            rest = _rest_of(module, state)
        return _choose(state, rest, samples)
    if rest is not None:
        return _choose(state, rest, samples, dimension=1 if isinstance(module, nn.RNNBase) else 0)
    rests_at_zero = getattr(module, "rests_at_zero", False)
    if rests_at_zero or isinstance(module, Delay | DelayedLinear | nn.RNNBase | nn.RNNCellBase):
        zeros = pytree.tree_map_only(Tensor, torch.zeros_like, state)
        return _choose(state, zeros, samples, dimension=1 if isinstance(module, nn.RNNBase) else 0)
    raise TypeError(f"the resting state of {name} is not known; pass the state to reset to: reset(..., rest=...).")


def _stateful_modules(module: nn.Module) -> Iterator[nn.Module]:
    """The modules with state, in the order of their definition, without those inside of them."""
    for child in module.children():
        if is_stateful(child):
            yield child
        else:
            yield from _stateful_modules(child)


def _rest_of(module: Dynamics, state: AnyState) -> AnyState:
    parts = [part for _, part in leaves(state)]
    # Integers, such as counters, have the shape of one step too.
    floating = [part for part in parts if part.is_floating_point()] or parts
    return module.initial_state(floating[0].detach(), floating[0].dtype) if parts else state


def _choose(state: Any, rest: Any, samples: Tensor | None, dimension: int = 0) -> Any:
    """Parts of `rest` in these samples, of `state` in the others; the batch has this dimension."""
    if isinstance(state, Tensor):
        if not isinstance(rest, Tensor) or rest.shape != state.shape:
            given = f"shape {tuple(rest.shape)}" if isinstance(rest, Tensor) else type(rest).__name__
            raise ValueError(f"reset expected a resting state of shape {tuple(state.shape)}, got {given}.")
        if samples is None:
            return rest
        if state.dim() <= dimension or state.shape[dimension] != len(samples):
            raise ValueError(
                f"reset got {len(samples)} samples, but a part of the state has shape {tuple(state.shape)}; expected "
                f"(batch, ...), one entry of `samples` for each sample, and a state after one step, not a recorded one."
            )
        shape = [1] * state.dim()
        shape[dimension] = len(samples)
        return torch.where(samples.to(state.device).view(shape), rest, state)
    if isinstance(state, tuple | list):
        if isinstance(state, DelayState | SlidingState):
            dimension = 1
        parts = [_choose(*pair, samples, dimension) for pair in zip(state, rest, strict=True)]
        kind: Any = type(state)
        return kind(*parts) if hasattr(state, "_fields") else kind(parts)
    return state


def _replace(state: Any, parts: dict[str, Any], replaced: set[str]) -> Any:
    if not isinstance(state, tuple | list):
        return state
    if not hasattr(state, "_fields"):
        return type(state)([_replace(part, parts, replaced) for part in state])
    values: dict[str, Any] = {}
    for name, part in zip(state._fields, state, strict=True):  # pyright: ignore[reportAttributeAccessIssue]  (has it)
        if name not in parts or not isinstance(part, Tensor):
            values[name] = _replace(part, parts, replaced)
            continue
        replaced.add(name)
        given = parts[name]
        value = torch.as_tensor(given(part) if callable(given) else given, dtype=part.dtype, device=part.device)
        try:
            values[name] = value.expand(part.shape)
        except RuntimeError:
            raise ValueError(
                f"replace_parts: {name} has shape {tuple(part.shape)}, got a new part of shape {tuple(value.shape)}."
            ) from None
    return type(state)(**values)


def _names(state: Any) -> Iterator[str]:
    for name, part in zip(getattr(state, "_fields", [""] * len(state)), state, strict=True):
        if isinstance(part, Tensor) and name:
            yield name
        elif isinstance(part, tuple | list):
            yield from _names(part)
