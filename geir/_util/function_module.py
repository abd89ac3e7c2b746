"""Modules that wrap a function together with its settings."""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar

from torch import nn

Input = TypeVar("Input")
Settings = ParamSpec("Settings")
Output = TypeVar("Output")


class FunctionModule(nn.Module, Generic[Input, Settings, Output]):
    """A function of one value, with its other arguments stored as attributes.

    Abstract: derive from the class that `module_of` returns.

    Raises:
        TypeError: If the arguments do not fit the function's signature.
    """

    # Class variables cannot refer to type variables, so the precise type is given by `module_of`.
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

    def forward(self, x: Input) -> Output:
        settings = {name: getattr(self, name) for name in self._names}
        return self.function(x, **settings)

    def extra_repr(self) -> str:
        settings = {name: getattr(self, name) for name in self._names}
        shown = {key: value for key, value in settings.items() if value is not None}
        # `nn.Module` shows submodules on lines below.
        return ", ".join(f"{key}={value!r}" for key, value in shown.items() if not isinstance(value, nn.Module))


def module_of(
    function: Callable[Concatenate[Input, Settings], Output],
) -> type[FunctionModule[Input, Settings, Output]]:
    """Return the base class for the module form of a function.

    The module's constructor takes the function's parameters without the first one.

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
    _, *settings = inspect.signature(function).parameters.values()
    attributes: dict[str, object] = {
        "function": staticmethod(function),
        "__signature__": inspect.Signature(settings),
    }
    return type(f"module_of({function.__name__})", (FunctionModule,), attributes)
