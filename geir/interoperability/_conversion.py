"""Shared by the conversions from all libraries: the walk over the modules, and parameters."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor

from ..containers import SequentialState
from ..core.parameters import learnable
from ..surrogates import Custom, Surrogate

# Modules of another library, whose attributes no type describes.
Foreign = Any
# Arguments of neurons, by name.
Arguments = dict[str, Any]


class CannotConvertError(Exception):
    """A module cannot be converted; the message says why."""


class Options(NamedTuple):
    """Options of a conversion."""

    dt: float | None
    surrogate: Surrogate | None

    @property
    def step_size(self) -> float:
        """The step size in seconds; without one, that of geir."""
        return 1e-3 if self.dt is None else self.dt


Rule = Callable[[Foreign, Options], nn.Module]


class Library(NamedTuple):
    """Conversion rules of a library, by the names of its classes."""

    name: str  # of its package
    rules: Mapping[str, Rule]  # how to convert an instance
    sequences: Collection[str] = ()  # subclasses of `torch.nn.Sequential` that run their modules one after another
    wrappers: Mapping[str, str] = {}  # modules that do what one of their attributes does


def convert(module: nn.Module, library: Library, options: Options) -> nn.Module:
    """A network of another library as one of geir.

    Args:
        module: A neuron of the library, or a `torch.nn.Sequential` of neurons and PyTorch's modules, nested at will.
        library: The library.
        options: What the caller chose.

    Returns:
        A neuron, or a `SequentialState` that runs over time. All tensors are copies.

    Raises:
        TypeError: If `module` is not a module.
        ValueError: If modules cannot be converted; the message names each, with the reason.
    """
    function = f"from_{library.name}"
    if not isinstance(module, nn.Module):
        raise TypeError(f"{function} expected a module, got {type(module).__name__}.")
    walk = _Walk(library, options)
    converted = walk.convert(module, "")
    if walk.problems:
        raise ValueError(f"{function} cannot convert:\n" + "\n".join(f"  {problem}" for problem in walk.problems))
    return converted.train(module.training)


class _Walk:
    """The conversion of a tree of modules, and what went wrong."""

    def __init__(self, library: Library, options: Options) -> None:
        self.library = library
        self.options = options
        self.problems: list[str] = []

    def convert(self, module: nn.Module, path: str) -> nn.Module:
        try:
            return self._convert(module, path)
        # The latter from a neuron of geir, for a value that is out of its range.
        except (CannotConvertError, ValueError) as error:
            kind = type(module).__name__
            self.problems.append(f"{path} ({kind}): {error}" if path else f"{kind}: {error}")
            return module

    def _convert(self, module: nn.Module, path: str) -> nn.Module:
        name, foreign = type(module).__name__, self._is_foreign(module)
        if foreign and name in self.library.wrappers:
            inner = getattr(module, self.library.wrappers[name])
            return self.convert(inner, f"{path}.{self.library.wrappers[name]}".lstrip("."))
        if foreign and name in self.library.rules:
            return self.library.rules[name](module, self.options)
        if not any(self._is_foreign(part) for part in module.modules()):
            return copy.deepcopy(module)
        if type(module) is nn.Sequential or (foreign and name in self.library.sequences):
            parts = [(key, self.convert(part, f"{path}.{key}".lstrip("."))) for key, part in module.named_children()]
            return SequentialState(OrderedDict(parts), lift=True)
        if foreign:
            known = ", ".join(sorted(self.library.rules))
            raise CannotConvertError(f"geir has no counterpart; there is one for {known}")
        raise CannotConvertError(
            "it defines its own `forward`, which cannot be converted; pass its layers in order, as in "
            f"from_{self.library.name}(torch.nn.Sequential(net.layer1, net.layer2))"
        )

    def _is_foreign(self, module: nn.Module) -> bool:
        return type(module).__module__.partition(".")[0] == self.library.name


def parameter_value(value: float | Tensor, function: Callable[[Tensor], Tensor] = lambda value: value) -> Any:
    """A parameter for a neuron of geir: a function of the other library's, learnable if that is.

    Not every tensor that requires a gradient is: Norse's `IAF` sets this flag on its `v_reset` when it runs.
    """
    tensor = torch.as_tensor(value)
    tensor = tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())
    result = function(tensor.detach()).clone()
    return learnable(result) if isinstance(value, nn.Parameter) and value.requires_grad else result


def scaled(surrogate: Surrogate, factor: float) -> Surrogate:
    """A surrogate whose derivative is a multiple of that of another."""
    return surrogate if factor == 1 else Custom(_Scaled(surrogate, factor))


class _Scaled(NamedTuple):
    """A function that pickles and compares, other than a lambda."""

    surrogate: Surrogate
    factor: float

    def __call__(self, x: Tensor) -> Tensor:
        return self.factor * self.surrogate.derivative(x)


def inclusive_threshold(threshold: Any) -> Any:
    """The threshold that a potential exceeds where it is at least the given one: the next smaller number.

    Neurons of geir spike where :math:`v > v_\\text{th}`, those of some libraries where :math:`v \\ge v_\\text{th}`.
    """
    tensor = torch.as_tensor(threshold, dtype=torch.get_default_dtype()).detach()
    return torch.nextafter(tensor, torch.full_like(tensor, -torch.inf))


def stateless_copy(module: nn.Module, base: type[nn.Module]) -> nn.Module:
    """A copy of a module of a subclass as one of PyTorch's class, which computes the same."""
    result = base.__new__(base)
    vars(result).update(vars(copy.deepcopy(module)))
    return result
