"""PyTorch's operators on real numbers in terms of those of programs."""

from collections.abc import Callable
from typing import Any, Protocol

from .program import Argument

# An argument of an operator: an `Argument` of a program, or None if it is neither a tensor nor a number.
Operand = Any


class Lines(Protocol):
    """Collects the lines of a program."""

    def line(self, operator: str, *arguments: Operand) -> Argument:
        """Append a line, and return its name."""
        ...


def _add(recorder: Lines, x: Operand, other: Operand, alpha: float = 1.0) -> Argument:
    """PyTorch rounds `x + alpha other` once."""
    return recorder.line("add", x, other) if alpha == 1 else recorder.line("fma", other, alpha, x)


def _subtract(recorder: Lines, x: Operand, other: Operand, alpha: float = 1.0) -> Argument:
    return recorder.line("sub", x, other) if alpha == 1 else recorder.line("fnma", other, alpha, x)


def _subtract_from(recorder: Lines, x: Operand, other: Operand, alpha: float = 1.0) -> Argument:
    return _subtract(recorder, other, x, alpha)


def _add_product(recorder: Lines, x: Operand, tensor1: Operand, tensor2: Operand, value: float = 1.0) -> Argument:
    return recorder.line("fma", recorder.line("mul", tensor1, value), tensor2, x)


def _add_quotient(recorder: Lines, x: Operand, tensor1: Operand, tensor2: Operand, value: float = 1.0) -> Argument:
    return recorder.line("add", x, recorder.line("div", recorder.line("mul", tensor1, value), tensor2))


def _interpolate(recorder: Lines, x: Operand, end: Operand, weight: Operand) -> Argument:
    """From the end that is nearer, rounded once."""
    difference = recorder.line("sub", end, x)
    near = recorder.line("fma", weight, difference, x)
    far = recorder.line("fnma", recorder.line("sub", 1.0, weight), difference, end)
    if isinstance(weight, float):
        return near if abs(weight) < 0.5 else far
    return recorder.line("where", recorder.line("lt", recorder.line("abs", weight), 0.5), near, far)


def _power(recorder: Lines, x: Operand, exponent: Operand) -> Argument:
    """A power with a known exponent, by products and roots where possible: `pow` is slow."""
    if exponent in (0.5, -0.5):
        return recorder.line("sqrt" if exponent > 0 else "rsqrt", x)
    if exponent == -1.5:
        return recorder.line("div", recorder.line("rsqrt", x), x)
    if exponent not in (1.0, 2.0, 3.0, -1.0, -2.0):
        return recorder.line("pow", x, exponent)
    product = x
    for _ in range(int(abs(exponent)) - 1):
        product = recorder.line("mul", product, x)
    return product if exponent > 0 else recorder.line("reciprocal", product)


def _clamp(recorder: Lines, x: Operand, min: Operand = None, max: Operand = None) -> Argument:
    above = x if min is None else recorder.line("maximum", x, min)
    return above if max is None else recorder.line("minimum", above, max)


def _divide(recorder: Lines, x: Operand, other: Operand, rounding_mode: str | None = None) -> Argument | None:
    quotient = recorder.line("div", x, other)
    if rounding_mode == "floor":
        return _floor_divide(recorder, x, other)
    return quotient if rounding_mode is None else recorder.line("trunc", quotient)


def _floor_divide(recorder: Lines, x: Operand, other: Operand) -> Argument:
    """The floor of the exact quotient, as PyTorch finds it: a rounded quotient can be the next integer."""
    line = recorder.line
    rest, quotient = line("fmod", x, other), line("div", x, other)
    whole = line("div", line("sub", x, rest), other)
    whole = line("where", _has_other_sign(recorder, rest, other), line("sub", whole, 1.0), whole)
    floor = line("floor", whole)
    floor = line("where", line("gt", line("sub", whole, floor), 0.5), line("add", floor, 1.0), floor)
    floor = line("where", line("eq", whole, 0.0), line("mul", quotient, 0.0), floor)
    return line("where", line("eq", other, 0.0), quotient, floor)


def _remainder(recorder: Lines, x: Operand, other: Operand) -> Argument:
    """The remainder, with the sign of the divisor."""
    rest = recorder.line("fmod", x, other)
    other_sign = _has_other_sign(recorder, rest, other)
    return recorder.line("where", other_sign, recorder.line("add", rest, other), rest)


def _has_other_sign(recorder: Lines, rest: Operand, divisor: Operand) -> Argument:
    signs = recorder.line("mul", recorder.line("sign", rest), recorder.line("sign", divisor))
    return recorder.line("lt", signs, 0.0)


# PyTorch's operators on real numbers in terms of those of programs. A lowering gets the recorder, and the arguments
# that do not have their default, by PyTorch's names, except that `self` is `x`. It takes all that it understands;
# an operator with any other argument is not recorded.
Lowering = Callable[..., Argument | None]
LOWERINGS: dict[str, Lowering] = {
    "add": _add,
    "sub": _subtract,
    "rsub": _subtract_from,
    "square": lambda recorder, x: recorder.line("mul", x, x),
    "masked_fill": lambda recorder, x, mask, value: recorder.line("where", mask, value, x),
    "addcmul": _add_product,
    "addcdiv": _add_quotient,
    "lerp": _interpolate,
    "pow": _power,
    "clamp": _clamp,
    "div": _divide,
    "floor_divide": _floor_divide,
    "remainder": _remainder,
}
