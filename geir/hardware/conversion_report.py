"""How far a converted network is from the original, layer by layer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn, Tensor

from .._util.columns import align_columns
from .._util.validation import check_integer
from ..neurons import IAF
from ._kinds import ACTIVATIONS
from ._layers import INPUT, read_layers


class ConvertedLayer(NamedTuple):
    """The error of one layer, with that of all layers before it."""

    name: str
    threshold: float  # mean over channels
    rate: float  # spikes per neuron and step
    clipped: float  # share of the active outputs of the original that exceed the threshold
    error: float  # root mean square of the difference, relative to that of the original


@dataclass(frozen=True)
class ConversionReport:
    """The error of each activation, and of the output; print it to see a table.

    Args:
        layers: The activations in the order in which they run.
        output: Root mean square error of the output, relative to the original.
        agreement: Share of samples for which the largest output is the same.
        steps: Number of steps.
    """

    layers: tuple[ConvertedLayer, ...]
    output: float
    agreement: float
    steps: int

    def __str__(self) -> str:
        rows = [("layer", "threshold", "rate", "clipped", "error")]
        rows += [
            (layer.name, f"{layer.threshold:.4g}", f"{layer.rate:.1%}", f"{layer.clipped:.2%}", f"{layer.error:.2%}")
            for layer in self.layers
        ]
        lines = align_columns([*rows, ("output", "", "", "", f"{self.output:.2%}")], right=range(1, 5))
        lines.append(f"{self.steps} steps; the largest output is the same for {self.agreement:.2%} of the samples")
        return "\n".join(lines)


def conversion_report(model: nn.Module, spiking: nn.Module, x: Tensor, steps: int) -> ConversionReport:
    """Compare a converted network with the original, layer by layer.

    Args:
        model: The original.
        spiking: What `from_ann` made of it.
        x: Inputs of the original, (batch, ...).
        steps: Number of steps for which each input is shown.

    Returns:
        For each activation its threshold, the rate of its neurons, the share of clipped outputs and its error.

    Raises:
        ValueError: If `spiking` does not have a neuron for each activation of `model`.
    """
    check_integer("conversion_report", minimum=1, steps=steps)
    layers = read_layers("conversion_report", model)
    neurons = {name.split(".")[-1]: module for name, module in spiking.named_modules() if isinstance(module, IAF)}
    activations = [layer.name for layer in layers if isinstance(layer.module, ACTIVATIONS)]
    if list(neurons) != activations:
        raise ValueError(
            f"conversion_report expected what from_ann made of this model, with the neurons {', '.join(activations)}; "
            f"got {', '.join(neurons) or 'none'}."
        )
    rates: dict[str, Tensor] = {}
    handles = [neuron.register_forward_hook(_rate_hook(rates, name)) for name, neuron in neurons.items()]
    try:
        with torch.no_grad():
            estimate = spiking(x.expand(steps, *x.shape))[0][-1] / steps
    finally:
        for handle in handles:
            handle.remove()
    values, rows = {INPUT: x}, []
    with torch.no_grad():
        for layer in layers:
            y = values[layer.name] = layer.module(*(values[source] for source in layer.inputs))
            if layer.name in neurons:
                rows.append(_layer_error(layer.name, neurons[layer.name], rates[layer.name], y))
    y = values[layers[-1].name]
    return ConversionReport(
        tuple(rows),
        _relative_error(estimate, y),
        float((estimate.flatten(1).argmax(1) == y.flatten(1).argmax(1)).double().mean()),
        steps,
    )


def _layer_error(name: str, neuron: IAF, rate: Tensor, y: Tensor) -> ConvertedLayer:
    """Compare the rates of neurons with the outputs of the original."""
    threshold = neuron.v_th - neuron.v_reset
    clipped = (y > threshold).sum() / (y > 0).sum().clamp(min=1)
    error = _relative_error(rate * threshold, y)
    return ConvertedLayer(name, float(threshold.mean()), float(rate.mean()), float(clipped), error)


def _rate_hook(rates: dict[str, Tensor], name: str) -> Callable[..., None]:
    def record(module: nn.Module, arguments: object, result: tuple[Tensor, object]) -> None:
        rates[name] = result[0].mean(0)

    return record


def _relative_error(estimate: Tensor, value: Tensor) -> float:
    # All zero is exact if the estimate is zero, too.
    return float((estimate - value).norm() / value.norm().clamp(min=torch.finfo(value.dtype).tiny))
