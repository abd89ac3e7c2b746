"""Run a plastic connection over time on the CPU: the traced step of its neurons and its rule, printed into C.

The step is traced for one synapse. Its values belong to inputs, to neurons, to synapses or to none of them: those of a
line belong to all that its arguments belong to. So lines are printed into a loop over inputs, one over neurons, and one
over the synapses whose weight changes.

Most weights do not change in a step, because changes are products with spikes. A line at a synapse is a sum of terms,
each of which is zero where one of its factors is, such as the spike of a neuron. The terms of the change are found from
the lines; rows and columns in which all terms are zero are skipped.
"""

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

import torch
from torch import Tensor

from .. import compiler, threads
from ..template import render_template
from .c_source import C_LANGUAGE
from .emit import C, for_each, join_lines
from .operators import LOGIC, OPERATORS
from .program import Argument, Line, NotFusableError, Program

# What a value belongs to.
Axes = frozenset[str]
SHARED: Axes = frozenset()
INPUT: Axes = frozenset({"input"})
NEURON: Axes = frozenset({"neuron"})
SYNAPSE = INPUT | NEURON

# A product of values of inputs or neurons with anything else.
_Term = frozenset[Argument]
_ANYTHING: _Term = frozenset()
_MAX_TERMS = 8
# Operators whose result is zero where all of these arguments are.
_ZERO_WITH = {
    "add": (0, 1),
    "sub": (0, 1),
    "maximum": (0, 1),
    "minimum": (0, 1),
    "neg": (0,),
    "abs": (0,),
    "div": (0,),
    "relu": (0,),
    "where": (1, 2),
}


class Layout(NamedTuple):
    """The axes of a program's inputs, states and constants, and the states that the kernel handles specially."""

    axes: tuple[tuple[str, Axes], ...]  # of inputs, states and constants, by their names
    input: str  # name of the presynaptic spikes
    current: str  # name of the postsynaptic current
    weight: str  # the state whose next value in the program is the change of the weight
    bounds: tuple[str, str]  # the states whose next values are the bounds of the weight
    threshold: str  # the state that moves the threshold of the neurons
    moving: str | None  # the constant that is this threshold, if it moves


class _Loops:
    """The lines of a program, by the loop that they belong to."""

    def __init__(self, program: Program, layout: Layout) -> None:
        self.axes = dict(layout.axes)
        self.lines: dict[Axes, list[Line]] = {SHARED: [], INPUT: [], NEURON: [], SYNAPSE: []}
        self.operators: dict[Argument, str] = {}
        for line in program.dependencies(program.step):
            self.axes[line.name] = self.axes_of(line.arguments)
            self.lines[self.axes[line.name]].append(line)
            self.operators[line.name] = line.operator

    def axes_of(self, arguments: Iterable[Argument]) -> Axes:
        return SHARED.union(*(self.axes[each] for each in arguments if isinstance(each, str)))

    def print(self, axes: Axes) -> list[str]:
        return [
            f"const {self.kind(name)} {name} = {OPERATORS[operator][C].format(*map(_read, arguments))};"
            for name, operator, arguments in self.lines[axes]
        ]

    def kind(self, name: Argument) -> str:
        return "mask" if self.operators.get(name) in LOGIC else "real"

    def terms(self, layout: Layout, results: Sequence[Argument]) -> list[_Term]:
        """The terms of which some results at synapses are sums."""
        found: dict[Argument, set[_Term]] = {}

        def terms_of(argument: Argument) -> set[_Term]:
            if not isinstance(argument, str):
                return {_ANYTHING} if argument else set()
            if argument in found:
                return found[argument]
            return {frozenset({argument})} if self.axes[argument] in (INPUT, NEURON) else {_ANYTHING}

        for name, operator, arguments in self.lines[SYNAPSE]:
            of_each = [*map(terms_of, arguments)]
            if operator in ("mul", "fma", "fms", "fnma"):
                terms = {first | second for first, second in itertools.product(of_each[0], of_each[1])}
                terms = terms.union(*of_each[2:])
            elif operator in _ZERO_WITH:
                terms = set().union(*(of_each[k] for k in _ZERO_WITH[operator]))
            else:
                terms = {_ANYTHING}
            found[name] = terms if len(terms) <= _MAX_TERMS else {_ANYTHING}
        of_results = set[_Term]().union(*map(terms_of, results))
        # A term is covered by another that has fewer factors.
        covering = [term for term in of_results if not any(other < term for other in of_results)]
        return sorted(covering, key=lambda term: sorted(map(str, term)))


