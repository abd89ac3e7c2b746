"""Identities of functions and classes: their names if their code cannot change, otherwise everything that it reads."""

import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

from ..._util.introspection import cell_content

# Code that does not change while a program runs, and is identified by its name.
TRUSTED_PACKAGES = frozenset(
    {"geir", "torch", "numpy", "builtins", "math", "functools", "typing", "abc", "collections", "enum"}
)


def is_trusted(module: str | None) -> bool:
    """Whether the code of a module is identified by its name."""
    return module is not None and module.partition(".")[0] in TRUSTED_PACKAGES


def is_found_by_name(value: type | types.FunctionType) -> bool:
    """Whether a class or function is what its name says.

    A class that is made while the program runs, as that of a parametrized module, is not; neither is a lambda.
    """
    found: Any = sys.modules.get(value.__module__)
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value


def names_in_code(code: types.CodeType) -> Iterator[str]:
    """The names of global variables and attributes in code and in the functions defined in it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from names_in_code(constant)


def variables_read(function: types.FunctionType, names: set[str]) -> list[object]:
    """The objects that the behavior of a function depends on, at the places where they are found now."""
    cells = map(cell_content, function.__closure__ or ())
    own = (function.__code__, function.__defaults__, function.__kwdefaults__)
    return [*own, *cells, *look_up(function.__globals__, names)]


def look_up(variables: Mapping[str, object], names: set[str]) -> list[object]:
    """The values of variables by name; None for those that do not exist."""
    return [variables.get(name) for name in names]
