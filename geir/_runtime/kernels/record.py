"""Record the operations that PyTorch performs as lines of a program."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .operators import LOGIC, OPERATORS
from .program import Argument, Line, NotFusableError

# PyTorch's operators, their arguments and results are not typed.
Operator = Any
Arguments = tuple[Any, ...]
Keywords = Mapping[str, Any]
Result = Any
# An argument of an operator as an `Argument` of a program, or None if it is neither a tensor nor a number.
Operand = Any
Operands = list[Operand]

# Operators whose result has the values of their argument.
_VIEWS = {
    "detach",
    "alias",
    "view",
    "_unsafe_view",
    "expand",
    "unsqueeze",
    "squeeze",
    "t",
    "permute",
    "transpose",
    "_reshape_alias",
}
_COPIES = {"clone", "detach_copy", "contiguous", "positive", "lift_fresh", "lift_fresh_copy"}
_CASTS = {"_to_copy", "to", "convert_element_type"}
# Operators whose result is one number everywhere: the number, or the place of the argument that holds it.
_FILLS = {
    "zeros_like": 0.0,
    "new_zeros": 0.0,
    "zeros": 0.0,
    "zero": 0.0,
    "ones_like": 1.0,
    "new_ones": 1.0,
    "ones": 1.0,
}
_FILLS_WITH_ARGUMENT = {"full": 1, "full_like": 1, "new_full": 1, "fill": 1, "scalar_tensor": 0}
# Operators that let Python read numbers.
_READS = {"_local_scalar_dense", "item", "is_nonzero", "equal"}
# Other names of the operators of programs.
_SYNONYMS = {
    "logical_and": "and",
    "bitwise_and": "and",
    "__and__": "and",
    "logical_or": "or",
    "bitwise_or": "or",
    "__or__": "or",
    "logical_xor": "xor",
    "bitwise_xor": "xor",
    "__xor__": "xor",
    "logical_not": "not",
    "bitwise_not": "not",
    "sgn": "sign",
    "true_divide": "div",
    "absolute": "abs",
    "negative": "neg",
    "clamp_min": "maximum",
    "clamp_max": "minimum",
}
# The same for masks, where arithmetic is logic.
_LOGICAL_SYNONYMS = {"mul": "and", "minimum": "and", "add": "or", "maximum": "or"}
# The number of arguments that are masks, from the first on.
_MASK_ARGUMENTS = {"and": 2, "or": 2, "xor": 2, "not": 1, "where": 1, "real": 1}


class Recorder(TorchDispatchMode):
    """Records what happens to tensors as lines of a program. Tensors are identified by the address of their memory.

    Args:
        size: Number of elements of the tensors that are recorded.
        dtype: Dtype of the arithmetic.
    """

    def __init__(self, size: int, dtype: torch.dtype):
        super().__init__()
        self.size = size
        self.dtype = dtype
        self.names: dict[int, Argument] = {}  # by address
        self.lines: list[Line] = []
        self.masks: set[Argument] = set()
        self._known: dict[tuple[Argument, ...], str] = {}
        self._alive: list[object] = []  # so that no address is used twice

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else the first operation imports the compiler, which takes half a second

    def __torch_dispatch__(
        self, func: Operator, types: object, args: Arguments = (), kwargs: Keywords | None = None
    ) -> Result:
        # What follows reads from tensors what a step may not; see `read_guard.py`.
        with torch._C.DisableTorchFunction():
            return self._dispatch(func, args, kwargs or {})

    def _dispatch(self, func: Operator, args: Arguments, kwargs: Keywords) -> Result:
        name = func.overloadpacket.__name__
        base = name.removesuffix("_") if func._schema.is_mutable else name
        result = func(*args, **kwargs)
        self._alive.append((args, result))
        if isinstance(result, Tensor) and self._record(base, args, kwargs, result):
            return result
        if name in _READS:
            raise NotFusableError(f"its step lets Python read the data of a tensor{find_place()}")
        decomposed = self._decompose(func, args, kwargs)
        if decomposed is None:
            raise NotFusableError(
                f"its step uses {func.overloadpacket}{find_place()}, which is not elementwise or not known to the "
                "kernels"
            )
        return decomposed

    def _decompose(self, func: Operator, args: Arguments, kwargs: Keywords) -> Result:
        """The result by PyTorch's own definition in simpler operators, or None if it has none or these are not
        supported."""
        from torch._decomp import decomposition_table

        if func not in decomposition_table or func._schema.is_mutable:
            return None
        try:
            with self:
                return decomposition_table[func](*args, **kwargs)
        except NotFusableError:
            return None

    def _record(self, name: str, args: Arguments, kwargs: Keywords, result: Tensor) -> bool:
        """Append the lines of an operation; False if it is not supported."""
        other_dtype = result.is_floating_point() and result.dtype != self.dtype and result.dim() > 0
        if result.numel() not in (1, self.size) or other_dtype:
            return False
        if name in _VIEWS:
            return result.numel() == args[0].numel() or args[0].numel() == 1
        argument = self._argument(name, args, kwargs, result)
        if argument is None:
            return False
        self.names[result.data_ptr()] = argument
        if result.dtype == torch.bool and isinstance(argument, str):
            self.masks.add(argument)
        return True

    def _argument(self, name: str, args: Arguments, kwargs: Keywords, result: Tensor) -> Argument | None:
        """The name or the number of an operation's result, or None if it is not supported."""
        if name == "lift_fresh" and args[0].numel() == 1:  # torch.tensor(3.0) inside the step
            return float(args[0])
        if name in _FILLS:
            return _FILLS[name]
        if name in _FILLS_WITH_ARGUMENT:
            return self.value(args[_FILLS_WITH_ARGUMENT[name]])
        values = [self.value(a) for a in args if not isinstance(a, torch.dtype | list | torch.device)]
        if None in values and name != "clamp":
            return None
        if name in _COPIES:
            return values[0]
        if name == "copy":
            return self.cast(values[1], result)
        if name in _CASTS:
            return self.cast(values[0], result)
        if name in LOWERINGS and (lowered := LOWERINGS[name](self, values, kwargs)) is not None:
            return lowered
        name = _SYNONYMS.get(name, name)
        if result.dtype == torch.bool:
            name = _LOGICAL_SYNONYMS.get(name, name)
        if name not in OPERATORS or (name in LOGIC) != (result.dtype == torch.bool) or (kwargs.keys() - {"alpha"}):
            return None
        return self.line(name, *values)

    def value(self, argument: object) -> Operand:
        """The name of a tensor, or a number as it is; None for anything else.

        Raises:
            NotFusableError: If the tensor is unknown.
        """
        if not isinstance(argument, Tensor):
            return float(argument) if isinstance(argument, bool | int | float) else None
        if argument.data_ptr() not in self.names:
            raise NotFusableError(
                f"its step reads a tensor that is not a parameter or a buffer{find_place()}; register it as a buffer"
            )
        return self.names[argument.data_ptr()]

    def result(self, tensor: Tensor) -> Argument:
        """The name of a result of the step; a mask is converted to a real number.

        Raises:
            NotFusableError: If the result does not have the shape of the input.
        """
        if tensor.numel() not in (1, self.size):
            raise NotFusableError(f"its step makes a tensor of another shape, {tuple(tensor.shape)}")
        return self.cast(self.value(tensor), tensor.to(self.dtype))

    def cast(self, value: Operand, result: Tensor) -> Argument:
        """A value converted to the dtype of a result: mask, integer or real number."""
        if result.dtype == torch.bool:
            return value if value in self.masks else self.line("ne", value, 0.0)
        if value in self.masks:
            return self.line("real", value)
        return value if result.is_floating_point() else self.line("trunc", value)

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
        if (operator in ("mul", "div") and values[1] == 1.0) or (operator in ("add", "sub") and values[1] == 0.0):
            return values[0]
        if operator == "mul" and values[0] == 1.0:
            return values[1]
        key = (operator, *values)
        if key not in self._known:
            name = f"t{len(self.lines)}"
            self._known[key] = name
            self.lines.append(Line(name, operator, tuple(values)))
            if operator in LOGIC:
                self.masks.add(name)
        return self._known[key]


