"""Print the lines of a program in a language, separated by how often they must run."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from .operators import LOGIC, OPERATORS
from .program import Argument, Program

C, TRITON, JAVASCRIPT = 0, 1, 2
# How often a value changes.
SHARED, PER_NEURON, PER_STEP = 0, 1, 2


class Code(NamedTuple):
    """Lines of code by how often they run, and the expressions of the results."""

    shared: list[str]  # once a call: they depend on constants that all neurons share
    per_neuron: list[str]  # once a neuron: they depend on constants with a value for every neuron
    per_step: list[str]
    results: list[str]


class Language(NamedTuple):
    """The syntax of a language, other than its operators."""

    column: int  # of the table of operators
    number: Callable[[float], str]
    declarations: tuple[str, str, str]  # for every element of `Code` a line with {kind}, {name} and {text}
    per_neuron: str  # an expression for a value of `Code.per_neuron`, with {name}


def emit(
    program: Program,
    results: Sequence[Argument],
    language: Language,
    shared: Sequence[bool],
    known: Collection[str] = (),
) -> Code:
    """Print the lines that some results need.

    Args:
        program: The program.
        results: Names of the results, or numbers.
        language: The language to print.
        shared: For each constant, whether all neurons share one number.
        known: Names of lines that are computed already.
    """
    levels: dict[Argument, int] = {
        name: SHARED if one else PER_NEURON for name, one in zip(program.constants, shared, strict=True)
    }
    lines: tuple[list[str], list[str], list[str]] = ([], [], [])

    def read(argument: Argument) -> str:
        if not isinstance(argument, str):
            return language.number(argument)
        level = levels.get(argument, PER_STEP)
        return language.per_neuron.format(name=argument) if level == PER_NEURON else argument

    for name, operator, arguments in program.dependencies(results, known):
        level = max((levels.get(a, PER_STEP) for a in arguments if isinstance(a, str)), default=SHARED)
        levels[name] = level
        text = OPERATORS[operator][language.column].format(*map(read, arguments))
        kind = "mask" if operator in LOGIC else "real"
        lines[level].append(language.declarations[level].format(kind=kind, name=name, text=text))
    return Code(*lines, [read(result) for result in results])


def for_each(line: str, names: Sequence[str], values: Sequence[str] | None = None) -> str:
    """A line of code for each name, formatted with {name}, its index {k} and its {value}."""
    each = zip(names, values or names, strict=True)
    return "\n".join(line.format(k=k, name=name, value=value) for k, (name, value) in enumerate(each))


def join_lines(*parts: str | Iterable[str]) -> str:
    """Texts and lists of lines as one text."""
    return "\n".join(part if isinstance(part, str) else "\n".join(part) for part in parts)
