"""Tensors as colors: values over time and neurons, and weights."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from .canvas import array, axes_for, milliseconds, number_neurons, over_time, whole_ticks


def heatmap_2d(
    values: Tensor,
    axes: Axes | None = None,
    *,
    dt: float = 1e-3,
    sample: int | None = None,
    label: str | None = None,
    **style: Any,
) -> Axes:
    """Values as colors over time and neurons.

    Args:
        values: Shape (time, neurons) or (time,), or (time, batch, ...) of which `sample` is drawn.
        axes: Where to draw. Default: pyplot's current axes, or new ones.
        dt: Step size in seconds.
        sample: Which one of a batch.
        label: What the values are, written at a color bar. Default: no color bar.
        **style: More of matplotlib's `imshow`, such as `cmap` and `vmax`.

    Raises:
        TypeError: If `values` are not a tensor, or `axes` are not Axes.
        ValueError: If `values` have not this shape, or `dt` is not positive.
    """
    image = over_time("heatmap_2d", values, sample).T
    _, end = milliseconds("heatmap_2d", image.shape[1], dt)
    axes = axes_for("heatmap_2d", axes)
    extent = (0, end, -0.5, len(image) - 0.5)
    shown = axes.imshow(
        image,
        **{"cmap": "viridis", "extent": extent, "origin": "lower", "aspect": "auto", "interpolation": "nearest"}
        | style,
    )
    axes.set_xlabel("time (ms)")
    number_neurons(axes)
    _color_bar(axes, shown, label)
    return axes


def heatmap_3d(
    values: Tensor,
    axes: Axes | None = None,
    *,
    dt: float = 1e-3,
    sample: int | None = None,
    label: str | None = None,
    **style: Any,
) -> Axes:
    """Values as a surface over time and neurons, colored by its height.

    Of more than 200 steps or neurons, every n-th is drawn; `rcount` and `ccount` set how many at most.

    Args:
        values: Shape (time, neurons), or (time, batch, ...) of which `sample` is drawn; at least two steps of two neurons.
        axes: Where to draw, made with ``projection="3d"``. Default: a new figure.
        dt: Step size in seconds.
        sample: Which one of a batch.
        label: What the values are, written at the vertical axis.
        **style: More of matplotlib's `plot_surface`, such as `cmap`.

    Raises:
        TypeError: If `values` are not a tensor, or `axes` are not Axes.
        ValueError: If `values` have not this shape, `dt` is not positive, or `axes` are two-dimensional.
    """
    surface = over_time("heatmap_3d", values, sample)
    if min(surface.shape) < 2:
        raise ValueError(
            f"heatmap_3d takes at least two steps of two neurons, got shape {surface.shape}; draw it with heatmap_2d."
        )
    ts, _ = milliseconds("heatmap_3d", len(surface), dt)
    space: Any = axes_for("heatmap_3d", axes, "3d")
    times, neurons = np.meshgrid(ts, np.arange(surface.shape[1]), indexing="ij")
    # As pixels: in vector formats the background shows between the faces.
    look = {"cmap": "viridis", "rcount": 200, "ccount": 200, "linewidth": 0, "antialiased": False, "rasterized": True}
    space.plot_surface(times, neurons, surface, **look | style)
    space.set(xlabel="time (ms)", zlabel=label or "")
    number_neurons(space)
    whole_ticks(space.xaxis)
    # Matplotlib's layouts leave no room for the labels of three axes.
    space.set_box_aspect((1.4, 1, 0.7), zoom=0.8)
    return space


def weights(values: Tensor, axes: Axes | None = None, *, label: str | None = "weight", **style: Any) -> Axes:
    """A matrix of weights, or filters side by side, in colors that diverge from white at 0: red is positive, blue negative.

    Args:
        values: Shape (outputs, inputs); or filters (filters, height, width), drawn as a square of images, or (filters, channels, height, width),
            drawn as one row for each filter.
        axes: Where to draw. Default: pyplot's current axes, or new ones.
        label: What is written at the color bar; None draws no bar.
        **style: More of matplotlib's `imshow`.

    Raises:
        TypeError: If `values` are not a tensor, or `axes` are not Axes.
        ValueError: If `values` have not this shape.
    """
    image = array("weights", values)
    if not 2 <= image.ndim <= 4 or not image.size:
        raise ValueError(
            f"weights takes (outputs, inputs) or filters ([filters,] channels, height, width), got shape {image.shape}."
        )
    matrix = image.ndim == 2
    largest = np.nanmax(np.abs(image)) or 1.0
    axes = axes_for("weights", axes)
    look = {
        "cmap": "RdBu_r",
        "vmin": -largest,
        "vmax": largest,
        "interpolation": "nearest",
        "aspect": "auto" if matrix else "equal",
    }
    shown = axes.imshow(image if matrix else _mosaic(image), **look | style)
    if matrix:
        axes.set(xlabel="input", ylabel="output")
        whole_ticks(axes.xaxis, axes.yaxis)
    else:
        axes.set_axis_off()
    _color_bar(axes, shown, label)
    return axes


def _mosaic(filters: np.ndarray) -> np.ndarray:
    """Filters as one image, with a line of NaN between them."""
    if filters.ndim == 4 and filters.shape[1] == 1:
        filters = filters[:, 0]
    if filters.ndim == 3:
        columns = int(np.ceil(np.sqrt(len(filters))))
        missing = -len(filters) % columns
        filters = np.concatenate([filters, np.full((missing, *filters.shape[1:]), np.nan, filters.dtype)])
        filters = filters.reshape(-1, columns, *filters.shape[1:])
    apart = np.pad(filters, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    rows, columns, height, width = apart.shape
    return apart.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)[:-1, :-1]


def _color_bar(axes: Axes, shown: Any, label: str | None) -> None:
    if label is not None:
        bar = axes.figure.colorbar(shown, ax=axes, label=label, shrink=0.9, aspect=25, pad=0.02)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]  (its stubs take it for a function)
