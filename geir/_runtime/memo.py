"""Per-module caches that live from one call to the next."""

from typing import Any

from torch import nn


class Memo:
    """Results of earlier calls of one module, each with a proof that what it depends on has not changed.

    A module owns its memo, so that remembered objects are freed with the module. Copies of a module and modules
    that are loaded from a file start with an empty one.
    """

    __slots__ = ("coefficients", "direct", "program")

    def __init__(self) -> None:
        # Each belongs to the file that writes it, which knows its type.
        self.coefficients: Any = None
        self.direct: Any = None
        self.program: Any = None

    def __copy__(self) -> "Memo":
        return Memo()

    def __deepcopy__(self, copies: object) -> "Memo":
        return Memo()

    def __reduce__(self) -> tuple[type["Memo"], tuple[()]]:
        return Memo, ()


def memo_of(module: nn.Module) -> Memo | None:
    """The memo of a module; None if it is not one of geir's."""
    return vars(module).get("_memo")
