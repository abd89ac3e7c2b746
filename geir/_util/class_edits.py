"""Classes of geir that were changed after their definition, such as by a mock in a test.

Compiled steps identify classes of geir by their names, and those that have changed by their content.
"""

import sys
from abc import ABCMeta
from weakref import WeakSet

# What defines classes: a change by one of these is part of a definition.
_DEFINING = frozenset({"geir", "abc", "dataclasses", "functools", "typing"})

edited: WeakSet[type] = WeakSet()


def module_of_code(function: object) -> str:
    """The module that a function was written in; `__module__` may be that of a function that it wraps."""
    return getattr(function, "__globals__", {}).get("__name__") or ""


def is_code_of_geir(function: object) -> bool:
    """Whether a function or method was written in geir."""
    return module_of_code(function).startswith("geir.")


class Edits:
    """The number of changes so far."""

    count = 0


class Watched(ABCMeta):
    """The metaclass of classes that take part in a step. It notes changes of those that geir defines."""

    def __setattr__(cls, name: str, value: object) -> None:
        super().__setattr__(name, value)
        _note(cls)

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        _note(cls)


def _note(kind: type) -> None:
    caller = sys._getframe(2).f_globals.get("__name__", "")
    if kind.__module__.startswith("geir.") and caller.partition(".")[0] not in _DEFINING:
        edited.add(kind)
        Edits.count += 1
