"""The programs of steps, cached for all models whose steps do the same.

An entry is found by its `ProgramKey`: the fingerprint of the step (see `step_fingerprint.py`), names and dtypes of the
constants, and those numbers among the settings that the program has as literals (see `symbols.py`). The fingerprint is
computed from everything that the step may read, so that any change of a setting, an object, a class or a function finds
another entry, and the step is traced again. If it cannot be computed, the step is traced in every call.

The cache is bounded, and its entries hold no objects of the user. A module remembers its last entry, with a watch
over what the fingerprint was computed from.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import torch

from ..._util.state import AnyState
from ..memo import memo_of
from ..stepper import Stepper
from .program import NotFusableError
from .step_fingerprint import fingerprint_module, fingerprint_prepared, UnknownContentError
from .symbols import evaluate, NumberNeededError, NumberPlace
from .trace import trace, TracedProgram
from .watch import Watch


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


def _receptors(input_type: type) -> Hashable:
    """The part of the input type that a program depends on. The types a model accepts are in its fingerprint."""
    if not issubclass(input_type, tuple):
        return None
    kind: Any = input_type  # a named tuple
    return kind.__module__, kind.__qualname__, kind._fields


def cached_program(
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
        of_call = (values, constants, dtype, receptors)
        if last is None or watch is None or last.key.of_call() != of_call:
            fingerprint, places, watch = fingerprint_module(module, part.step)
            key = ProgramKey(fingerprint, values, tuple(names), constants, dtype, receptors)
        elif watch is last.watch:  # nothing has changed
            if memo and prepared is not last.prepared:
                memo.program = last._replace(prepared=prepared)
            return last.program
        else:  # only numbers among the settings have changed
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
    """The program of a key without literals, from the cache or traced; see `cached_program`.

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
