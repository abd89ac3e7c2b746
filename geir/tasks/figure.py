"""Figures of trained networks."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .. import plot
from ..containers import SequentialState
from ..core.neuron import Dynamics
from .checkpoint import EpochResult
from .files import write_atomically

RASTERS_IN_A_ROW = 3


def draw_run(model: SequentialState, xs: Tensor, label: Tensor, history: Sequence[EpochResult], path: Path) -> None:
    """Draw a training run as PNG: learning curves, and a test sample's input, output potentials and spikes per layer.

    Args:
        model: The trained network.
        xs: Input of one sample, shape (time, 1, channels) or (time, 1, channels, height, width). Of two channels of
            images, the difference is shown. Spikes of shape (time, 1, channels) are drawn as a raster.
        label: Class of the sample, shape (), or of each of its steps, shape (time,), -1 where it is unknown.
        history: Results of all epochs.
        path: The file to write.
    """
    outputs = _run_with_hidden_outputs(model, xs)
    spikes = [
        (zs, module.dt)
        for module, zs in zip(model, outputs, strict=True)
        if isinstance(module, Dynamics) and module.spiking
    ]
    readout_dt = next(module.dt for module in reversed(model) if isinstance(module, Dynamics))

    with plot.style():
        rows = math.ceil(len(spikes) / RASTERS_IN_A_ROW)
        figure = Figure(figsize=(8, 2.2 + 2.8 * rows))
        top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.3 * rows), hspace=0.05)[:, 0]
        curves, image, readout = top.subplots(1, 3)
        _draw_learning(curves, history)
        if label.ndim:
            _draw_input(image, xs, "Input", readout_dt)
            _draw_classes(readout, outputs[-1], label[: len(xs)], readout_dt)
        else:
            _draw_input(image, xs, f"Input of class {label}", readout_dt)
            _draw_readout(readout, outputs[-1], int(label), readout_dt)
            if not isinstance(model[-1], Dynamics):
                readout.set(title="Output", ylabel="")
        rasters = bottom.subplots(rows, min(len(spikes), RASTERS_IN_A_ROW), squeeze=False).ravel()
        for axes in rasters[len(spikes) :]:
            axes.remove()
        for number, (axes, (zs, dt)) in enumerate(zip(rasters[: len(spikes)], spikes, strict=True), 1):
            plot.raster(zs, axes, dt=dt, sample=0)
            rate = zs[:, 0].float().mean() / dt
            axes.set_title(f"Layer {number}: {zs[0, 0].numel()} neurons, {rate:.0f} Hz")
        write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=180))


def _run_with_hidden_outputs(model: SequentialState, xs: Tensor) -> list[Tensor]:
    """The output of every module, in evaluation mode and without gradients."""
    model.eval()
    model.return_hidden = True
    try:
        with torch.inference_mode():
            outputs, _ = model(xs)
    finally:
        model.return_hidden = False
    return outputs


def _draw_learning(axes: Axes, history: Sequence[EpochResult]) -> None:
    epochs = range(1, len(history) + 1)
    axes.plot(epochs, [100 * epoch["test_accuracy"] for epoch in history], "o-", color=plot.BLUE, markersize=4)
    axes.set(title="Learning", xlabel="epoch")
    axes.set_ylabel("test accuracy (%)", color=plot.BLUE)
    loss_axes = axes.twinx()
    loss_axes.plot(epochs, [epoch["loss"] for epoch in history], "s--", color=plot.ORANGE, markersize=4)
    loss_axes.set_ylabel("training loss", color=plot.ORANGE)
    loss_axes.spines["right"].set_visible(True)


def _draw_input(axes: Axes, xs: Tensor, title: str, dt: float) -> None:
    if xs.ndim == 3 or xs.shape[-2:] == (1, 1):
        if bool(((xs == 0) | (xs == 1)).all()):
            plot.raster(xs, axes, dt=dt, sample=0)
            axes.set(title=title)
        else:
            plot.traces(xs.flatten(2), axes, dt=dt, sample=0)
            axes.set(title=title, ylabel="")
        return
    channels = xs.mean(0)[0]
    picture = channels[-1] - channels[-2] if len(channels) > 1 else channels[0]
    axes.imshow(picture.cpu().numpy(), cmap="gray_r")
    axes.set(title=title, xticks=[], yticks=[])
    axes.spines[:].set_visible(True)


def _draw_readout(axes: Axes, vs: Tensor, label: int, dt: float) -> None:
    plot.traces(vs, axes, dt=dt, sample=0, color=["0.7"] * vs.shape[-1])
    plot.traces(vs[..., label], axes, dt=dt, sample=0, color=plot.ORANGE, label=f"class {label}")
    axes.set(title="Output membranes", ylabel="potential")
    axes.legend(loc="upper left")


def _draw_classes(axes: Axes, vs: Tensor, labels: Tensor, dt: float) -> None:
    known = torch.where(labels >= 0, labels.double(), torch.nan)
    plot.traces(known, axes, dt=dt, color="0.7", linewidth=4, label="true")
    plot.traces(vs[:, 0].argmax(-1).double(), axes, dt=dt, color=plot.ORANGE, label="predicted")
    axes.set(title="Output", ylabel="class", yticks=range(vs.shape[-1]))
    axes.legend(loc="upper left")


def draw_fields(fields: Tensor, path: Path) -> None:
    """Draw the weights of neurons as PNG, side by side in a nearly square grid.

    Args:
        fields: Weights, shape (number, height, width).
        path: The file to write.
    """
    with plot.style():
        figure = Figure(figsize=(8, 8))
        plot.weights(fields, figure.subplots(), cmap="gray_r", vmin=0).set_title(f"Weights of {len(fields)} neurons")
        write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=160))
