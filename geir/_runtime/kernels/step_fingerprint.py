"""Fingerprints of steps: hashable values that are equal only if two steps do the same.

A step may read anything: attributes of its module, of objects in them and of their classes, variables that a
function closes over, global variables. A fingerprint is the content of all of these, found by walking from the
step's module and following the code of the user's functions and classes. Numbers and strings enter by value;
nothing enters by its address, so that a fingerprint stays valid when objects are freed, and keeps none alive.

Numbers among the settings of the module and its submodules are arguments of kernels (see `symbols.py`). Settings are
attributes, and fields of those attributes that are frozen dataclasses. Their numbers are not part of the fingerprint,
but are listed with their places. If a step can reach the same object in another way, its kernel has the number as a
constant, and it is part of the fingerprint too.

Code of geir, PyTorch, NumPy and the standard library is identified by its name, if it has one. A class of geir that has
been changed since its definition is identified by its content. An object that cannot be looked into, such as one of an
extension module, has no fingerprint.

Computing a fingerprint takes longer than the step of a small layer. So the walk also makes a `Watch`: the places that
it read and the objects that it found there. As long as these are the same objects, the fingerprint is the same.
"""

import functools
import types
from collections.abc import Hashable, Mapping
from typing import Any, cast, NamedTuple

import numpy as np
import torch
from torch import nn, Tensor

from ..._util.class_edits import edited, module_of_code
from ..._util.introspection import (
    BOOKKEEPING_ATTRIBUTES,
    C_DESCRIPTORS,
    C_FUNCTIONS,
    cell_content,
    HEAP_TYPE,
    slots_of,
    TUPLE_GETTER,
    UnknownContentError,
)
from ..stepper import Prepared, Step
from .code_identity import is_found_by_name, is_trusted, look_up, names_in_code, variables_read
from .symbols import NumberPlace
from .watch import NoWatch, Watch

CONSTANTS = frozenset(
    {type(None), bool, int, complex, str, bytes, torch.dtype, torch.device, types.CodeType, type(...)}
)
CONTAINERS = frozenset({tuple, list, dict, set, frozenset})
ARRAYS = (np.ndarray, np.generic)
BUILTIN_FUNCTIONS = (types.BuiltinFunctionType, *C_FUNCTIONS)
# They give access to slots, attributes and fields of named tuples, which enter with the instances.
DESCRIPTORS: tuple[type, ...] = (*C_DESCRIPTORS, TUPLE_GETTER)
# They do not act on the step: the runner, the attributes of `nn.Module` that hold tensors, submodules and hooks, and
# the structure of an affine equation, which follows from the class.
IGNORED_ATTRIBUTES = frozenset(vars(nn.Module())) - {"training"} | {
    "unroll",
    "record_states",
    "structure",
    "_memo",
}
IGNORED_CLASS_ATTRIBUTES = BOOKKEEPING_ATTRIBUTES | {
    "__signature__",
    "_declarations",
    "_forwarded",
    "_own_declarations",
}
MAX_ARRAY_BYTES = 1 << 16


def fingerprint_step(module: nn.Module, step: Step, prepared: Prepared) -> Hashable:
    """The fingerprint of a step: of its module and submodules, and of what is not a tensor in the prepared values.

    Raises:
        UnknownContentError: If the step may depend on an object that has no fingerprint.
    """
    return fingerprint_module(module, step).fingerprint, fingerprint_prepared(prepared)[0]


class ModuleFingerprint(NamedTuple):
    """The fingerprint of a step without its prepared values."""

    fingerprint: Hashable
    places: list[NumberPlace]  # of numbers among the settings; they follow from the fingerprint
    watch: Watch  # it has these numbers


def fingerprint_module(module: nn.Module, step: Step) -> ModuleFingerprint:
    """The fingerprint of a step without its prepared values, and a watch over it.

    Raises:
        UnknownContentError: If the step may depend on an object that has no fingerprint, or is no method of the module.
    """
    if getattr(step, "__self__", None) is not module:
        raise UnknownContentError("a step that is not a method of the model")
    walk = _Walk(Watch())
    walk.watch.add_roots((module,))
    fingerprint = step.__name__, walk.instance(module, NumberPlace((), ()))
    return ModuleFingerprint(fingerprint, walk.places, walk.watch)


def fingerprint_prepared(prepared: Prepared, last: Watch | None = None) -> tuple[Hashable, Watch]:
    """The fingerprint of what is not a tensor in prepared values, and a watch over them.

    Args:
        prepared: The prepared values.
        last: The watch of the last call. If it was over other objects, so will be that of the next call, and there
            is nothing to watch.

    Raises:
        UnknownContentError: If there is an object that has no fingerprint.
    """
    walk = _Walk(Watch() if last is None or last.is_of(*prepared) else NoWatch())
    walk.watch.add_roots(prepared)
    return walk.value(prepared), walk.watch


