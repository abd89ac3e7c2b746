"""Tensors as colors: values over time and neurons, and weights."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from ._arrays import time_axis, to_array, to_time_by_neuron
from ._style import add_colorbar, get_axes, get_axes_3d, label_neurons, set_integer_ticks


def heatmap_2d(
    values: Tensor,
    ax: Axes | None = None,
    *,
    dt: float = 1e-3,
    sample: int | None = None,
    label: str | None = None,
    **kwargs: Any,
) -> Axes:
    """Plot values over time and neurons as colors.

    Args:
        values: Shape (time, neurons) or (time,), or (time, batch, ...) with `sample`.
        ax: Axes to draw into. Default: pyplot's current axes, or new ones.
        dt: Step size in seconds.
        sample: Index of the sample of a batch to draw.
        label: Label of the color bar. Default: no color bar.
        **kwargs: Passed to `Axes.imshow`, for example `cmap` or `vmax`.

    Returns:
        The axes.

    Raises:
        TypeError: If `values` is not a tensor, or `ax` is not an `Axes`.
        ValueError: If `values` does not have this shape, or `dt` is not positive.
    """
    image = to_time_by_neuron("heatmap_2d", values, sample).T
    neurons, steps = image.shape
    extent = (0, time_axis("heatmap_2d", steps, dt).end, -0.5, neurons - 0.5)
    ax = get_axes("heatmap_2d", ax)
    style = {"cmap": "viridis", "extent": extent, "origin": "lower", "aspect": "auto", "interpolation": "nearest"}
    mappable = ax.imshow(image, **style | kwargs)
    ax.set_xlabel("time (ms)")
    label_neurons(ax)
    add_colorbar(ax, mappable, label)
    return ax


def heatmap_3d(
    values: Tensor,
    ax: Axes | None = None,
    *,
    dt: float = 1e-3,
    sample: int | None = None,
    label: str | None = None,
    **kwargs: Any,
) -> Axes:
    """Plot values over time and neurons as a surface, colored by its height.

    At most 200 steps and 200 neurons are drawn, evenly spaced; `rcount` and `ccount` change these
    numbers.

    Args:
        values: Shape (time, neurons), or (time, batch, ...) with `sample`; at least two steps of two
            neurons.
        ax: Axes to draw into, created with ``projection="3d"``. Default: the axes of a new figure.
        dt: Step size in seconds.
        sample: Index of the sample of a batch to draw.
        label: Label of the vertical axis.
        **kwargs: Passed to `Axes3D.plot_surface`, for example `cmap`.

    Returns:
        The axes.

    Raises:
        TypeError: If `values` is not a tensor, or `ax` is not an `Axes`.
        ValueError: If `values` does not have this shape, `dt` is not positive, or `ax` is
            two-dimensional.
    """
    surface = to_time_by_neuron("heatmap_3d", values, sample)
    steps, neurons = surface.shape
    if min(steps, neurons) < 2:
        raise ValueError(
            f"heatmap_3d expected at least two steps of two neurons, got shape {surface.shape}; use heatmap_2d instead."
        )
    times = time_axis("heatmap_3d", steps, dt).times
    space = get_axes_3d("heatmap_3d", ax)
    time_grid, neuron_grid = np.meshgrid(times, np.arange(neurons), indexing="ij")
    # Stored as pixels in vector formats, where gaps would show between the faces.
    style = {"cmap": "viridis", "rcount": 200, "ccount": 200, "linewidth": 0, "antialiased": False, "rasterized": True}
    space.plot_surface(time_grid, neuron_grid, surface, **style | kwargs)
    space.set(xlabel="time (ms)", zlabel=label or "")
    label_neurons(space)
    set_integer_ticks(space.xaxis)
    # Matplotlib's layout engines leave no space for the labels of three axes.
    space.set_box_aspect((1.4, 1, 0.7), zoom=0.8)
    return space


def weights(values: Tensor, ax: Axes | None = None, *, label: str | None = "weight", **kwargs: Any) -> Axes:
    """Plot a weight matrix, or a mosaic of filters. White is 0, positive weights are red and negative weights blue.

    Args:
        values: A matrix, shape (outputs, inputs); or filters, shape (filters, height, width), drawn in
            a square; or filters, shape (filters, channels, height, width), drawn with one row for each
            filter.
        ax: Axes to draw into. Default: pyplot's current axes, or new ones.
        label: Label of the color bar; `None` for no color bar.
        **kwargs: Passed to `Axes.imshow`.

    Returns:
        The axes.

    Raises:
        TypeError: If `values` is not a tensor, or `ax` is not an `Axes`.
        ValueError: If `values` does not have this shape.
    """
    array = to_array("weights", values)
    if not 2 <= array.ndim <= 4 or not array.size:
        raise ValueError(
            "weights expected shape (outputs, inputs), (filters, height, width) or (filters, channels, height, width), "
            f"got {array.shape}."
        )
    is_matrix = array.ndim == 2
    max_abs = np.nanmax(np.abs(array)) or 1.0
    ax = get_axes("weights", ax)
    style = {"cmap": "RdBu_r", "vmin": -max_abs, "vmax": max_abs, "interpolation": "nearest"}
    style["aspect"] = "auto" if is_matrix else "equal"
    mappable = ax.imshow(array if is_matrix else _mosaic(array), **style | kwargs)
    if is_matrix:
        ax.set(xlabel="input", ylabel="output")
        set_integer_ticks(ax.xaxis, ax.yaxis)
    else:
        ax.set_axis_off()
    add_colorbar(ax, mappable, label)
    return ax


def _mosaic(filters: np.ndarray) -> np.ndarray:
    """Filters arranged in one image, separated by lines of NaN."""
    if filters.ndim == 4 and filters.shape[1] == 1:
        filters = filters[:, 0]
    if filters.ndim == 3:
        # Arranged in a square; empty places are NaN.
        columns = int(np.ceil(np.sqrt(len(filters))))
        empty = np.full((-len(filters) % columns, *filters.shape[1:]), np.nan, filters.dtype)
        filters = np.concatenate([filters, empty]).reshape(-1, columns, *filters.shape[1:])
    padded = np.pad(filters, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    rows, columns, height, width = padded.shape
    image = padded.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)
    return image[:-1, :-1]
