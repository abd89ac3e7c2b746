"""What a traced step is: straight lines of elementwise operations, which languages print and PyTorch's operators carry as text."""

import json
from typing import Any, NamedTuple

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

    def needed(self, results: list[Argument]) -> list[tuple[Any, ...]]:
        """The lines that these results need."""
        wanted, kept = set(results), []
        for line in reversed(self.lines):
            if line[0] in wanted:
                wanted.update(line[2:])
                kept.append(line)
        return kept[::-1]
