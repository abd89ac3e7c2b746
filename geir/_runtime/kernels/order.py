"""The order of a program's lines, in which few values are alive at once: a value that finds no register is spilled."""

from collections.abc import Sequence

from .program import Argument, Line, Program


def order_lines(program: Program, results: Sequence[Argument]) -> Program:
    """The program with only the lines that some results need, in the better of two orders: as traced, where the whole
    step comes before its gradients, or depth first, every line just before the first that reads it.

    The arithmetic is the same.
    """
    lines = program.dependencies(results)
    orders = lines, _depth_first(lines, results)
    return min((program._replace(lines=order) for order in orders), key=lambda each: most_alive(each, results))


def most_alive(program: Program, results: Sequence[Argument]) -> int:
    """The largest number of values of a step that are alive at once: computed, and read later. Those that do not change
    over time are not counted."""
    steady: set[Argument] = {*program.constants}
    lines: list[Line] = []
    for line in program.dependencies(results):
        if steady.issuperset(_names(line.arguments)):
            steady.add(line.name)
        else:
            lines.append(line)
    alive = _names(results) - steady
    most = len(alive)
    for line in reversed(lines):
        alive.discard(line.name)
        alive |= _names(line.arguments) - steady
        most = max(most, len(alive))
    return most


def _depth_first(lines: Sequence[Line], results: Sequence[Argument]) -> list[Line]:
    """Lines in the order in which results need them. Of the arguments of a line, that with the most values alive while
    it is computed comes first (Sethi & Ullman, "The generation of optimal code for arithmetic expressions", 1970)."""
    by_name: dict[Argument, Line] = {line.name: line for line in lines}
    alive: dict[Argument, int] = {}
    for line in lines:
        of_arguments = sorted((alive[name] for name in _names(line.arguments) & alive.keys()), reverse=True)
        alive[line.name] = max((most + before for before, most in enumerate(of_arguments)), default=1)
    ordered: dict[Argument, Line] = {}
    waiting = [result for result in reversed(results) if result in by_name]
    while waiting:
        line = by_name[waiting[-1]]
        missing = [name for name in reversed(line.arguments) if name in by_name and name not in ordered]
        if line.name in ordered or not missing:
            ordered.setdefault(line.name, line)
            waiting.pop()
        else:
            waiting += sorted(missing, key=alive.__getitem__)
    return [*ordered.values()]


def _names(arguments: Sequence[Argument]) -> set[Argument]:
    """The arguments that are not numbers."""
    return {argument for argument in arguments if isinstance(argument, str)}
