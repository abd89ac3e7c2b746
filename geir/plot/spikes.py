"""Spikes over time: each of them, or their rate."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.path import Path
from torch import Tensor

from .canvas import array, axes_for, BLUE, colors, INK, milliseconds, number_neurons, one_sample, over_time

# More marks than this are drawn as pixels in vector formats, whose files would be larger than the picture is worth.
RASTERIZE_ABOVE = 50_000


def raster(
    zs: Tensor, axes: Axes | None = None, *, dt: float = 1e-3, sample: int | None = None, color: Any = INK, **style: Any
) -> Axes:
    """Spikes as marks, one row for each neuron.

    Args:
        zs: Spikes, shape (time, neurons) or (time,), or (time, batch, ...) of which `sample` is drawn. What is not 0 is a spike.
        axes: Where to draw. Default: pyplot's current axes, or new ones.
        dt: Step size in seconds.
        sample: Which one of a batch.
        color: One color, or one for each neuron.
        **style: More of matplotlib's `PathCollection`, such as `linewidths`.

    Raises:
        TypeError: If `zs` is not a tensor, or `axes` are not Axes.
        ValueError: If `zs` has not this shape, or `dt` is not positive.
    """
    fired = over_time("raster", zs, sample) != 0
    ts, end = milliseconds("raster", len(fired), dt)
    shades = colors("raster", color, fired.shape[1])
    axes = axes_for("raster", axes)
    neurons, steps = fired.T.nonzero()
    # A mark is a line of two points. All marks of a neuron are one path: 30 times as fast as matplotlib's eventplot for 1000 neurons.
    marks = np.empty((len(steps), 2, 2))
    marks[..., 0] = ts[steps, None]
    # Among hundreds of neurons a mark is higher than its row, so that it can be seen.
    half = max(0.4, 0.004 * fired.shape[1])
    marks[..., 1] = neurons[:, None] + np.array([-half, half])
    rows = np.split(marks, np.cumsum(fired.sum(0))[:-1])
    pen = np.tile(np.array([Path.MOVETO, Path.LINETO], Path.code_type), len(ts))
    paths = [Path(row.reshape(-1, 2), pen[: 2 * len(row)]) for row in rows]
    look = {"linewidths": 0.8, "rasterized": len(steps) > RASTERIZE_ABOVE} | style
    axes.add_collection(PathCollection(paths, facecolors="none", edgecolors=shades, **look), autolim=False)
    axes.set(xlabel="time (ms)", xlim=(0, end), ylim=(-0.6, fired.shape[1] - 0.4))
    number_neurons(axes)
    return axes


def rate(
    zs: Tensor,
    axes: Axes | None = None,
    *,
    dt: float = 1e-3,
    sample: int | None = None,
    sigma: float = 5e-3,
    color: Any = BLUE,
    **style: Any,
) -> Axes:
    """Firing rate of a population, in Hz: spikes averaged over neurons, and over the batch, and smoothed by a Gaussian.

    Near the ends, where the Gaussian reaches beyond the run, it is normalised to the part inside: a constant rate is drawn constant.

    Args:
        zs: Spikes, shape (time, ...).
        axes: Where to draw. Default: pyplot's current axes, or new ones.
        dt: Step size in seconds.
        sample: Draw only this one of a batch (time, batch, ...).
        sigma: Standard deviation of the Gaussian in seconds; 0 does not smooth.
        color: Of the line.
        **style: More of matplotlib's `Line2D`.

    Raises:
        TypeError: If `zs` is not a tensor, or `axes` are not Axes.
        ValueError: If `zs` has no time, `dt` is not positive, or `sigma` is negative.
    """
    values = one_sample("rate", array("rate", zs), sample)
    if not values.size:
        raise ValueError(f"rate takes at least one step of one neuron, got shape {values.shape}.")
    if not sigma >= 0:
        raise ValueError(f"rate: sigma must be a number of seconds >= 0, got {sigma}.")
    ts, end = milliseconds("rate", len(values), dt)
    hertz = values.reshape(len(values), -1).mean(1, dtype=np.float64) / dt
    if sigma > 0:
        reach = int(np.ceil(4 * sigma / dt))
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * dt / sigma) ** 2)
        inside = slice(reach, reach + len(hertz))
        hertz = np.convolve(hertz, kernel)[inside] / np.convolve(np.ones_like(hertz), kernel)[inside]
    axes = axes_for("rate", axes)
    axes.plot(ts, hertz, color=color, **style)
    axes.set(xlabel="time (ms)", ylabel="firing rate (Hz)", xlim=(0, end), ylim=(0, None))
    return axes
