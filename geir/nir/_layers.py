"""The module of every type of node."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn, Tensor
from torch.nn import functional

from ..connections import Delay
from ..connections.interpolation import NearestStep
from ..core.neuron import Dynamics
from ..core.resets import ResetBySubtraction
from ..surrogates import MultiSpike, SuperSpike, Surrogate
from ._shapes import padding_of, pair, Shape
from .discretizations import Discretization
from .errors import errors_of, NIRError
from .files import check_numbers, to_tensor
from .neurons import CubaLIFNode, CubaLINode, IFNode, INode, LIFNode, LINode

# The parameters of nodes and their names in the models of geir.
PARAMETERS = {"tau": "tau_mem", "tau_mem": "tau_mem", "tau_syn": "tau_syn", "r": "r", "w_in": "w_in"}
PARAMETERS |= {"v_leak": "v_rest", "v_threshold": "v_th", "v_reset": "v_reset"}
NEURONS: dict[str, type[Dynamics]] = {
    "I": INode,
    "IF": IFNode,
    "LI": LINode,
    "LIF": LIFNode,
    "CubaLI": CubaLINode,
    "CubaLIF": CubaLIFNode,
}
# Steps and values of the buffer of a delay.
_MAX_DELAY_STEPS = 1_000_000
_MAX_BUFFER = 1 << 28


class MatrixProduct(nn.Module):
    r"""Weights with several dimensions: :math:`y_{b k} = \sum_j W_{b k j} x_{b j} + b`, a matrix for each `b`."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        y = (self.weight @ x.unsqueeze(-1)).squeeze(-1)
        return y if self.bias is None else y + self.bias


class Scale(nn.Module):
    """Multiplies every value by its factor."""

    def __init__(self, scale: Tensor):
        super().__init__()
        self.scale = nn.Parameter(scale)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Threshold(nn.Module):
    """1 where the input is above the threshold, else 0."""

    threshold: Tensor

    def __init__(self, threshold: Tensor, surrogate: Callable[[Tensor], Tensor]):
        super().__init__()
        self.register_buffer("threshold", threshold)
        self.surrogate = surrogate

    def forward(self, x: Tensor) -> Tensor:
        return self.surrogate(x - self.threshold)


class SumPool2d(nn.Module):
    """The sum over a sliding window."""

    def __init__(self, kernel_size: Shape, stride: Shape, padding: Shape):
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, self.kernel_size, self.stride, self.padding, divisor_override=1)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


def make_layer(
    node: Any, name: str, shape: Shape, dt: float, discretization: Discretization, dtype: torch.dtype
) -> nn.Module:
    """The module that a node describes.

    Stateless modules map (batch, *shape); stateful ones run over time.

    Raises:
        NIRError: If a parameter is not a finite number, is out of its range or does not fit.
    """
    kind = type(node).__name__

    def tensor(field: str) -> Tensor:
        value = np.asarray(getattr(node, field))
        check_numbers(kind, field, value, name)
        return to_tensor(value, dtype, f"{kind}.{field}", name)

    with errors_of(node=name):
        if kind in ("Input", "Output"):
            return nn.Identity()
        if kind in ("Affine", "Linear"):
            return _linear(tensor("weight"), tensor("bias") if kind == "Affine" else None, name)
        if kind in ("Conv1d", "Conv2d"):
            return _convolution(node, kind, tensor("weight"), None if node.bias is None else tensor("bias"), name)
        if kind in ("SumPool2d", "AvgPool2d"):
            sizes: Any = {key: pair(getattr(node, key), key, name) for key in ("kernel_size", "stride", "padding")}
            return SumPool2d(**sizes) if kind == "SumPool2d" else nn.AvgPool2d(**sizes)
        if kind == "Flatten":
            return nn.Flatten(*(dim + 1 if dim >= 0 else dim for dim in (node.start_dim, node.end_dim)))
        if kind == "Scale":
            return Scale(tensor("scale"))
        if kind == "Threshold":
            return Threshold(tensor("threshold"), SuperSpike())
        if kind == "Delay":
            return make_delay(tensor("delay"), dt, shape, name)
        values = {ours: tensor(field) for field, ours in PARAMETERS.items() if hasattr(node, field)}
        return make_neuron(kind, values, dt, discretization)


def make_neuron(kind: str, values: dict[str, Tensor], dt: float, discretization: Discretization) -> Dynamics:
    """The neuron or leaky integrator of a node."""
    settings: dict[str, Any] = {"dt": dt, "integrator": discretization.integrator}
    if kind in ("I", "IF") and discretization.integrate_per_step:
        settings["dt"] = 1.0
    if "v_th" in values:
        settings |= {"reset_mechanism": discretization.reset, "surrogate": _surrogate(values, discretization)}
    return NEURONS[kind](**values, **settings)


def _surrogate(values: dict[str, Tensor], discretization: Discretization) -> Surrogate:
    if not discretization.multiple_spikes or not isinstance(discretization.reset, ResetBySubtraction):
        return SuperSpike()
    steps = (values["v_th"] - values["v_reset"]).unique()
    if len(steps) != 1 or steps.item() <= 0:
        raise NIRError(
            "neurons that emit several spikes in a step need the same threshold above their reset everywhere; "
            "pass a discretization with multiple_spikes=False"
        )
    return MultiSpike(step=steps.item())


def _linear(weight: Tensor, bias: Tensor | None, name: str) -> nn.Module:
    if bias is not None and bias.shape not in (weight.shape[:-1], weight.shape[-2:-1]):
        expected = tuple(weight.shape[:-1])
        raise NIRError(f"bias has shape {tuple(bias.shape)}, expected {expected}", node=name)
    if weight.dim() != 2:
        return MatrixProduct(weight, bias)
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    return _with_weights(linear, weight, bias)


def _convolution(node: Any, kind: str, weight: Tensor, bias: Tensor | None, name: str) -> nn.Module:
    dims = weight.dim() - 2
    groups = int(np.asarray(node.groups).item())
    convolution = (nn.Conv1d if kind == "Conv1d" else nn.Conv2d)(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),  # pyright: ignore[reportArgumentType] - as many sides as there are dimensions
        pair(node.stride, "stride", name, dims),  # pyright: ignore[reportArgumentType]
        padding_of(node, name, dims),  # pyright: ignore[reportArgumentType]
        pair(node.dilation, "dilation", name, dims),  # pyright: ignore[reportArgumentType]
        groups,
        bias is not None,
        device="meta",
    )
    return _with_weights(convolution, weight, bias)


def _with_weights(module: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    module.weight = nn.Parameter(weight)
    if bias is not None:
        module.bias = nn.Parameter(bias)
    return module


def make_delay(delay: Tensor, dt: float, shape: Shape, name: str) -> Delay:
    """A delay, rounded to whole steps.

    Raises:
        NIRError: If it is negative, or its buffer would be too large.
    """
    steps, size = delay.max().item() / dt, int(np.prod(shape))
    if steps > _MAX_DELAY_STEPS or steps * size > _MAX_BUFFER:
        raise NIRError(
            f"a delay of {delay.max().item():g} s is {steps:,.0f} steps of dt = {dt:g} s for {size:,} values, which "
            "are too many",
            node=name,
        )
    return Delay(delay=delay, dt=dt, interpolation=NearestStep())
