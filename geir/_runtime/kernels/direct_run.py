"""A run by one prepared call of compiled code, with and without gradients; see `geir._runtime.kernels.direct`."""

import ctypes
import struct
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, cast, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from .. import memory, threads
from ..batched_gradients import accept_batched_gradients
from ..untyped import Context, Untyped
from . import cpu
from .autograd import differentiate
from .cpu import DirectFunctions, Integers
from .dispatch import is_special
from .feedforward import contiguous
from .plan import Plan

# What a prepared call expects of a plain tensor besides its type. Where many tensors are compared, `map` asks all of
# them: every call of a Python function would cost a microsecond while its code is in no cache.
describe = attrgetter("dtype", "shape", "is_cpu", "layout")
data_ptr, is_contiguous, is_neg = Tensor.data_ptr, Tensor.is_contiguous, Tensor.is_neg


class PreparedCall(NamedTuple):
    """A prepared call."""

    functions: DirectFunctions
    comparisons: list[int]  # the number of parameters and buffers; for each the address of a copy, and its size
    fields: list[int]  # of the forward function; those that change from call to call are zero
    fixed: Integers  # both lists, for the compiled code
    pack: Callable[..., bytes]  # what changes from call to call
    pack_backward: Callable[..., bytes]
    backward_fields: list[int]  # of the backward function
    over_time: bool
    steps: int
    neurons: int
    small: bool  # whether one thread runs it, and PyTorch's allocator takes less time than geir's
    step_shape: torch.Size
    real: Tensor  # a number of the dtype of the state
    plan: Plan  # of the backward pass
    output: Tensor  # of the shape and dtype of the output
    parts: list[Tensor]  # each of the shape and dtype of a part of the state; without memory if the call is not small
    kinds: list[object]  # types and descriptions of the parts of the state
    rest: list[Tensor] | None  # the parts of the initial state; None if it may differ from call to call
    constants: list[Tensor]  # the last ones are the numbers among the settings
    numbers: list[str]  # names of the constants that are numbers
    keep: list[Tensor]  # tensors that the fields point to

    def with_fields(self, comparisons: list[int], fields: list[int]) -> "PreparedCall":
        """The same call with other fixed numbers."""
        fixed = (ctypes.c_int64 * (len(comparisons) + len(fields)))(*comparisons, *fields)
        changing = struct.Struct(f"={comparisons[0] + 2 * len(self.parts) + 3}q")
        return self._replace(comparisons=comparisons, fields=fields, fixed=fixed, pack=changing.pack)

    def with_numbers(self, tensors: list[Tensor]) -> "PreparedCall":
        """The same call with other numbers."""
        if not tensors:
            return self
        replaced = {id(old): new for old, new in zip(self.constants[-len(tensors) :], tensors, strict=True)}
        fields, backward_fields = self.fields.copy(), self.backward_fields.copy()
        for name, tensor in zip(self.numbers, tensors, strict=True):
            fields[self.functions.forward_names.index(name)] = tensor.data_ptr()
            backward_fields[self.functions.backward_names.index(name)] = tensor.data_ptr()
        return self.with_fields(self.comparisons, fields)._replace(
            backward_fields=backward_fields,
            constants=[*self.constants[: -len(tensors)], *tensors],
            keep=[replaced.get(id(tensor), tensor) for tensor in self.keep],
        )


def run_call(
    call: PreparedCall, addresses: list[int], xs: Tensor, checkpoints: Tensor | None
) -> tuple[Tensor, list[Tensor]] | None:
    """Output and the parts of the final state; None if a parameter has other values than when the call was prepared.

    Args:
        call: The call.
        addresses: Of parameters and buffers, and of the parts of the initial state.
        xs: The input, contiguous.
        checkpoints: Memory for the states that the backward pass begins from.
    """
    if call.small:
        zs, final = torch.empty_like(call.output), [*map(torch.empty_like, call.parts)]
    else:
        zs, final = _empty(call, xs.shape, call.output), [_empty(call, call.step_shape, part) for part in call.parts]
    saved = 0 if checkpoints is None else checkpoints.data_ptr()
    now = call.pack(*addresses, *map(data_ptr, final), zs.data_ptr(), xs.data_ptr(), saved)
    functions = call.functions
    if call.small:
        return (zs, final) if functions.run(call.fixed, now) else None
    if not functions.unchanged(call.fixed, now):
        return None
    changing = ctypes.create_string_buffer(now, len(now))
    both = struct.pack("=2q", ctypes.addressof(call.fixed), ctypes.addressof(changing))
    threads.run_packed(functions.forward, both, *cpu.split(call.steps, call.neurons, functions.block))
    return zs, final


# Output and the parts of the next state, by operators of PyTorch, for an input and the parts of a state.
RepeatStep = Callable[[Tensor, Sequence[Tensor]], list[Tensor]]


