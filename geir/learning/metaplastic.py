"""Binary weights, and an optimizer that consolidates them."""

import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import nn, Tensor
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from .._util.validation import check_positive, is_positive_finite
from ..surrogates import Custom


def _half(x: Tensor) -> Tensor:
    return torch.full_like(x, 0.5)


# 2 z - 1 is the sign, with derivative 1.
_HEAVISIDE = Custom(_half)


class BinaryWeight(nn.Module):
    r"""Maps hidden weights to :math:`s \, \mathrm{sign}(w)`; backward, the sign is the identity.

    A parametrization for `torch.nn.utils.parametrize`; `binarize` registers it. A hidden weight of 0 has sign -1.

    Args:
        scale: The magnitude :math:`s` of the weights.

    Raises:
        ValueError: If `scale` is not positive and finite.
    """

    def __init__(self, scale: float = 1.0):
        super().__init__()
        check_positive("BinaryWeight", scale=scale)
        self.scale = scale

    def forward(self, hidden: Tensor) -> Tensor:
        """The binary weights of hidden weights, in their shape."""
        return self.scale * (2 * _HEAVISIDE(hidden) - 1)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Hidden weights start as the weights that were there before."""
        return weight

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}"


def binarize(module: nn.Module, scale: float | None = None, name: str = "weight") -> nn.Module:
    r"""Make the weights of a module binary, :math:`\pm s`.

    The weights of before become the hidden weights, which are trained: the parameter
    ``parametrizations.weight.original``.

    Args:
        module: A module with weights, such as `torch.nn.Linear`. It is changed in place.
        scale: The magnitude :math:`s`. Default: :math:`1 / \sqrt{\text{fan-in}}`.
        name: Name of the parameter.

    Returns:
        The module.

    Raises:
        TypeError: If the module has no floating-point parameter of this name.
        ValueError: If `scale` is not positive and finite, or the weights are binary already.

    >>> layer = binarize(nn.Linear(4, 2, bias=False))
    >>> layer.weight.abs()
    tensor([[0.5000, 0.5000, 0.5000, 0.5000],
            [0.5000, 0.5000, 0.5000, 0.5000]], grad_fn=...)
    """
    if isinstance(module, nn.Module) and any(isinstance(p, BinaryWeight) for p in _parametrizations(module, name)):
        raise ValueError(f"binarize: the {name} of {type(module).__name__} is binary already.")
    weight = getattr(module, name, None)
    if not isinstance(module, nn.Module) or not isinstance(weight, Tensor) or not weight.is_floating_point():
        raise TypeError(
            f"binarize expected a module with a floating-point parameter {name!r}, such as nn.Linear(784, 100), "
            f"got {module!r}."
        )
    if scale is None:
        scale = 1 / math.sqrt(weight[0].numel()) if weight.dim() > 1 else 1.0
    parametrize.register_parametrization(module, name, BinaryWeight(scale))
    return module


def _parametrizations(module: nn.Module, name: str) -> Iterable[nn.Module]:
    if not parametrize.is_parametrized(module, name):
        return ()
    lists = module.parametrizations
    assert isinstance(lists, nn.ModuleDict)
    return lists[name].children()


def metaplastic_groups(model: nn.Module, metaplasticity: float = 1.35) -> list[dict[str, Any]]:
    """Parameter groups for `MetaplasticAdam`: hidden weights, which are metaplastic, and all other parameters.

    Args:
        model: A model with modules made binary by `binarize`.
        metaplasticity: That of the hidden weights.

    Raises:
        ValueError: If the model has no binary weights.
    """
    hidden: list[Tensor] = []
    for module in model.modules():
        if isinstance(module, parametrize.ParametrizationList) and any(isinstance(p, BinaryWeight) for p in module):
            assert isinstance(module.original, Tensor)
            hidden.append(module.original)
    if not hidden:
        raise ValueError(
            "metaplastic_groups: the model has no binary weights; make them with geir.learning.binarize(layer)."
        )
    found = {id(p) for p in hidden}
    others = [p for p in model.parameters() if id(p) not in found]
    groups: list[dict[str, Any]] = [{"params": hidden, "metaplasticity": metaplasticity}]
    return [*groups, {"params": others, "metaplasticity": 0.0}] if others else groups


class MetaplasticAdam(Optimizer):
    r"""Adam, with hidden weights that are the harder to flip the larger they are.

    With the update of Adam, :math:`U = \hat m / (\sqrt{\hat v} + \epsilon)`, and the hidden weight :math:`W` of a
    binary weight :math:`\mathrm{sign}(W)`,

    .. math::
        W \leftarrow W - \eta\, U \begin{cases}
            1 - \tanh^2(\mu |W|) & \text{where } U \, \mathrm{sign}(W) > 0, \text{ toward zero}, \\
            1 & \text{elsewhere}.
        \end{cases}

    So a weight on which many updates agreed keeps its sign when later tasks push against it: the network forgets
    less, without knowing when a task ends. With :math:`\mu = 0` this is Adam. Real weights and biases are given to it
    with :math:`\mu = 0`, as `metaplastic_groups` does.

    Reference: A. Laborieux, M. Ernoult, T. Hirtzlin & D. Querlioz, *Synaptic metaplasticity in binarized neural
    networks*, 2021.

    Args:
        params: Parameters or parameter groups. Each option can differ between groups.
        lr: Learning rate :math:`\eta`, at least 0.
        metaplasticity: :math:`\mu`, at least 0.
        betas: Decay of the running averages of gradients and their squares.
        eps: Added to the denominator, at least 0.
        weight_decay: Added to the gradient, times the weight, as in `torch.optim.Adam`; at least 0.

    Raises:
        ValueError: If an option is out of range.

    >>> model = nn.Sequential(binarize(nn.Linear(4, 3)), nn.ReLU(), binarize(nn.Linear(3, 2)))
    >>> optimizer = MetaplasticAdam(metaplastic_groups(model, 1.35), lr=5e-3)
    """

    def __init__(
        self,
        params: Any,  # as every optimizer declares it
        lr: float = 5e-3,
        metaplasticity: float = 1.35,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        options = {
            "lr": lr,
            "metaplasticity": metaplasticity,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
        }
        super().__init__(params, options)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with separate options.

        Raises:
            ValueError: If an option is out of range.
        """
        group = {**self.defaults, **param_group}
        for name in ("lr", "metaplasticity", "eps", "weight_decay"):
            value = float(group[name])
            if value != 0 and not is_positive_finite(value):
                raise ValueError(f"MetaplasticAdam: {name} must be at least 0 and finite, got {group[name]}.")
        if len(group["betas"]) != 2 or not all(0 <= beta < 1 for beta in group["betas"]):
            raise ValueError(f"MetaplasticAdam: betas must be two numbers from 0 to below 1, got {group['betas']}.")
        super().add_param_group(param_group)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step with the gradients in `.grad`. Parameters without a gradient stay as they are.

        Args:
            closure: Computes the loss and its gradients again, if given.

        Returns:
            The loss that `closure` returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, group)
        return loss

    def _update(self, p: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        # The arithmetic and the names of the state are those of `torch.optim.Adam`, whose state can be loaded.
        state = self.state[p]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(p)
            state["exp_avg_sq"] = torch.zeros_like(p)
        if group["weight_decay"]:
            gradient = gradient.add(p, alpha=group["weight_decay"])
        beta1, beta2 = group["betas"]
        state["step"] += 1
        step = state["step"].item()
        mean = state["exp_avg"].lerp_(gradient, 1 - beta1)
        square = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scale = square.sqrt().div_((1 - beta2**step) ** 0.5).add_(group["eps"])
        if group["metaplasticity"]:
            hardness = 1 - torch.tanh(group["metaplasticity"] * p.abs()).square()
            mean = torch.where(mean * p.sign() > 0, mean * hardness, mean)
        p.addcdiv_(mean, scale, value=-group["lr"] / (1 - beta1**step))
