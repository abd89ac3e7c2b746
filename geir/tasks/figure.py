"""The pictures of trained networks."""

import math
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional
from torch.utils.data import TensorDataset

from ..containers import SequentialState
from ..neuron import Neuron
from .training import over_time, write_atomically


def draw(model: SequentialState, images: TensorDataset, history: list[dict[str, float]], steps: int, device: str, path: Path) -> None:
    """Write the picture as PNG: learning curve, input, spikes of each layer, membrane potentials of the output."""
    x, label = images[0]
    model.eval()
    model.return_hidden = True
    try:
        with torch.inference_mode():
            outputs, _ = model(over_time(x[None].to(device), steps))
    finally:
        model.return_hidden = False
    spikes = [zs[:, 0].flatten(1).numpy(force=True) for module, zs in zip(model, outputs, strict=True) if isinstance(module, Neuron)]
    potentials = outputs[-1][:, 0].numpy(force=True)

    figure = Figure(figsize=(11, 7), layout="constrained")
    rows: Any = figure.subfigures(2, 1, height_ratios=(1, 1.25))
    curve, image, readout = rows[0].subplots(1, 3)
    epochs = range(1, len(history) + 1)
    curve.plot(epochs, [100 * h["test_accuracy"] for h in history], "o-", color="tab:blue")
    curve.set(title="Learning", xlabel="epoch", ylabel="test accuracy (%)")
    curve.yaxis.label.set_color("tab:blue")
    losses = curve.twinx()
    losses.plot(epochs, [h["loss"] for h in history], "s--", color="tab:orange", alpha=0.7)
    losses.set_ylabel("training loss", color="tab:orange")
    image.imshow(x[0].numpy(), cmap="gray_r")
    image.set(title=f"Input: a {int(label)}", xticks=[], yticks=[])
    for k, v in enumerate(potentials.T):
        chosen = k == int(label)
        readout.plot(v, color="tab:red" if chosen else "0.7", zorder=2 if chosen else 1, label=f"class {k}" if chosen else None)
    readout.set(title="Output membranes", xlabel="time (ms)", ylabel="potential")
    readout.legend(loc="upper left", frameon=False)
    for k, (axes, zs) in enumerate(zip(rows[1].subplots(1, len(spikes), squeeze=False)[0], spikes, strict=True)):
        times, neurons = zs.nonzero()
        axes.plot(times, neurons, "|", color="k", markersize=3, alpha=0.7)
        title = f"Spikes of layer {k + 1}: {zs.shape[1]} neurons, {1e3 * zs.mean():.0f} Hz"
        axes.set(title=title, xlabel="time (ms)", ylabel="neuron", xlim=(-0.5, steps - 0.5), ylim=(-1, zs.shape[1]))
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=130))


def draw_fields(fields: Tensor, path: Path) -> None:
    """Write fields of weights, shape (number, height, width), as PNG: side by side, in a grid as square as can be."""
    columns = math.ceil(math.sqrt(len(fields)))
    rows = math.ceil(len(fields) / columns)
    filled = functional.pad(fields, (0, 1, 0, 1, 0, rows * columns - len(fields)), value=math.nan)
    _, height, width = filled.shape
    grid = filled.view(rows, columns, height, width).transpose(1, 2).reshape(rows * height, columns * width)
    figure = Figure(figsize=(10, 10 * rows / columns), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(grid.numpy(), cmap="gray_r", vmin=0, interpolation="nearest")
    axes.set(title=f"Weights of {len(fields)} neurons", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    figure.colorbar(shown, shrink=0.5)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=130))
