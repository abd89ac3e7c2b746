"""Write the lines of a program, and know which values are masks and integers."""

import re
from collections.abc import Callable, Collection
from math import copysign, inf
from typing import Any

import torch
from torch import Tensor

from .operators import LOGIC, OPERATORS
from .program import Argument, Line

# An argument of an operator: an `Argument` of a program, or None if it is neither a tensor nor a number.
Operand = Any

# Operators of masks, where arithmetic is logic.
_LOGICAL_SYNONYMS = {"mul": "and", "minimum": "and", "add": "or", "maximum": "or"}
# Operators that kernels apply to integers too, and the largest magnitude of their result given that of the arguments.
_INTEGER_BOUNDS: dict[str, Callable[..., float]] = {
    "add": lambda first, second: first + second,
    "sub": lambda first, second: first + second,
    "mul": lambda first, second: first * second,
    "neg": lambda only: only,
    "abs": lambda only: only,
    "maximum": max,
    "minimum": max,
    "where": lambda _, first, second: max(first, second),
}
# The number of arguments that are masks, from the first on.
_MASK_ARGUMENTS = {"and": 2, "or": 2, "xor": 2, "not": 1, "where": 1, "real": 1}


class LineWriter:
    """Writes lines of a program. Kernels compute with real numbers only; masks and integers are values of which more is
    known.

    Args:
        dtype: Dtype of the arithmetic.
    """

    def __init__(self, dtype: torch.dtype):
        self.dtype = dtype
        self.lines: list[Line] = []
        self.masks: set[Argument] = set()
        self.bounds: dict[Argument, float] = {}  # of integers: the largest magnitude
        self._known: dict[tuple[str, ...], str] = {}

    def line(self, operator: str, *arguments: Operand) -> Argument:
        """Append a line, unless the same exists or it would do nothing, and return its name."""
        mask_arguments = _MASK_ARGUMENTS.get(operator, 0)
        values = []
        for place, argument in enumerate(arguments):
            if place < mask_arguments and argument not in self.masks and operator != "real":
                argument = self.line("ne", argument, 0.0)
            elif place >= mask_arguments and argument in self.masks:
                argument = self.line("real", argument)
            values.append(argument)
        if (operator in ("mul", "div") and values[1] == 1.0) or (
            operator in ("add", "sub") and _is_nothing(operator, values[1])
        ):
            return values[0]
        if operator == "mul" and values[0] == 1.0:
            return values[1]
        key = (operator, *map(repr, values))  # 0.0 and -0.0 are equal
        if key not in self._known:
            name = f"t{len(self.lines)}"
            self._known[key] = name
            self.lines.append(Line(name, operator, tuple(values)))
            if operator in LOGIC:
                self.masks.add(name)
        return self._known[key]

    def operator(self, name: str, operands: list[Operand], result: Tensor) -> Argument | None:
        """The result of an operator of programs, or None if it is not one, or takes other arguments."""
        integers = is_integer(result)
        if integers and name not in _INTEGER_BOUNDS:
            return None
        if result.dtype == torch.bool:
            name = _LOGICAL_SYNONYMS.get(name, name)
        if name not in OPERATORS or (name in LOGIC) != (result.dtype == torch.bool):
            return None
        if len(operands) != _arity(name) or not all(isinstance(operand, str | float) for operand in operands):
            return None
        bound = _INTEGER_BOUNDS[name](*map(self.bound, operands)) if integers else 0
        line = self.line(name, *operands)
        if integers:
            self.bounds[line] = bound
        return line

    def cast(self, name: Argument, dtype: torch.dtype) -> Argument | None:
        """A value converted to a dtype: mask, integer or real number; None for a real number to an integer, because
        that of NaN, infinity and large numbers depends on the machine."""
        if dtype == torch.bool:
            return name if name in self.masks else self.line("ne", name, 0.0)
        if name in self.masks:
            line = self.line("real", name)
            self.bounds[line] = 1
            return line
        return name if dtype.is_floating_point or name in self.bounds else None

    def fits(self, name: str, dtype: torch.dtype, exact: bool) -> bool:
        """Whether the kernels' arithmetic on a value equals PyTorch's in a dtype: integers must be exact and must not
        wrap around.

        Args:
            name: The value.
            dtype: The dtype of PyTorch's result.
            exact: Whether a narrower dtype than that of the arithmetic does not fit.
        """
        if dtype == torch.bool:
            return name in self.masks
        if dtype.is_floating_point or dtype.is_complex:
            narrower = dtype.is_floating_point and dtype.itemsize < self.dtype.itemsize
            return (dtype == self.dtype or (narrower and not exact)) and name not in self.masks
        return dtype.is_signed and self.bound(name) <= min(torch.iinfo(dtype).max, 1 / torch.finfo(self.dtype).eps)

    def comparable(self, given: Collection[Any], operands: Collection[Argument]) -> bool:
        """Whether the kernels' arithmetic compares two numbers as PyTorch does, which converts them to one dtype."""
        exact = 1 / torch.finfo(torch.float32).eps
        return torch.result_type(*given) == self.dtype or all(self.bound(operand) <= exact for operand in operands)

    def bound(self, operand: Argument) -> float:
        """The largest magnitude of an integer value: infinite if it is not known to be one."""
        if isinstance(operand, float):
            return abs(operand) if operand.is_integer() else inf
        return 1 if operand in self.masks else self.bounds.get(operand, inf)


def is_integer(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor are integers; those of masks are not."""
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def _is_nothing(operator: str, number: Operand) -> bool:
    """Whether adding or subtracting a number changes no number: `x + 0.0` turns -0.0 into 0.0."""
    return isinstance(number, float) and number == 0 and (copysign(1, number) < 0) == (operator == "add")


def _arity(operator: str) -> int:
    """The number of arguments of an operator of programs."""
    return 1 + max(int(place) for place in re.findall(r"\{(\d)\}", OPERATORS[operator][0]))
