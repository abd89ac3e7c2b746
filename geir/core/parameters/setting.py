"""Settings: declared constructor arguments that are not tensors."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """A declared attribute that is not a tensor; `setting` makes it."""

    default: object
    kw_only: bool
    accepts: Any
    check: Callable[[Any], bool]
    expected: str

    def validate(self, owner: str, name: str, value: object) -> None:
        """Raise `TypeError` or `ValueError` unless the value is valid for the setting `name` of the class `owner`."""
        if isinstance(value, type) and self.accepts is Callable:
            raise TypeError(
                f"{owner}.{name} must be {self.expected}, got the class {value.__name__}; create an instance: "
                f"{value.__name__}()."
            )
        if self.accepts is not None and not isinstance(value, self.accepts):
            raise TypeError(f"{owner}.{name} must be {self.expected}, got {value!r}.")
        if not self.check(value):
            raise ValueError(f"{owner}.{name} must be {self.expected}, got {value!r}.")


def setting(
    *,
    default: object = inspect.Parameter.empty,
    kw_only: bool = True,
    accepts: Any = None,
    check: Callable[[Any], bool] = lambda value: True,
    expected: str = "",
) -> Any:
    """Declare a constructor argument that is not a tensor.

    Args:
        default: Value if none is given; without a default the argument is required.
        kw_only: Whether it must be given by name.
        accepts: Type or types of its value.
        check: Whether a value of that type is valid.
        expected: Description of a valid value, for the error message.
    """
    return Setting(default, kw_only, accepts, check, expected)


def plain_setting(default: object, annotation: object) -> Setting:
    """The setting declared by a plain default: it accepts the annotated type, if the annotation is a class."""
    accepts = (float, int) if annotation is float else annotation if isinstance(annotation, type) else None
    type_name = getattr(annotation, "__name__", annotation)
    expected = "True or False" if annotation is bool else f"of type {type_name}, such as {default!r}"
    return setting(default=default, accepts=accepts, expected=expected)
