"""Modules whose weights are computed by `torch.nn.utils.parametrize`."""

from collections import OrderedDict
from typing import Any

from torch import nn, Tensor
from torch.func import functional_call
from torch.nn.utils import parametrize


def without_parametrizations(module: nn.Module) -> nn.Module:
    """The module, or if it is parametrized, a stand-in of its original class that has the computed weights.

    The weights are those of this moment, and gradients pass through them to the parameters. The stand-in has no hooks,
    and shares everything else with the module.
    """
    if not parametrize.is_parametrized(module):
        return module
    parametrizations: Any = module.parametrizations
    weights = {name: getattr(module, name) for name in parametrizations}
    others = {name: part for name, part in module._modules.items() if part is not parametrizations}
    twin = object.__new__(parametrize.type_before_parametrizations(module))
    twin.__dict__ = vars(module) | without_hooks(module)
    twin.__dict__ |= {"_parameters": module._parameters | weights, "_modules": others}
    return twin


def without_hooks(module: nn.Module) -> dict[str, Any]:
    """The attributes of a module that hold hooks, emptied."""
    return {key: OrderedDict() for key in vars(module) if key.endswith("_hooks")}


def call_with(module: nn.Module, weights: dict[str, Tensor], *inputs: Tensor) -> Tensor:
    """Call a module with other weights.

    `torch.func.functional_call` alone would assign them to a parametrized module, which changes its parameters.
    """
    return functional_call(without_parametrizations(module), weights, inputs)
