"""The variables outside of a function that its code uses."""

import builtins
import dis
import enum
import functools
import importlib
import logging
import types
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Final

import numpy
import torch

from .._util.introspection import C_DESCRIPTORS, C_FUNCTIONS, cell_content, UnknownContentError

# Types whose objects cannot change, and are described by `repr`.
CONSTANTS: Final = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented), range, slice)
TORCH_CONSTANTS: Final = (torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size)
# Types whose objects cannot change, or only as the source of a program changes, when they are variables.
_CONSTANT_KINDS: Final = (
    *CONSTANTS,
    *TORCH_CONSTANTS,
    *C_FUNCTIONS,
    *C_DESCRIPTORS,
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.ModuleType,
    types.GenericAlias,
    types.UnionType,
    enum.Enum,
    PurePath,
    numpy.generic,
    numpy.dtype,
    logging.Logger,
)
# Instructions that read a global variable.
_GLOBAL_LOADS: Final = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")


def is_constant(value: object) -> bool:
    """Whether a variable cannot change, apart from being assigned again."""
    if isinstance(value, tuple | frozenset):
        return all(map(is_constant, value))
    if isinstance(value, functools.partial):
        return all(map(is_constant, (value.func, *value.args, *value.keywords.values())))
    return (
        isinstance(value, _CONSTANT_KINDS)
        or type(value).__module__ == "typing"
        or isinstance(getattr(value, "__wrapped__", None), types.FunctionType)
    )


def closure_variables(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the names and values of the variables that a function closes over."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield name, cell_content(cell)


def global_variables(code: types.CodeType, namespace: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield the global variables that code uses, of modules only the members that it names."""
    for name, *members in _global_names(code):
        if name == "import":
            try:
                yield members[0], importlib.import_module(members[0])
            except (ImportError, ValueError):
                raise UnknownContentError(
                    f"{code.co_qualname} imports {members[0] or 'a module of its package'}, which is not found; "
                    "import it at the top of the module"
                ) from None
        elif name in namespace:
            value = namespace[name]
            for member in members:
                if not isinstance(value, types.ModuleType) or not hasattr(value, member):
                    break
                name, value = f"{name}.{member}", getattr(value, member)
            yield name, value
        elif not hasattr(builtins, name):
            yield name, None


@functools.lru_cache(maxsize=1024)
def _global_names(code: types.CodeType) -> tuple[tuple[str, ...], ...]:
    """Return the names of the global variables in code, each with the attributes that are read from it.

    A module that the code imports itself is named after "import".
    """
    found: dict[tuple[str, ...], None] = {}
    path: tuple[str, ...] = ()
    for instruction in dis.get_instructions(code):
        if path and instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            path += (str(instruction.argval),)
            continue
        if path:
            found[path] = None
        path = (str(instruction.argval),) if instruction.opname in _GLOBAL_LOADS else ()
        if instruction.opname == "IMPORT_NAME":
            found["import", str(instruction.argval)] = None
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= dict.fromkeys(_global_names(constant))
    return tuple(found)
