"""Fingerprints of functions, modules and values, under which results are cached."""

import enum
import functools
import hashlib
import logging
import os
import struct
import types
from pathlib import PurePath
from typing import Any, Final

import numpy
import torch
from torch import nn, Tensor

from .._util.introspection import (
    BOOKKEEPING_ATTRIBUTES,
    C_DESCRIPTORS,
    C_FUNCTIONS,
    HEAP_TYPE,
    slots_of,
    TUPLE_GETTER,
    UnknownContentError,
)
from .code_versions import library_version
from .outside_variables import closure_variables, CONSTANTS, global_variables, is_constant, TORCH_CONSTANTS

_POINTER_BYTES: Final = struct.calcsize("P")


def fingerprint(*values: object) -> str:
    """Return a text that changes if the values, or the code of functions among them, change.

    Equal values have equal fingerprints in all processes. Modules, functions, classes and other
    objects of Python are followed through their attributes, their code, and the functions, classes
    and constants that the code uses. Code of geir counts with the whole source of geir, code of
    installed packages with its name and the version of the package.

    Raises:
        UnknownContentError: If a part of the values is unknown (an object of C code, a generator of
            random numbers), or a function depends on variables outside of it that can change, or is
            a lambda.
    """
    writer = _Writer()
    for value in values:
        writer.write(value, "the object")
    return writer.hash.hexdigest()


