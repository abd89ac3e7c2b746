r"""Spikes with surrogate derivatives, as values.

Forward, every surrogate but `MultiSpike` is the Heaviside step: :math:`z = 1` where :math:`x > 0`, else 0. It only chooses the
derivative used backward. Scale matters more than shape (Zenke & Vogels, *The remarkable robustness of surrogate gradient
learning*, 2021), so each one states its peak, its width (where the derivative has fallen to half its peak, or to zero
if its support is compact) and its integral over all :math:`x`; an integral of 1 makes it the derivative of a smooth step
from 0 to 1. All can be differentiated again.

A neuron takes any of them, or any function from the distance to threshold to spikes: ``LIF(surrogate=torch.sigmoid)``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Surrogate:
    """A Heaviside step whose derivative is `derivative`. Abstract: subclass it and write that."""

    multiple_spikes: ClassVar[bool] = False  # whether a neuron may spike several times in a step

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not 0 < value < math.inf:
                raise ValueError(f"{type(self).__name__}.{field.name} must be positive and finite, got {value}.")

    def derivative(self, x: Tensor) -> Tensor:
        """The derivative used backward, elementwise."""
        raise NotImplementedError

    def spikes(self, x: Tensor) -> Tensor:
        """The spikes, elementwise."""
        return (x > 0).to(x.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Spikes, 1 where `x` > 0, else 0; of the shape and dtype of `x`."""
        # torch.compile refuses functions with a forward-mode derivative.
        spike = _Spike if torch.compiler.is_compiling() else _SpikeBothModes
        return spike.apply(x, self)  # pyright: ignore[reportReturnType]  (torch types `apply` as Any or None)


