"""The programs of steps, cached for all models whose steps do the same.

An entry is found by the fingerprint of the step (see `step_fingerprint.py`), the names of parameters and buffers,
the number of prepared values, the dtype, and those numbers among the settings that the program has as literals (see
`symbols.py`). The fingerprint is computed from everything that the step may read, so that any change of a setting, an
object, a class or a function finds another entry, and the step is traced again. If it cannot be computed, the step is
traced in every call.

The cache is bounded, and its entries hold no objects of the user. A module remembers its last entry, with a watch
over what the fingerprint was computed from.
"""

import functools
import itertools
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor

from ..._util.inputs import AnyInput
from ..._util.state import AnyState, leaves, map_state, map_tensors, tensors_of
from ..memo import memo_of
from ..stepper import Steppable, Stepper
from .dispatch import is_special
from .guards import guard_on_settings
from .program import NotFusableError
from .step_fingerprint import fingerprint_module, fingerprint_prepared, UnknownContentError
from .symbols import evaluate, NumberNeededError, NumberPlace
from .trace import trace, TracedProgram
from .watch import Watch


class PreparedRun(NamedTuple):
    """Everything that a run needs but its input."""

    program: str
    state: Tensor  # the parts of the state, stacked
    constants: list[Tensor]  # those that the program uses, in its dtype
    numbers: int  # how many of them, from the end, are numbers among the settings

    def checkpoint_every(self, given: int | None) -> int:
        """The given number of steps between checkpoints, or one such that they are small compared with the input.

        0, which stands for none, while a model is exported: it has no backward pass, and the number of checkpoints
        would bound a dynamic number of steps.
        """
        return 0 if _is_exporting() else given or max(32, 8 * len(self.state))


def _is_exporting() -> bool:
    # PyTorch 2.6 does not say.
    return hasattr(torch.compiler, "is_exporting") and torch.compiler.is_exporting()


class ProgramKey(NamedTuple):
    """All that a program depends on."""

    fingerprint: Hashable
    prepared: Hashable  # fingerprint of the prepared values
    tensors: tuple[str, ...]  # names of parameters and buffers
    constants: tuple[torch.dtype, ...]  # of these and of the prepared values
    dtype: torch.dtype
    receptors: Hashable  # type of the input; None of a tensor
    # Places and values of the numbers that are literals. Values as text, which tells 0.0 from -0.0.
    literals: tuple[tuple[int, str], ...] = ()

    def of_call(self) -> tuple[Hashable, ...]:
        """The parts that may differ between two calls of a module that has not changed."""
        return self.prepared, self.constants, self.dtype, self.receptors

    def with_literals(self, places: Iterable[int], numbers: Sequence[float]) -> "ProgramKey":
        """The key of the program that has the numbers at some places as literals."""
        return self._replace(literals=tuple((k, repr(numbers[k])) for k in sorted(places)))


class RunnableProgram(NamedTuple):
    """A program with the values of the numbers that are its last constants."""

    traced: TracedProgram
    numbers: tuple[float, ...]


MAX_PROGRAMS = 512
_programs: OrderedDict[ProgramKey, TracedProgram | NotFusableError] = OrderedDict()
# For the keys without literals: which numbers have to be literals.
_literals: OrderedDict[ProgramKey, frozenset[int]] = OrderedDict()
_lock = threading.Lock()


def prepare_run(stepper: Stepper, state: AnyState, input_type: type = Tensor) -> PreparedRun:
    """Find the program of a step, and arrange state and constants as it takes them.

    Args:
        stepper: The model.
        state: The state that the step takes; of a recurrent model that of the inner model.
        input_type: The type of one step of input: a named tuple if there are several receptors.

    Raises:
        NotFusableError: If the step cannot become a program.
    """
    parts = [leaf for _, leaf in leaves(state)]
    if not parts:
        raise NotFusableError("it has no state")
    stacked = torch.stack(parts)
    text, constants, numbers = find_program(stepper, state, stacked.dtype, stacked.device, input_type)
    return PreparedRun(text, stacked, constants, numbers)


class FoundProgram(NamedTuple):
    """A program and its constants."""

    program: str
    constants: list[Tensor]  # those that the program uses, in its dtype
    numbers: int  # how many of them, from the end, are numbers among the settings