def run_with_gradients(
    call: PreparedCall, addresses: list[int], x: Tensor, parts: Sequence[Tensor], repeat: RepeatStep | None
) -> tuple[Tensor, list[Tensor]] | None:
    """The same for input and initial state of which some need a gradient; `repeat` is the step of a cell."""
    zs, *final = cast(tuple[Tensor | None, ...], _DirectRun.apply(call, addresses, repeat, x, *parts))
    return None if zs is None else (zs, cast(list[Tensor], final))


def _empty(call: PreparedCall, shape: Sequence[int], like: Tensor) -> Tensor:
    """An uninitialized tensor."""
    return like.new_empty(shape) if call.small else memory.empty(shape, like)


class _DirectRun(Function):
    """A direct call with gradients of input and state."""

    @staticmethod
    def forward(*args: Untyped, **_: Untyped) -> Untyped:
        ctx, call, addresses, repeat, x, *parts = args
        xs = x if x.is_contiguous() else x.contiguous()
        chunks = -(-call.steps // call.plan.checkpoint_every)
        checkpoints = _empty(call, (chunks, len(parts), *call.step_shape), call.real)
        outcome = run_call(call, addresses, xs, checkpoints)
        if outcome is None:
            return (None,) * (1 + len(parts))
        zs, final = outcome
        # Gradients that are not wanted would take memory as zeros.
        ctx.set_materialize_grads(False)
        if not zs.is_floating_point():
            ctx.mark_non_differentiable(zs)
        ctx.call, ctx.repeat = call, repeat
        # A step that is repeated begins from the tensors that the graph of gradients knows.
        ctx.save_for_backward(*((xs, checkpoints) if repeat is None else (x, checkpoints, *parts)))
        return zs, *final

    @staticmethod
    @accept_batched_gradients
    def backward(ctx: Context, *grad_outputs: Untyped) -> Untyped:
        grad_zs, *grad_parts = grad_outputs
        xs, checkpoints, *parts = ctx.saved_tensors
        call: PreparedCall = ctx.call
        if ctx.repeat is not None and torch.is_grad_enabled():
            return None, None, None, *_differentiate_step(ctx.repeat(xs, parts), grad_outputs, (xs, *parts))
        if not call.over_time:
            xs, grad_zs = xs[None], None if grad_zs is None else grad_zs[None]
        if grad_zs is None:
            grad_zs = xs.new_zeros((), dtype=call.plan.output_dtype).expand(xs.shape)
        grad_state = _stack(grad_parts, checkpoints)
        given = (xs, grad_zs, checkpoints) if grad_state is None else (xs, grad_zs, checkpoints, grad_state)
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or is_special() or not all(map(is_plain, given)):
            results = differentiate(call.plan, (xs, grad_zs, grad_state, checkpoints, *call.constants))
            grad_xs = results[0] if call.over_time else results[0][0]
            return None, None, None, grad_xs, *_unstack(ctx, results[1])
        xs, grad_zs, checkpoints = contiguous(xs), contiguous(grad_zs), contiguous(checkpoints)
        grad_state = None if grad_state is None else contiguous(grad_state)
        grad_xs, grad_initial = _empty(call, xs.shape, xs), _empty(call, checkpoints.shape[1:], checkpoints)
        split = cpu.split(call.steps, call.neurons, call.functions.block)
        rows = split.threads * min(call.plan.checkpoint_every, call.steps)
        workspace = _empty(call, [rows * call.functions.workspace], checkpoints)
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
        return None, None, None, grad_xs if call.over_time else grad_xs[0], *_unstack(ctx, grad_initial)


def _differentiate_step(
    results: Sequence[Tensor], grad_results: Sequence[Tensor | None], given: Sequence[Tensor]
) -> Sequence[Tensor | None]:
    """The gradients of what was given to a step, as a graph that can be differentiated again."""
    wanted = [tensor for tensor in given if tensor.requires_grad]
    pairs = [(r, g) for r, g in zip(results, grad_results, strict=True) if g is not None and r.requires_grad]
    if not pairs:
        return [None] * len(given)
    outputs, gradients = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(outputs, wanted, gradients, create_graph=True, allow_unused=True))
    return [next(found) if tensor.requires_grad else None for tensor in given]


def _stack(gradients: Sequence[Tensor | None], checkpoints: Tensor) -> Tensor | None:
    """The gradients of the parts of the final state, stacked; None if there are none."""
    if all(gradient is None for gradient in gradients):
        return None
    zeros = checkpoints.new_zeros(()).expand(checkpoints.shape[2:])
    return torch.stack([zeros if gradient is None else gradient for gradient in gradients])


def _unstack(ctx: Context, gradient: Tensor) -> Sequence[Tensor | None]:
    """The gradients of the parts of the initial state."""
    needed = ctx.needs_input_grad[4:]
    return gradient.unbind(0) if any(needed) else (None,) * len(needed)


def is_plain(tensor: Tensor) -> bool:
    return type(tensor) is Tensor and tensor.is_cpu and tensor.layout is torch.strided


def kinds_of(tensors: Sequence[Any]) -> list[object]:
    """The types and the descriptions of tensors."""
    return [*map(type, tensors), *map(describe, tensors)]
