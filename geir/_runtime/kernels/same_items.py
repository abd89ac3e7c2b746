"""Whether dictionaries hold the same objects as before."""

import ctypes
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from itertools import chain
from operator import is_, methodcaller
from typing import Any, NamedTuple

from .. import compiler

_values = methodcaller("values")

# Compares mappings, as many as the number says, with what `Items` found. False may also mean that it is unknown.
Compare = Callable[[tuple[Mapping[Any, object], ...], int, Any], int]


class Items(NamedTuple):
    """The recorded contents of mappings. To compare them later, call `compare(mappings, number, found)`.

    It holds the objects, so that no new object can have the address of an old one.
    """

    compare: Compare
    number: int
    found: Any
    objects: tuple[object, ...]


def find_items(keys: Sequence[Sequence[object]], values: Sequence[Sequence[object]], plain: bool) -> Items:
    """The items of mappings, for a comparison.

    Args:
        keys: The keys of each mapping, in their order.
        values: The values of each mapping, in the same order.
        plain: Whether all of them are dictionaries.
    """
    objects = (*chain.from_iterable(keys), *chain.from_iterable(values))
    compiled = _compiled() if plain else None
    if compiled is None:
        return Items(_compare, len(keys), (list(map(len, keys)), objects), objects)
    numbers: list[int] = []
    for some_keys, some_values in zip(keys, values, strict=True):
        numbers.append(len(some_keys))
        for key, value in zip(some_keys, some_values, strict=True):
            numbers += id(key), id(value)
    return Items(compiled, len(keys), (ctypes.c_ssize_t * len(numbers))(*numbers), objects)


def _compare(mappings: tuple[Mapping[Any, object], ...], _: int, found: Any) -> bool:
    lengths, expected = found
    objects = chain(chain.from_iterable(mappings), chain.from_iterable(map(_values, mappings)))
    return list(map(len, mappings)) == lengths and all(map(is_, objects, expected))


@functools.cache
def _compiled() -> Compare | None:
    """The compiled comparison; None where it cannot be made, or where the interpreter has no lock."""
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    if sys.implementation.name != "cpython" or not locked:
        return None
    try:
        library = compiler.load(files("geir._runtime.kernels").joinpath("same_items.c").read_text())
    except compiler.NoCompilerError:
        return None
    functions = (ctypes.pythonapi.PyTuple_GetItem, ctypes.pythonapi.PyDict_Next)
    library.set_functions(*(ctypes.cast(function, ctypes.c_void_p) for function in functions))
    # A prototype that keeps the interpreter's lock, as functions of a `CDLL` do not.
    prototype = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_int64, ctypes.c_void_p)
    return prototype(ctypes.cast(library.same_items, ctypes.c_void_p).value or 0)
