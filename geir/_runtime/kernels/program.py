"""Programs: a traced step as two straight lines of elementwise operations, which PyTorch's operators carry as
text and languages print."""

import json
from collections.abc import Collection, Sequence
from typing import NamedTuple

from .operators import ROUNDED

# An argument is the name of an input or of an earlier line, or a number.
Argument = str | float


class NotFusableError(Exception):
    """The step contains something that kernels cannot do; the message says what, and where."""


class Line(NamedTuple):
    """One operation: ``name = operator(*arguments)``."""

    name: str
    operator: str
    arguments: tuple[Argument, ...]


class Program(NamedTuple):
    """A step and its vector-Jacobian product: two straight lines of elementwise operations in one list.

    Inputs are `x`, or one for each receptor, the parts of the state and the constants (parameters, buffers and
    prepared values, which do not change over time), by their names. Those of `backward` are also `grad_z`, the
    gradient of the output, and ``grad_NAME``, the gradient of the next state. All names are valid identifiers in
    every language that programs are printed in.
    """

    real: str  # dtype of the arithmetic
    states: list[str]
    constants: list[str]
    lines: list[Line]
    step: list[Argument]  # z, *next_state
    backward: list[Argument]  # *grad_inputs, *grad_state, *grad_constants
    inputs: Sequence[str] = ("x",)  # one for each receptor

    def dumps(self) -> str:
        """The program as text."""
        return json.dumps(self)

    @staticmethod
    def loads(text: str) -> "Program":
        """The program of a text made by `dumps`."""
        program = Program(*json.loads(text))
        return program._replace(lines=[Line(name, operator, tuple(args)) for name, operator, args in program.lines])

    def dependencies(self, results: Collection[Argument], known: Collection[str] = ()) -> list[Line]:
        """The lines that some results need, in order, given the values of the `known` ones."""
        needed = set(results)
        lines: list[Line] = []
        for line in reversed(self.lines):
            if line.name in needed and line.name not in known:
                needed.update(line.arguments)
                lines.append(line)
        return lines[::-1]

    def gradients(self, needs_grad: Sequence[bool]) -> list[Argument]:
        """The results of `backward` without the gradients of constants that need none."""
        count = len(self.inputs) + len(self.states)
        of_constants = zip(self.backward[count:], needs_grad, strict=True)
        return [*self.backward[:count], *(gradient for gradient, needed in of_constants if needed)]

    def tape(self, gradients: Sequence[Argument]) -> list[str]:
        """The tape: the values of a step that backward needs, saved while the step is repeated.

        Memory traffic limits the kernels, so the tape should have few rows. A candidate is any set of values
        from which the gradients follow without the rest of the step. Two are compared, and the shorter is
        taken:

        1. The state before the step, and the functions in `ROUNDED` (`exp` and the like), which take long to
           compute again; all else is
           computed again from these.
        2. The values where backward leaves the step: those that it reads and that the step computes too. Of
           these, every value is dropped
           that follows from the others by cheap operations. For LIF the distance to the threshold alone remains.
        """
        common = self._lines_of_step_and_backward()
        rounded = [name for name, line in common.items() if line.operator in ROUNDED]
        last_common = self._values_read(gradients, common, common)
        for name in reversed(last_common):
            others = [other for other in last_common if other != name]
            if self._follows(name, others, common):
                last_common = others
        return min(last_common, self._values_read(gradients, rounded, common), key=len)

    def _lines_of_step_and_backward(self) -> dict[str, Line]:
        """The lines of the step that depend on time, by name."""
        of_step = {line.name for line in self.dependencies(self.step)}
        steady: set[Argument] = {*self.constants}
        common: dict[str, Line] = {}
        for line in self.lines:
            if all(argument in steady or not isinstance(argument, str) for argument in line.arguments):
                steady.add(line.name)
            elif line.name in of_step:
                common[line.name] = line
        return common

    def _values_read(self, gradients: Sequence[Argument], known: Collection[str], common: Collection[str]) -> list[str]:
        """The parts of the state and the `known` lines that the gradients read, when the `known` lines are not
        computed again."""
        backward = self.dependencies(gradients, known)
        read = {*gradients, *(argument for line in backward for argument in line.arguments)}
        return [name for name in (*self.states, *common) if name in read and (name in self.states or name in known)]

    def _follows(self, name: str, tape: Sequence[str], common: dict[str, Line]) -> bool:
        """Whether a value of the step can be computed from others without a function in `ROUNDED`."""
        found: set[Argument] = set(tape)
        for line in common.values():
            available = all(a in found or (a not in common and a not in self.states) for a in line.arguments)
            if available and line.operator not in ROUNDED:
                found.add(line.name)
        return name in found

    def fuse_multiply_add(self) -> "Program":
        """The program with fewer operations, where nobody can tell.

        Divisions by constants become products with their inverses, and a product with a sum becomes one
        operation with one rounding, in the gradient only, and only where no other operation than sums and products
        reads the result: in `x * x - x * x > 0`, and in `sqrt(x * x - x * x)`, one rounding instead of two would make
        zero a positive or negative number. In the step itself, whose numbers are PyTorch's, only products with 0 or 1
        are fused: they are never rounded, so that the sum is the same.
        """
        strict = self._read_by_other_operators() | {line.name for line in self.dependencies(self.step)}
        steady: set[Argument] = {*self.constants}
        products: dict[Argument, tuple[Argument, ...]] = {}
        zero_or_one: set[Argument] = {0.0, 1.0}
        exact_products: dict[Argument, tuple[Argument, ...]] = {}
        lines: list[Line] = []
        for name, operator, arguments in self.lines:
            line = Line(name, operator, arguments)
            if operator == "real" or (operator == "sub" and arguments[0] == 1.0 and arguments[1] in zero_or_one):
                zero_or_one.add(name)
            if operator == "mul" and not zero_or_one.isdisjoint(arguments):
                exact_products[name] = arguments
            if all(argument in steady or not isinstance(argument, str) for argument in arguments):
                steady.add(name)
            elif name not in strict:
                if operator == "div" and arguments[1] in steady:
                    inverse = f"1/{arguments[1]}"
                    if inverse not in steady:
                        steady.add(inverse)
                        lines.append(Line(inverse, "reciprocal", (arguments[1],)))
                    line = Line(name, "mul", (arguments[0], inverse))
                if line.operator == "mul":
                    products[name] = line.arguments
                else:
                    line = _fused(line, products)
            else:
                line = _fused(line, exact_products)
            lines.append(line)
        return self._replace(lines=lines)

    def _read_by_other_operators(self) -> set[Argument]:
        """The values that any other operation than sums and products reads, directly or not."""
        read: set[Argument] = set()
        for line in reversed(self.lines):
            if line.name in read or line.operator not in ("add", "sub", "mul", "neg", "div", "where"):
                read.update(line.arguments)
            elif line.operator == "div":
                read.add(line.arguments[1])
            elif line.operator == "where":
                read.add(line.arguments[0])
        return read


def _fused(line: Line, products: dict[Argument, tuple[Argument, ...]]) -> Line:
    """A sum or a difference of a product as one operation; any other line as it is."""
    if line.operator not in ("add", "sub"):
        return line
    first, second = line.arguments
    if first in products:
        return Line(line.name, "fma" if line.operator == "add" else "fms", (*products[first], second))
    if second in products:
        return Line(line.name, "fma" if line.operator == "add" else "fnma", (*products[second], first))
    return line
