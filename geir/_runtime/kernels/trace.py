"""From a model's step to a program: straight lines of elementwise operations for the step and for its
vector-Jacobian product.

The step runs once, on a few numbers, while a dispatch mode records every operation; then autograd's backward
pass of it is recorded too.
"""

import functools
import math
import operator
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn, Tensor
from torch.func import functional_call

from ..._util.inputs import AnyInput
from ..._util.state import AnyState, leaves, map_state, map_tensors
from ..stepper import Prepared, Step
from .names import constant_names, number_name, receptor_names, state_names
from .program import Argument, Line, NotFusableError, Program
from .read_guard import ReadGuard
from .record import Recorder
from .symbols import Expression, find_number, NumberNeededError, NumberPlace, replace_number, Symbols

# A step as a function of input, state, all constants and the symbols of numbers.
PureStep = Callable[[AnyInput, AnyState, list[Tensor], Symbols], tuple[Tensor, AnyState]]


class TracedProgram(NamedTuple):
    """A program, as text, and what its constants are."""

    program: str
    used: list[int]  # indices of the tensors that it uses; these are its first constants
    numbers: list[Expression]  # its other constants, computed from the numbers among the settings


class _Names(NamedTuple):
    states: list[str]
    constants: list[str]
    numbers: dict[int, str]
    inputs: list[str]
    taken: set[str]


def trace(
    module: nn.Module,
    step: Step,
    state: AnyState,
    names: Sequence[str],
    prepared: Prepared,
    dtypes: Sequence[torch.dtype],
    dtype: torch.dtype,
    numbers: Mapping[int, NumberPlace] | None = None,
    input_type: type = Tensor,
) -> TracedProgram:
    """Trace a step in which every tensor is an input, and so are some numbers; all else is constant.

    Args:
        module: The module that the step belongs to.
        step: From x, state and prepared values to z and the next state.
        state: A state of the structure that the step takes.
        names: Names of the parameters and buffers of the module. They and the tensors in `prepared` are the
            constants of the program.
        prepared: Prepared values of the structure that the step takes.
        dtypes: Of the constants.
        dtype: Dtype of the arithmetic.
        numbers: Places of those numbers among the settings of the module that are inputs, by their indices.
        input_type: The type of one step of input: a tensor, or a named tuple with one for each receptor.

    Raises:
        NotFusableError: If the step is not a straight line of elementwise operations.
        NumberNeededError: If it needs numbers as such that should be inputs.
    """
    numbers = numbers or {}
    taken: set[str] = set()
    identifiers = _Names(
        state_names([name for name, _ in leaves(state)], taken),
        constant_names(names, prepared, taken),
        {k: "_".join((*place.modules, *place.attributes)) for k, place in numbers.items()},
        receptor_names(input_type, taken),
        taken,
    )
    pure = _pure_step(module, step, names, prepared, numbers)

    def trace_twice() -> TracedProgram:
        # In two shapes and with two numbers, to detect a shape or the value of a tensor that entered as a constant.
        first, second = (
            _trace_at(pure, state, identifiers, dtypes, dtype, shape, input_type) for shape in ((2,), (1, 3))
        )
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


