"""The programs of steps, traced once for all models that differ in nothing but the values of tensors.

An entry is found by a `ProgramKey`. The key sees the names and the number of tensors, the dtype, and every
public attribute of the module and its submodules: numbers and strings by value, other objects by type and,
three levels deep, by the attributes in their ``__dict__``, everything else by identity and, if it is not
callable, by its `repr`. So changing `dt`, replacing a surrogate, or changing an attribute of a surrogate finds
another entry, and the step is traced again. The key does not see attributes that begin with an underscore,
`training`, class attributes, objects deeper than three levels, variables that a function closes over, global
variables, nor code: after a method is replaced on a class, the old program is still used.

Entries are never removed. Each holds the settings of its key, so that no setting whose identity is part of a key
is freed and its address used by another object. An object inside a setting is held by that setting only: after
it has been replaced there, its address can be used again, and the entry of the old object found for a new one.
"""

import itertools
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch import nn, Tensor

from ..._util.state import AnyState, leaves, map_state, map_tensors, tensors_of
from ..stepper import Steppable, Stepper
from .guards import guard_on_settings
from .program import NotFusableError
from .trace import trace, TracedProgram


class PreparedRun(NamedTuple):
    """Everything that a run needs but its input."""

    program: str
    state: Tensor  # the parts of the state, stacked
    constants: list[Tensor]  # those that the program uses, in its dtype

    def checkpoint_every(self, given: int | None) -> int:
        """The given number of steps between checkpoints, or one such that they are small compared with the input."""
        return given or max(32, 8 * len(self.state))


class ProgramKey(NamedTuple):
    """All that a program depends on; see the module's docstring for what that includes."""

    step: str  # name of the method
    tensors: tuple[str, ...]  # names of parameters and buffers
    constants: int  # number of these and of prepared values
    dtype: torch.dtype
    settings: tuple[Hashable, ...]  # fingerprints


class _Entry(NamedTuple):
    result: TracedProgram | NotFusableError
    settings: list[tuple[type, str, object]]


_programs: dict[ProgramKey, _Entry] = {}


def prepare_run(stepper: Stepper, state: AnyState) -> PreparedRun:
    """Find the program of a step, and arrange state and constants as it takes them.

    Args:
        stepper: The model.
        state: The state that the step takes; of a recurrent model that of the inner model.

    Raises:
        NotFusableError: If the step cannot become a program.
    """
    names, tensors = _constants_of(stepper)
    stacked = torch.stack([leaf for _, leaf in leaves(state)])
    dtype = stacked.dtype
    if torch.compiler.is_compiling():
        guard_on_settings(stepper.module)
        traced = _program_for_compile(stepper.module, dtype)
    else:
        traced = _cached_program(stepper, state, names, len(tensors), dtype)
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
    return _cached_program(stepper, state if stepper.feedback is None else state[0], names, len(tensors), dtype)


def _constants_of(stepper: Stepper) -> tuple[list[str], list[Tensor]]:
    """Names of parameters and buffers, and all constants of a step: these and then the tensors among the
    prepared values."""
    named = tensors_of(stepper.module)
    constants = [*named.values()]
    map_tensors(constants.append, (stepper.feedback or stepper).prepared)
    return list(named), constants


def _cached_program(
    stepper: Stepper, state: AnyState, names: Sequence[str], count: int, dtype: torch.dtype
) -> TracedProgram:
    """The program of a step, from the cache or traced.

    Raises:
        NotFusableError: If the step cannot become a program; the failure is cached too.
    """
    part = stepper.feedback or stepper
    module = stepper.module
    settings = [
        (type(m), name, value)
        for m in module.modules()
        for name, value in m.__dict__.items()
        if name[0] != "_" and name != "training"
    ]
    fingerprints = tuple([(kind, name, _fingerprint(value)) for kind, name, value in settings])
    key = ProgramKey(part.step.__name__, tuple(names), count, dtype, fingerprints)
    if key not in _programs:
        try:
            result = trace(module, part.step, state, names, part.prepared, dtype)
        except NotFusableError as error:
            result = error
        _programs[key] = _Entry(result, settings)
    result = _programs[key].result
    if isinstance(result, NotFusableError):
        raise result
    return result


def _fingerprint(value: object, depth: int = 3) -> Hashable:
    """A hashable value that tells a setting from others: the value itself, or type and attributes, or type and
    identity."""
    if value is None or isinstance(value, int | float | str | frozenset):
        return value
    if depth and (attributes := getattr(value, "__dict__", None)):
        return type(value), *[(name, _fingerprint(part, depth - 1)) for name, part in attributes.items()]
    return type(value), id(value), None if callable(value) else repr(value)
