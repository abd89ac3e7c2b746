"""Direct calls: small runs, as in a stream, by one call of compiled code.

A run of a few neurons for a few steps takes a few microseconds; checking its arguments, finding its program,
computing coefficients and arranging tensors takes a hundred. So all of this is prepared when a module is called for
the second time in the same way, and is used as long as these are proved unchanged:

- The module, its settings and its code: the objects that a `Watch` holds are in their places.
- Parameters and buffers: they are the same tensors, with the same dtype, shape and device, and their numbers equal
  copies. The compiled code compares them right before it runs. Nothing is concluded from version counters.
- The input and the state have the same types, dtypes and shapes.

If anything differs, the call takes the ordinary way, with all its checks. So does a call for which a parameter needs
a gradient, and a step of a cell for which anything does.
"""

from collections.abc import Callable, Hashable, Iterator
from typing import Any, cast, NamedTuple

import torch
from torch import nn, Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import forward_ad, Function

from ..._util.state import AnyState
from ..batched_gradients import accept_batched_gradients
from ..memo import memo_of
from ..untyped import Context, Untyped
from .autograd import differentiate
from .cpu import DirectFunctions
from .feedforward import contiguous
from .plan import Plan
from .watch import Watch

Result = tuple[Tensor, AnyState]


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
    step_shape: torch.Size
    plan: Plan  # of the backward pass
    like: Tensor  # of the shape and dtype of the stacked state
    rest: Tensor | None  # the initial state, stacked; None if it may differ from call to call
    constants: list[Tensor]
    keep: list[Tensor]  # tensors that the fields point to


class PreparedCalls:
    """The prepared calls of a module, and what they depend on."""

    def __init__(self, watch: Watch, tensors: list[WatchedTensor], structure: AnyState):
        self.watch = watch
        self.tensors = tensors
        self.structure = structure
        self.calls: dict[Hashable, PreparedCall] = {}


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
    if not prepared.watch.is_of(module) or not prepared.watch.unchanged():
        return None
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
    initial = call.rest if state is None else _stack(state, prepared.structure, call)
    if initial is None:
        return None
    if grad_enabled and (x.requires_grad or (isinstance(initial, Tensor) and initial.requires_grad)):
        if not call.over_time:
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
    zs = xs.new_empty(xs.shape, dtype=call.plan.output_dtype)
    final = call.like.new_empty(call.like.shape)
    place = call.dynamic
    address = initial if isinstance(initial, int) else initial.data_ptr()
    saved = 0 if checkpoints is None else checkpoints.data_ptr()
    fields[place : place + 5] = xs.data_ptr(), zs.data_ptr(), address, final.data_ptr(), saved
    return (zs, final) if call.functions.forward(call.pack(*fields)) else None


class _DirectRun(Function):
    """A direct call with gradients of input and state."""

    @staticmethod
    def forward(*args: Untyped, **_: Untyped) -> Untyped:
        ctx, call, fields, x, initial = args
        xs = x if x.is_contiguous() else x.contiguous()
        every = call.plan.checkpoint_every
        checkpoints = call.like.new_empty((-(-len(xs) // every), *call.like.shape))
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
        grad_xs, grad_initial = xs.new_empty(xs.shape), call.like.new_empty(call.like.shape)
        workspace = call.like.new_empty(call.functions.workspace * min(call.plan.checkpoint_every, len(xs)))
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
        call.functions.backward(call.pack_backward(*fields))
        # The initial state is no tensor, but an address, if it needs no gradient.
        return None, None, grad_xs, grad_initial if ctx.needs_input_grad[3] else None


def is_plain(tensor: Tensor) -> bool:
    return type(tensor) is Tensor and tensor.is_cpu and tensor.layout is torch.strided


def is_special() -> bool:
    """Whether a transform, a dispatch mode or forward mode is active."""
    return (
        peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack() > 0
        or forward_ad._current_level >= 0
    )


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