def _read(argument: Argument) -> str:
    return argument if isinstance(argument, str) else C_LANGUAGE.number(argument)


class _Source(NamedTuple):
    text: str
    pointers: list[str]  # names of the values that are in memory, in the order of their pointers
    kept: list[tuple[str, Axes]]  # values of a step that synapses read, of inputs or neurons
    terms: int


def source(program: Program, layout: Layout) -> _Source:
    """The C source of a program.

    Raises:
        NotFusableError: If a value does not fit the state that it is for.
    """
    loops = _Loops(program, layout)
    axes = loops.axes
    z, *next_state = program.step
    after = dict(zip(program.states, next_state, strict=True))
    low, high = (after[name] for name in layout.bounds)
    change = after[layout.weight]
    states = [name for name in program.states if name not in layout.bounds]
    expected = {**{name: axes[name] for name in states}, z: NEURON, low: SHARED, high: SHARED}
    for name in (z, low, high):
        if not loops.axes_of([name]) <= expected[name]:
            raise NotFusableError("its output or a bound of its weights belongs to synapses")
    for name in states:
        if not loops.axes_of([after[name]]) <= axes[name]:
            raise NotFusableError(f"the next value of {name} has another shape than the state")
    at_synapses = [name for name in states if axes[name] == SYNAPSE]
    # Other sums at synapses may grow everywhere.
    changed = [after[name] for name in at_synapses if name == layout.weight or after[name] != name]
    terms = loops.terms(layout, changed)
    read: set[Argument] = {*changed, *(each for line in loops.lines[SYNAPSE] for each in line.arguments)}
    read = read.union(*terms)
    kept = [(name, axes[name]) for name in axes if name in read and axes[name] in (INPUT, NEURON)]
    in_memory = [*states, *(name for name in program.constants if name != layout.moving)]
    given = {name: f"{name}_ptr[{index}]" for name in in_memory for index in ("ij"[axes[name] == NEURON],)}
    given |= {layout.input: "input[i]", layout.current: "current[j]"}
    if layout.moving:
        given[layout.moving] = f"{layout.threshold}_ptr[j]"

    def loop(of: Axes, index: str) -> str:
        loads = [f"const real {name} = {text};" for name, text in given.items() if axes[name] == of]
        stores = [f"{name}_block[{index}] = {name};" for name, each in kept if each == of]
        stores += [f"{name}_ptr[{index}] = {_read(after[name])};" for name in states if axes[name] == of]
        return join_lines(loads, loops.print(of), stores)

    row, column = [name for name, each in kept if each == NEURON], [name for name, each in kept if each == INPUT]
    place = "[j * inputs + i]"
    old = f"{layout.weight}_ptr{place}"
    update = [f"const real {name} = {name}_ptr{place};" for name in at_synapses]
    update += [f"const {loops.kind(name)} {name} = {name}_block[i];" for name in column]
    update += loops.print(SYNAPSE)
    update += [f"{name}_ptr{place} = {_read(after[name])};" for name in at_synapses if name != layout.weight]
    update += [f"{old} = clamp({layout.weight} + {_read(change)}, {_read(low)}, {_read(high)});"]
    blocks = [f"{loops.kind(name)} *restrict {name}_block = call->a[{{k}}];" for name, _ in kept]
    first = 8 + len(in_memory)
    regions = {
        "double": str(int(program.real == "float64")),
        "terms": str(len(terms)),
        "weights": f"{layout.weight}_ptr",
        "pointers": join_lines(
            [f"real *restrict {name}_ptr = call->a[{8 + k}];" for k, name in enumerate(in_memory)],
            [text.format(k=first + k) for k, text in enumerate(blocks)],
        ),
        "once": join_lines(
            for_each("const real {name} = {name}_ptr[0];", [n for n in program.constants if not axes[n]]),
            loops.print(SHARED),
        ),
        "neuron": join_lines(loop(NEURON, "j"), f"output[j] = {_read(z)};"),
        "input": loop(INPUT, "i"),
        "columns_of_terms": join_lines(_columns_of_terms(terms, axes)),
        "row": join_lines(f"const {loops.kind(name)} {name} = {name}_block[j];" for name in row),
        "active_terms": join_lines(_active_terms(terms, axes)),
        "synapse": join_lines(update),
    }
    text = (files("geir._runtime.kernels") / "plasticity.c").read_text()
    return _Source(render_template(text, regions), in_memory, kept, len(terms))


