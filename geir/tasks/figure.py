"""The pictures of trained networks."""

from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from .. import plot
from ..containers import SequentialState
from ..core.neuron import Dynamics, Neuron
from .training import write_atomically


def draw(model: SequentialState, xs: Tensor, label: int, history: list[dict[str, float]], path: Path) -> None:
    """Write the picture as PNG: learning curve, input, membrane potentials of the output, spikes of each layer.

    Args:
        model: The network.
        xs: Currents of one sample, shape (time, 1, channels, height, width), of one channel, or two that are shown as their difference.
        label: Its class.
        history: Loss and test accuracy after every epoch.
        path: Where to write.
    """
    model.eval()
    model.return_hidden = True
    try:
        with torch.inference_mode():
            outputs, _ = model(xs)
    finally:
        model.return_hidden = False
    spikes = [(zs, module.dt) for module, zs in zip(model, outputs, strict=True) if isinstance(module, Neuron)]
    dt = next(module.dt for module in reversed(model) if isinstance(module, Dynamics))

    with plot.style():
        figure = Figure(figsize=(8, 5))
        rows: Any = figure.subfigures(2, 1, height_ratios=(1, 1.3), hspace=0.05)
        curve, image, readout = rows[0].subplots(1, 3)
        epochs = range(1, len(history) + 1)
        curve.plot(epochs, [100 * h["test_accuracy"] for h in history], "o-", color=plot.BLUE, markersize=4)
        curve.set(title="Learning", xlabel="epoch")
        curve.set_ylabel("test accuracy (%)", color=plot.BLUE)
        losses = curve.twinx()
        losses.plot(epochs, [h["loss"] for h in history], "s--", color=plot.ORANGE, markersize=4)
        losses.set_ylabel("training loss", color=plot.ORANGE)
        losses.spines["right"].set_visible(True)
        image.imshow(xs.mean(0)[0].diff(dim=0, prepend=xs.new_zeros(1, *xs.shape[3:]))[-1].cpu().numpy(), cmap="gray_r")
        image.set(title=f"Input: a {label}", xticks=[], yticks=[])
        image.spines[:].set_visible(True)
        plot.traces(outputs[-1], readout, dt=dt, sample=0, color=["0.7"] * outputs[-1].shape[-1])
        plot.traces(outputs[-1][..., label], readout, dt=dt, sample=0, color=plot.ORANGE, label=f"class {label}")
        readout.set(title="Output membranes", ylabel="potential")
        readout.legend(loc="upper left")
        for k, (axes, (zs, dt)) in enumerate(
            zip(rows[1].subplots(1, len(spikes), squeeze=False)[0], spikes, strict=True), 1
        ):
            plot.raster(zs, axes, dt=dt, sample=0)
            axes.set_title(f"Spikes of layer {k}: {zs[0, 0].numel()} neurons, {zs[:, 0].float().mean() / dt:.0f} Hz")
        write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=180))


def draw_fields(fields: Tensor, path: Path) -> None:
    """Write fields of weights, shape (number, height, width), as PNG: side by side, in a grid as square as can be."""
    with plot.style():
        figure = Figure(figsize=(8, 8))
        plot.weights(fields, figure.subplots(), cmap="gray_r", vmin=0).set_title(f"Weights of {len(fields)} neurons")
        write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=160))
