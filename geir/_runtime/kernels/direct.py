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
a gradient, a step of a cell for which anything does, and a run with gradients under hooks of saved tensors:
`torch.utils.checkpoint` expects that a run saves the same tensors when it is repeated.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, cast, NamedTuple

import torch
from torch import nn, Tensor
from torch.autograd import Function

from ..._util.state import AnyState
from .. import memory, threads
from ..batched_gradients import accept_batched_gradients
from ..memo import memo_of
from ..untyped import Context, Untyped
from . import cpu
from .autograd import differentiate
from .cpu import DirectFunctions
from .dispatch import is_special
from .feedforward import contiguous
from .plan import Plan
from .program_cache import LastProgram, make_constant
from .watch import Watch

Result = tuple[Tensor, AnyState]


# Prepared calls of a module, at most.
MAX_CALLS = 8


class WatchedTensor(NamedTuple):
    """A parameter or buffer, and what it was."""

    tensor: Tensor
    dtype: torch.dtype
    shape: torch.Size
    copy: Tensor


class PreparedCall(NamedTuple):
    """A prepared call."""

    functions: DirectFunctions
    pack: Callable[..., bytes]
    fields: list[int]  # of the forward function; those that change from call to call are zero
    dynamic: int  # index of the input in them; output, initial state, final state and checkpoints follow
    pack_backward: Callable[..., bytes]
    backward_fields: list[int]  # of the backward function
    over_time: bool
    steps: int
    neurons: int
    small: bool  # whether one thread runs it
    step_shape: torch.Size
    plan: Plan  # of the backward pass
    like: Tensor  # of the shape and dtype of the stacked state
    rest: Tensor | None  # the initial state, stacked; None if it may differ from call to call
    constants: list[Tensor]  # the last ones are the numbers among the settings
    numbers: list[str]  # names of the constants that are numbers
    keep: list[Tensor]  # tensors that the fields point to

    def with_numbers(self, tensors: list[Tensor]) -> "PreparedCall":
        """The same call with other numbers."""
        if not tensors:
            return self
        replaced = {id(old): new for old, new in zip(self.constants[-len(tensors) :], tensors, strict=True)}
        fields, backward_fields = self.fields.copy(), self.backward_fields.copy()
        for name, tensor in zip(self.numbers, tensors, strict=True):
            fields[self.dynamic + self.functions.forward_names.index(name)] = tensor.data_ptr()
            backward_fields[self.functions.backward_names.index(name)] = tensor.data_ptr()
        return self._replace(
            fields=fields,
            backward_fields=backward_fields,
            constants=[*self.constants[: -len(tensors)], *tensors],
            keep=[replaced.get(id(tensor), tensor) for tensor in self.keep],
        )


class PreparedCalls:
    """The prepared calls of a module, and what they depend on.

    Args:
        watch: Watch over the step.
        tensors: Parameters and buffers.
        structure: The type of the state and, if it holds states, those of its parts.
        seen: The kinds of the last calls; a call is prepared when its kind comes again.
    """

    def __init__(
        self,
        watch: Watch,
        tensors: Sequence[WatchedTensor] = (),
        structure: Any = None,
        seen: Iterable[Hashable] = (),
    ) -> None:
        self.watch = watch
        self.tensors = tensors
        self.structure = structure
        self.seen = deque(seen, MAX_CALLS)
        self.calls: dict[Hashable, PreparedCall] = {}

    def with_numbers(self, watch: Watch, numbers: tuple[float, ...]) -> "PreparedCalls":
        """The same calls with other numbers."""
        prepared = PreparedCalls(watch, self.tensors, self.structure, self.seen)
        for key, call in self.calls.items():
            like = call.like
            prepared.calls[key] = call.with_numbers([make_constant(n, like.dtype, like.device) for n in numbers])
        return prepared


