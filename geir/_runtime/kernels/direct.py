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

import struct
from collections.abc import Callable, Hashable, Iterator
from typing import Any, cast, NamedTuple

import torch
from torch import nn, Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import forward_ad, Function

from ..._util.state import AnyState, tensors_of
from ..arguments import PLAIN_TENSORS
from ..compiler import NoCompilerError
from ..memo import Memo, memo_of
from ..stepper import Steppable, Stepper
from ..untyped import Context, Untyped
from . import cpu
from .autograd import differentiate
from .cpu import DirectFunctions
from .feedforward import contiguous, layout_constants
from .fingerprint import Watch
from .plan import Plan
from .program import NotFusableError
from .program_cache import prepare_run

# Methods that are part of every call but not of the traced step. Those of geir depend on the module and its arguments
# only; those of a user may depend on anything.
CALLED_METHODS = (
    "prepare",
    "transform_input",
    "state_dtype",
    "stepper",
    "forward",
    "check_input",
    "check_parameters",
    "check_state_type",
    "start_state",
    "expect_state",
)
# Prepared calls of a module, at most.
MAX_CALLS = 8

Result = tuple[Tensor, AnyState]


class _Tensor(NamedTuple):
    """A parameter or buffer, and what it was."""

    tensor: Tensor
    dtype: torch.dtype
    shape: torch.Size
    copy: Tensor


class _Call(NamedTuple):
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


class _Prepared:
    """The prepared calls of a module, and what they depend on."""

    def __init__(self, watch: Watch, tensors: list[_Tensor], structure: AnyState):
        self.watch = watch
        self.tensors = tensors
        self.structure = structure
        self.calls: dict[Hashable, _Call] = {}


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
    if type(prepared) is not _Prepared or not isinstance(x, Tensor) or not _is_plain(x):
        return None
    call = prepared.calls.get((x.dtype, x.shape))
    # A functorch tensor has no address, so its transform is detected first.
    if call is None or x.is_neg() or _is_special() or not x.data_ptr():
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
    call: _Call, fields: list[int], xs: Tensor, initial: Tensor | int, checkpoints: Tensor | None
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
    def backward(ctx: Context, *grad_outputs: Untyped) -> Untyped:
        grad_zs, grad_state = grad_outputs
        xs, checkpoints = ctx.saved_tensors
        call: _Call = ctx.call
        if grad_zs is None:
            grad_zs = xs.new_zeros((), dtype=call.plan.output_dtype).expand(xs.shape)
        given = (xs, grad_zs, checkpoints) if grad_state is None else (xs, grad_zs, checkpoints, grad_state)
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or _is_special() or not all(map(_is_plain, given)):
            results = differentiate(call.plan, (xs, grad_zs, grad_state, checkpoints, *call.constants))
            return None, None, results[0], results[1] if ctx.needs_input_grad[3] else None
        xs, grad_zs, checkpoints = contiguous(xs), contiguous(grad_zs), contiguous(checkpoints)
        grad_state = None if grad_state is None else contiguous(grad_state)
        grad_xs, grad_initial = xs.new_empty(xs.shape), call.like.new_empty(call.like.shape)
        rows = call.functions.tape_rows * min(call.plan.checkpoint_every, len(xs))
        workspace = call.like.new_empty(rows * cpu.BLOCK)
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


def _is_plain(tensor: Tensor) -> bool:
    return type(tensor) is Tensor and tensor.is_cpu and tensor.layout is torch.strided


def _is_special() -> bool:
    """Whether a transform, a dispatch mode or forward mode is active."""
    return (
        peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack() > 0
        or forward_ad._current_level >= 0
    )


def _stack(state: AnyState, structure: Any, call: _Call) -> Tensor | int | None:
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
        if not _is_plain(part) or part.dtype is not dtype or part.shape != shape or not part.data_ptr():
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


def _structure_of(state: AnyState) -> Any:
    """The type of a state and, if it holds states, the same of its parts; None of a tensor."""
    parts = [_structure_of(part) if isinstance(part, tuple) else None for part in state]
    return type(state), (parts if any(parts) else None)


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


