"""Attributes of classes: properties that replace stored ones, and names without behavior."""

from collections.abc import Callable
from typing import Any


def derived_attribute(getter: Callable[[Any], object]) -> Any:
    """A read-only property that may override a plain attribute or a declared parameter.

    Use it where a subclass computes what its base class stores, such as the step size of a wrapper,
    which is that of the wrapped object. The type is `Any`, because a type checker reports a plain
    `property` in this place as an incompatible override of a variable.

    >>> class Stored:
    ...     dt: float = 1e-3
    >>> class Derived(Stored):
    ...     @derived_attribute
    ...     def dt(self) -> float:
    ...         return 2e-3
    >>> Derived().dt
    0.002
    """
    return property(getter)


# Attributes of classes that hold no behavior: documentation, annotations and what Python derives from the others.
BOOKKEEPING_ATTRIBUTES = frozenset(
    {
        "__abstractmethods__",
        "__annotate__",
        "__annotate_func__",
        "__annotations__",
        "__annotations_cache__",
        "__conditional_annotations__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__module__",
        "__orig_bases__",
        "__parameters__",
        "__static_attributes__",
        "__weakref__",
        "_abc_impl",
    }
)
