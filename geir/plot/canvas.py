"""What all pictures share: the look, the axes, and tensors as arrays over time."""

from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import numpy as np
import torch
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import is_color_like
from matplotlib.ticker import MaxNLocator
from torch import Tensor

# Distinguishable without red-green vision: M. Okabe & K. Ito, Color universal design, 2008.
BLUE, ORANGE = "#0072B2", "#D55E00"
PALETTE = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000")
INK, GREY = "0.1", "0.55"

STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "figure.figsize": (4.8, 3.0),
    "figure.dpi": 150,
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "0.25",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes3d.xaxis.panecolor": "none",
    "axes3d.yaxis.panecolor": "none",
    "axes3d.zaxis.panecolor": "none",
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": "0.25",
    "ytick.color": "0.25",
    "legend.frameon": False,
    "legend.fontsize": 7,
    "legend.handlelength": 1.4,
    "lines.linewidth": 1.0,
    "pdf.fonttype": 42,
}


def style() -> AbstractContextManager[None]:
    """The look of a paper's figure, `STYLE`, for the figures made inside ``with geir.plot.style():``; matplotlib's settings are restored."""
    return matplotlib.rc_context(STYLE)  # pyright: ignore[reportArgumentType]  (its stubs list the names)


def axes_for(caller: str, axes: Axes | None, projection: str = "rectilinear") -> Axes:
    """The axes to draw into: those given, else pyplot's current ones or new ones in the look of `style`."""
    if axes is None:
        from matplotlib import pyplot  # only here: drawing into given axes must not choose a backend

        with style():
            axes = pyplot.gca() if projection == "rectilinear" else pyplot.figure().add_subplot(projection=projection)  # pyright: ignore[reportCallIssue, reportArgumentType]
    if not isinstance(axes, Axes):
        hint = " Draw into one of them." if isinstance(axes, np.ndarray | list | tuple) else ""
        raise TypeError(f"{caller} draws into matplotlib Axes, got {type(axes).__name__}.{hint}")
    if (axes.name == "3d") != (projection == "3d"):
        cure = "figure.add_subplot(projection='3d')" if projection == "3d" else "figure.add_subplot()"
        raise ValueError(
            f"{caller} draws into {'three' if projection == '3d' else 'two'}-dimensional axes; make them with {cure}."
        )
    return axes


def array(caller: str, values: Any) -> np.ndarray:
    """A tensor as an array of floats."""
    if not isinstance(values, Tensor | np.ndarray):
        hint = " A neuron returns a pair: zs, state = neuron(xs)." if isinstance(values, tuple) else ""
        raise TypeError(f"{caller} takes a tensor, got {type(values).__name__}.{hint}")
    values = torch.as_tensor(values)
    if values.is_complex():
        raise TypeError(f"{caller} takes real values, got {values.dtype}.")
    return values.to(dtype=values.dtype if values.dtype == torch.float64 else torch.float32).numpy(force=True)


def one_sample(caller: str, values: np.ndarray, sample: int | None) -> np.ndarray:
    """Of (time, batch, ...) the sample chosen, (time, ...); all of it if none is."""
    if values.ndim == 0:
        raise ValueError(
            f"{caller} takes values over time, (time, ...), got one number; stack the steps with torch.stack."
        )
    if sample is None:
        return values
    if values.ndim < 2 or not -values.shape[1] <= sample < values.shape[1]:
        raise ValueError(f"{caller}: sample={sample} is none of the batch of (time, batch, ...) = {values.shape}.")
    return values[:, sample]


def over_time(caller: str, values: Any, sample: int | None = None) -> np.ndarray:
    """Values of shape (time, neurons), of one neuron if they are (time,), and of a batch the chosen sample with its neurons in one row."""
    values = one_sample(caller, array(caller, values), sample)
    if values.ndim == 1:
        values = values[:, None]
    if sample is not None:
        values = values.reshape(len(values), -1)
    if values.ndim > 2:
        raise ValueError(
            f"{caller} takes (time, neurons), got shape {values.shape}; choose one of a batch with sample=0, or flatten with zs.flatten(1)."
        )
    if not values.size:
        raise ValueError(f"{caller} takes at least one step of one neuron, got shape {values.shape}.")
    return values


def milliseconds(caller: str, steps: int, dt: float) -> tuple[np.ndarray, float]:
    """The time of every step, and of the end of the last, in ms."""
    if not dt > 0:
        raise ValueError(f"{caller}: dt must be a positive number of seconds, got {dt}.")
    return 1e3 * dt * np.arange(steps), 1e3 * dt * steps


def colors(caller: str, color: Any, neurons: int) -> list[Any]:
    """A color for each neuron, from one for all, one for each, or none: then they take turns in the palette's."""
    if color is None:
        return [PALETTE[k % len(PALETTE)] for k in range(neurons)]
    if is_color_like(color):
        return [color] * neurons
    if len(color) != neurons:
        raise ValueError(f"{caller}: color must be one color, or one for each of {neurons} neurons, got {len(color)}.")
    return list(color)


def number_neurons(axes: Axes) -> None:
    """Ticks at whole neurons."""
    axes.set_ylabel("neuron")
    whole_ticks(axes.yaxis)


def whole_ticks(*sides: Axis) -> None:
    """A few ticks, at whole numbers."""
    for side in sides:
        side.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))


def symbol(name: str) -> str:
    """A part of a state as it is written at an axis: a single letter in italics."""
    short = name.split(".")[-1]
    return f"${short}$" if len(short) == 1 else short
