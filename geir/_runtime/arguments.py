"""Arguments of compiled functions, declared once: the C struct and the `ctypes` structure that fills it are
made from the same list."""

import ctypes
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn, Tensor

Value = Tensor | int | None
PLAIN_TENSORS = (Tensor, nn.Parameter)


class Pointer(NamedTuple):
    """A pointer to the first element of a contiguous array."""

    name: str
    type: str  # of the elements
    shape: str
    optional: bool = False  # whether it may be null


class Number(NamedTuple):
    """A 64-bit integer."""

    name: str
    meaning: str = ""


Argument = Pointer | Number


def c_struct(name: str, arguments: Sequence[Argument]) -> str:
    """The declaration of the arguments as a C struct."""
    lines = ["typedef struct {"]
    for argument in arguments:
        if isinstance(argument, Pointer):
            note = argument.shape + (", or null" if argument.optional else "")
            lines.append(f"  {argument.type} *{argument.name};  // {note}")
        else:
            lines.append(f"  int64_t {argument.name};" + (f"  // {argument.meaning}" if argument.meaning else ""))
    return "\n".join([*lines, f"}} {name};"])


def ctypes_structure(arguments: Sequence[Argument]) -> type[ctypes.Structure]:
    """The class of the same struct for `ctypes`."""
    fields = [(each.name, ctypes.c_void_p if isinstance(each, Pointer) else ctypes.c_int64) for each in arguments]
    return type("Arguments", (ctypes.Structure,), {"_fields_": fields})


def fill_structure(
    structure: type[ctypes.Structure], values: Mapping[str, Value], strided: Sequence[str] = ()
) -> ctypes.Structure:
    """A struct with arguments by name; those that are not given are null or 0. The tensors must outlive its use.

    With `update_structure`, this is the only place where pointers to tensors are handed to compiled code, which
    trusts them. So it checks that a tensor has memory on the CPU, and no gaps or repetitions in it.

    Args:
        structure: Made by `ctypes_structure`.
        values: Tensors and numbers.
        strided: Names of tensors that may have any strides, because the code is given these too.

    Raises:
        ValueError: If a tensor cannot be passed.
    """
    filled = structure()
    update_structure(filled, values, strided)
    return filled


def update_structure(filled: ctypes.Structure, values: Mapping[str, Value], strided: Sequence[str] = ()) -> None:
    """Change some arguments in a struct, with the checks of `fill_structure`."""
    for name, value in values.items():
        if isinstance(value, Tensor):
            plain = type(value) in PLAIN_TENSORS and value.is_cpu and value.layout is torch.strided
            if not plain or value.is_neg() or not (value.is_contiguous() or name in strided):
                _refuse(name, value, plain)
            address = value.data_ptr()
            if not address and value.numel():
                raise ValueError(f"compiled code needs tensors with memory; the storage of {name} is empty")
            setattr(filled, name, address)
        else:
            setattr(filled, name, value)


def _refuse(name: str, tensor: Tensor, plain: bool) -> None:
    """Raise `ValueError`: a tensor cannot be passed to compiled code."""
    if not plain:
        kind = f"{type(tensor).__name__} on {tensor.device}"
        raise ValueError(f"compiled code needs plain tensors on the CPU; {name} is a {kind}")
    if tensor.is_neg():
        raise ValueError(f"compiled code needs numbers as they are in memory; {name} is a negative view")
    raise ValueError(f"compiled code needs contiguous tensors; {name} has strides {tensor.stride()}")