def _columns_of_terms(terms: Sequence[_Term], axes: Mapping[str, Axes]) -> Iterable[str]:
    """Find for every term the inputs for which it may not be zero."""
    for k, term in enumerate(terms):
        factors = [f"({name}_block[i] != 0)" for name in sorted(map(str, term)) if axes[name] == INPUT]
        if factors:
            yield f"EACH_INPUT gate[i] = {' & '.join(factors)};"
            yield f"counts[{k}] = find_fired(gate, 0, inputs, lists + {k} * inputs);"
        else:
            yield f"counts[{k}] = inputs;"


def _active_terms(terms: Sequence[_Term], axes: Mapping[str, Axes]) -> Iterable[str]:
    """Find the terms that may not be zero for a neuron."""
    for k, term in enumerate(terms):
        factors = [f"({name} != 0)" for name in sorted(map(str, term)) if axes[name] == NEURON]
        condition = " & ".join([f"(counts[{k}] > 0)", *factors])
        yield f"if ({condition}) active++, term = {k}, dense |= 4 * counts[{k}] > inputs;"


@functools.cache
def _compiled(text: str, layout: Layout) -> tuple[threads.Function, _Source]:
    generated = source(Program.loads(text), layout)
    return compiler.load(generated.text).run, generated


def run(
    text: str,
    layout: Layout,
    xs: Tensor,
    values: Mapping[str, Tensor],
    bias: Tensor | None,
    recurrent: Tensor | None,
    last_output: Tensor | None,
) -> Tensor:
    """Run a program, changing its states in place.

    Args:
        text: The program.
        layout: Its layout.
        xs: Presynaptic spikes, shape (time, inputs).
        values: States and constants by name, contiguous. The weight has the shape (neurons, inputs).
        bias: Added to the current of every step, shape (neurons,).
        recurrent: Recurrent weights, shape (neurons, neurons), or None.
        last_output: The output before the first step, shape (neurons,), if there are recurrent weights.

    Returns:
        Spikes, shape (time, neurons).

    Raises:
        NoCompilerError: If there is no C compiler, or if it fails.
        NotFusableError: If the program cannot run.
    """
    function, generated = _compiled(text, layout)
    steps, inputs = xs.shape
    neurons = len(values[layout.weight])
    zs, current, gate = xs.new_empty(steps, neurons), xs.new_empty(neurons), xs.new_empty(inputs)
    lists = torch.empty(generated.terms * inputs + max(inputs, neurons), dtype=torch.int32)
    kept = [xs.new_empty(inputs if axes == INPUT else neurons) for _, axes in generated.kept]
    memory = [values[name] for name in generated.pointers]
    pointers = [xs, bias, recurrent, last_output, zs, current, gate, lists, *memory, *kept]
    threads.call(function, pointers, [steps, inputs, neurons], 1, 1)
    return zs