def run_directly(module: nn.Module, x: object, state: AnyState) -> Result | None:
    """Run a module by a prepared call; None if there is none, or if it cannot be used now.

    Args:
        module: A cell or a layer over time.
        x: Its input.
        state: The state to start from, or None.
    """
    if torch.compiler.is_compiling():
        return None
    memo = memo_of(module)
    prepared = memo.direct if memo else None
    if type(prepared) is not PreparedCalls or not isinstance(x, Tensor) or not is_plain(x):
        return None
    call = prepared.calls.get((x.dtype, x.shape))
    # A functorch tensor has no address, so its transform is detected first.
    if call is None or x.is_neg() or is_special() or not x.data_ptr():
        return None
    watch = prepared.watch.renewed() if prepared.watch.is_of(module) else None
    if watch is None:
        return None
    if watch is not prepared.watch:
        last: LastProgram | None = memo.program if memo and memo.program.watch is prepared.watch else None
        renumbered = last.renumbered(watch) if last else None
        if memo is None or renumbered is None:
            return None
        prepared = prepared.with_numbers(watch, renumbered.program.numbers)
        memo.program, memo.direct = renumbered, prepared
        call = prepared.calls[x.dtype, x.shape]
    grad_enabled = torch.is_grad_enabled()
    fields = call.fields.copy()
    place = 1
    for tensor, dtype, shape, _ in prepared.tensors:
        if tensor.dtype is not dtype or tensor.shape != shape or not tensor.is_cpu or not tensor.is_contiguous():
            return None
        if grad_enabled and tensor.requires_grad:
            return None
        address = tensor.data_ptr()
        if not address:
            return None
        fields[place] = address
        place += 3
    if state is None and call.rest is None:
        # The initial state may depend on anything, such as PyTorch's random generator. So it is computed only when
        # nothing can lead to the ordinary way any more, which would draw random numbers a second time.
        if not call.functions.unchanged(call.pack(*fields)) or (grad_enabled and has_saved_tensor_hooks()):
            return None
        if grad_enabled and x.requires_grad and not call.over_time:
            return None
        shape = x.shape[1:] if call.over_time else x.shape
        state = cast(Untyped, module).start_state(x.new_empty(()).expand(shape), None, call.like.dtype)
    initial = call.rest if state is None else _stack(state, prepared.structure, call)
    if initial is None:
        return None
    if grad_enabled and (x.requires_grad or (isinstance(initial, Tensor) and initial.requires_grad)):
        if not call.over_time or has_saved_tensor_hooks():
            return None
        zs, final = cast(tuple[Tensor | None, Tensor | None], _DirectRun.apply(call, fields, x, initial))
        if zs is None or final is None:
            return None  # a parameter has other values
        # One by one, because the results of `unbind` may not be changed in place.
        parts = [final[k] for k in range(len(final))]
    else:
        outcome = _run(call, fields, x if x.is_contiguous() else x.contiguous(), initial, None)
        if outcome is None:
            return None
        zs, final = outcome
        parts = final.unbind(0)
    structure = prepared.structure
    if structure[1] is None:
        return zs, structure[0](*parts)
    return zs, _rebuild(structure, iter(parts))


def _run(
    call: PreparedCall, fields: list[int], xs: Tensor, initial: Tensor | int, checkpoints: Tensor | None
) -> tuple[Tensor, Tensor] | None:
    """Output and final state; None if a parameter has other values than when the call was prepared."""
    small, functions = call.small, call.functions
    zs = _empty(call, xs.shape, xs, call.plan.output_dtype)
    final = _empty(call, call.like.shape, call.like)
    place = call.dynamic
    address = initial if isinstance(initial, int) else initial.data_ptr()
    saved = 0 if checkpoints is None else checkpoints.data_ptr()
    fields[place : place + 5] = xs.data_ptr(), zs.data_ptr(), address, final.data_ptr(), saved
    packed = call.pack(*fields)
    if small:
        return (zs, final) if functions.run(packed) else None
    if not functions.unchanged(packed):
        return None
    threads.run_packed(functions.forward, packed[8 * place :], *cpu.split(call.steps, call.neurons, functions.block))
    return zs, final


