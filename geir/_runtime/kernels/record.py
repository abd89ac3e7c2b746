"""Write down what a piece of PyTorch does, as lines of a program."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .operators import LOGIC, OPERATORS
from .program import Argument, NotFusableError

# Results that share the memory of their argument.
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
_FILLED = {
    "zeros_like": 0.0,
    "new_zeros": 0.0,
    "zeros": 0.0,
    "zero": 0.0,
    "ones_like": 1.0,
    "new_ones": 1.0,
    "ones": 1.0,
}
_RENAMED = {
    "logical_and": "and", "bitwise_and": "and", "logical_or": "or", "bitwise_or": "or", "logical_xor": "xor", "bitwise_xor": "xor",
    "__and__": "and", "__or__": "or", "__xor__": "xor", "logical_not": "not",
    "bitwise_not": "not", "sgn": "sign", "true_divide": "div", "absolute": "abs", "negative": "neg",
    "clamp_min": "maximum", "clamp_max": "minimum",
}  # fmt: skip


class Recorder(TorchDispatchMode):
    """Writes down what happens to tensors, which it knows by where their memory lies."""

    def __init__(self, size: int, dtype: torch.dtype):
        super().__init__()
        self.size, self.dtype = size, dtype
        self.names: dict[int, Argument] = {}
        self.lines: list[tuple[Any, ...]] = []
        self.known: dict[tuple[Any, ...], str] = {}
        self.masks: set[Argument] = set()
        self.alive: list[Any] = []  # so that no memory is used twice

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else the first operation imports the compiler, which takes half a second

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        base = name.removesuffix("_") if func._schema.is_mutable else name
        result = func(*args, **kwargs)
        self.alive.append((args, result))
        if isinstance(result, Tensor) and self.write(base, args, kwargs, result):
            return result
        if name in ("_local_scalar_dense", "item", "is_nonzero", "equal"):
            raise NotFusableError(f"its step lets Python read the data of a tensor{_place()}")
        decomposed = self.decompose(func, args, kwargs)
        if decomposed is None:
            raise NotFusableError(
                f"its step uses {func.overloadpacket}{_place()}, which is not elementwise or not known to the kernels"
            )
        return decomposed

    def decompose(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Do it by PyTorch's own definition in simpler operations, if it has one and we know those."""
        from torch._decomp import decomposition_table

        if func not in decomposition_table or func._schema.is_mutable:
            return None
        try:
            with self:
                return decomposition_table[func](*args, **kwargs)
        except NotFusableError:
            return None

    def write(self, name: str, args: Any, kwargs: Any, result: Tensor) -> bool:
        """Write a line, if it is one of ours."""
        other = result.is_floating_point() and result.dtype != self.dtype and result.dim() > 0
        if result.numel() not in (1, self.size) or other:
            return False
        if name in _VIEWS:
            return result.numel() == args[0].numel() or args[0].numel() == 1
        argument = self.argument(name, args, kwargs, result)
        if argument is None:
            return False
        self.names[result.data_ptr()] = argument
        if result.dtype == torch.bool and isinstance(argument, str):
            self.masks.add(argument)
        return True

    def argument(self, name: str, args: Any, kwargs: Any, result: Tensor) -> Argument | None:
        """The name of the result, or the number that it is."""
        if name == "lift_fresh" and args[0].numel() == 1:  # torch.tensor(3.0) inside the step
            return float(args[0])
        if name in _FILLED:
            return _FILLED[name]
        if name in ("full", "full_like", "new_full", "fill", "scalar_tensor"):
            fill = args[0] if name == "scalar_tensor" else args[1]
            return self.value(fill)
        values = [self.value(a) for a in args if not isinstance(a, torch.dtype | list | torch.device)]
        if None in values and name != "clamp":
            return None
        if name == "copy":
            return self.cast(values[1], result)
        if name in _COPIES:
            return values[0]
        if name in ("_to_copy", "to", "convert_element_type"):
            return self.cast(values[0], result)
        if name in ("add", "sub") and kwargs.get("alpha", 1) != 1:
            values[1] = self.line("mul", values[1], float(kwargs["alpha"]))
        if name in ("addcmul", "addcdiv"):
            term = self.line("mul", float(kwargs.get("value", 1)), values[1])
            return self.line("add", values[0], self.line("mul" if name == "addcmul" else "div", term, values[2]))
        if name == "rsub":
            return self.line("sub", values[1], values[0])
        if name == "square":
            return self.line("mul", values[0], values[0])
        if name == "pow" and isinstance(values[1], float):
            return self.power(values[0], values[1])
        if name == "masked_fill":
            return self.line("where", values[1], values[2], values[0])
        if name == "clamp":
            low, high = [*values[1:], None, None][:2]
            above = values[0] if low is None else self.line("maximum", values[0], low)
            return above if high is None else self.line("minimum", above, high)
        if name == "div" and kwargs.get("rounding_mode"):
            return self.line(kwargs["rounding_mode"], self.line("div", *values))
        name = _RENAMED.get(name, name)
        if result.dtype == torch.bool and name in ("mul", "add", "maximum", "minimum"):
            name = {"mul": "and", "minimum": "and"}.get(name, "or")
        if name not in OPERATORS or (name in LOGIC) != (result.dtype == torch.bool) or (kwargs.keys() - {"alpha"}):
            return None
        return self.line(name, *values)

    def value(self, argument: Any) -> Any:
        """A tensor's name, a number as it is."""
        if not isinstance(argument, Tensor):
            return float(argument) if isinstance(argument, bool | int | float) else None
        if argument.data_ptr() not in self.names:
            raise NotFusableError(
                f"its step reads a tensor that is not a parameter or a buffer{_place()}; register it as a buffer"
            )
        return self.names[argument.data_ptr()]

    def result(self, tensor: Tensor) -> Argument:
        """What a result of the step is called; a mask as a real number."""
        if tensor.numel() not in (1, self.size):
            raise NotFusableError(f"its step makes a tensor of another shape, {tuple(tensor.shape)}")
        return self.cast(self.value(tensor), tensor.to(self.dtype))

    def cast(self, value: Any, result: Tensor) -> Argument:
        if result.dtype == torch.bool:
            return value if value in self.masks else self.line("ne", value, 0.0)
        if value in self.masks:
            return self.line("real", value)
        return value if result.is_floating_point() else self.line("trunc", value)

    def power(self, x: Argument, exponent: float) -> Argument:
        if exponent in (0.5, -0.5):
            return self.line("sqrt" if exponent > 0 else "rsqrt", x)
        if exponent == -1.5:  # faster than what takes any exponent
            return self.line("div", self.line("rsqrt", x), x)
        if exponent not in (1, 2, 3, -1, -2):
            return self.line("pow", x, exponent)
        product = x
        for _ in range(int(abs(exponent)) - 1):
            product = self.line("mul", product, x)
        return product if exponent > 0 else self.line("reciprocal", product)

    def line(self, operator: str, *arguments: Any) -> Argument:
        """Add a line, unless it is there already or has nothing to do."""
        takes_masks = {"and": 2, "or": 2, "xor": 2, "not": 1, "where": 1, "real": 1}.get(operator, 0)
        given = []
        for place, argument in enumerate(arguments):
            if place < takes_masks and argument not in self.masks and operator != "real":
                argument = self.line("ne", argument, 0.0)
            elif place >= takes_masks and argument in self.masks:
                argument = self.line("real", argument)
            given.append(argument)
        if (operator in ("mul", "div") and given[1] == 1.0) or (operator in ("add", "sub") and given[1] == 0.0):
            return given[0]
        if operator == "mul" and given[0] == 1.0:
            return given[1]
        key = (operator, *given)
        if key not in self.known:
            self.known[key] = name = f"t{len(self.lines)}"
            self.lines.append((name, *key))
            if operator in LOGIC:
                self.masks.add(name)
        return self.known[key]


def _place() -> str:
    """Where in the user's code we are, if the stack still shows it."""
    inside = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frame = sys._getframe(1)
    while frame:
        file = frame.f_code.co_filename
        if not file.startswith(inside) and "concurrent" not in file and "threading" not in file:
            return f" ({Path(file).name}:{frame.f_lineno})"
        frame = frame.f_back
    return ""