def prepare_call(
    module: nn.Module,
    stepper: Stepper,
    xs: Tensor,
    state: AnyState,
    output_dtype: torch.dtype,
    over_time: bool,
    initial: bool,
) -> None:
    """Prepare the next call of this kind, when it is made for the second time.

    Args:
        module: A cell or a layer over time.
        stepper: The module, ready to run.
        xs: The input of its step, as it was given to the module.
        state: The state before the first step.
        output_dtype: Dtype of the output.
        over_time: Whether the first dimension of the input is time.
        initial: Whether the state is the initial one, which the same module has in every call.
    """
    memo = memo_of(module)
    if torch.compiler.is_compiling() or memo is None or _is_special():
        return
    key = (xs.dtype, xs.shape)
    tensors = tensors_of(module).values()
    wants_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    small = 0 < xs.numel() < cpu.SMALL and struct.calcsize("P") == 8
    plain = all(type(t) in PLAIN_TENSORS and t.is_cpu and t.is_contiguous() and t.data_ptr() for t in tensors)
    if wants_gradient or not small or not plain or not _is_plain(xs):
        return
    if stepper.feedback is not None or not stepper.elementwise or not _depends_on_watched_only(module):
        return
    if memo.direct is None or (type(memo.direct) is not _Prepared and memo.direct != key):
        memo.direct = key
        return
    # Before anything is computed from them: should another thread change a parameter meanwhile, its numbers differ from
    # the copy.
    copies = [_Tensor(t, t.dtype, t.shape, t.detach().clone()) for t in tensors]
    try:
        stepper = cast(Steppable, module).stepper(stepper.dtype)
        call, watch = _make_call(memo, stepper, xs, state, output_dtype, over_time, initial)
    except (NotFusableError, NoCompilerError):
        return
    if watch is None or not watch.complete:
        return
    prepared = memo.direct
    valid = type(prepared) is _Prepared and prepared.watch is watch and len(prepared.calls) < MAX_CALLS
    if not valid or not all(t.tensor.dtype is t.dtype and torch.equal(t.tensor, t.copy) for t in prepared.tensors):
        prepared = _Prepared(watch, copies, _structure_of(state))
    comparisons: list[int] = []
    for tensor, _, _, copy in prepared.tensors:
        comparisons += [0, copy.data_ptr(), tensor.nbytes]
    fields = [len(prepared.tensors), *comparisons, *call.fields]
    pack = struct.Struct(f"={len(fields)}q").pack
    prepared.calls[key] = call._replace(pack=pack, fields=fields, dynamic=1 + len(comparisons))
    memo.direct = prepared


def _make_call(
    memo: Memo, stepper: Stepper, xs: Tensor, state: AnyState, output_dtype: torch.dtype, over_time: bool, initial: bool
) -> tuple[_Call, Watch | None]:
    """A call without the comparison of parameters, and the watch over its program.

    Raises:
        NotFusableError: If the step cannot become a program, or its kernels cannot be called directly.
        NoCompilerError: If there is no C compiler, or if it fails.
    """
    with torch.no_grad(), torch.inference_mode(False):
        run = prepare_run(stepper, state)
        # Copies: nobody else can change them.
        constants = [constant.detach().clone() for constant in run.constants]
        shared = tuple(constant.numel() == 1 for constant in constants)
        kernel = cpu.kernel(run.program, shared, (False,) * len(constants), xs.dtype, output_dtype)
        functions = kernel.direct
        if functions is None:
            raise NotFusableError("its kernels cannot be called directly")
        step_shape = xs.shape[1:] if over_time else xs.shape
        steps = len(xs) if over_time else 1
        every = run.checkpoint_every(None)
        values = {
            "steps": steps,
            "neurons": step_shape.numel(),
            "checkpoint_every": every,
            **layout_constants(kernel.constants, constants, step_shape),
        }
        keep = [value for value in values.values() if isinstance(value, Tensor)]
        numbers = {name: v.data_ptr() if isinstance(v, Tensor) else v or 0 for name, v in values.items()}
        fields = [numbers.get(name, 0) for name in functions.forward_names]
        numbers["checkpoint_every"] = min(every, steps)
        backward_fields = [numbers.get(name, 0) for name in functions.backward_names]
        pack_backward = struct.Struct(f"={len(backward_fields)}q").pack
        like = torch.empty_like(run.state, memory_format=torch.contiguous_format)
        rest = run.state.detach().clone().contiguous() if initial else None
        plan = Plan(run.program, every, output_dtype, record=False).for_backward((False,) * len(constants))
    watch = memo.program.watch if memo.program else None
    call = _Call(
        functions,
        struct.pack,
        fields,
        0,
        pack_backward,
        backward_fields,
        over_time,
        step_shape,
        plan,
        like,
        rest,
        constants,
        keep,
    )
    return call, watch


def _depends_on_watched_only(module: nn.Module) -> bool:
    """Whether all that a call does besides its step depends on the module and its arguments only."""
    for part in module.modules():
        # A module of another kind, such as a parametrization, may compute parameters from anything.
        if memo_of(part) is None:
            return False
        for name in CALLED_METHODS:
            method = getattr(type(part), name, None)
            if name in vars(part) or (method is not None and not method.__module__.startswith("geir.")):
                return False
        # Coefficients of a user's equations may depend on anything.
        if hasattr(type(part), "derivative"):
            model: Any = part
            functions = (type(model).rest, type(model).derivative, type(model.integrator).prepare)
            if not all(function.__module__.startswith("geir.") for function in functions):
                return False
    return True
