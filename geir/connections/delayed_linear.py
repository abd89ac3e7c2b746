"""Linear connections with a delay in each synapse."""

import math

import torch
from torch import nn, Tensor

from .._runtime.sparse import linear
from .._runtime.stepper import Synapses, SynapticConnection
from .._util.precision import HALF_PRECISION, widen
from .._util.validation import check_broadcastable
from ..core.parameters import setting
from ._synapses import whole_steps
from .delay import _DelayBase, _DelayCellMixin
from .interpolation import Taps


class DelayedLinear(_DelayBase, SynapticConnection):
    r"""A linear connection with a delay in each synapse:
    :math:`y_{t, k} = b_k + \sum_j w_{k j}\, x_{t - d_{k j} / \Delta t,\, j}`.

    Delays have the shape (out_features, in_features) or broadcast to it: shape (in_features,) for one
    delay per input, (out_features, 1) for one per output. A run computes one linear product for each
    step of the buffer; the products skip silent inputs.

    Args:
        in_features: Number of inputs.
        out_features: Number of outputs.
        bias: Whether to add a learnable bias.
        max_delay: Length of the buffer in seconds. Default: the longest of the given delays.
        dt: Step size in seconds.
        interpolation: How a delay between two steps is realized: `LinearInterpolation()`,
            `GaussianInterpolation(...)` or `NearestStep()`.

    Raises:
        ValueError: If a delay is longer than the buffer, or the delays do not broadcast to the weights.
    """

    in_features: int = setting(
        kw_only=False, accepts=int, check=lambda size: size > 0, expected="a positive number of inputs"
    )
    out_features: int = setting(
        kw_only=False, accepts=int, check=lambda size: size > 0, expected="a positive number of outputs"
    )
    weight: Tensor
    # Given as a bool; replaced by a parameter or None when the module is constructed.
    bias: Tensor | bool | None = setting(default=True, accepts=(bool, Tensor, type(None)), expected="True or False")

    def __post_init__(self) -> None:
        super().__post_init__()
        shape = torch.Size((self.out_features, self.in_features))
        check_broadcastable(type(self).__name__, "delay", self.delay, shape, "the weights")
        bound = 1 / math.sqrt(self.in_features)
        use_bias = self.bias
        if isinstance(use_bias, Tensor):
            raise TypeError(
                f"{type(self).__name__}.bias must be True or False, got a tensor; set it after construction."
            )
        del self.bias
        self.register_parameter("weight", nn.Parameter(torch.empty(shape).uniform_(-bound, bound)))
        bias = nn.Parameter(torch.empty(self.out_features).uniform_(-bound, bound)) if use_bias else None
        self.register_parameter("bias", bias)

    def kernel(self) -> Tensor:
        """The weights for each whole step of delay, shape (steps, in_features, out_features),
        differentiable."""
        steps, weights = (tap.transpose(1, 2) for tap in self.taps(self.weight.shape))
        weight = widen(self.weight)
        zeros = weight.new_zeros(self.longest + 1, self.in_features, self.out_features)
        return zeros.scatter_add(0, steps, weights.to(weight.dtype) * weight.t())

    def synapses(self) -> Synapses:
        steps, weights = (tap.transpose(1, 2).flatten(1) for tap in self.taps(self.weight.shape))
        starts = torch.arange(self.in_features + 1, device=steps.device) * self.out_features
        targets = torch.arange(self.out_features, device=steps.device).repeat(self.in_features)
        bias = self.bias if isinstance(self.bias, Tensor) else None
        return whole_steps(widen(self.weight).t().flatten(), starts, targets, Taps(steps, weights), bias)

    def respond(self, all_steps: Tensor) -> Tensor:
        if all_steps.dim() < 2 or all_steps.shape[-1] != self.in_features:
            raise ValueError(
                f"{type(self).__name__} takes {self.in_features} inputs in the last dimension, "
                f"got one step of shape {tuple(all_steps.shape[1:])}."
            )
        count = len(all_steps) - self.longest
        bias = self.bias
        wide = widen(all_steps)
        ys = widen(bias) if isinstance(bias, Tensor) else torch.zeros((), dtype=wide.dtype, device=wide.device)
        for steps, weights in enumerate(self.kernel().unbind(0)):
            ys = ys + linear(wide[self.longest - steps :][:count], weights.t())
        return ys.to(all_steps.dtype) if all_steps.dtype in HALF_PRECISION else ys


class DelayedLinearCell(_DelayCellMixin, DelayedLinear):
    """One step of `DelayedLinear`: from (..., in_features) to (..., out_features)."""
