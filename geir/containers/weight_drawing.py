"""Draw the weights that give a neuron the input that makes it fire."""

import math
from dataclasses import replace
from typing import Any

from torch import nn, Tensor

from ..wrappers import RecurrentMixin
from .drive import Drive
from .layer_groups import connections, LayerGroup, NORMS
from .response import Activity

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
# Share of the drive of a recurrent layer that comes from the layer before.
_FEEDFORWARD_SHARE = 0.9


def draw_weights(group: LayerGroup, drive: Drive, before: Activity, own: Activity) -> None:
    """Draw the weights of the layers before a neuron and of the neuron itself.

    Args:
        group: The neuron and the layers.
        drive: The input that it needs.
        before: Activity of the layer before.
        own: Activity of the neuron.
    """
    weighted = group.weighted
    normalized = bool(group.layers) and isinstance(group.layers[-1], NORMS)
    recurrent: Any = group.neuron if isinstance(group.neuron, RecurrentMixin) else None
    share = 1.0
    if recurrent is not None:
        share = _FEEDFORWARD_SHARE
        weighted = [*weighted, *connections(recurrent, "input_weights")]
        for connection in connections(recurrent, "recurrent_weights"):
            _draw_layer(connection, drive, own, 1 - share)
        if isinstance(recurrent.recurrent_weights, Tensor):
            recurrent.recurrent_weights.copy_(recurrent._mask_autapses(recurrent.recurrent_weights))
    for module in weighted:
        if module is weighted[-1] and not normalized:
            _draw_layer(module, drive, before, share)
        else:
            _draw_layer(module, replace(drive, mean=0.0, noise=1.0, centered=0.0), None, 1.0)
    for module in group.layers:
        if isinstance(module, NORMS) and module.weight is not None:
            # A threshold-dependent normalization has a further factor.
            scale = getattr(module, "scale", 1.0)
            nn.init.constant_(module.weight, (drive.normalized if module is group.layers[-1] else 1.0) / scale)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _draw_layer(module: Any, drive: Drive, before: Activity | None, share: float) -> None:
    """Draw the weights of a layer, and set its bias to zero.

    Args:
        module: The layer.
        drive: Input that they make of inputs of the activity `before`.
        before: None for inputs of mean square 1.
        share: Part of the drive that comes from this layer.
    """
    fan_in = _fan_in(module)
    # Mean of an input, and its variance over time.
    mean = 1.0 if before is None else min(1.0, max(before.rate, 1.0) * drive.dt)
    power = mean if before is None else mean / before.averaged
    nn.init.normal_(module.weight, std=drive.noise * math.sqrt(share / power / fan_in))
    mask = getattr(module, "mask", None)
    if module.weight.dim() > 1 and not isinstance(module, _TRANSPOSED) and mask is None:
        inputs = tuple(range(1, module.weight.dim()))
        module.weight.sub_(drive.centered * module.weight.mean(inputs, keepdim=True))
    module.weight.add_(share * drive.mean / mean / fan_in)
    if isinstance(mask, Tensor):
        module.weight.mul_(mask)
    if isinstance(module.bias, Tensor):
        nn.init.zeros_(module.bias)


def _fan_in(module: Any) -> float:
    """Number of inputs of one output, on average."""
    weight = module.weight
    if weight.dim() == 1:  # one weight for each connection
        return max(1.0, len(weight) / module.out_features)
    if isinstance(mask := getattr(module, "mask", None), Tensor):
        return max(1.0, mask.sum().item() / len(mask))
    if isinstance(module, _TRANSPOSED):
        return max(1.0, weight.shape[0] / module.groups * math.prod(weight.shape[2:]) / math.prod(module.stride))
    return math.prod(weight.shape[1:])
