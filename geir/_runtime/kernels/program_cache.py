"""The programs of steps, cached for all models whose steps do the same.

An entry is found by the fingerprint of the step (see `fingerprint.py`), the names of parameters and buffers,
the number of prepared values and the dtype. The fingerprint is computed from everything that the step may read,
so that any change of a setting, an object, a class or a function finds another entry, and the step is traced again.
If it cannot be computed, the step is traced in every call.

The cache is bounded, and its entries hold no objects of the user. A module remembers its last entry, with a watch
over what the fingerprint was computed from.
"""

import itertools
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch import nn, Tensor

from ..._util.state import AnyState, leaves, map_state, map_tensors, tensors_of
from ..memo import memo_of
from ..stepper import Steppable, Stepper
from .fingerprint import fingerprint_module, fingerprint_prepared, UnknownContentError
from .guards import guard_on_settings
from .program import NotFusableError
from .trace import trace, TracedProgram
from .watch import Watch


class PreparedRun(NamedTuple):
    """Everything that a run needs but its input."""

    program: str
    state: Tensor  # the parts of the state, stacked
    constants: list[Tensor]  # those that the program uses, in its dtype

    def checkpoint_every(self, given: int | None) -> int:
        """The given number of steps between checkpoints, or one such that they are small compared with the input."""
        return given or max(32, 8 * len(self.state))


class ProgramKey(NamedTuple):
    """All that a program depends on."""

    fingerprint: Hashable
    tensors: tuple[str, ...]  # names of parameters and buffers
    constants: tuple[torch.dtype, ...]  # of these and of the prepared values
    dtype: torch.dtype


MAX_PROGRAMS = 512
_programs: OrderedDict[ProgramKey, TracedProgram | NotFusableError] = OrderedDict()
_lock = threading.Lock()


def prepare_run(stepper: Stepper, state: AnyState) -> PreparedRun:
    """Find the program of a step, and arrange state and constants as it takes them.

    Args:
        stepper: The model.
        state: The state that the step takes; of a recurrent model that of the inner model.

    Raises:
        NotFusableError: If the step cannot become a program.
    """
    names, tensors = _constants_of(stepper)
    parts = [leaf for _, leaf in leaves(state)]
    if not parts:
        raise NotFusableError("it has no state")
    stacked = torch.stack(parts)
    dtype = stacked.dtype
    if torch.compiler.is_compiling():
        guard_on_settings(stepper.module)
        traced = _program_for_compile(stepper.module, dtype)
    else:
        traced = _cached_program(stepper, state, names, [t.dtype for t in tensors], dtype)
    constants = [tensors[k] if tensors[k].dtype == dtype else tensors[k].to(dtype) for k in traced.used]
    return PreparedRun(traced.program, stacked, constants)


def unstack_state(like: AnyState, parts: Tensor) -> AnyState:
    """Stacked parts as a state of the structure of another."""
    # One by one, because the results of `unbind` may not be changed in place.
    places = itertools.count()
    return map_state(lambda _: parts[next(places)], like)


@torch.compiler.assume_constant_result
def _program_for_compile(module: nn.Module, dtype: torch.dtype) -> TracedProgram:
    """The program as a constant of code compiled by `torch.compile`."""
    assert isinstance(module, Steppable)
    stepper = module.stepper(dtype)
    state = module.initial_state(torch.empty((), device="meta"), dtype)
    names, tensors = _constants_of(stepper)
    inner_state = state if stepper.feedback is None else state[0]
    return _cached_program(stepper, inner_state, names, [t.dtype for t in tensors], dtype)


def _constants_of(stepper: Stepper) -> tuple[list[str], list[Tensor]]:
    """Names of parameters and buffers, and all constants of a step: these and then the tensors among the
    prepared values."""
    named = tensors_of(stepper.module)
    constants = [*named.values()]
    map_tensors(constants.append, (stepper.feedback or stepper).prepared)
    return list(named), constants


def _cached_program(
    stepper: Stepper, state: AnyState, names: Sequence[str], constants: list[torch.dtype], dtype: torch.dtype
) -> TracedProgram:
    """The program of a step, from the cache or traced.

    Raises:
        NotFusableError: If the step cannot become a program; the failure is cached too.
    """
    part = stepper.feedback or stepper
    module = stepper.module
    memo = memo_of(module)
    last: _LastProgram | None = memo.program if memo else None
    known = last is not None and last.watch.is_of(module) and last.watch.unchanged() and last.step == part.step.__name__
    try:
        if last is not None and last.prepared.is_of(*part.prepared) and last.prepared.unchanged():
            values, prepared = last.values, last.prepared
        else:
            values, prepared = fingerprint_prepared(part.prepared, last.prepared if last else None)
        if known and last is not None and (last.values, last.constants, last.dtype) == (values, constants, dtype):
            if memo and prepared is not last.prepared:
                memo.program = last._replace(prepared=prepared)
            return last.program
        fingerprint, watch = fingerprint_module(module, part.step)
    except UnknownContentError:
        return trace(module, part.step, state, names, part.prepared, constants, dtype)
    program = _find_program(ProgramKey((fingerprint, values), tuple(names), tuple(constants), dtype), stepper, state)
    if memo:
        memo.program = _LastProgram(watch, part.step.__name__, prepared, values, constants, dtype, program)
    return program


class _LastProgram(NamedTuple):
    """The program that a module ran last, and all that decides whether it is still the right one."""

    watch: Watch
    step: str  # name of the method
    prepared: Watch  # over the prepared values
    values: Hashable  # fingerprint of the prepared values
    constants: list[torch.dtype]  # of parameters, buffers and prepared values
    dtype: torch.dtype
    program: TracedProgram


def _find_program(key: ProgramKey, stepper: Stepper, state: AnyState) -> TracedProgram:
    """The program of a key, from the cache or traced; see `_cached_program`."""
    part = stepper.feedback or stepper
    with _lock:
        result = _programs.get(key)
        if result is not None:
            _programs.move_to_end(key)
    if result is None:
        try:
            result = trace(stepper.module, part.step, state, key.tensors, part.prepared, key.constants, key.dtype)
        except NotFusableError as error:
            # Without its traceback, which would keep the model alive.
            result = NotFusableError(*error.args)
        with _lock:
            _programs[key] = result
            while len(_programs) > MAX_PROGRAMS:
                _programs.popitem(last=False)
    if isinstance(result, NotFusableError):
        raise NotFusableError(*result.args)
    return result
