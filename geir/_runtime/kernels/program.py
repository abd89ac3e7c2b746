"""What a traced step is: straight lines of elementwise operations, which languages print and PyTorch's operators carry as text."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from .operators import ROUNDED

# An argument is the name of an input or of an earlier line, or a number.
Argument = str | float


class NotFusableError(Exception):
    """A step has something that kernels cannot do; it says what, and where."""


class Program(NamedTuple):
    """Two straight lines of elementwise operations, in one list.

    Inputs are `x`, the parts of the state `s0`, `s1`, ..., what is fixed over time `p0`, `p1`, ..., and for `backward` the gradients of
    the output and of the next state, `dz`, `d0`, `d1`, ...

    step:     z, *next_state
    backward: dx, *dstate, *dfixed
    """

    real: str
    states: int
    fixed: int
    lines: list[tuple[Any, ...]]  # name, operator, *arguments
    step: list[Argument]
    backward: list[Argument]

    def dumps(self) -> str:
        """The program as text, which travels through PyTorch's operators."""
        return json.dumps(self)

    @staticmethod
    def loads(text: str) -> "Program":
        return Program(*json.loads(text))

    def needed(self, results: list[Argument], known: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        """The lines that these results need, given those of some names."""
        wanted, kept = set(results), []
        for line in reversed(self.lines):
            if line[0] in wanted and line[0] not in known:
                wanted.update(line[2:])
                kept.append(line)
        return kept[::-1]

    def gradients(self, learned: Sequence[bool]) -> list[Argument]:
        """The results of `backward` but for the gradients of what is fixed and does not learn."""
        own, of_fixed = self.backward[: 1 + self.states], self.backward[1 + self.states :]
        return [*own, *(d for d, yes in zip(of_fixed, learned, strict=True) if yes)]

    def tape(self, gradients: list[Argument]) -> list[str]:
        """What these gradients read of the step, and what is therefore written down when it is done again: as few values as can be.

        Either the state before the step, and functions that would take long to compute again; or the last values of the step that they have in
        common with it, for LIF the distance to the threshold alone.
        """
        states, steady = [f"s{k}" for k in range(self.states)], {f"p{k}" for k in range(self.fixed)}
        stepping, common = {name for name, *_ in self.needed(self.step)}, dict[Any, tuple[Any, ...]]()
        for name, *line in self.lines:
            if all(a in steady or not isinstance(a, str) for a in line[1:]):
                steady.add(name)
            elif name in stepping:
                common[name] = tuple(line)

        def read(known: Sequence[str]) -> list[str]:
            asked = {*gradients, *(a for line in self.needed(gradients, known) for a in line[2:])}
            return [name for name in (*states, *common) if name in asked and (name in states or name in known)]

        def follows(name: str, tape: list[str]) -> bool:
            found = set(tape)
            for line, (operator, *arguments) in common.items():
                if operator not in ROUNDED and all(
                    a in found or (a not in common and a not in states) for a in arguments
                ):
                    found.add(line)
            return name in found

        last = read([*common])
        for name in last[::-1]:
            if follows(name, rest := [other for other in last if other != name]):
                last = rest
        return min(last, read([name for name, (operator, *_) in common.items() if operator in ROUNDED]), key=len)

    @property
    def exact(self) -> bool:
        """Whether every operation of the step has one right result, so that the step can and must be PyTorch's to the bit."""
        return not any(operator in ROUNDED for _, operator, *_ in self.needed(self.step))

    def loosened(self) -> "Program":
        """The same where it need not be PyTorch's to the bit, in the gradient or all over, with fewer operations.

        It multiplies by the inverse of what is fixed instead of dividing, and rounds a product and a sum once.
        """
        strict = {name for name, *_ in self.needed(self.step)} if self.exact else set()
        fixed: set[Any] = {f"p{k}" for k in range(self.fixed)}
        products: dict[Any, list[Argument]] = {}
        lines: list[tuple[Any, ...]] = []
        for name, operator, *arguments in self.lines:
            if all(a in fixed or not isinstance(a, str) for a in arguments):
                fixed.add(name)
            elif name not in strict:
                if operator == "div" and arguments[1] in fixed:
                    inverse = f"1/{arguments[1]}"
                    if inverse not in fixed:
                        fixed.add(inverse)
                        lines.append((inverse, "reciprocal", arguments[1]))
                    operator, arguments = "mul", [arguments[0], inverse]
                first, second = [*arguments, None][:2]
                if operator == "mul":
                    products[name] = arguments
                elif operator in ("add", "sub") and first in products:
                    operator, arguments = "fma" if operator == "add" else "fms", [*products[first], second]
                elif operator in ("add", "sub") and second in products:
                    operator, arguments = "fma" if operator == "add" else "fnma", [*products[second], first]
            lines.append((name, operator, *arguments))
        return self._replace(lines=lines)
