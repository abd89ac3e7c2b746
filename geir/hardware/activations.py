"""Activations and weights for networks that are trained to be converted."""

from typing import Any, cast

import torch
from torch import nn, Tensor
from torch.autograd.function import FunctionCtx

from ..core.parameters import Declared, Parameter, parameter, setting


class QCFS(Declared):
    r"""Quantized ReLU: the rate of an integrate-and-fire neuron after `levels` steps of constant input.

    .. math::
        y = \frac{\theta}{L} \operatorname{clip}\left(\left\lceil \frac{L x}{\theta} - \frac12 \right\rceil, 0, L\right)

    with :math:`L` levels and threshold :math:`\theta`. A neuron with this threshold, subtractive reset and the initial
    potential :math:`\theta / 2` that receives the input :math:`x` in each of :math:`L` steps emits exactly
    :math:`L y / \theta` spikes, also where :math:`L x / \theta - 1/2` is an integer: such a value is rounded down,
    because a neuron spikes above its threshold and not at it. The gradient passes through the rounding unchanged.

    Trained with this activation in place of `torch.nn.ReLU`, a network expects what conversion does to it.

    Reference: T. Bu et al., *Optimal ANN-SNN conversion for high-accuracy and ultra-low-latency spiking neural
    networks*, 2022, where ties are rounded up.

    Args:
        levels: Number of levels above zero.

    >>> QCFS(4, threshold=1.0)(torch.tensor([-1.0, 0.1, 0.2, 0.6, 3.0])).tolist()
    [0.0, 0.0, 0.25, 0.5, 1.0]
    """

    levels: int = setting(
        default=8,
        kw_only=False,
        accepts=int,
        check=lambda levels: levels > 0,
        expected="a positive number of levels",
    )
    threshold: Parameter = parameter(default=1.0, above=0.0, learnable=True, doc="largest output")

    def forward(self, x: Tensor) -> Tensor:
        """Quantize, elementwise."""
        level = (self.threshold / self.levels).to(x.dtype)
        y = x / level
        # Adds zero, and the gradient of `y`.
        rounded = torch.ceil(y - 0.5).detach() + (y - y.detach())
        return level * rounded.clamp(0, self.levels)


class Ternary(nn.Module):
    r"""Ternary weights, -s, 0 or s, trained through hidden weights of full precision.

    A parametrization of a weight, for `torch.nn.utils.parametrize.register_parametrization`. The hidden weight
    :math:`h` becomes -1 below :math:`-\frac12 - \eta`, 1 above :math:`\frac12 + \eta` and 0 between
    :math:`\pm(\frac12 - \eta)`; between these regions it keeps its value of the previous step, so that it does not
    flicker (hysteresis :math:`\eta`). The gradient passes unchanged, except that hidden weights beyond
    :math:`\pm 1` are not pushed further out. The scale :math:`s` is set when the parametrization is registered, such
    that the weights keep their variance; it belongs in the thresholds of a chip.

    Reference: S. Esser et al., *Convolutional networks for fast, energy-efficient neuromorphic computing*, 2016, where
    :math:`\eta = 0.1` and hidden weights are clipped to :math:`\pm 1` after each step.

    Args:
        hysteresis: Half width of the regions in which the value is kept.

    Raises:
        ValueError: If `hysteresis` is not in [0, 0.5).

    >>> from torch.nn.utils import parametrize
    >>> layer = nn.Linear(100, 10)
    >>> _ = parametrize.register_parametrization(layer, "weight", Ternary())
    >>> len(layer.weight.unique())
    3
    """

    scale: Tensor
    previous: Tensor

    def __init__(self, hysteresis: float = 0.1):
        super().__init__()
        if not 0 <= hysteresis < 0.5:
            raise ValueError(f"Ternary.hysteresis must be in [0, 0.5), got {hysteresis}.")
        self.hysteresis = hysteresis
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("previous", torch.zeros(()))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The hidden weights of given weights, called when the parametrization is registered.

        Raises:
            ValueError: If all weights are zero.
        """
        largest = weight.abs().max()
        if not largest > 0:
            raise ValueError("Ternary expected weights that are not all zero; initialize them first.")
        hidden = weight / largest
        self.previous = hidden.round()
        self.scale = (weight.square().mean() / self.previous.square().mean()).sqrt()
        return hidden

    def forward(self, hidden: Tensor) -> Tensor:
        """The ternary weights of the hidden weights."""
        with torch.no_grad():
            size = hidden.abs()
            kept = (size - 0.5).abs() < self.hysteresis
            ternary = torch.where(kept, self.previous, hidden.sign() * (size > 0.5))
            if self.training:
                self.previous = ternary
        return self.scale * cast(Tensor, _StraightThrough.apply(hidden, ternary))


class _StraightThrough(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(hidden: Tensor, ternary: Tensor) -> Tensor:
        return ternary.clone()

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # PyTorch does not declare `saved_tensors`
        (grad,) = grads
        (hidden,) = ctx.saved_tensors
        outward = (hidden.abs() > 1) & (hidden * grad < 0)
        return grad.masked_fill(outward, 0), None
