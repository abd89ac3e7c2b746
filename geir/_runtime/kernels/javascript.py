"""A model in JavaScript, for pages in the browser: one neuron in float64, whose parameters can change.

Kernels take the prepared values of a step as constants. Here they must follow the parameters, so the step is traced
together with `prepare`. What depends on parameters only is then sorted out as everywhere.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

import torch
from torch import nn, Tensor

from ..._util.state import AnyState, leaves, tensors_of
from ..template import render_template
from ..untyped import Untyped
from .emit import Code, emit, for_each, JAVASCRIPT, join_lines, Language
from .program import Argument, NotFusableError, Program
from .symbols import Expression, NumberNeededError, NumberPlace
from .trace import trace, TracedProgram


def _number(number: float) -> str:
    return f"({number!r})".replace("inf", "Infinity").replace("nan", "NaN")


_JAVASCRIPT = Language(
    column=JAVASCRIPT,
    number=_number,
    declarations=("const {name} = {text};", "const {name} = {text};", "const {name} = {text};"),
    per_neuron="{name}",
)
# Python's operators on numbers.
_ARITHMETIC = {
    "neg": "(-{0})",
    "pos": "{0}",
    "abs": "Math.abs({0})",
    "add": "({0} + {1})",
    "sub": "({0} - {1})",
    "mul": "({0} * {1})",
    "truediv": "({0} / {1})",
    "floordiv": "Math.floor({0} / {1})",
    "pow": "power({0}, {1})",
}


# A model, a `geir.core.Dynamics`, which nothing here may import.
_Model = Untyped


class Script(NamedTuple):
    """A model in JavaScript."""

    source: str  # functions `restingState(parameters)` and `prepareRun(parameters)`
    arguments: list[str]  # what `parameters` holds: names of parameters and buffers, and perhaps `dt`


class _Whole(nn.Module):
    """A model whose step prepares itself.

    Args:
        neuron: The model.
        depth: How many wrappers of the model to leave out in `rest`.
    """

    neuron: _Model

    def __init__(self, neuron: _Model, depth: int = 0) -> None:
        super().__init__()
        self.neuron = neuron
        self.depth = depth

    def step(self, x: Tensor, state: AnyState) -> tuple[Tensor, AnyState]:
        return self.neuron.step(x, state, *self.neuron.prepare())

    def rest(self, x: Tensor, state: AnyState) -> tuple[Tensor, AnyState]:
        neuron = self.neuron
        for _ in range(self.depth):
            neuron = neuron.neuron
        return x, neuron.initial_state(x)


def script_of(neuron: _Model) -> Script:
    """A model of one neuron in JavaScript.

    Args:
        neuron: The model, in float64, with parameters and buffers without dimensions.

    Raises:
        NotFusableError: If its step is not a straight line of elementwise operations; the message says why.
    """
    if not neuron.elementwise:
        raise NotFusableError("its neurons influence each other")
    names = list(tensors_of(neuron))
    state = neuron.initial_state(torch.zeros((), dtype=torch.float64))
    # The step size is an input too, unless the step needs it as a number, as in `math.exp(-self.dt)`.
    places = [
        NumberPlace(("neuron", *prefix.split(".")) if prefix else ("neuron",), ("dt",))
        for prefix, module in neuron.named_modules()
        if vars(module).get("dt") == neuron.dt
    ]
    try:
        numbers = dict(enumerate(places))
        step = _trace(_Whole(neuron), "step", state, numbers)
        rest, start = _trace_rest(neuron, state, numbers)
    except NumberNeededError:
        numbers = {}
        step = _trace(_Whole(neuron), "step", state, numbers)
        rest, start = _trace_rest(neuron, state, numbers)
    program, rest_program = Program.loads(step.program), Program.loads(rest.program)
    code, rest_code = _emit(program, program.step), _emit(rest_program, start)
    z, *after = code.results
    regions = {
        "rest_constants": _constants(rest, names),
        "rest_lines": join_lines(rest_code.shared),
        "rest": ", ".join(rest_code.results),
        "constants": _constants(step, names),
        "shared": join_lines(code.shared),
        "states": ", ".join(program.states),
        "step": join_lines(code.per_step),
        "z": z,
        "after": ", ".join(after),
        "record": for_each("recorded[{k}][t] = {name};", program.states),
    }
    template = (files("geir._runtime.kernels") / "template.js").read_text()
    return Script(render_template(template, regions), [*names, *(["dt"] if numbers else [])])


def mathematics() -> str:
    """The functions that scripts call."""
    return (files("geir._runtime") / "mathematics.js").read_text()


def _trace(whole: _Whole, method: str, state: AnyState, numbers: Mapping[int, NumberPlace]) -> TracedProgram:
    tensors = tensors_of(whole)
    dtypes = [tensor.dtype for tensor in tensors.values()]
    return trace(whole, getattr(whole, method), state, list(tensors), (), dtypes, torch.float64, numbers)


def _trace_rest(
    neuron: _Model, state: AnyState, numbers: Mapping[int, NumberPlace]
) -> tuple[TracedProgram, list[Argument]]:
    """The program of the initial state, and its results for every part of the state.

    The state of a generator of random numbers is computed from a seed, by integers, which programs do not have. It
    depends on no parameter, so its parts are numbers. The parts of the wrapped neuron, `state.neuron`, are traced.
    """
    parts: list[Argument] = [part.item() for _, part in leaves(state)]
    depth = 0
    while True:
        try:
            traced = _trace(_Whole(neuron, depth), "rest", state, numbers)
        except NotFusableError:
            if not isinstance(getattr(state, "neuron", None), tuple):
                raise
            depth, state = depth + 1, state.neuron
            continue
        # A wrapper's `neuron` is the first part of its state.
        _, *results = Program.loads(traced.program).step
        return traced, [*results, *parts[len(results) :]]


def _emit(program: Program, results: Sequence[Argument]) -> Code:
    return emit(program, results, _JAVASCRIPT, [True] * len(program.constants))


def _constants(traced: TracedProgram, names: Sequence[str]) -> str:
    """Declarations of the constants of a program."""
    tensors = [f"parameters[{k}]" for k in traced.used]
    numbers = [_print(expression, f"parameters[{len(names)}]") for expression in traced.numbers]
    return for_each("const {name} = {value};", Program.loads(traced.program).constants, [*tensors, *numbers])


def _print(expression: Expression, dt: str) -> str:
    """An expression of numbers, all of which are the step size."""
    if not isinstance(expression, tuple):
        return _number(float(expression))
    kind, *arguments = expression
    if kind == "number":
        return dt
    if kind not in _ARITHMETIC:
        raise NotFusableError(f"it computes `{kind}` of its step size")
    return _ARITHMETIC[kind].format(*(_print(argument, dt) for argument in arguments))
