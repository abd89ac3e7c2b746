"""Print lines of a program in a language: what is the same for all neurons, what each neuron needs once, and what every step does."""

import re
from collections.abc import Callable, Sequence
from importlib.resources.abc import Traversable
from textwrap import indent
from typing import Any, NamedTuple

from .operators import LOGIC, OPERATORS
from .program import Argument, Program

C, TRITON = 0, 1


class Code(NamedTuple):
    """Lines of code by how often they run, and where the results are."""

    scalars: list[str]  # once a call: they depend on parameters that all neurons share
    neurons: list[str]  # once a neuron: they depend on parameters of its own
    steps: list[str]
    results: list[str]


class Language(NamedTuple):
    """How a language writes what is not an operator."""

    column: int
    number: Callable[[float], str]
    declare: tuple[str, str, str]  # a line of each level, from {kind}, {name} and {text}
    own: str  # how a value that a neuron has of its own is read, from {name}


def emit(
    program: Program, results: list[Argument], language: Language, shared: list[bool], known: Sequence[str] = ()
) -> Code:
    """Print the lines that some results need.

    Args:
        program: The program.
        results: Names of the results, or numbers.
        language: What to print.
        shared: For each fixed value, whether all neurons share one number.
        known: Names of lines that are there already.
    """
    # 0: shared by all neurons, 1: a neuron's own, 2: changes with time.
    levels: dict[Any, int] = {f"p{k}": 0 if one else 1 for k, one in enumerate(shared)}
    lines: tuple[list[str], list[str], list[str]] = ([], [], [])

    def read(argument: Argument) -> str:
        if not isinstance(argument, str):
            return language.number(argument)
        return language.own.format(name=argument) if levels.get(argument, 2) == 1 else argument

    for name, operator, *arguments in program.needed(results, known):
        level = max((levels.get(a, 2) for a in arguments if isinstance(a, str)), default=0)
        levels[name] = level
        text = OPERATORS[operator][language.column].format(*map(read, arguments))
        lines[level].append(
            language.declare[level].format(kind="mask" if operator in LOGIC else "real", name=name, text=text)
        )
    return Code(*lines, [read(result) for result in results])


def filled(template: Traversable, parts: dict[str, str]) -> str:
    """A template with the parts, by name, in place of what stands between double braces."""
    text = template.read_text()
    for name, value in parts.items():
        # What stands alone on a line keeps its indentation.
        text = re.sub(
            r"^( *)\{\{" + name + r"\}\}$", lambda found, value=value: indent(value, found[1]), text, flags=re.MULTILINE
        )
        text = text.replace("{{" + name + "}}", value)
    return text
