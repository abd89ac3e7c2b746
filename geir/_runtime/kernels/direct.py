"""Direct calls: runs by one call of compiled code.

A run of a few neurons for a few steps, as in a stream, takes a few microseconds; checking its arguments, finding its
program, computing coefficients and arranging tensors takes a hundred. So all of this is prepared when a module is
called for the second time in the same way, and is used as long as these are proved unchanged:

- The module, its settings and its code: the objects that a `Watch` holds are in their places. If only
  numbers of surrogates have changed, the prepared calls get the new ones. Coefficients do not depend on these.
- Parameters and buffers: they are the same tensors, with the same dtype, shape and device, and their numbers equal
  copies. The compiled code compares them right before it runs. Nothing is concluded from version counters.
- The input and the state have the same types, dtypes and shapes.

If anything differs, the call takes the ordinary way, with all its checks. So does a call for which a parameter needs
a gradient, and a run with gradients under hooks of saved tensors: `torch.utils.checkpoint` expects that a run saves the
same tensors when it is repeated.
"""

import functools
from array import array
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, cast, NamedTuple

import torch
from torch import nn, Tensor

from ..._util.state import AnyState
from ..memo import Memo, memo_of
from ..untyped import Untyped
from .direct_run import (
    data_ptr,
    describe,
    is_contiguous,
    is_neg,
    kinds_of,
    PreparedCall,
    run_call,
    run_with_gradients,
)
from .dispatch import is_special
from .prepared_run import make_constant
from .program_cache import LastProgram
from .watch import Watch

Result = tuple[Tensor, AnyState]


# Prepared calls of a module, at most.
MAX_CALLS = 8


class WatchedTensor(NamedTuple):
    """A parameter or buffer, and a copy of its numbers."""

    tensor: Tensor
    copy: Tensor


class TensorKinds(NamedTuple):
    """The types, dtypes and shapes of parameters and buffers, as they were. Numbers are not compared."""

    tensors: list[Tensor]
    kinds: list[object]
    arrays: list[Tensor]  # those that must be contiguous; a number always is

    def hold(self) -> bool:
        """Whether they are the same, and arrays still contiguous."""
        tensors, kinds, arrays = self
        return kinds_of(tensors) == kinds and all(map(is_contiguous, arrays))


def tensor_kinds(watched: Sequence[WatchedTensor]) -> TensorKinds:
    """The kinds that parameters and buffers had when they were copied."""
    tensors = [tensor for tensor, _ in watched]
    kinds = [*map(type, tensors), *(describe(copy) for _, copy in watched)]
    return TensorKinds(tensors, kinds, [tensor for tensor in tensors if tensor.numel() > 1])


class PreparedCalls:
    """The prepared calls of a module, and what they depend on.

    Args:
        watch: Watch over the step.
        watched: Parameters and buffers, with copies made before.
        structure: The type of the state and, if it holds states, those of its parts.
        seen: The kinds of the last calls; a call is prepared when its kind comes again.
    """

    def __init__(
        self,
        watch: Watch,
        watched: Sequence[WatchedTensor] = (),
        structure: Any = None,
        seen: Iterable[Hashable] = (),
    ) -> None:
        self.watch = watch
        self.watched = watched
        self.kinds = tensor_kinds(watched)
        self.tensors = self.kinds.tensors
        self.structure = structure
        self.seen = deque(seen, MAX_CALLS)
        self.calls: dict[Hashable, PreparedCall] = {}

    def with_numbers(self, watch: Watch, numbers: tuple[float, ...]) -> "PreparedCalls":
        """The same calls with other numbers."""
        prepared = PreparedCalls(watch, self.watched, self.structure, self.seen)
        for key, call in self.calls.items():
            real = call.real
            prepared.calls[key] = call.with_numbers([make_constant(n, real.dtype, real.device) for n in numbers])
        return prepared


def run_directly(module: nn.Module, x: object, state: AnyState) -> Result | None:
    """Run a module by a prepared call; None if there is none, or if it cannot be used now.

    Args:
        module: A cell or a layer over time.
        x: Its input.
        state: The state to start from, or None.
    """
    # A functorch tensor has no address, and a step that is traced may not ask what a tensor is like.
    return None if torch.compiler.is_compiling() or is_special() else run_prepared(module, x, state)


def run_prepared(module: nn.Module, x: object, state: AnyState) -> Result | None:
    """The same where nothing is compiled, and `is_special` says no."""
    prepared = prepared_calls(module)
    if prepared is None or not prepared.calls:
        return None
    if not prepared.watch.holds(module):
        prepared = _renewed(prepared, module)
    return run_proved(prepared, module, x, state) if prepared is not None and prepared.kinds.hold() else None


def prepared_calls(module: nn.Module) -> PreparedCalls | None:
    """The prepared calls of a module, if there are any."""
    memo = memo_of(module)
    prepared = memo.direct if memo else None
    return prepared if type(prepared) is PreparedCalls else None


