"""Properties that replace stored attributes."""

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
