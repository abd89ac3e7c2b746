"""Parameters of models: declared with unit and range, fixed or learnable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from torch import nn, Tensor
from torch._subclasses import FakeTensor

from ..._util.precision import widen
from .range import Range

UNBOUNDED = Range()
Value = float | Tensor | np.ndarray | Sequence[float]


@dataclass(frozen=True)
class Learnable:
    """A value to be learned; `learnable` makes it."""

    value: Value


def learnable(value: Value) -> Any:
    """Make a neuron's parameter learnable, and keep it within its range.

    A parameter that must be positive is stored as the logarithm of its value, one that must lie between two
    bounds as the logit, both relative to the initial value; any other as it is. The stored tensor is an
    ordinary `nn.Parameter`, called ``log_tau_mem`` for the parameter ``tau_mem``; it starts at zero, so weight
    decay pulls the value to where it started. The initial value is the buffer ``initial_tau_mem``.

    Args:
        value: Initial value: a number, or a tensor with one value per neuron.

    >>> from geir import LIF
    >>> lif = LIF(tau_mem=learnable(0.02))
    >>> [name for name, _ in lif.named_parameters()]
    ['log_tau_mem']
    >>> lif.tau_mem.item()
    0.0199...
    >>> lif.log_tau_mem.item()
    0.0
    """
    return Learnable(value)


class Parameter:
    """A declared parameter of a module: read as a tensor, set from a number, a tensor, an `nn.Parameter` or
    `learnable(...)`.

    A descriptor on the class. The tensor itself is in the module: a buffer called ``tau_mem`` if it is fixed,
    an `nn.Parameter` of this name if it was set to one, or an unconstrained `nn.Parameter` called
    ``log_tau_mem`` or ``logit_tau_mem`` if it was set to `learnable(...)` and has a range. The latter is
    relative to the value that was set, a buffer called ``initial_tau_mem``.
    """

    def __init__(
        self, *, default: float, unit: str = "", range: Range = UNBOUNDED, learnable: bool = False, doc: str = ""
    ):
        self.default = default
        self.unit = unit
        self.range = range
        self.learnable = learnable
        self.doc = doc

    def with_default(self, default: float) -> "Parameter":
        """A copy of the declaration with another default."""
        return Parameter(default=default, unit=self.unit, range=self.range, learnable=self.learnable, doc=self.doc)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.stored_name = f"{self.range.transform}_{name}" if self.range.transform else name
        self.initial_name = f"initial_{name}"
        self.__doc__ = self.summary

    @property
    def summary(self) -> str:
        """Meaning, range and default in one line."""
        meaning = self.doc or self.name
        sentences = [
            f"{meaning[0].upper()}{meaning[1:]}.",
            self.range.describe(self._unit),
            f"Default: {self.default:g}{self._unit}.",
        ]
        if self.learnable:
            sentences.append("Learnable by default.")
        return " ".join(sentence for sentence in sentences if sentence)

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""

    @overload
    def __get__(self, module: None, owner: type) -> "Parameter": ...

    @overload
    def __get__(self, module: nn.Module, owner: type | None = None) -> Tensor: ...

    def __get__(self, module: nn.Module | None, owner: type | None = None) -> "Tensor | Parameter":
        if module is None:
            return self
        for tensors in (module._parameters, module._buffers):
            if (tensor := tensors.get(self.name)) is not None:
                return tensor
        if (stored := module._parameters.get(self.stored_name)) is not None:
            initial = module._buffers[self.initial_name]
            assert initial is not None  # set together with it
            return self.range.from_unconstrained(widen(stored), widen(initial))
        raise AttributeError(f"{type(module).__name__}.{self.name} is not set yet.")

    def __set__(self, module: nn.Module, value: Any) -> None:
        if self.learnable and not isinstance(value, Learnable | nn.Parameter):
            value = Learnable(value)
        is_learnable = isinstance(value, Learnable)
        tensor = self._to_tensor(module, value.value if is_learnable else value)
        self.check(module, tensor)
        if is_learnable:
            self._check_learnable(module, tensor)
        self._clear(module)
        if is_learnable:
            initial = tensor.detach().clone()
            if self.range.transform:
                module.register_buffer(self.initial_name, initial)
            stored = torch.zeros_like(initial) if self.range.transform else initial
            module.register_parameter(self.stored_name, nn.Parameter(stored))
        elif isinstance(tensor, nn.Parameter):
            module.register_parameter(self.name, tensor)
        else:
            module.register_buffer(self.name, tensor.clone())

    def _clear(self, module: nn.Module) -> None:
        """Remove the tensors under which the value is stored now."""
        if self.stored_name != self.name and module._parameters.pop(self.stored_name, None) is not None:
            del module._buffers[self.initial_name]
        module._parameters.pop(self.name, None)
        module._buffers.pop(self.name, None)

    def qualified_name(self, module: nn.Module) -> str:
        """`LIF.tau_mem`, for messages."""
        return f"{type(module).__name__}.{self.name}"

    def _to_tensor(self, module: nn.Module, value: object) -> Tensor:
        if isinstance(value, Tensor):
            return value if value.is_floating_point() else value.to(torch.get_default_dtype())
        try:
            return torch.as_tensor(np.asarray(value, dtype=np.float64), dtype=torch.get_default_dtype())
        except (TypeError, ValueError):
            raise TypeError(f"{self.qualified_name(module)} must be a number or a tensor, got {value!r}.") from None

    def _check_learnable(self, module: nn.Module, value: Tensor) -> None:
        """Raise `ValueError` if a value is at a bound, which the transform maps to infinity."""
        if not (self.range.transform and has_values(value)):
            return
        for sign, bound in ((">", self.range.lower), ("<", self.range.upper)):
            if bound is not None and bool((value == bound).any()):
                raise ValueError(
                    f"{self.qualified_name(module)} is learnable only {sign} {bound}{self._unit}, got {bound}."
                )

    def check(self, module: nn.Module, value: Tensor) -> None:
        """Raise `ValueError` unless every element is a number within the range."""
        if not has_values(value):
            return
        value = value.detach()
        nan = value.isnan()
        if bool(nan.any()):
            places = f" in {int(nan.sum())} of {nan.numel()} places" if nan.numel() > 1 else ""
            raise ValueError(f"{self.qualified_name(module)} must be a number, got nan{places}.")
        violation = self.range.find_violation(value)
        if violation:
            bound, worst = violation
            raise ValueError(f"{self.qualified_name(module)} must be {bound}{self._unit}, got {worst}.")

    def check_state_dict(self, module: nn.Module, state_dict: Mapping[str, object], prefix: str) -> None:
        """Raise `ValueError` if a state dictionary holds a value out of range for this parameter.

        Also if it holds a learned value without the initial value to which it is relative.
        """
        if isinstance(value := state_dict.get(prefix + self.name), Tensor):
            self.check(module, value)
        stored = state_dict.get(prefix + self.stored_name)
        if self.stored_name == self.name or not isinstance(stored, Tensor):
            return
        initial = state_dict.get(prefix + self.initial_name)
        if not isinstance(initial, Tensor):
            if self.stored_name not in module._parameters:
                return  # PyTorch calls it an unexpected key
            raise ValueError(
                f"{self.qualified_name(module)}: the state dictionary has {prefix}{self.stored_name}, but not "
                f"{prefix}{self.initial_name}, the value to which it is relative; save all of `state_dict()`."
            )
        self.check(module, initial)
        if stored.shape == initial.shape:  # if not, one of them does not fit the module, and PyTorch says so
            self.check(module, self.range.from_unconstrained(stored, initial))

    def describe(self, module: nn.Module) -> str | None:
        """`name=value` for the module's `repr`, or None if it is the default."""
        value = self.__get__(module)
        fixed = self.name in module._buffers
        known = value.dim() == 0 and has_values(value)
        if fixed and known and value.item() in (self.default, float(np.float32(self.default))):
            return None
        text = f"{value.item():.6g}" if known else f"tensor of shape {tuple(value.shape)}"
        return f"{self.name}={text}" if fixed else f"{self.name}=learnable({text})"


def has_values(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor can be looked at: not on the meta device, nor in `FakeTensorMode`."""
    return not tensor.is_meta and not isinstance(tensor, FakeTensor)


def parameter(
    *,
    default: float,
    unit: str = "",
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    learnable: bool = False,
    doc: str = "",
) -> Any:
    """Declare a parameter: a buffer, or learnable if set to an `nn.Parameter` or to `learnable(...)`.

    Args:
        default: Value if none is given.
        unit: SI unit, for messages and documentation.
        above: Lower bound, excluded.
        at_least: Lower bound, included.
        below: Upper bound, excluded; needs a lower bound.
        at_most: Upper bound, included; needs a lower bound.
        learnable: Whether any value given for it is made learnable, for models that are defined by learning it.
        doc: Meaning, in a few words.

    Raises:
        ValueError: If the bounds contradict each other.
    """
    limits = Range(above=above, at_least=at_least, below=below, at_most=at_most)
    return Parameter(default=default, unit=unit, range=limits, learnable=learnable, doc=doc)