def run_proved(prepared: PreparedCalls, module: nn.Module, x: object, state: AnyState) -> Result | None:
    """The same where the watch holds, and the kinds of parameters and buffers."""
    if type(x) is not Tensor:
        return None
    call = prepared.calls.get(describe(x))
    if call is None or x.is_neg() or not x.data_ptr():
        return None
    tensors = prepared.tensors
    if state is None:
        parts = call.rest  # an initial state that is computed is checked when it is
    else:
        parts = _flat(state, prepared.structure)
        if parts is None or kinds_of(parts) != call.kinds:
            return None
    grad_enabled = torch.is_grad_enabled()
    if grad_enabled and any(tensor.requires_grad for tensor in tensors):
        return None
    addresses = [*map(data_ptr, tensors)]
    if parts is None:
        parts = _start(module, x, prepared.structure, call, addresses)
        if parts is None:
            return None
    elif not all(map(is_contiguous, parts)) or any(map(is_neg, parts)):
        parts = [part.resolve_neg().contiguous() for part in parts]
    addresses += map(data_ptr, parts)
    if 0 in addresses:
        return None
    if grad_enabled and (x.requires_grad or any(part.requires_grad for part in parts)):
        if has_saved_tensor_hooks():
            return None
        repeat = None if call.over_time else functools.partial(_repeat_step, module, prepared, call, addresses)
        outcome = run_with_gradients(call, addresses, x, parts, repeat)
    else:
        outcome = run_call(call, addresses, x if x.is_contiguous() else x.contiguous(), None)
    if outcome is None:
        return None
    zs, final = outcome
    kind, nested = prepared.structure
    return zs, kind(*final) if nested is None else _rebuild(prepared.structure, iter(final))


def _renewed(prepared: PreparedCalls, module: nn.Module) -> PreparedCalls | None:
    """The prepared calls if nothing has changed; with other numbers, which are remembered, if only numbers have."""
    memo = cast(Memo, memo_of(module))
    watch = prepared.watch.renewed() if prepared.watch.is_of(module) else None
    if watch is None or watch is prepared.watch:
        return prepared if watch else None
    last: LastProgram | None = memo.program if memo.program.watch is prepared.watch else None
    renumbered = last.renumbered(watch) if last else None
    if renumbered is None:
        return None
    memo.program, memo.direct = renumbered, prepared.with_numbers(watch, renumbered.program.numbers)
    return memo.direct


def _repeat_step(
    module: nn.Module,
    prepared: PreparedCalls,
    call: PreparedCall,
    addresses: Sequence[int],
    x: Tensor,
    parts: Sequence[Tensor],
) -> list[Tensor]:
    """Output and the parts of the next state of a cell by its reference step, to differentiate them twice.

    Raises:
        RuntimeError: If the cell has changed since it was called.
    """
    if not prepared.watch.holds(module) or not call.functions.unchanged(call.fixed, array("q", addresses).tobytes()):
        raise RuntimeError(
            f"{type(module).__name__} was changed between its call and a backward pass with create_graph=True, which "
            "repeats the step; change it after the backward pass."
        )
    stepper = cast(Untyped, module).stepper(call.real.dtype)
    state = _rebuild(prepared.structure, iter(parts))
    z, after = stepper.step(x.to(stepper.dtype), state, *stepper.prepared)
    next_parts = list[Tensor]()
    _flatten(after, prepared.structure, next_parts)
    return [z.to(x.dtype), *next_parts]


def _start(
    module: nn.Module, x: Tensor, structure: Any, call: PreparedCall, addresses: list[int]
) -> Sequence[Tensor] | None:
    """The parts of an initial state that may depend on anything, such as PyTorch's random generator.

    So it is computed only when nothing can lead to the ordinary way any more, which would draw random numbers a second
    time; else None.
    """
    if 0 in addresses or not call.functions.unchanged(call.fixed, array("q", addresses).tobytes()):
        return None
    if torch.is_grad_enabled() and has_saved_tensor_hooks():
        return None
    shape = x.shape[1:] if call.over_time else x.shape
    state = cast(Untyped, module).start_state(x.new_empty(()).expand(shape), None, call.real.dtype)
    parts = _flat(state, structure)
    if parts is None or kinds_of(parts) != call.kinds:
        return None
    return [part.resolve_neg().contiguous() for part in parts]


def has_saved_tensor_hooks() -> bool:
    """Whether hooks of saved tensors may be active; old versions of PyTorch do not tell."""
    functions = torch._C._autograd  # pyright: ignore[reportAttributeAccessIssue]  (not in its stubs)
    find = getattr(functions, "_top_saved_tensors_default_hooks", None)
    return find is None or find(False) is not None


def _flat(state: AnyState, structure: Any) -> Sequence[Tensor] | None:
    """The parts of a state; None if it is another kind of state."""
    kind, nested = structure
    if nested is None:
        return state if type(state) is kind else None
    parts = list[Tensor]()
    return parts if _flatten(state, structure, parts) else None


def _flatten(state: AnyState, structure: Any, parts: list[Tensor]) -> bool:
    """Append the tensors of a state; whether it has the structure."""
    kind, inner = structure
    if type(state) is not kind:
        return False
    for part, nested in zip(state, inner or [None] * len(state), strict=True):
        if nested is None:
            parts.append(part)
        elif not _flatten(part, nested, parts):
            return False
    return True


def _rebuild(structure: Any, parts: Iterator[Tensor]) -> AnyState:
    kind, inner = structure
    if inner is None:
        return kind(*(next(parts) for _ in kind._fields))
    return kind(*(next(parts) if nested is None else _rebuild(nested, parts) for nested in inner))