def _trace_at(
    step: PureStep,
    state: AnyState,
    names: _Names,
    dtypes: Sequence[torch.dtype],
    dtype: torch.dtype,
    shape: tuple[int, ...],
    input_type: type,
) -> TracedProgram:
    """Trace the step on tensors of one shape."""
    size = math.prod(shape)
    recorder = Recorder(size, dtype)
    real = str(dtype).removeprefix("torch.")
    # A number that differs between the two traces: if Python reads it, by `.tolist()` or NumPy, the programs differ.
    number = 1 / size

    def stand_in(name: str) -> Tensor:
        tensor = torch.full(shape, number, dtype=dtype, device="cpu", requires_grad=True)
        recorder.names[tensor.data_ptr()] = name
        return tensor

    def number_stand_in(name: str) -> Tensor:
        identifiers.append(number_name(name, taken))
        # The guard that is active keeps the step from reading addresses.
        with torch._C.DisableTorchFunction():
            tensor = torch.full((), number, dtype=dtype, device="cpu")
            recorder.names[tensor.data_ptr()] = identifiers[-1]
        return tensor

    taken = set(names.taken)
    identifiers: list[str] = []
    symbols = Symbols(names.numbers, number_stand_in)
    inputs = [stand_in(name) for name in names.inputs]
    x = input_type(*inputs) if issubclass(input_type, tuple) else inputs[0]
    states = [stand_in(name) for name in names.states]
    # Those that the step gets, each in its own dtype, and those for which gradients are computed.
    constants: list[Tensor] = []
    sources: list[Tensor] = []
    for name, kind in zip(names.constants, dtypes, strict=True):
        source = stand_in(name) if kind.is_floating_point else recorder.discrete_constant(name, kind, shape)
        constant = source.to(kind) if kind.itemsize < dtype.itemsize else source
        if constant is not source:
            recorder.names[constant.data_ptr()] = recorder.names[source.data_ptr()]
        sources.append(source)
        constants.append(constant)
    cotangents = [stand_in(f"grad_{name}").detach() for name in ("z", *names.states)]
    parts = iter(states)
    start = map_state(lambda _: next(parts), state)
    try:
        with recorder:
            with ReadGuard():
                z, after = step(x, start, constants, symbols)
            outputs = [z, *(part for _, part in leaves(after))]
            forward = [recorder.result(output) for output in outputs]
        for name, part in zip(names.states, outputs[1:], strict=True):
            if part.dtype != dtype:
                kind = str(part.dtype).removeprefix("torch.")
                raise NotFusableError(
                    f"its step returns {kind} as the part {name} of the state, which is {real}; convert it"
                )
        products = [(output * cotangent).sum() for output, cotangent in zip(outputs, cotangents, strict=True)]
        total = functools.reduce(operator.add, products)
        # Not by `torch.autograd.grad`, inside of which the guard would not be active, and whose first call imports half
        # a second of symbolic mathematics.
        run_backward = torch.autograd.graph._engine_run_backward
        arguments = (*inputs, *states, *sources)
        with recorder:
            recorder.exact = False
            one = torch.ones_like(total)
            learnable = tuple(t for t in arguments if t.requires_grad)
            with ReadGuard():
                found = run_backward((total,), (one,), False, False, learnable, True, accumulate_grad=False)
            gradients = iter(found)
            of_arguments = [next(gradients) if t.requires_grad else None for t in arguments]
            backward = [0.0 if gradient is None else recorder.result(gradient) for gradient in of_arguments]
    except Exception as error:
        if symbols.needed:
            raise NumberNeededError(symbols.needed) from error
        if isinstance(error, NotFusableError):
            raise
        first_line = str(error).splitlines()[0]
        raise NotFusableError(f"its step cannot be traced ({type(error).__name__}: {first_line})") from error
    if symbols.needed:  # the step has caught the error
        raise NumberNeededError(symbols.needed)
    # Numbers never need a gradient.
    backward += [0.0] * len(identifiers)
    program = Program(
        real, names.states, [*names.constants, *identifiers], recorder.writer.lines, forward, backward, names.inputs
    )
    return _prune(program.fuse_multiply_add(), symbols.constants)


def _prune(program: Program, numbers: Sequence[Expression]) -> TracedProgram:
    """Remove constants and lines that nothing needs, and number the temporaries."""
    results = [*program.step, *program.backward]
    lines = program.dependencies(results)
    needed = {*results, *(argument for line in lines for argument in line.arguments)}
    used = [k for k, name in enumerate(program.constants) if name in needed]
    numbered: dict[Argument, str] = {line.name: f"t{k}" for k, line in enumerate(lines)}

    def rename(arguments: Sequence[Argument]) -> list[Argument]:
        return [numbered.get(argument, argument) for argument in arguments]

    count = len(program.inputs) + len(program.states)
    of_constants = program.backward[count:]
    pruned = program._replace(
        constants=[program.constants[k] for k in used],
        lines=[Line(numbered[line.name], line.operator, tuple(rename(line.arguments))) for line in lines],
        step=rename(program.step),
        backward=rename([*program.backward[:count], *(of_constants[k] for k in used)]),
    )
    tensors = len(program.constants) - len(numbers)
    return TracedProgram(
        pruned.dumps(), [k for k in used if k < tensors], [numbers[k - tensors] for k in used if k >= tensors]
    )


class _StepModule(nn.Module):
    """Makes a step callable by `functional_call`."""

    def __init__(self, module: nn.Module, step: Step):
        super().__init__()
        self.module = module
        self.run = step

    def forward(self, *arguments: object) -> tuple[Tensor, AnyState]:
        return self.run(*arguments)


def _pure_step(
    module: nn.Module, step: Step, names: Sequence[str], prepared: Prepared, numbers: Mapping[int, NumberPlace]
) -> PureStep:
    """A step as a function of all tensors and numbers that it uses.

    The step runs on a copy of the module, whose tensors and numbers are replaced by stand-ins. The module itself is
    never changed, because other threads may read or run it at the same time.

    Raises:
        NotFusableError: When called, if the step changes an attribute of the module.
    """

    def run(x: AnyInput, state: AnyState, constants: list[Tensor], symbols: Symbols) -> tuple[Tensor, AnyState]:
        values = {f"module.{name}": value for name, value in zip(names, constants, strict=False)}
        rest = iter(constants[len(names) :])
        arguments = map_tensors(lambda _: next(rest), prepared)
        copied = _copy_structure(module)
        for k, place in numbers.items():
            part = copied.get_submodule(".".join(place.modules))
            kind = type(find_number(module, place))
            replace_number(vars(part), place.attributes, symbols.symbol(k, kind))
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
    # Not `copy.copy`, which modules with parametrizations refuse.
    copied = object.__new__(type(module))
    vars(copied).update(vars(module))
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