class _Walk:
    """Computes fingerprints. An object that occurs again, also inside itself, enters by the order of its occurrence."""

    def __init__(self, watch: Watch) -> None:
        self.seen: dict[int, int] = {}
        self.watch = watch
        self.places: list[NumberPlace] = []

    def value(self, value: object) -> Hashable:
        """The fingerprint of any object."""
        kind = type(value)
        if kind is float:
            # As text, which tells 0.0 from -0.0, and where NaN is equal to itself.
            return repr(value)
        if isinstance(value, Tensor):
            # The step's tensors are its arguments; reading another one makes tracing fail.
            return "tensor"
        if kind in CONSTANTS:
            return kind, value
        if isinstance(value, type):
            return self.class_(value)
        if id(value) in self.seen:
            return "seen", self.seen[id(value)]
        self.seen[id(value)] = len(self.seen)
        if isinstance(value, ARRAYS):
            return self.array(np.asarray(value))
        return self.container(value) if kind in CONTAINERS else self.code(value) or self.instance(value)

    def container(self, value: Any) -> Hashable:
        kind = type(value)
        if kind is not tuple and kind is not frozenset:
            self.watch.add_reader(lambda: (*value, *value.values()) if kind is dict else value)
        if kind is dict:
            return "dict", *((self.value(key), self.value(part)) for key, part in value.items())
        parts = map(self.value, value)
        return (kind, *parts) if kind in (tuple, list) else (kind, frozenset(parts))

    def array(self, array: np.ndarray) -> Hashable:
        if array.dtype.hasobject or array.nbytes > MAX_ARRAY_BYTES:
            raise UnknownContentError(f"an array of {array.nbytes} bytes of {array.dtype}")
        self.watch.complete = False
        return array.dtype.str, array.shape, array.tobytes()

    def setting(self, value: object, place: NumberPlace, parent: int) -> Hashable:
        """The fingerprint of an attribute of a module, or of a setting in it. Numbers are listed instead."""
        kind = type(value)
        if kind is float or kind is int:
            self.places.append(place)
            self.watch.add_number(parent, place.attributes[-1])
            return "number", kind
        return self.instance(value, place, parent) if _is_frozen(value) else self.value(value)

    def instance(self, value: object, place: NumberPlace | None = None, parent: int = -1) -> Hashable:
        """The class and the content of an object.

        Args:
            value: The object.
            place: The place of the object among the settings, if it is a setting, a module or one of its submodules.
                Such an object does not count as seen: numbers that are reached in another way are part of the
                fingerprint.
            parent: Index in the watch of the module or setting that holds it; -1 of a module.
        """
        index = -1
        if place is None:
            self.watch.add_type(value)
            if hasattr(value, "__dict__"):
                self.watch.add_mapping(vars(value))
        else:
            index = self.watch.add_setting(value, parent, place.attributes[-1] if place.attributes else "")
        attributes = self.attributes(value)
        submodules: Mapping[str, nn.Module | None] = {}
        if isinstance(value, nn.Module):
            attributes = {name: part for name, part in attributes.items() if name not in IGNORED_ATTRIBUTES}
            submodules = value._modules
            for tensors in (value._parameters, value._buffers, value._modules):
                self.watch.add_mapping(tensors)
        start = self.class_(type(value)), self.content(value)
        if place is None:
            return *start, *[(name, self.value(part)) for name, part in {**attributes, **submodules}.items()]
        modules, names = place
        return (
            *start,
            *[
                (name, self.setting(part, NumberPlace(modules, (*names, name)), index))
                for name, part in attributes.items()
            ],
            "submodules",
            *[
                (name, part and self.instance(part, NumberPlace((*modules, name), ())))
                for name, part in submodules.items()
            ],
        )

    def attributes(self, value: object) -> Mapping[str, object]:
        """The attributes and the slots of an object.

        Raises:
            UnknownContentError: If it has none of them, so that its content is elsewhere.
        """
        kind = type(value)
        attributes: Mapping[str, object] | None = getattr(value, "__dict__", None)
        if not is_trusted(kind.__module__):
            slots = [name for base in kind.__mro__ for name in slots_of(base)]
            if slots:
                self.watch.add_reader(lambda: [getattr(value, name, None) for name in slots])
            has_none = attributes is None and not any("__slots__" in vars(base) for base in kind.__mro__)
            in_slots = {name: getattr(value, name) for name in slots if hasattr(value, name)}
            attributes = None if has_none else {**(attributes or {}), **in_slots}
        if attributes is None and not isinstance(value, tuple):
            raise UnknownContentError(f"an object of type {kind.__module__}.{kind.__qualname__}")
        return attributes or {}

    def content(self, value: object) -> Hashable:
        """The items or the value of an object whose class derives from a built-in container, number or string."""
        if isinstance(value, dict):
            self.watch.add_reader(lambda: (*value, *value.values()))
            return tuple((self.value(key), self.value(part)) for key, part in value.items())
        if isinstance(value, tuple | list):
            self.watch.add_reader(lambda: value)
            return tuple(map(self.value, value))
        if isinstance(value, set | frozenset):
            self.watch.add_reader(lambda: value)
            return frozenset(map(self.value, value))
        base = next((base for base in (int, float, complex, str, bytes) if isinstance(value, base)), None)
        return () if base is None else base.__repr__(cast(Any, value))

    def code(self, value: object) -> Hashable:
        """A function, a bound method, a partial function or a module; None if it is none of these."""
        if isinstance(value, types.FunctionType):
            return self.function(value)
        if isinstance(value, types.MethodType):
            return "method", self.value(value.__self__), self.value(value.__func__)
        if isinstance(value, functools.partial):
            return "partial", self.value(value.func), self.value(value.args), self.value(value.keywords)
        if isinstance(value, types.ModuleType):
            return "module", value.__name__
        if isinstance(value, BUILTIN_FUNCTIONS):
            return "builtin", getattr(value, "__module__", None), value.__qualname__
        return None

    def function(self, function: types.FunctionType) -> Hashable:
        # Not its `__module__`, which `functools.wraps` copies from another function.
        trusted = is_trusted(module_of_code(function))
        # The name of a nested function or a lambda does not identify it.
        if trusted and is_found_by_name(function):
            return "function", function.__module__, function.__qualname__
        cells = tuple(self.value(cell_content(cell)) for cell in function.__closure__ or ())
        names = set[str]() if trusted else {*names_in_code(function.__code__)}
        self.watch.add_reader(lambda: variables_read(function, names))
        variables = []
        for name in sorted(names & function.__globals__.keys()):
            variable = function.__globals__[name]
            if isinstance(variable, types.ModuleType) and not is_trusted(variable.__name__):
                # Which of its attributes the function reads; the names are those of all attributes in its code.
                read = sorted(names & vars(variable).keys())
                self.watch.add_reader(functools.partial(look_up, vars(variable), names))
                variables.append((name, *((attribute, self.value(vars(variable)[attribute])) for attribute in read)))
            else:
                variables.append((name, self.value(variable)))
        defaults = self.value(function.__defaults__), self.value(function.__kwdefaults__)
        attributes = self.value(function.__dict__)
        return "function", function.__code__, cells, tuple(variables), defaults, attributes

    def class_(self, kind: type) -> Hashable:
        """A class of the user by its content, another by its name."""
        is_known = is_trusted(kind.__module__) and kind not in edited
        if is_known and (not kind.__flags__ & HEAP_TYPE or is_found_by_name(kind)):
            return "class", kind.__module__, kind.__qualname__
        if id(kind) in self.seen:
            return "seen", self.seen[id(kind)]
        self.seen[id(kind)] = len(self.seen)
        self.watch.add_mapping(vars(kind))
        self.watch.add_reader(lambda: kind.__bases__)
        attributes = (
            (name, self.value(_unwrap(part)))
            for name, part in vars(kind).items()
            if name not in IGNORED_CLASS_ATTRIBUTES and not isinstance(part, DESCRIPTORS)
        )
        return "class", kind.__qualname__, tuple(map(self.class_, kind.__bases__)), *attributes


def _is_frozen(value: object) -> bool:
    """Whether an object is a frozen dataclass that can be copied with other numbers."""
    kind = type(value)
    parameters = getattr(kind, "__dataclass_params__", None)
    return (
        parameters is not None
        and parameters.frozen
        and kind.__new__ is object.__new__
        and hasattr(value, "__dict__")
        and not any(slots_of(base) for base in kind.__mro__)
    )


def _unwrap(attribute: object) -> object:
    """The functions in a static method, class method or property."""
    if isinstance(attribute, staticmethod | classmethod):
        return attribute.__func__
    if isinstance(attribute, property):
        return attribute.fget, attribute.fset
    if isinstance(attribute, functools.cached_property):
        return attribute.func
    return attribute
