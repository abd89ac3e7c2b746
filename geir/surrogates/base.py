"""The base class: a Heaviside step with another derivative."""

import math
from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import cast, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from .._util.class_edits import Watched
from .._util.precision import widen


@dataclass(frozen=True)
class Surrogate(metaclass=Watched):
    """A Heaviside step whose derivative is replaced by `derivative`.

    Abstract: a subclass defines `derivative`, as a frozen dataclass whose numeric fields are positive and finite.

    Raises:
        ValueError: If a numeric field is not positive and finite.
    """

    # Whether a neuron can emit anything but one spike in one step, so that only a subtraction can reset it.
    multiple_spikes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not 0 < value < math.inf:
                raise ValueError(f"{type(self).__name__}.{field.name} must be positive and finite, got {value}.")

    @abstractmethod
    def derivative(self, x: Tensor) -> Tensor:
        """Derivative used in the backward pass, elementwise. Distances in half precision arrive in float32."""

    def spikes(self, x: Tensor) -> Tensor:
        """Spikes in the forward pass, elementwise."""
        return (x > 0).to(x.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Spikes, 1 where `x` > 0 and else 0, in the shape and dtype of `x`."""
        # torch.compile does not support functions with a forward-mode derivative.
        spike = _Spike if torch.compiler.is_compiling() else _SpikeBothModes
        return cast(Tensor, spike.apply(x, self))


class _Context(FunctionCtx):
    surrogate: Surrogate
    saved_tensors: tuple[Tensor, ...]


class _Spike(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, surrogate: Surrogate) -> Tensor:
        return surrogate.spikes(widen(x)).to(x.dtype)

    @staticmethod
    def setup_context(ctx: _Context, inputs: tuple[Tensor, Surrogate], output: Tensor) -> None:
        x, ctx.surrogate = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        (x,) = ctx.saved_tensors
        return (grad * ctx.surrogate.derivative(widen(x))).to(x.dtype), None


class _SpikeBothModes(_Spike):
    @staticmethod
    def jvp(ctx: _Context, *tangents: Tensor) -> Tensor:
        # The second tangent is that of the surrogate, which is not a tensor.
        tangent, _ = tangents
        (x,) = ctx.saved_tensors
        return (tangent * ctx.surrogate.derivative(widen(x))).to(x.dtype)
