"""PyTorch's operators on real numbers in terms of those of programs."""

from collections.abc import Callable

from .line_writer import LineWriter, Operand
from .program import Argument


def _add(writer: LineWriter, x: Operand, other: Operand, alpha: float = 1.0) -> Argument:
    """PyTorch rounds `x + alpha other` once."""
    return writer.line("add", x, other) if alpha == 1 else writer.line("fma", other, alpha, x)


def _subtract(writer: LineWriter, x: Operand, other: Operand, alpha: float = 1.0) -> Argument:
    return writer.line("sub", x, other) if alpha == 1 else writer.line("fnma", other, alpha, x)


def _subtract_from(writer: LineWriter, x: Operand, other: Operand, alpha: float = 1.0) -> Argument:
    return _subtract(writer, other, x, alpha)


def _add_product(writer: LineWriter, x: Operand, tensor1: Operand, tensor2: Operand, value: float = 1.0) -> Argument:
    return writer.line("fma", writer.line("mul", tensor1, value), tensor2, x)


def _add_quotient(writer: LineWriter, x: Operand, tensor1: Operand, tensor2: Operand, value: float = 1.0) -> Argument:
    return writer.line("add", x, writer.line("div", writer.line("mul", tensor1, value), tensor2))


def _interpolate(writer: LineWriter, x: Operand, end: Operand, weight: Operand) -> Argument:
    """From the end that is nearer, rounded once."""
    difference = writer.line("sub", end, x)
    near = writer.line("fma", weight, difference, x)
    far = writer.line("fnma", writer.line("sub", 1.0, weight), difference, end)
    if isinstance(weight, float):
        return near if abs(weight) < 0.5 else far
    return writer.line("where", writer.line("lt", writer.line("abs", weight), 0.5), near, far)


def _power(writer: LineWriter, x: Operand, exponent: Operand) -> Argument:
    """A power with a known exponent, by products and roots where possible: `pow` is slow."""
    if exponent in (0.5, -0.5):
        return writer.line("sqrt" if exponent > 0 else "rsqrt", x)
    if exponent == -1.5:
        return writer.line("div", writer.line("rsqrt", x), x)
    if exponent not in (1.0, 2.0, 3.0, -1.0, -2.0):
        return writer.line("pow", x, exponent)
    product = x
    for _ in range(int(abs(exponent)) - 1):
        product = writer.line("mul", product, x)
    return product if exponent > 0 else writer.line("reciprocal", product)


def _clamp(writer: LineWriter, x: Operand, min: Operand = None, max: Operand = None) -> Argument:
    above = x if min is None else writer.line("maximum", x, min)
    return above if max is None else writer.line("minimum", above, max)


def _divide(writer: LineWriter, x: Operand, other: Operand, rounding_mode: str | None = None) -> Argument | None:
    quotient = writer.line("div", x, other)
    if rounding_mode == "floor":
        return _floor_divide(writer, x, other)
    return quotient if rounding_mode is None else writer.line("trunc", quotient)


def _floor_divide(writer: LineWriter, x: Operand, other: Operand) -> Argument:
    """The floor of the exact quotient, as PyTorch finds it: a rounded quotient can be the next integer."""
    line = writer.line
    rest, quotient = line("fmod", x, other), line("div", x, other)
    whole = line("div", line("sub", x, rest), other)
    whole = line("where", _has_other_sign(writer, rest, other), line("sub", whole, 1.0), whole)
    floor = line("floor", whole)
    floor = line("where", line("gt", line("sub", whole, floor), 0.5), line("add", floor, 1.0), floor)
    floor = line("where", line("eq", whole, 0.0), line("mul", quotient, 0.0), floor)
    return line("where", line("eq", other, 0.0), quotient, floor)


def _remainder(writer: LineWriter, x: Operand, other: Operand) -> Argument:
    """The remainder, with the sign of the divisor."""
    rest = writer.line("fmod", x, other)
    other_sign = _has_other_sign(writer, rest, other)
    return writer.line("where", other_sign, writer.line("add", rest, other), rest)


def _has_other_sign(writer: LineWriter, rest: Operand, divisor: Operand) -> Argument:
    signs = writer.line("mul", writer.line("sign", rest), writer.line("sign", divisor))
    return writer.line("lt", signs, 0.0)


# PyTorch's operators on real numbers in terms of those of programs. A lowering gets the writer, and the arguments
# that do not have their default, by PyTorch's names, except that `self` is `x`. It takes all that it understands;
# an operator with any other argument is not recorded.
Lowering = Callable[..., Argument | None]
LOWERINGS: dict[str, Lowering] = {
    "add": _add,
    "sub": _subtract,
    "rsub": _subtract_from,
    "square": lambda writer, x: writer.line("mul", x, x),
    "masked_fill": lambda writer, x, mask, value: writer.line("where", mask, value, x),
    "addcmul": _add_product,
    "addcdiv": _add_quotient,
    "lerp": _interpolate,
    "pow": _power,
    "clamp": _clamp,
    "div": _divide,
    "floor_divide": _floor_divide,
    "remainder": _remainder,
}
