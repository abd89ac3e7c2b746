"""From a model's step to a program: straight lines of elementwise operations for the step and for its
vector-Jacobian product.

The step runs once, on a few numbers, while a dispatch mode records every operation; then autograd's backward
pass of it is recorded too.
"""

import copy
import functools
import operator
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn, Tensor
from torch.func import functional_call

from ..._util.state import AnyState, leaves, map_state, map_tensors
from ..stepper import Prepared, Step
from .names import constant_names, state_names
from .program import Argument, Line, NotFusableError, Program
from .record import Recorder

# A step as a function of input, state and all constants.
PureStep = Callable[[Tensor, AnyState, list[Tensor]], tuple[Tensor, AnyState]]


class TracedProgram(NamedTuple):
    """A program, as text, and the indices of the constants that it uses; it has only those."""

    program: str
    used: list[int]


class _Names(NamedTuple):
    states: list[str]
    constants: list[str]


def trace(
    module: nn.Module, step: Step, state: AnyState, names: Sequence[str], prepared: Prepared, dtype: torch.dtype
) -> TracedProgram:
    """Trace a step in which every tensor is an input; all else is constant.

    Args:
        module: The module that the step belongs to.
        step: From x, state and prepared values to z and the next state.
        state: A state of the structure that the step takes.
        names: Names of the parameters and buffers of the module. They and the tensors in `prepared` are the
            constants of the program.
        prepared: Prepared values of the structure that the step takes.
        dtype: Dtype of the arithmetic.

    Raises:
        NotFusableError: If the step is not a straight line of elementwise operations.
    """
    taken: set[str] = set()
    identifiers = _Names(
        state_names([name for name, _ in leaves(state)], taken), constant_names(names, prepared, taken)
    )
    pure = _pure_step(module, step, names, prepared)

    def trace_twice() -> TracedProgram:
        # At two sizes and with two numbers, to detect a size or the value of a tensor that entered as a constant.
        first, second = (_trace_at(pure, state, identifiers, dtype, size) for size in (2, 3))
        if first != second:
            raise NotFusableError(
                "its step depends on the shape of its input, or lets Python read the data of a tensor"
            )
        return first

    return _run_in_thread(trace_twice)


def _run_in_thread(function: Callable[[], TracedProgram]) -> TracedProgram:
    """Call a function in another thread, where no transform, mode or autocast is active.

    Raises:
        NotFusableError: If no thread can be started, as at the end of the interpreter.
    """
    results: list[TracedProgram] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function())
        except BaseException as error:  # raised again in the calling thread
            errors.append(error)

    # Not a `ThreadPoolExecutor`, which does not work in functions registered with `atexit`.
    thread = threading.Thread(target=call)
    try:
        thread.start()
    except RuntimeError as error:
        raise NotFusableError(f"it cannot be traced now ({error})") from error
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _trace_at(step: PureStep, state: AnyState, names: _Names, dtype: torch.dtype, size: int) -> TracedProgram:
    """Trace the step on tensors of one size."""
    recorder = Recorder(size, dtype)
    # A number that differs between the two traces: if Python reads it, by `.tolist()` or NumPy, the programs differ.
    number = 1 / size

    def stand_in(name: str) -> Tensor:
        tensor = torch.full((size,), number, dtype=dtype, device="cpu", requires_grad=True)
        recorder.names[tensor.data_ptr()] = name
        return tensor

    x = stand_in("x")
    states = [stand_in(name) for name in names.states]
    constants = [stand_in(name) for name in names.constants]
    cotangents = [stand_in(f"grad_{name}").detach() for name in ("z", *names.states)]
    parts = iter(states)
    start = map_state(lambda _: next(parts), state)
    try:
        with recorder:
            z, after = step(x, start, constants)
            outputs = [z, *(part for _, part in leaves(after))]
            forward = [recorder.result(output) for output in outputs]
        # `grad` of a scalar, because with given cotangents its first call imports half a second of symbolic
        # mathematics.
        products = [(output * cotangent).sum() for output, cotangent in zip(outputs, cotangents, strict=True)]
        total = functools.reduce(operator.add, products)
        with recorder:
            gradients = torch.autograd.grad(total, [x, *states, *constants], allow_unused=True)
            backward = [0.0 if gradient is None else recorder.result(gradient) for gradient in gradients]
    except NotFusableError:
        raise
    except Exception as error:
        first_line = str(error).splitlines()[0]
        raise NotFusableError(f"its step cannot be traced ({type(error).__name__}: {first_line})") from error
    real = str(dtype).removeprefix("torch.")
    program = Program(real, names.states, names.constants, recorder.lines, forward, backward)
    return _prune(program.fuse_multiply_add())