def _empty(call: PreparedCall, shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """An uninitialized tensor; that of a small call comes from PyTorch's allocator, which takes less time."""
    return like.new_empty(shape, dtype=dtype) if call.small else memory.empty(shape, like, dtype)


class _DirectRun(Function):
    """A direct call with gradients of input and state."""

    @staticmethod
    def forward(*args: Untyped, **_: Untyped) -> Untyped:
        ctx, call, fields, x, initial = args
        xs = x if x.is_contiguous() else x.contiguous()
        every = call.plan.checkpoint_every
        checkpoints = _empty(call, (-(-len(xs) // every), *call.like.shape), call.like)
        outcome = _run(call, fields, xs, initial, checkpoints)
        if outcome is None:
            return None, None
        # Gradients that are not wanted would take memory as zeros.
        ctx.set_materialize_grads(False)
        if not outcome[0].is_floating_point():
            ctx.mark_non_differentiable(outcome[0])
        ctx.call = call
        ctx.save_for_backward(xs, checkpoints)
        return outcome

    @staticmethod
    @accept_batched_gradients
    def backward(ctx: Context, *grad_outputs: Untyped) -> Untyped:
        grad_zs, grad_state = grad_outputs
        xs, checkpoints = ctx.saved_tensors
        call: PreparedCall = ctx.call
        if grad_zs is None:
            grad_zs = xs.new_zeros((), dtype=call.plan.output_dtype).expand(xs.shape)
        given = (xs, grad_zs, checkpoints) if grad_state is None else (xs, grad_zs, checkpoints, grad_state)
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or is_special() or not all(map(is_plain, given)):
            results = differentiate(call.plan, (xs, grad_zs, grad_state, checkpoints, *call.constants))
            return None, None, results[0], results[1] if ctx.needs_input_grad[3] else None
        xs, grad_zs, checkpoints = contiguous(xs), contiguous(grad_zs), contiguous(checkpoints)
        grad_state = None if grad_state is None else contiguous(grad_state)
        grad_xs, grad_initial = _empty(call, xs.shape, xs), _empty(call, call.like.shape, call.like)
        split = cpu.split(call.steps, call.neurons, call.functions.block)
        rows = split.threads * min(call.plan.checkpoint_every, len(xs))
        workspace = _empty(call, [rows * call.functions.workspace], call.like)
        fields = call.backward_fields.copy()
        # In the order of `arguments.BACKWARD`.
        fields[:6] = (
            xs.data_ptr(),
            grad_zs.data_ptr(),
            grad_xs.data_ptr(),
            0 if grad_state is None else grad_state.data_ptr(),
            grad_initial.data_ptr(),
            checkpoints.data_ptr(),
        )
        fields[call.functions.backward_names.index("workspace")] = workspace.data_ptr()
        packed = call.pack_backward(*fields)
        if call.small:
            call.functions.run_backward(packed)
        else:
            threads.run_packed(call.functions.backward, packed, *split)
        # The initial state is no tensor, but an address, if it needs no gradient.
        return None, None, grad_xs, grad_initial if ctx.needs_input_grad[3] else None


def is_plain(tensor: Tensor) -> bool:
    return type(tensor) is Tensor and tensor.is_cpu and tensor.layout is torch.strided


def has_saved_tensor_hooks() -> bool:
    """Whether hooks of saved tensors may be active; old versions of PyTorch do not tell."""
    functions = torch._C._autograd  # pyright: ignore[reportAttributeAccessIssue]  (not in its stubs)
    find = getattr(functions, "_top_saved_tensors_default_hooks", None)
    return find is None or find(False) is not None


def _stack(state: AnyState, structure: Any, call: PreparedCall) -> Tensor | int | None:
    """The parts of a state, stacked; None if it is another kind of state.

    If they lie one after the other, and need no gradient, the address of the first.
    """
    if structure[1] is None:
        if type(state) is not structure[0]:
            return None
        parts = state
    else:
        parts = list[Tensor]()
        if not _flatten(state, structure, parts):
            return None
    dtype, shape = call.like.dtype, call.step_shape
    size = call.like.nbytes // len(parts)
    first = expected = 0
    adjacent = True
    for part in parts:
        if not is_plain(part) or part.dtype is not dtype or part.shape != shape or not part.data_ptr():
            return None
        if part.requires_grad and torch.is_grad_enabled():
            adjacent = False
        if adjacent:
            address = part.data_ptr()
            if not expected:
                first = address
            adjacent = part.is_contiguous() and not part.is_neg() and (address == expected or not expected)
            expected = address + size
    return first if adjacent else torch.stack(tuple(parts))


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
