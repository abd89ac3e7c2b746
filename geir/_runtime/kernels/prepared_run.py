"""Everything that a run needs: its program, and state, constants and input as the program takes them."""

import functools
import itertools
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import nn, Tensor

from ..._util.inputs import AnyInput
from ..._util.state import AnyState, leaves, map_state, map_tensors, tensors_of
from ..stepper import Steppable, Stepper
from .dispatch import is_special
from .guards import guard_on_settings
from .program import NotFusableError
from .program_cache import cached_program, RunnableProgram


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
        program = cached_program(stepper, state, names, tuple(t.dtype for t in tensors), dtype, input_type)
    traced = program.traced
    constants = [tensors[k] if tensors[k].dtype == dtype else tensors[k].to(dtype) for k in traced.used]
    constants += [make_constant(number, dtype, device) for number in program.numbers]
    return FoundProgram(traced.program, constants, len(program.numbers))


@torch.compiler.assume_constant_result
def _program_for_compile(module: nn.Module, dtype: torch.dtype, input_type: type) -> RunnableProgram:
    """The program as a constant of code compiled by `torch.compile`."""
    assert isinstance(module, Steppable)
    stepper = module.stepper(dtype)
    names, tensors = _constants_of(stepper)
    state = _state_of_some_shape(module, tensors, dtype)
    inner_state = state if stepper.feedback is None else state[0]
    return cached_program(stepper, inner_state, names, tuple(t.dtype for t in tensors), dtype, input_type)


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


def unstack_state(like: AnyState, parts: Tensor) -> AnyState:
    """Stacked parts as a state of the structure of another."""
    # One by one, because the results of `unbind` may not be changed in place.
    places = itertools.count()
    return map_state(lambda _: parts[next(places)], like)
