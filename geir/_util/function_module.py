"""Modules made of functions."""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec

from torch import nn

Settings = ParamSpec("Settings")


class FunctionModule(nn.Module, Generic[Settings]):
    """A function of a tensor or the like, with its other arguments held as attributes. Abstract: `module_of` makes it."""

    function: ClassVar[Callable[..., Any]]

    def __init__(self, *arguments: Settings.args, **keywords: Settings.kwargs):
        super().__init__()
        try:
            bound = inspect.signature(type(self)).bind(*arguments, **keywords)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}: {error}.") from None
        bound.apply_defaults()
        self._names = tuple(bound.arguments)
        for name, value in bound.arguments.items():
            setattr(self, name, value)

    def forward(self, x: Any) -> Any:
        return self.function(x, **{name: getattr(self, name) for name in self._names})

    def extra_repr(self) -> str:
        settings = [(name, getattr(self, name)) for name in self._names]
        return ", ".join(
            f"{name}={value!r}" for name, value in settings if value is not None and not isinstance(value, nn.Module)
        )


def module_of(function: Callable[Concatenate[Any, Settings], Any]) -> type[FunctionModule[Settings]]:
    """The class to derive from for a module of the same meaning as a function: its constructor takes what follows its first argument.

    >>> import torch
    >>> from torch import Tensor
    >>> def scale(x: Tensor, factor: float = 2.0) -> Tensor:
    ...     return factor * x
    >>> class Scale(module_of(scale)):
    ...     pass
    >>> Scale(factor=3.0)
    Scale(factor=3.0)
    >>> Scale()(torch.ones(1))
    tensor([2.])
    """
    _, *rest = inspect.signature(function).parameters.values()
    attributes: dict[str, Any] = {"function": staticmethod(function), "__signature__": inspect.Signature(rest)}
    return type(f"module_of({function.__name__})", (FunctionModule,), attributes)