def _prune(program: Program) -> TracedProgram:
    """Remove constants and lines that nothing needs, and number the temporaries."""
    results = [*program.step, *program.backward]
    lines = program.dependencies(results)
    needed = {*results, *(argument for line in lines for argument in line.arguments)}
    used = [k for k, name in enumerate(program.constants) if name in needed]
    numbered: dict[Argument, str] = {line.name: f"t{k}" for k, line in enumerate(lines)}

    def rename(arguments: Sequence[Argument]) -> list[Argument]:
        return [numbered.get(argument, argument) for argument in arguments]

    count = 1 + len(program.states)
    of_constants = program.backward[count:]
    pruned = program._replace(
        constants=[program.constants[k] for k in used],
        lines=[Line(numbered[line.name], line.operator, tuple(rename(line.arguments))) for line in lines],
        step=rename(program.step),
        backward=rename([*program.backward[:count], *(of_constants[k] for k in used)]),
    )
    return TracedProgram(pruned.dumps(), used)


class _StepModule(nn.Module):
    """Makes a step callable by `functional_call`."""

    def __init__(self, module: nn.Module, step: Step):
        super().__init__()
        self.module = module
        self.run = step

    def forward(self, *arguments: object) -> tuple[Tensor, AnyState]:
        return self.run(*arguments)


def _pure_step(module: nn.Module, step: Step, names: Sequence[str], prepared: Prepared) -> PureStep:
    """A step as a function of all tensors that it uses.

    The step runs on a copy of the module, whose tensors are replaced by stand-ins. The module itself is never
    changed, because other threads may read or run it at the same time.

    Raises:
        NotFusableError: When called, if the step changes an attribute of the module.
    """

    def run(x: Tensor, state: AnyState, constants: list[Tensor]) -> tuple[Tensor, AnyState]:
        values = {f"module.{name}": value for name, value in zip(names, constants, strict=False)}
        rest = iter(constants[len(names) :])
        arguments = map_tensors(lambda _: next(rest), prepared)
        copied = _copy_structure(module)
        before = [(part, dict(vars(part))) for part in copied.modules()]
        pure = _StepModule(copied, _rebind(step, module, copied))
        # Not tied: one parameter in two places has a stand-in, and a gradient, for each.
        result = functional_call(pure, values, (x, state, *arguments), tie_weights=False)
        for part, attributes in before:
            now = vars(part)
            changed = [k for k in now.keys() | attributes.keys() if now.get(k) is not attributes.get(k)]
            if changed:
                raise NotFusableError(f"its step changes its attribute {changed[0]}; make it a part of the state")
        return result

    return run


def _copy_structure(module: nn.Module) -> nn.Module:
    """A copy of a module and its submodules that shares tensors and settings, but can be given other tensors."""
    copied = copy.copy(module)
    vars(copied).update(
        _parameters=dict(module._parameters),
        _buffers=dict(module._buffers),
        _modules={name: child and _copy_structure(child) for name, child in module._modules.items()},
    )
    return copied


def _rebind(step: Step, module: nn.Module, copied: nn.Module) -> Step:
    """The same method of the copy."""
    if getattr(step, "__self__", None) is not module:
        raise NotFusableError("its step is not a method of the model")
    return getattr(copied, step.__name__)
