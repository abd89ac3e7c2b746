"""Spikes over time: raster plots and firing rates."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.path import Path
from matplotlib.typing import ColorType
from torch import Tensor

from ._arrays import select_sample, time_axis, to_array, to_time_by_neuron
from ._style import BLUE, Colors, get_axes, INK, label_neurons, neuron_colors

# Rasters of more spikes are stored as pixels in vector formats, where the file would be very large otherwise.
RASTERIZE_ABOVE = 50_000


def raster(
    zs: Tensor,
    ax: Axes | None = None,
    *,
    dt: float = 1e-3,
    sample: int | None = None,
    color: Colors = INK,
    **kwargs: Any,
) -> Axes:
    """Plot spikes as vertical marks, with one row for each neuron.

    Args:
        zs: Spikes, shape (time, neurons) or (time,), or (time, batch, ...) with `sample`. Any nonzero
            value is a spike.
        ax: Axes to draw into. Default: pyplot's current axes, or new ones.
        dt: Step size in seconds.
        sample: Index of the sample of a batch to draw.
        color: One color, or one for each neuron.
        **kwargs: Passed to matplotlib's `PathCollection`, for example `linewidths`.

    Returns:
        The axes.

    Raises:
        TypeError: If `zs` is not a tensor, or `ax` is not an `Axes`.
        ValueError: If `zs` does not have this shape, or `dt` is not positive.
    """
    spiked = to_time_by_neuron("raster", zs, sample) != 0
    times, end = time_axis("raster", len(spiked), dt)
    neurons = spiked.shape[1]
    edge_colors = neuron_colors("raster", color, neurons)
    ax = get_axes("raster", ax)
    style = {"linewidths": 0.8, "rasterized": bool(spiked.sum() > RASTERIZE_ABOVE)} | kwargs
    marks = PathCollection(_mark_paths(spiked, times), facecolors="none", edgecolors=edge_colors, **style)
    ax.add_collection(marks, autolim=False)
    ax.set(xlabel="time (ms)", xlim=(0, end), ylim=(-0.6, neurons - 0.4))
    label_neurons(ax)
    return ax


def _mark_paths(spiked: np.ndarray, times: np.ndarray) -> list[Path]:
    """One path for each neuron, with a vertical line of two points for each spike.

    For 1000 neurons, a path per neuron is 30 times as fast as matplotlib's `eventplot`.
    """
    neurons, steps = spiked.T.nonzero()
    marks = np.empty((len(steps), 2, 2))
    marks[..., 0] = times[steps, None]
    # With hundreds of neurons, marks are higher than their row to remain visible.
    half_height = max(0.4, 0.004 * spiked.shape[1])
    marks[..., 1] = neurons[:, None] + np.array([-half_height, half_height])
    marks_of_neurons = np.split(marks, np.cumsum(spiked.sum(0))[:-1])
    codes = np.tile(np.array([Path.MOVETO, Path.LINETO], Path.code_type), len(times))
    return [Path(marks.reshape(-1, 2), codes[: 2 * len(marks)]) for marks in marks_of_neurons]


def rate(
    zs: Tensor,
    ax: Axes | None = None,
    *,
    dt: float = 1e-3,
    sample: int | None = None,
    sigma: float = 5e-3,
    color: ColorType = BLUE,
    **kwargs: Any,
) -> Axes:
    """Plot the firing rate of a population in Hz.

    Spikes are averaged over all neurons and samples and smoothed with a Gaussian. Near both ends, where
    the Gaussian extends beyond the run, it is normalized by the part inside, so a constant rate is
    drawn as a constant.

    Args:
        zs: Spikes, shape (time, ...).
        ax: Axes to draw into. Default: pyplot's current axes, or new ones.
        dt: Step size in seconds.
        sample: Index of the sample of a batch, (time, batch, ...), to draw. Default: the mean of all.
        sigma: Standard deviation of the Gaussian in seconds; 0 for no smoothing.
        color: Color of the line.
        **kwargs: Passed to `Axes.plot`.

    Returns:
        The axes.

    Raises:
        TypeError: If `zs` is not a tensor, or `ax` is not an `Axes`.
        ValueError: If `zs` has no time dimension or no values, `dt` is not positive, or `sigma` is
            negative.
    """
    values = select_sample("rate", to_array("rate", zs), sample)
    if not values.size:
        raise ValueError(f"rate expected at least one step of one neuron, got shape {values.shape}.")
    if not sigma >= 0:
        raise ValueError(f"rate: sigma must be a number of seconds >= 0, got {sigma}.")
    times, end = time_axis("rate", len(values), dt)
    hertz = values.reshape(len(values), -1).mean(1, dtype=np.float64) / dt
    if sigma > 0:
        hertz = _smooth(hertz, sigma / dt)
    ax = get_axes("rate", ax)
    ax.plot(times, hertz, color=color, **kwargs)
    ax.set(xlabel="time (ms)", ylabel="firing rate (Hz)", xlim=(0, end), ylim=(0, None))
    return ax


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Convolve with a Gaussian of `sigma` steps, normalized by its part within the values."""
    radius = int(np.ceil(4 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    inside = slice(radius, radius + len(values))
    return np.convolve(values, kernel)[inside] / np.convolve(np.ones_like(values), kernel)[inside]
