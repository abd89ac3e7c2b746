"""Python numbers among the settings of a step, as arguments of its kernels.

Kernels should not be compiled again because a number has changed, such as the slope of a surrogate that is annealed.
So while a step is traced, the numbers among its settings are replaced by symbols. Arithmetic with symbols is recorded
as an expression. Where an expression meets a tensor, it becomes a constant of the program. Before every run, Python
computes its value from the present numbers, exactly as the step itself would do.

Anything else that is done with a symbol needs the number: a comparison, `math.exp`, `range`. Such a number becomes a
literal, and the step is traced again if it changes.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn, Tensor

from ..untyped import Untyped

# A number, ("number", k) for the number at place k, or (operator, *expressions).
Expression = Any

_UNARY = {"neg": operator.neg, "pos": operator.pos, "abs": operator.abs}
_BINARY = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "pow": operator.pow,
}
_ARITHMETIC: Mapping[str, Callable[..., Any]] = _UNARY | _BINARY
# Powers with a known exponent are computed by products and roots, so the exponent is needed.
_POWERS = {"pow", "pow_", "__pow__", "__rpow__", "__ipow__", "float_power"}
# Everything else that Python can do with a number.
_READS = """
__bool__ __complex__ __divmod__ __eq__ __float__ __floor__ __format__ __ge__ __gt__ __hash__ __index__ __int__ __le__
__lt__ __ne__ __rdivmod__ __repr__ __round__ __ceil__ __str__ __trunc__ as_integer_ratio bit_length conjugate
denominator fromhex hex imag is_integer numerator real to_bytes
"""


class NumberPlace(NamedTuple):
    """Where a number is among the settings of a module."""

    modules: tuple[str, ...]  # names of submodules, from the outermost on
    attributes: tuple[str, ...]  # names of attributes: that of the submodule, and those of settings in it


class NumberNeededError(Exception):
    """A step needs numbers as such, at these places."""

    def __init__(self, places: set[int]) -> None:
        super().__init__("numbers are needed")
        self.places = places


class Symbols:
    """The symbols of one trace, and what is done with them.

    Args:
        names: Names of the numbers, by their places.
        stand_in: Makes the tensor without dimensions that stands for a constant, given its name.
    """

    def __init__(self, names: Mapping[int, str], stand_in: Callable[[str], Tensor]) -> None:
        self._names = names
        self._stand_in = stand_in
        self._tensors: dict[str, Tensor] = {}
        self.constants: list[Expression] = []
        self.needed: set[int] = set()

    def symbol(self, place: int, kind: type) -> "Symbol":
        """A symbol for the number at a place, of the type `int` or `float`."""
        return Symbol(self, ("number", place), kind)

    def tensor(self, expression: Expression) -> Tensor:
        """The tensor that stands for the value of an expression."""
        # As text, which tells 0.0 from -0.0.
        key = repr(expression)
        if key not in self._tensors:
            self._tensors[key] = self._stand_in(self._name(expression))
            self.constants.append(expression)
        return self._tensors[key]

    def need(self, expression: Expression) -> NumberNeededError:
        """Record that the numbers in an expression are needed as such; returns the error to raise."""
        self.needed |= _places(expression)
        return NumberNeededError(self.needed)

    def _name(self, expression: Expression) -> str:
        if not isinstance(expression, tuple):
            return str(expression)
        kind, *arguments = expression
        return self._names[arguments[0]] if kind == "number" else f"{kind}_" + "_".join(map(self._name, arguments))


class Symbol:
    """A number that is not known while a step is traced."""

    # NumPy leaves arithmetic to the symbol.
    __array_ufunc__ = None

    def __init__(self, symbols: Symbols, expression: Expression, kind: type) -> None:
        self._symbols = symbols
        self._expression = expression
        self._kind = kind

    @property
    def __class__(self) -> Untyped:  # pyright: ignore[reportIncompatibleMethodOverride]  (it is never set)
        # A step may ask whether it has a number, and gets the answer that it gets without tracing.
        return self._kind

    def __copy__(self) -> "Symbol":
        return self

    def __deepcopy__(self, copies: object) -> "Symbol":
        return self

    def tensor(self) -> Tensor:
        """The tensor that stands for the number."""
        return self._symbols.tensor(self._expression)

    def need(self) -> NumberNeededError:
        """Record that the number is needed as such; returns the error to raise."""
        return self._symbols.need(self._expression)

    def combine(self, name: str, left: Untyped, right: Untyped) -> Untyped:
        """An operation of this and another number, or of this number and a tensor."""
        for other in (left, right):
            if isinstance(other, Tensor):
                if name == "pow":
                    raise self.need()
                tensors = [part.tensor() if type(part) is Symbol else part for part in (left, right)]
                return _ARITHMETIC[name](*tensors)
            if type(other) is not Symbol and not isinstance(other, int | float):
                return NotImplemented
        expressions = [part._expression if type(part) is Symbol else part for part in (left, right)]
        integer = name != "truediv" and all(isinstance(part, int) for part in (left, right))
        return Symbol(self._symbols, (name, *expressions), int if integer else float)

    @classmethod
    def __torch_function__(
        cls, func: Untyped, types: Untyped, args: Sequence[Untyped] = (), kwargs: Mapping[str, Untyped] | None = None
    ) -> Untyped:
        power = func.__name__ in _POWERS
        return func(*_with_tensors(args, power), **_with_tensors(kwargs or {}, power))


def _with_tensors(value: Untyped, need: bool) -> Untyped:
    """A nested structure with tensors in place of symbols."""
    if type(value) is Symbol:
        if need:
            raise value.need()
        return value.tensor()
    if type(value) is dict:
        return {key: _with_tensors(part, need) for key, part in value.items()}
    return type(value)(_with_tensors(part, need) for part in value) if type(value) in (tuple, list) else value


def _define_operators() -> None:
    def unary(name: str) -> Callable[..., Untyped]:
        return lambda self: Symbol(self._symbols, (name, self._expression), self._kind)

    def binary(name: str) -> Callable[..., Untyped]:
        return lambda self, other: self.combine(name, self, other)

    def reflected(name: str) -> Callable[..., Untyped]:
        return lambda self, other: self.combine(name, other, self)

    def read(self: Symbol, *arguments: object) -> object:
        raise self.need()

    for name in _UNARY:
        setattr(Symbol, f"__{name}__", unary(name))
    for name in _BINARY:
        setattr(Symbol, f"__{name}__", binary(name))
        setattr(Symbol, f"__r{name}__", reflected(name))
    for name in _READS.split():
        setattr(Symbol, name, read if name.startswith("__") else property(read))


_define_operators()


def _places(expression: Expression) -> set[int]:
    if not isinstance(expression, tuple):
        return set()
    kind, *arguments = expression
    return {arguments[0]} if kind == "number" else set().union(*map(_places, arguments))


def evaluate(expression: Expression, numbers: Sequence[float]) -> float:
    """The value of an expression, given the numbers by their places.

    Raises:
        ArithmeticError: As Python's arithmetic.
    """
    if not isinstance(expression, tuple):
        return expression
    kind, *arguments = expression
    if kind == "number":
        return numbers[arguments[0]]
    return _ARITHMETIC[kind](*(evaluate(argument, numbers) for argument in arguments))


def find_number(module: nn.Module, place: NumberPlace) -> float:
    """The number at a place."""
    value: Any = module.get_submodule(".".join(place.modules))
    for name in place.attributes:
        value = vars(value)[name]
    return value


def replace_number(values: dict[str, Any], attributes: Sequence[str], number: object) -> None:
    """Replace a number among the attributes of an object, in copies of the settings that hold it."""
    name, *rest = attributes
    if not rest:
        values[name] = number
        return
    setting = values[name]
    values[name] = object.__new__(type(setting))
    vars(values[name]).update(vars(setting))
    replace_number(vars(values[name]), rest, number)
