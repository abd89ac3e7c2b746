"""Record the operations that PyTorch performs as lines of a program."""

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .line_writer import is_integer, LineWriter, Operand
from .lowerings import Lowering, LOWERINGS
from .program import Argument, NotFusableError

# PyTorch's operators, their arguments and results are not typed.
Operator = Any
Arguments = Mapping[str, Any]
Keywords = Mapping[str, Any]
Result = Any

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
# Operators whose result is one number everywhere, and for some the argument that holds it.
_FILLS = {"zeros_like", "new_zeros", "zeros", "zero", "ones_like", "new_ones", "ones"}
_FILLS_WITH_ARGUMENT = {
    "full": "fill_value",
    "full_like": "fill_value",
    "new_full": "fill_value",
    "fill": "value",
    "scalar_tensor": "s",
}
# Operators whose decomposition rounds otherwise than they do: `round` with a number of decimals.
_INEXACT = {"round"}
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
_COMPARISONS = {"gt", "ge", "lt", "le", "eq", "ne"}


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
        self.exact = True  # whether a narrower dtype than that of the arithmetic is refused
        self.names: dict[int, Argument] = {}  # by address
        self.writer = LineWriter(dtype)
        self._alive: list[object] = []  # so that no address is used twice

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else the first operation imports the compiler, which takes half a second

    def __torch_dispatch__(
        self, func: Operator, types: object, args: tuple[Any, ...] = (), kwargs: Keywords | None = None
    ) -> Result:
        # What follows reads from tensors what a step may not; see `read_guard.py`.
        with torch._C.DisableTorchFunction():
            return self._dispatch(func, args, kwargs or {})

    def _dispatch(self, func: Operator, args: tuple[Any, ...], kwargs: Keywords) -> Result:
        name = func.overloadpacket.__name__
        base = name.removesuffix("_") if func._schema.is_mutable else name
        result = func(*args, **kwargs)
        self._alive.append((args, result))
        # An operator of the user's own library may have any name.
        known = func.namespace in ("aten", "prims")
        if known and isinstance(result, Tensor) and self._record(base, _bind(func, args, kwargs), result):
            return result
        if known and name in _READS:
            raise NotFusableError(
                f"its step lets Python read the data of a tensor{find_place()}; use torch.where instead of if"
            )
        other = next((t.dtype for t in (*args, result) if isinstance(t, Tensor) and self._is_other_real(t)), None)
        if other and self.exact:  # PyTorch's definitions compute in another dtype than the operator
            raise NotFusableError(
                f"its step uses {func.overloadpacket} in {_name(other)}{find_place()} beside {_name(self.dtype)};"
                " convert the operands"
            )
        decomposed = self._decompose(func, args, kwargs)
        if decomposed is None:
            if any(isinstance(t, Tensor) and is_integer(t) for t in (result, *args)):
                raise NotFusableError(
                    f"its step uses {func.overloadpacket} of integers{find_place()}, which may be large or wrap around;"
                    " convert them to floating-point numbers first, or compute the result in `prepare`"
                )
            raise NotFusableError(
                f"its step uses {func.overloadpacket}{find_place()}, which is not elementwise or not known to the "
                "kernels"
            )
        return decomposed

    def _decompose(self, func: Operator, args: tuple[Any, ...], kwargs: Keywords) -> Result:
        """The result by PyTorch's own definition in simpler operators, or None if it has none or these are not
        supported."""
        from torch._decomp import decomposition_table

        if func not in decomposition_table or func._schema.is_mutable or func.overloadpacket.__name__ in _INEXACT:
            return None
        try:
            with self:
                return decomposition_table[func](*args, **kwargs)
        except NotFusableError:
            return None

    def _is_other_real(self, tensor: Tensor) -> bool:
        return tensor.is_floating_point() and tensor.dtype != self.dtype

    def discrete_constant(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        """A stand-in for a constant that is no floating-point number: a mask, or integers. Kernels read it as a real
        number."""
        value = self.size == 2 if dtype == torch.bool else self.size
        tensor = torch.full(shape, value, dtype=dtype, device="cpu")
        self._alive.append(tensor)
        self.names[tensor.data_ptr()] = self.writer.line("ne", name, 0.0) if dtype == torch.bool else name
        if not (dtype == torch.bool or dtype.is_complex):
            limits = torch.iinfo(dtype)
            self.writer.bounds[name] = max(limits.max, -limits.min)
        return tensor

    def _record(self, name: str, given: Arguments, result: Tensor) -> bool:
        """Append the lines of an operation; False if it is not supported."""
        if result.numel() not in (1, self.size):
            return False
        if name in _VIEWS:
            of = given["self"]
            return result.dtype == of.dtype and (result.numel() == of.numel() or of.numel() == 1)
        argument = self._argument(name, given, result)
        if argument is None:
            return False
        if isinstance(argument, str) and not self.writer.fits(argument, result.dtype, self.exact):
            return False
        self.names[result.data_ptr()] = argument
        return True

    def _argument(self, name: str, given: Arguments, result: Tensor) -> Argument | None:
        """The name or the number of an operation's result, or None if it is not supported."""
        if name in _FILLS:
            return _number(result)
        if name in _FILLS_WITH_ARGUMENT:
            return self._cast(given[_FILLS_WITH_ARGUMENT[name]], result)
        if name in ("lift_fresh", "lift_fresh_copy") and result.numel() == 1:  # torch.tensor(3.0) inside the step
            return _number(result)
        if name in _COPIES:
            return self.value(given["self"])
        if name == "copy":
            return self._cast(given["src"], result)
        if name in _CASTS:
            return self._cast(given["a" if "a" in given else "self"], result)
        name = _SYNONYMS.get(name, name)
        operands = {key: self._operand(value) for key, value in given.items()}
        tensors = [operands[key] for key, value in given.items() if isinstance(value, Tensor)]
        if name in LOWERINGS and result.dtype.is_floating_point:
            argument = self._lower(LOWERINGS[name], operands)
        else:
            argument = self.writer.operator(name, list(operands.values()), result)
            if name in _COMPARISONS and not self.writer.comparable(given.values(), operands.values()):
                return None
        if argument is not None and not any(isinstance(operand, str) for operand in tensors):
            return _number(result)  # of numbers, as PyTorch rounds it
        return argument

    def _cast(self, argument: object, result: Tensor) -> Argument | None:
        """An argument converted to the dtype of a result, or None if that is not supported."""
        value = self.value(argument)
        return _number(result) if isinstance(value, float) else self.writer.cast(value, result.dtype)

    def _operand(self, argument: object) -> Operand:
        """A tensor or a number as an argument of a program; anything else as it is."""
        return self.value(argument) if isinstance(argument, Tensor | bool | int | float) else argument

    def _lower(self, lowering: Lowering, operands: dict[str, Operand]) -> Argument | None:
        """The result of a lowering, or None if it does not take one of the arguments."""
        named = {"x" if key == "self" else key: value for key, value in operands.items()}
        if not named.keys() <= inspect.signature(lowering).parameters.keys():
            return None
        return lowering(self.writer, **named)

    def value(self, argument: object) -> Operand:
        """The name of a tensor, or a number as it is; None for anything else.

        Raises:
            NotFusableError: If the tensor is unknown.
        """
        if not isinstance(argument, Tensor):
            number = isinstance(argument, bool | int | float) and float(argument)
            return number if number == argument or number != number else None
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
        value = self.value(tensor)
        return self.writer.line("real", value) if value in self.writer.masks else value


def _bind(func: Operator, args: tuple[Any, ...], kwargs: Keywords) -> Arguments:
    """The arguments of an operator by name, in its order, without those that have their default."""
    schema = func._schema.arguments
    given = {argument.name: value for argument, value in zip(schema, args, strict=False)} | dict(kwargs)
    defaults = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    names = [argument.name for argument in schema if argument.name in given]
    return {
        name: given[name]
        for name in names
        if isinstance(given[name], Tensor) or name not in defaults or given[name] != defaults[name]
    }


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _number(result: Tensor) -> float | None:
    """The number that a result has everywhere; None if there is no such float."""
    number = result.detach().reshape(-1)[0].item()
    return float(number) if float(number) == number or number != number else None


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
