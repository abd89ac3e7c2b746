"""The style of all plots, and helpers for axes."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import is_color_like
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import ColorType
from mpl_toolkits.mplot3d import Axes3D

# One color for all neurons, or one for each.
Colors = ColorType | Sequence[ColorType]

# Distinguishable with red-green color blindness: M. Okabe & K. Ito, Color universal design, 2008.
BLUE, ORANGE = "#0072B2", "#D55E00"
PALETTE = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000")
INK, GRAY = "0.1", "0.55"

# The keys are any: only recent versions of matplotlib have a type for them.
STYLE: dict[Any, Any] = {
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
    """Context manager that applies `STYLE`, the style of a figure in a paper.

    Use it as ``with geir.plot.style():`` around the code that creates a figure. Afterwards matplotlib's
    previous settings are restored.
    """
    return matplotlib.rc_context(STYLE)


def get_axes(caller: str, ax: Axes | None) -> Axes:
    """The two-dimensional axes to draw into: `ax`, or if it is `None`, pyplot's current axes or new ones in `style`."""
    if ax is None:
        # Imported here because pyplot chooses a backend, which drawing into given axes must not do.
        from matplotlib import pyplot

        with style():
            ax = pyplot.gca()
    _check_axes(caller, ax)
    if isinstance(ax, Axes3D):
        raise ValueError(f"{caller} expected two-dimensional axes; create them with figure.add_subplot().")
    return ax


# Returns `Any` because mplot3d has no type hints.
def get_axes_3d(caller: str, ax: Axes | None) -> Any:
    """The three-dimensional axes to draw into: `ax`, or if it is `None`, those of a new figure in `style`."""
    if ax is None:
        from matplotlib import pyplot

        with style():
            ax = pyplot.figure().add_subplot(projection="3d")
    _check_axes(caller, ax)
    if not isinstance(ax, Axes3D):
        raise ValueError(
            f"{caller} expected three-dimensional axes; create them with figure.add_subplot(projection='3d')."
        )
    return ax


def _check_axes(caller: str, ax: object) -> None:
    if not isinstance(ax, Axes):
        hint = " Pass one of them." if isinstance(ax, np.ndarray | list | tuple) else ""
        raise TypeError(f"{caller} expected matplotlib Axes, got {type(ax).__name__}.{hint}")


def neuron_colors(caller: str, color: Colors | None, neurons: int) -> Sequence[object]:
    """One color for each neuron; by default those of the palette in turn."""
    if color is None:
        return [PALETTE[k % len(PALETTE)] for k in range(neurons)]
    if is_color_like(color):
        return [color] * neurons
    if len(color) != neurons:
        raise ValueError(
            f"{caller}: color must be one color, or one color for each of {neurons} neurons, got {len(color)} colors."
        )
    return list(color)


def label_neurons(ax: Axes) -> None:
    """Label the vertical axis as a number of neurons."""
    ax.set_ylabel("neuron")
    set_integer_ticks(ax.yaxis)


def set_integer_ticks(*axis_objects: Axis) -> None:
    """Set a few ticks at integers."""
    for axis in axis_objects:
        axis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))


def variable_label(name: str) -> str:
    """The label of a state variable: the last part of its dotted name, in italics if it is a single letter."""
    short = name.split(".")[-1]
    return f"${short}$" if len(short) == 1 else short


def add_colorbar(ax: Axes, mappable: ScalarMappable, label: str | None) -> None:
    """Add a color bar beside the axes unless `label` is `None`."""
    if label is not None:
        bar = ax.figure.colorbar(mappable, ax=ax, label=label, shrink=0.9, aspect=25, pad=0.02)
        bar.ax.spines["outline"].set_visible(False)