class _Writer:
    """Feeds values to a hash. The place of a value, such as ``prepare.size``, is for error messages."""

    def __init__(self) -> None:
        self.hash = hashlib.blake2b(digest_size=16)
        # Objects that have been written, by their `id`; kept alive, so that it stays theirs.
        self._seen: dict[int, tuple[int, object]] = {}

    def write(self, value: object, place: str) -> None:
        """Write any value."""
        if type(value) in CONSTANTS:
            self._tag(type(value).__name__, repr(value))
            return
        if isinstance(value, TORCH_CONSTANTS):
            self._tag("torch", repr(value))
            return
        # Whether two constants are one object may differ between processes.
        if not isinstance(value, tuple | frozenset | types.CodeType | numpy.generic):
            if id(value) in self._seen:
                self._tag("seen", str(self._seen[id(value)][0]))
                return
            self._seen[id(value)] = len(self._seen), value
        if not self._write_container(value, place) and not self._write_code(value, place):
            self._write_instance(value, place)

    def _tag(self, kind: str, text: str) -> None:
        """Write a text, with its kind and length, so that no other sequence of texts is written alike."""
        data = text.encode("utf-8", "surrogatepass")
        self.hash.update(f"{kind}:{len(data)}:".encode() + data)

    def _write_all(self, kind: str, values: list[tuple[str, object]]) -> None:
        self._tag(kind, str(len(values)))
        for place, value in values:
            self.write(value, place)

    def _write_container(self, value: object, place: str) -> bool:
        """Write a value that consists of others, or of numbers. Returns False if it is no such value."""
        if isinstance(value, Tensor) and type(value) in (Tensor, nn.Parameter, nn.Buffer):
            self._write_tensor(value.detach(), place)
        elif type(value) is numpy.ndarray or isinstance(value, numpy.generic):
            self._write_array(numpy.asarray(value), place)
        elif isinstance(value, numpy.dtype):
            self._tag("dtype", repr(value))
        elif type(value) in (list, tuple):
            content: Any = value
            self._write_all(type(value).__name__, [(f"{place}[{k}]", part) for k, part in enumerate(content)])
        elif isinstance(value, dict | types.MappingProxyType) and type(value).__module__ in ("builtins", "collections"):
            self._tag("class", type(value).__qualname__)
            items: list[tuple[object, object]] = list(value.items())
            self._write_all("items", [(f"{place}[{key!r}]", part) for key, item in items for part in (key, item)])
        elif isinstance(value, set | frozenset) and type(value) in (set, frozenset):
            # Their order differs between processes.
            self._tag(type(value).__name__, " ".join(sorted(fingerprint(part) for part in value)))
        elif isinstance(value, PurePath):
            self._tag("path", str(value))
        elif isinstance(value, enum.Enum):
            self.write(type(value), f"{place}, its class")
            self._tag("enum", value.name)
        else:
            return False
        return True

    def _write_tensor(self, tensor: Tensor, place: str) -> None:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
            raise _unknown(place, f"is a tensor of {tensor.layout} on {tensor.device}")
        dense = tensor.cpu().resolve_conj().resolve_neg().contiguous()
        self._tag("tensor", f"{tensor.dtype} {tuple(tensor.shape)} {tensor.device}")
        self.hash.update(dense.view(-1).view(torch.uint8).numpy().data if dense.numel() else b"")

    def _write_array(self, array: numpy.ndarray[Any, Any], place: str) -> None:
        if array.dtype.hasobject:
            raise _unknown(place, "is an array of objects")
        self._tag("array", f"{array.dtype!r} {array.shape}")
        self.hash.update(array.tobytes())

    def _write_code(self, value: object, place: str) -> bool:
        """Write a function, class or module. Returns False if it is none."""
        if isinstance(value, types.FunctionType):
            self._write_function(value, place)
        elif isinstance(value, types.MethodType):
            self._write_all("method", [(place, value.__func__), (f"{place}.__self__", value.__self__)])
        elif isinstance(value, functools.partial):
            parts: list[tuple[str, object]] = [(f"{place}.func", value.func), (f"{place}.args", value.args)]
            self._write_all("partial", [*parts, (f"{place}.keywords", value.keywords)])
        elif isinstance(value, staticmethod | classmethod):
            self._write_all(type(value).__name__, [(place, value.__func__)])
        elif isinstance(value, property):
            self._write_all("property", [(place, getter) for getter in (value.fget, value.fset, value.fdel)])
        elif isinstance(value, functools.cached_property):
            self._write_all("cached_property", [(place, value.func)])
        elif isinstance(value, types.CodeType):
            self._write_code_object(value)
        elif isinstance(value, types.ModuleType):
            self._write_module(value)
        elif isinstance(value, type):
            self._write_class(value, place)
        elif isinstance(value, types.BuiltinFunctionType):
            owner = value.__self__
            if not isinstance(owner, types.ModuleType | type | None):
                self.write(owner, f"{place}.__self__")
            self._tag("builtin", f"{value.__module__}.{value.__qualname__}")
        elif isinstance(value, C_FUNCTIONS + C_DESCRIPTORS):
            self._tag("builtin", f"{type(value).__name__} {value!r}")
        elif isinstance(value, types.GenericAlias | types.UnionType) or type(value).__module__ == "typing":
            self._tag("type", repr(value))
        elif isinstance(value, TUPLE_GETTER):
            self._tag("field", repr(value.__reduce__()[1][0]))
        elif isinstance(value, logging.Logger):
            self._tag("logger", value.name)
        elif callable(value) and isinstance(getattr(value, "__wrapped__", None), types.FunctionType):
            # What `functools.lru_cache` and similar decorators make of a function.
            self._write_all(type(value).__qualname__, [(place, value.__wrapped__)])  # pyright: ignore
        else:
            return False
        return True

    def _write_function(self, function: types.FunctionType, place: str) -> None:
        # Not `function.__module__`, which decorators set to that of the function that they wrap.
        if self._write_known(str(function.__globals__.get("__name__")), function.__qualname__):
            # The variables of a function that a library has made of another one.
            for name, variable in closure_variables(function):
                self.write(variable, f"{place}, variable {name}")
            return
        if function.__name__ == "<lambda>":
            raise _unknown(place, "is a lambda")
        self._tag("function", function.__qualname__)
        self._write_code_object(function.__code__)
        self.write(function.__defaults__, f"{place}, default values")
        self.write(function.__kwdefaults__, f"{place}, default values")
        for name, value in vars(function).items():
            # What decorators set repeats the closure.
            if name not in ("__wrapped__", "__signature__"):
                self.write(value, f"{place}.{name}")
        for name, value in closure_variables(function):
            self._write_variable(value, f"the variable {name} of {function.__qualname__}")
        for name, value in global_variables(function.__code__, function.__globals__):
            self._tag("global", name)
            self._write_variable(value, f"the global variable {name} of {function.__qualname__}")

    def _write_variable(self, value: object, place: str) -> None:
        """Write a variable outside of a function, which must not be able to change."""
        if not is_constant(value):
            raise UnknownContentError(
                f"{place} is {_describe(value)}, which can change without notice; make it an attribute of an "
                "nn.Module, an argument (functools.partial), or a constant such as a number or a tuple"
            )
        self.write(value, place)

    def _write_code_object(self, code: types.CodeType) -> None:
        self._tag("code", code.co_code.hex())
        self._tag("names", repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_flags)))
        self._tag("arguments", repr((code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)))
        self._tag("handlers", code.co_exceptiontable.hex())
        self._write_all("constants", [("a constant", constant) for constant in code.co_consts])

    def _write_module(self, module: types.ModuleType) -> None:
        """Write a module that code uses in another way than by naming its members."""
        if self._write_known(module.__name__, ""):
            return
        file = getattr(module, "__file__", None)
        if file is None or not os.path.exists(file):
            raise UnknownContentError(f"the source of the module {module.__name__} is unknown")
        with open(file, "rb") as source:
            self._tag("module", module.__name__ + hashlib.blake2b(source.read()).hexdigest())

    def _write_class(self, cls: type, place: str) -> None:
        if self._write_known(cls.__module__, cls.__qualname__):
            # The base of the module form of a function is made from the function.
            if isinstance(function := cls.__dict__.get("function"), staticmethod):
                self.write(function, f"{place}.function")
            return
        self._tag("class", cls.__qualname__)
        self._write_all("bases", [(f"{place}, base class", base) for base in cls.__bases__])
        for name, value in cls.__dict__.items():
            if name not in BOOKKEEPING_ATTRIBUTES:
                self._tag("attribute", name)
                self.write(value, f"{place}.{name}")

    def _write_known(self, module: str | None, name: str) -> bool:
        """Write a function or class of geir or of an installed package by its name. Returns False if it is none."""
        origin = library_version(module or "")
        if origin is not None:
            self._tag("library", f"{origin} {module}.{name}")
        return origin is not None

    def _write_instance(self, value: object, place: str) -> None:
        if isinstance(value, torch.jit.ScriptModule):
            raise _unknown(place, "is compiled TorchScript")
        cls = type(value)
        if any(not _is_defined_in_python(base) for base in cls.__mro__[:-1]):
            raise _unknown(place, f"is {_describe(value)}")
        self.write(cls, f"the class {cls.__qualname__}")
        for base in cls.__mro__:
            if issubclass(base, tuple | list | dict) and base in (tuple, list, dict):
                content: Any = value  # a subclass of one of them
                self.write(base(content), place)
        state: dict[str, object] = dict(vars(value)) if hasattr(value, "__dict__") else {}
        for base in cls.__mro__:
            for name in slots_of(base):
                if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                    state[name] = getattr(value, name)
        for name, attribute in state.items():
            self._tag("attribute", name)
            self.write(attribute, f"{place}.{name}")


def _unknown(place: str, problem: str) -> UnknownContentError:
    return UnknownContentError(f"{place} {problem}, whose content is unknown")


def _describe(value: object) -> str:
    return f"an object of the type {type(value).__module__}.{type(value).__qualname__}"


def _is_defined_in_python(cls: type) -> bool:
    """Whether all content of the objects of a class is in attributes, or in a tuple, list or dict."""
    if cls in (tuple, list, dict) or cls.__module__ in ("abc", "typing"):
        return True
    content: Any = cls.__dict__
    if "__module__" not in content or not cls.__flags__ & HEAP_TYPE or cls.__base__ is None:
        return False
    if isinstance(content.get("__new__"), types.BuiltinFunctionType):
        return False
    # Memory of an object beyond that of its base class and its slots belongs to C code.
    places = len(slots_of(cls)) + ("__dict__" in content) + ("__weakref__" in content)
    return cls.__basicsize__ - cls.__base__.__basicsize__ <= places * _POINTER_BYTES