def find_program(
    stepper: Stepper, state: AnyState, dtype: torch.dtype, device: torch.device, input_type: type = Tensor
) -> FoundProgram:
    """Find the program of a step; see `prepare_run`."""
    names, tensors = _constants_of(stepper)
    if torch.compiler.is_compiling():
        guard_on_settings(stepper.module)
        program = _program_for_compile(stepper.module, dtype, input_type)
    else:
        program = _cached_program(stepper, state, names, tuple(t.dtype for t in tensors), dtype, input_type)
    traced = program.traced
    constants = [tensors[k] if tensors[k].dtype == dtype else tensors[k].to(dtype) for k in traced.used]
    constants += [make_constant(number, dtype, device) for number in program.numbers]
    return FoundProgram(traced.program, constants, len(program.numbers))


def make_constant(number: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A number as a tensor without dimensions."""
    capturing = device.type == "cuda" and torch.cuda.is_current_stream_capturing()
    if torch.compiler.is_compiling() or capturing or is_special():
        return torch.full((), number, dtype=dtype, device=device)
    return _cached_constant(repr(number), dtype, device)


@functools.lru_cache(maxsize=1024)
def _cached_constant(number: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        # Not `torch.full`, which would be finished only in the stream that is current now.
        return torch.tensor(float(number), dtype=dtype, device=device)


def stack_receptors(xs: AnyInput) -> Tensor:
    """The input as runs take it, shape (time, ...); of several receptors stacked, (time, receptors, ...)."""
    return xs if isinstance(xs, Tensor) else torch.stack(tuple(xs), 1)


def _receptors(input_type: type) -> Hashable:
    """The part of the input type that a program depends on. The types a model accepts are in its fingerprint."""
    if not issubclass(input_type, tuple):
        return None
    kind: Any = input_type  # a named tuple
    return kind.__module__, kind.__qualname__, kind._fields


def unstack_state(like: AnyState, parts: Tensor) -> AnyState:
    """Stacked parts as a state of the structure of another."""
    # One by one, because the results of `unbind` may not be changed in place.
    places = itertools.count()
    return map_state(lambda _: parts[next(places)], like)


@torch.compiler.assume_constant_result
def _program_for_compile(module: nn.Module, dtype: torch.dtype, input_type: type) -> RunnableProgram:
    """The program as a constant of code compiled by `torch.compile`."""
    assert isinstance(module, Steppable)
    stepper = module.stepper(dtype)
    names, tensors = _constants_of(stepper)
    state = _state_of_some_shape(module, tensors, dtype)
    inner_state = state if stepper.feedback is None else state[0]
    return _cached_program(stepper, inner_state, names, tuple(t.dtype for t in tensors), dtype, input_type)


def _state_of_some_shape(module: Steppable, constants: Sequence[Tensor], dtype: torch.dtype) -> AnyState:
    """A state without memory, of no particular shape: it must hold a resting state with a value for each neuron."""
    for shape in (torch.Size(), *(constant.shape for constant in constants)):
        with suppress(RuntimeError):
            return module.initial_state(torch.empty(shape, device="meta"), dtype)
    raise NotFusableError("its resting state does not have the shape of its parameters")


def _constants_of(stepper: Stepper) -> tuple[list[str], list[Tensor]]:
    """Names of parameters and buffers, and all constants of a step: these and then the tensors among the
    prepared values."""
    named = tensors_of(stepper.module)
    constants = [*named.values()]
    map_tensors(constants.append, (stepper.feedback or stepper).prepared)
    return list(named), constants


def _cached_program(
    stepper: Stepper,
    state: AnyState,
    names: Sequence[str],
    constants: tuple[torch.dtype, ...],
    dtype: torch.dtype,
    input_type: type,
) -> RunnableProgram:
    """The program of a step, from the cache or traced.

    Raises:
        NotFusableError: If the step cannot become a program; the failure is cached too.
    """
    part = stepper.feedback or stepper
    module = stepper.module
    if getattr(part.step, "__self__", None) is not module:
        raise NotFusableError("its step is not a method of the model")
    memo = memo_of(module)
    last: LastProgram | None = memo.program if memo else None
    if last is not None and not (last.watch.is_of(module) and last.step == part.step.__name__):
        last = None
    try:
        if last is not None and last.prepared.is_of(*part.prepared) and last.prepared.unchanged():
            values, prepared = last.key.prepared, last.prepared
        else:
            values, prepared = fingerprint_prepared(part.prepared, last.prepared if last else None)
        watch = last.watch.renewed() if last else None
        receptors = _receptors(input_type)
        of_key = (values, constants, dtype, receptors)
        if last is None or watch is None or last.key.of_call() != of_key:
            fingerprint, places, watch = fingerprint_module(module, part.step)
            key = ProgramKey(fingerprint, values, tuple(names), constants, dtype, receptors)
        elif watch is last.watch:
            if memo and prepared is not last.prepared:
                memo.program = last._replace(prepared=prepared)
            return last.program
        else:
            key, places = last.key, last.places
    except UnknownContentError:
        traced = trace(module, part.step, state, names, part.prepared, constants, dtype, None, input_type)
        return RunnableProgram(traced, ())
    program = _find_program(key, places, watch.numbers(), stepper, state, input_type)
    if memo:
        memo.program = LastProgram(watch, part.step.__name__, prepared, key, places, program)
    return program


class LastProgram(NamedTuple):
    """The program that a module ran last, and all that decides whether it is still the right one."""

    watch: Watch
    step: str  # name of the method
    prepared: Watch  # over the prepared values
    key: ProgramKey
    places: list[NumberPlace]
    program: RunnableProgram

    def renumbered(self, watch: Watch) -> "LastProgram | None":
        """The same program with other numbers of surrogates; None if others have changed, or if it is another program.

        Args:
            watch: `self.watch`, renewed.
        """
        numbers = watch.numbers()
        for place, old, new in zip(self.places, self.watch.numbers(), numbers, strict=True):
            if old is not new and place.attributes[0] != "surrogate":
                return None
        with _lock:
            key = self.key.with_literals(_literals.get(self.key, frozenset()), numbers)
            same = _programs.get(key) is self.program.traced
        if not same:
            return None
        try:
            values = _evaluate_all(self.program.traced, numbers)
        except (ArithmeticError, TypeError):
            return None
        return self._replace(watch=watch, program=RunnableProgram(self.program.traced, values))


def _evaluate_all(traced: TracedProgram, numbers: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(evaluate(number, numbers)) for number in traced.numbers)


def _find_program(
    key: ProgramKey,
    places: Sequence[NumberPlace],
    numbers: Sequence[float],
    stepper: Stepper,
    state: AnyState,
    input_type: type,
) -> RunnableProgram:
    """The program of a key without literals, from the cache or traced; see `_cached_program`.

    It is traced with all numbers as arguments at first, and with those as literals that prove to be needed as such. If
    it cannot be traced, or if the arguments cannot be computed, then with all numbers as literals.
    """
    every = frozenset(range(len(places)))
    with _lock:
        literals = _literals.get(key, frozenset())
    while True:
        try:
            traced = _trace_or_find(key, literals, places, numbers, stepper, state, input_type)
            return RunnableProgram(traced, _evaluate_all(traced, numbers))
        except NumberNeededError as error:
            literals |= error.places
        except (NotFusableError, ArithmeticError, TypeError):
            if literals == every:
                raise
            literals = every
        with _lock:
            _put(_literals, key, literals)


def _trace_or_find(
    key: ProgramKey,
    literals: frozenset[int],
    places: Sequence[NumberPlace],
    numbers: Sequence[float],
    stepper: Stepper,
    state: AnyState,
    input_type: type,
) -> TracedProgram:
    """The program with some numbers as literals, from the cache or traced.

    Raises:
        NotFusableError: If the step cannot become a program; the failure is cached too.
        NumberNeededError: If more numbers have to be literals.
    """
    key = key.with_literals(literals, numbers)
    part = stepper.feedback or stepper
    with _lock:
        result = _programs.get(key)
        if result is not None:
            _programs.move_to_end(key)
    if result is None:
        arguments = {k: place for k, place in enumerate(places) if k not in literals}
        try:
            result = trace(
                stepper.module,
                part.step,
                state,
                key.tensors,
                part.prepared,
                key.constants,
                key.dtype,
                arguments,
                input_type,
            )
        except NotFusableError as error:
            # Without its traceback, which would keep the model alive.
            result = NotFusableError(*error.args)
        with _lock:
            _put(_programs, key, result)
    if isinstance(result, NotFusableError):
        raise NotFusableError(*result.args)
    return result


def _put(entries: OrderedDict[ProgramKey, Any], key: ProgramKey, value: object) -> None:
    """Add an entry, and remove the oldest ones if there are too many."""
    entries[key] = value
    while len(entries) > MAX_PROGRAMS:
        entries.popitem(last=False)