def _with_alpha(recorder: Recorder, values: Operands, keywords: Keywords) -> None:
    """The factor of the second argument of a sum or a difference, which itself is looked up."""
    alpha = keywords.get("alpha", 1)
    if alpha != 1:
        values[1] = recorder.line("mul", values[1], float(alpha))


def _add_scaled(operator: str) -> "Lowering":
    """addcmul and addcdiv: add a scaled product or quotient."""

    def lower(recorder: Recorder, values: Operands, keywords: Keywords) -> Argument:
        scaled = recorder.line("mul", float(keywords.get("value", 1)), values[1])
        return recorder.line("add", values[0], recorder.line(operator, scaled, values[2]))

    return lower


def _power(recorder: Recorder, values: Operands, keywords: Keywords) -> Argument | None:
    """A power with a known exponent, by products and roots where possible: `pow` is slow."""
    x, exponent = values
    if not isinstance(exponent, float):
        return None
    if exponent in (0.5, -0.5):
        return recorder.line("sqrt" if exponent > 0 else "rsqrt", x)
    if exponent == -1.5:
        return recorder.line("div", recorder.line("rsqrt", x), x)
    if exponent not in (1, 2, 3, -1, -2):
        return recorder.line("pow", x, exponent)
    product = x
    for _ in range(int(abs(exponent)) - 1):
        product = recorder.line("mul", product, x)
    return product if exponent > 0 else recorder.line("reciprocal", product)


def _clamp(recorder: Recorder, values: Operands, keywords: Keywords) -> Argument:
    x, low, high = [*values, None, None][:3]
    above = x if low is None else recorder.line("maximum", x, low)
    return above if high is None else recorder.line("minimum", above, high)


def _divide(recorder: Recorder, values: Operands, keywords: Keywords) -> Argument | None:
    rounding = keywords.get("rounding_mode")
    return recorder.line(rounding, recorder.line("div", *values)) if rounding else None


# PyTorch's operators in terms of those of programs. A lowering gets the recorder, the arguments as names and
# numbers, and the keywords; it returns None if the operator itself should be looked up.
Lowering = Callable[[Recorder, Operands, Keywords], Argument | None]
LOWERINGS: dict[str, Lowering] = {
    "add": _with_alpha,
    "sub": _with_alpha,
    "rsub": lambda recorder, values, _: recorder.line("sub", values[1], values[0]),
    "square": lambda recorder, values, _: recorder.line("mul", values[0], values[0]),
    "masked_fill": lambda recorder, values, _: recorder.line("where", values[1], values[2], values[0]),
    "addcmul": _add_scaled("mul"),
    "addcdiv": _add_scaled("div"),
    "pow": _power,
    "clamp": _clamp,
    "div": _divide,
}


def find_place() -> str:
    """The file and the line of the user's code, if the stack still shows it."""
    inside = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frame = sys._getframe(1)
    while frame:
        file = frame.f_code.co_filename
        if not file.startswith(inside) and "concurrent" not in file and "threading" not in file:
            return f" ({Path(file).name}:{frame.f_lineno})"
        frame = frame.f_back
    return ""