class _Spike(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, surrogate: Surrogate) -> Tensor:
        return surrogate.spikes(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, ctx.surrogate = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  (torch's own convention)
        (x,) = ctx.saved_tensors
        return grad * ctx.surrogate.derivative(x), None


class _SpikeBothModes(_Spike):
    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  (likewise)
        (x,) = ctx.saved_tensors
        return tangent * ctx.surrogate.derivative(x)


@dataclass(frozen=True)
class SuperSpike(Surrogate):
    r""":math:`(1 + \alpha |x|)^{-2}`: peak 1, half at :math:`(\sqrt 2 - 1) / \alpha`, integral :math:`2 / \alpha`.

    Reference: F. Zenke & S. Ganguli, *SuperSpike: supervised learning in multilayer spiking neural networks*, 2018.
    """

    alpha: float = 100.0

    def derivative(self, x: Tensor) -> Tensor:
        return 1 / (1 + self.alpha * x.abs()) ** 2


@dataclass(frozen=True)
class SparseFastSigmoid(Surrogate):
    r""":math:`(1 + \alpha |x|)^{-2}` where :math:`|x| < w`, else 0.

    Peak 1, zero from :math:`w` on, integral :math:`2 w / (1 + \alpha w)`. Neurons farther from threshold get no gradient at all.
    Reference: N. Perez-Nieves & D. Goodman, *Sparse spiking gradient descent*, 2021.
    """

    alpha: float = 100.0
    width: float = 0.5

    def derivative(self, x: Tensor) -> Tensor:
        return (x.abs() < self.width).to(x.dtype) / (1 + self.alpha * x.abs()) ** 2


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    r""":math:`\alpha \sigma(\alpha x) (1 - \sigma(\alpha x))`: peak :math:`\alpha/4`, half at :math:`1.763/\alpha`, integral 1."""

    alpha: float = 4.0

    def derivative(self, x: Tensor) -> Tensor:
        smooth = torch.sigmoid(self.alpha * x)
        return self.alpha * smooth * (1 - smooth)


@dataclass(frozen=True)
class ATan(Surrogate):
    r""":math:`\frac{\alpha}{2} \left(1 + (\pi \alpha x / 2)^2\right)^{-1}`.

    Peak :math:`\alpha/2`, half at :math:`2 / (\pi \alpha)`, integral 1: the derivative of a scaled arc tangent.
    Reference: W. Fang et al., *Incorporating learnable membrane time constant to enhance learning of spiking neural networks*, 2021.
    """

    alpha: float = 2.0

    def derivative(self, x: Tensor) -> Tensor:
        return self.alpha / 2 / (1 + (math.pi / 2 * self.alpha * x) ** 2)


@dataclass(frozen=True)
class Triangle(Surrogate):
    r""":math:`\gamma \max(0, 1 - |x| / w)`: peak :math:`\gamma`, zero from :math:`w` on, integral :math:`\gamma w`.

    Reference: G. Bellec et al., *Long short-term memory and learning-to-learn in networks of spiking neurons*, 2018.
    """

    gamma: float = 0.3
    width: float = 1.0

    def derivative(self, x: Tensor) -> Tensor:
        return self.gamma * torch.relu(1 - x.abs() / self.width)


@dataclass(frozen=True)
class Rectangle(Surrogate):
    r""":math:`1 / w` where :math:`|x| < w / 2`, else 0: integral 1.

    Reference: Y. Wu et al., *Spatio-temporal backpropagation for training high-performance spiking neural networks*, 2018.
    """

    width: float = 1.0

    def derivative(self, x: Tensor) -> Tensor:
        return (x.abs() < self.width / 2).to(x.dtype) / self.width


@dataclass(frozen=True)
class Gaussian(Surrogate):
    r""":math:`\exp(-x^2 / 2\sigma^2) / (\sqrt{2\pi} \sigma)`: peak :math:`0.399/\sigma`, half at :math:`1.177 \sigma`, integral 1."""

    sigma: float = 0.5

    def derivative(self, x: Tensor) -> Tensor:
        return _normal(x, 0.0, self.sigma)


@dataclass(frozen=True)
class MultiGaussian(Surrogate):
    r""":math:`(1 + h) N(x; 0, \sigma) - h N(x; \sigma, s\sigma) - h N(x; -\sigma, s\sigma)`, with normal densities :math:`N`.

    Negative far from threshold; integral :math:`1 - h`. Half its peak lies at :math:`1.14 \sigma` at the defaults.
    Reference: B. Yin, F. Corradi & S. Bohte, *Accurate and efficient time-domain classification with adaptive spiking recurrent neural
    networks*, 2021.
    """

    sigma: float = 0.5
    height: float = 0.15
    scale: float = 6.0

    def derivative(self, x: Tensor) -> Tensor:
        wide = _normal(x, self.sigma, self.scale * self.sigma) + _normal(x, -self.sigma, self.scale * self.sigma)
        return (1 + self.height) * _normal(x, 0.0, self.sigma) - self.height * wide


def _normal(x: Tensor, mean: float, sigma: float) -> Tensor:
    return torch.exp(-(((x - mean) / sigma) ** 2) / 2) / (math.sqrt(2 * math.pi) * sigma)


@dataclass(frozen=True)
class Erfc(Surrogate):
    r""":math:`\frac{\alpha}{\sqrt\pi} \exp(-\alpha^2 x^2)`, the derivative of :math:`\frac12 \mathrm{erfc}(-\alpha x)`.

    Peak :math:`0.564 \alpha`, half at :math:`0.833 / \alpha`, integral 1.
    """

    alpha: float = 2.0

    def derivative(self, x: Tensor) -> Tensor:
        return self.alpha / math.sqrt(math.pi) * torch.exp(-((self.alpha * x) ** 2))


@dataclass(frozen=True)
class Tanh(Surrogate):
    r""":math:`\frac{\alpha}{2} \left(1 - \tanh^2(\alpha x)\right)`, the derivative of :math:`\frac12 (1 + \tanh \alpha x)`.

    Peak :math:`\alpha/2`, half at :math:`0.881 / \alpha`, integral 1.
    """

    alpha: float = 2.0

    def derivative(self, x: Tensor) -> Tensor:
        return self.alpha / 2 * (1 - torch.tanh(self.alpha * x) ** 2)


@dataclass(frozen=True)
class Circle(Surrogate):
    r""":math:`\frac{\alpha}{2} \left(1 + \alpha^2 x^2\right)^{-3/2}`, the derivative of :math:`\frac12 (1 + \alpha x / \sqrt{1 + \alpha^2 x^2})`.

    Peak :math:`\alpha/2`, half at :math:`0.766 / \alpha`, integral 1.
    """

    alpha: float = 2.0

    def derivative(self, x: Tensor) -> Tensor:
        return self.alpha / 2 * (1 + (self.alpha * x) ** 2) ** -1.5


@dataclass(frozen=True)
class PiecewiseExponential(Surrogate):
    r""":math:`\frac{\alpha}{2} \exp(-\alpha |x|)`: peak :math:`\alpha/2`, half at :math:`0.693 / \alpha`, integral 1.

    Reference: S. Shrestha & G. Orchard, *SLAYER: spike layer error reassignment in time*, 2018.
    """

    alpha: float = 2.0

    def derivative(self, x: Tensor) -> Tensor:
        return self.alpha / 2 * torch.exp(-self.alpha * x.abs())


@dataclass(frozen=True)
class StraightThrough(Surrogate):
    """1 everywhere: the gradient passes as if there were no threshold; without width, and its integral diverges.

    Reference: Y. Bengio, N. Leonard & A. Courville, *Estimating or propagating gradients through stochastic neurons*, 2013.
    """

    def derivative(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


@dataclass(frozen=True)
class Heaviside(Surrogate):
    """0 everywhere, the true derivative: no gradient passes through spikes."""

    def derivative(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


@dataclass(frozen=True)
class Custom(Surrogate):
    """The derivative is your own elementwise function of the distance to threshold.

    >>> spike = Custom(lambda x: torch.exp(-x.abs()))
    >>> x = torch.zeros(1, requires_grad=True)
    >>> spike(x).backward()
    >>> x.grad
    tensor([1.])
    """

    function: Callable[[Tensor], Tensor]

    def derivative(self, x: Tensor) -> Tensor:
        return self.function(x)


@dataclass(frozen=True)
class MultiSpike(Surrogate):
    r"""Several spikes in a step: forward :math:`z = \max(0, \lceil x / s \rceil)`, as many as must be subtracted to fall back below threshold.

    One for each threshold passed, at :math:`x = 0, s, 2s, \ldots`; backward the derivative of `surrogate` around the nearest of them. For
    neurons that reset by subtraction: ``LIF(surrogate=MultiSpike(), reset_mechanism=ResetBySubtraction())``.

    Args:
        step: Distance :math:`s` between thresholds: what the reset subtracts.
        surrogate: Derivative around each.
    """

    multiple_spikes: ClassVar[bool] = True

    step: float = 1.0
    surrogate: Surrogate = SuperSpike()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.surrogate, Surrogate):
            raise TypeError(f"MultiSpike.surrogate must be a surrogate such as SuperSpike(), got {self.surrogate!r}.")

    def spikes(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, torch.ceil(x / self.step), 0)

    def derivative(self, x: Tensor) -> Tensor:
        return self.surrogate.derivative(x - self.step * torch.round(x / self.step).clamp(min=0))
