"""The spiking neurons of a network, each with the layers of weights and the pooling before it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn, Tensor

from ..core.neuron import Dynamics
from ..wrappers import RecurrentMixin
from .response import Pooling

_MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_AVERAGE_POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class LayerGroup:
    """A spiking neuron, and the layers with weights and the normalizations before it."""

    neuron: Dynamics
    layers: list[nn.Module]
    pooling: Pooling  # of the spikes that reach these layers

    @property
    def weighted(self) -> list[nn.Module]:
        return [module for module in self.layers if not isinstance(module, NORMS)]


@dataclass(frozen=True)
class Matrix:
    """Weights that are a tensor of a neuron, with the attributes of a layer."""

    weight: Tensor
    bias: None = None


def group_layers(model: nn.Module) -> Iterator[LayerGroup]:
    """The spiking neurons of a model in order, each with the layers before it."""
    layers: list[nn.Module] = []
    pooling = Pooling()
    for module in _outer_modules(model):
        if isinstance(module, Dynamics):
            if module.spiking:
                yield LayerGroup(module, layers, pooling)
            layers, pooling = [], Pooling()
        elif isinstance(module, _MAX_POOLS) and not layers:
            pooling = pooling._replace(maximum=pooling.maximum * _window(module))
        elif isinstance(module, _AVERAGE_POOLS) and not layers:
            pooling = pooling._replace(average=pooling.average * _window(module))
        elif isinstance(module, NORMS) or is_weighted(module):
            layers.append(module)


def _window(pool: Any) -> int:
    """Number of values that a pooling layer combines."""
    size, dimensions = pool.kernel_size, int(type(pool).__name__[-2])  # `MaxPool2d`
    return math.prod(size) if isinstance(size, tuple) else size**dimensions


def _outer_modules(module: nn.Module) -> Iterator[nn.Module]:
    """All modules, depth first, without those inside neurons."""
    yield module
    if not isinstance(module, Dynamics):
        for child in module.children():
            yield from _outer_modules(child)


def is_weighted(module: nn.Module) -> bool:
    """Whether a module is a linear or convolutional layer, in PyTorch or in geir, or one that is built like it."""
    weight = module._parameters.get("weight")
    if weight is None and "weight" not in module._buffers:
        weight = getattr(module, "weight", None)  # computed, which `check_settable` refuses
    if not isinstance(weight, Tensor) or isinstance(module, (nn.Embedding, nn.PReLU, *NORMS)):
        return False
    if isinstance(weight, nn.UninitializedParameter):
        raise ValueError(
            f"{type(module).__name__} has no weights yet; call the model once on an example before init_weights."
        )
    return weight.dim() >= 2 or hasattr(module, "targets")


def connections(neuron: Any, name: str) -> list[nn.Module | Matrix]:
    """The layers with weights among the input or recurrent weights of a recurrent neuron."""
    weights = getattr(neuron, name)
    if isinstance(weights, Tensor):
        return [Matrix(weights)]
    return [module for module in weights.modules() if is_weighted(module)]


def check_settable(group: LayerGroup) -> None:
    """Raise `ValueError` if a weight is computed from others, so that setting it would have no effect."""
    layers: list[Any] = list(group.weighted)
    if isinstance(group.neuron, RecurrentMixin):
        layers += [*connections(group.neuron, "input_weights"), *connections(group.neuron, "recurrent_weights")]
    for layer in layers:
        if not isinstance(layer.weight, nn.Parameter):
            name = type(group.neuron if isinstance(layer, Matrix) else layer).__name__
            raise ValueError(
                f"init_weights cannot set the weights of {name}, which are no parameter but computed, as by "
                "constrain_signs or weight_norm; call init_weights first."
            )
