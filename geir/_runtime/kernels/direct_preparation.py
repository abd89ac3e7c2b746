"""Prepare direct calls; see `geir._runtime.kernels.direct`."""

import ctypes
import struct
from typing import Any, cast

import torch
from torch import nn, Tensor

from ..._util.class_edits import is_code_of_geir
from ..._util.state import AnyState, leaves, tensors_of
from ..arguments import PLAIN_TENSORS
from ..compiler import NoCompilerError
from ..memo import Memo, memo_of
from ..stepper import Steppable, Stepper
from . import cpu
from .direct import MAX_CALLS, PreparedCalls, WatchedTensor
from .direct_run import describe, is_plain, kinds_of, PreparedCall
from .dispatch import is_special
from .feedforward import layout_constants
from .plan import Plan
from .prepared_run import prepare_run
from .program import NotFusableError
from .step_fingerprint import fingerprint_module, UnknownContentError
from .watch import NoWatch, Watch

# Methods that are part of every call but not of the traced step. Those of geir depend on the module and its arguments
# only; those of a user may depend on anything.
CALLED_METHODS = (
    "prepare",
    "transform_input",
    "state_dtype",
    "stepper",
    "forward",
    "check_input",
    "check_input_type",
    "check_parameters",
    "check_state_type",
    "start_state",
    "expect_state",
)
# A prepared call holds an initial state. Where that is large, a run takes so long that preparation saves little.
MAX_STATE_BYTES = 1 << 20


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
    if torch.compiler.is_compiling() or memo is None or is_special():
        return
    key = describe(xs)
    tensors = tensors_of(module).values()
    wants_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    possible = xs.numel() > 0 and struct.calcsize("P") == 8
    large = sum(part.nbytes for _, part in leaves(state)) > MAX_STATE_BYTES
    plain = all(type(t) in PLAIN_TENSORS and t.is_cpu and t.is_contiguous() and t.data_ptr() for t in tensors)
    if wants_gradient or not possible or large or not plain or not is_plain(xs):
        return
    if stepper.feedback is not None or not stepper.elementwise or not _depends_on_watched_only(module):
        return
    prepared = memo.direct
    if type(prepared) is not PreparedCalls:
        memo.direct = prepared = PreparedCalls(_watch(memo, module, stepper))
    elif not prepared.watch.complete:
        return
    elif not prepared.watch.is_of(module) or prepared.watch.renewed() is None:
        # Nothing is prepared while anything but numbers changes from call to call.
        memo.direct = prepared = PreparedCalls(_watch(memo, module, stepper))
    if key not in prepared.seen:
        prepared.seen.append(key)
        return
    known = prepared.calls.get(key)
    complete = known is not None and (known.rest is not None or not initial)
    if complete and prepared.watch.unchanged() and _has_same_numbers(prepared):
        return  # it could not be used this time, for example under hooks of saved tensors
    # Before anything is computed from them: should another thread change a parameter meanwhile, its numbers differ from
    # the copy.
    copies = [WatchedTensor(t, t.detach().clone()) for t in tensors]
    try:
        stepper = cast(Steppable, module).stepper(stepper.dtype)
        call, watch = _make_call(memo, stepper, xs, state, output_dtype, over_time, initial)
    except (NotFusableError, NoCompilerError):
        return
    if watch is None or not watch.complete:
        return
    valid = prepared.watch is watch and 0 < len(prepared.calls) < MAX_CALLS
    if not valid or not _has_same_numbers(prepared):
        prepared = PreparedCalls(watch, copies, _structure_of(state), prepared.seen)
    comparisons = [len(prepared.watched)]
    for _, copy in prepared.watched:
        comparisons += [copy.data_ptr(), copy.nbytes]
    prepared.calls[key] = call.with_fields(comparisons, call.fields)
    memo.direct = prepared


def _has_same_numbers(prepared: PreparedCalls) -> bool:
    return all(tensor.dtype is copy.dtype and torch.equal(tensor, copy) for tensor, copy in prepared.watched)


def _watch(memo: Memo, module: nn.Module, stepper: Stepper) -> Watch:
    """A watch over what the step of a module depends on, as it is now."""
    if memo.program and memo.program.watch.is_of(module) and memo.program.watch.renewed() is not None:
        return memo.program.watch
    try:
        return fingerprint_module(module, stepper.step).watch
    except UnknownContentError:
        return NoWatch()


def _make_call(
    memo: Memo, stepper: Stepper, xs: Tensor, state: AnyState, output_dtype: torch.dtype, over_time: bool, initial: bool
) -> tuple[PreparedCall, Watch | None]:
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
        small = cpu.is_small(steps, step_shape.numel())
        output = _prototype(xs.shape, output_dtype, small)
        # One tensor for both where possible: what is read less often is more often in a cache.
        same = xs.shape == step_shape and output_dtype == run.state.dtype
        parts = [output if same else _prototype(step_shape, run.state.dtype, small)] * len(run.state)
        rest = list(run.state.detach().clone().contiguous().unbind(0)) if initial else None
        plan = Plan(run.program, every, output_dtype, record=False).for_backward((False,) * len(constants))
    watch = memo.program.watch if memo.program else None
    call = PreparedCall(
        functions=functions,
        comparisons=[],
        fields=fields,
        fixed=(ctypes.c_int64 * 0)(),
        pack=struct.pack,
        pack_backward=pack_backward,
        backward_fields=backward_fields,
        over_time=over_time,
        steps=steps,
        neurons=step_shape.numel(),
        small=small,
        step_shape=step_shape,
        real=run.state.new_empty(()),
        plan=plan,
        output=output,
        parts=parts,
        kinds=kinds_of(parts),
        rest=rest,
        constants=constants,
        numbers=kernel.constants[len(kernel.constants) - run.numbers :],
        keep=keep,
    )
    return call, watch


def _prototype(shape: torch.Size, dtype: torch.dtype, memory: bool) -> Tensor:
    """A tensor for `torch.empty_like`, or without memory one that only tells its shape and dtype."""
    return torch.empty(shape if memory else (), dtype=dtype, device="cpu").expand(shape)


def _depends_on_watched_only(module: nn.Module) -> bool:
    """Whether all that a call does besides its step depends on the module and its arguments only."""
    for part in module.modules():
        # A module of another kind, such as a parametrization, may compute parameters from anything.
        # So may a hook, such as that of pruning, which leaves a tensor that is no parameter.
        if memo_of(part) is None or any(isinstance(value, Tensor) for value in vars(part).values()):
            return False
        for name in CALLED_METHODS:
            method = getattr(type(part), name, None)
            if name in vars(part) or (method is not None and not is_code_of_geir(method)):
                return False
        # Coefficients of a user's equations may depend on anything.
        if hasattr(type(part), "derivative"):
            model: Any = part
            functions = (type(model).rest, type(model).derivative, type(model.integrator).prepare)
            if not all(map(is_code_of_geir, functions)):
                return False
    return True


def _structure_of(state: AnyState) -> Any:
    """The type of a state and, if it holds states, the same of its parts; None of a tensor."""
    parts = [_structure_of(part) if isinstance(part, tuple) else None for part in state]
    return type(state), (parts if any(parts) else None)
