"""State variables over time, with the spikes, threshold and reset of the neuron."""

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor

from .._util.state import leaves
from ..core.neuron import Dynamics
from ..core.ode import ODENeuron
from ..core.resets import ResetToValue
from ..wrappers import Wrapper
from ._arrays import time_axis, to_time_by_neuron
from ._style import Colors, get_axes, GRAY, neuron_colors, ORANGE, variable_label

DEFAULT_DT = 1e-3


def traces(
    states: tuple[Any, ...] | Tensor,
    ax: Axes | None = None,
    *,
    variable: str = "v",
    spikes: Tensor | None = None,
    neuron: Dynamics | None = None,
    dt: float | None = None,
    sample: int | None = None,
    color: Colors | None = None,
    **kwargs: Any,
) -> Axes:
    """Plot a state variable over time, with one line for each neuron.

    Args:
        states: States recorded with ``record_states=True``, or a tensor of shape (time, neurons) or
            (time,), or (time, batch, ...) with `sample`.
        ax: Axes to draw into. Default: pyplot's current axes, or new ones.
        variable: Name of the state variable, such as `"i"`. In a nested state, the last part of the
            dotted name suffices.
        spikes: Output of the same run, drawn as ticks above the lines.
        neuron: The neuron that was run. If given, its threshold and its reset potential are drawn
            beside its potential `v`.
        dt: Step size in seconds. Default: that of `neuron`, or 1 ms.
        sample: Index of the sample of a batch to draw.
        color: One color, or one for each neuron. Default: the colors of the palette in turn.
        **kwargs: Passed to `Axes.plot`.

    Returns:
        The axes.

    Raises:
        TypeError: If `states` is neither a recorded state nor a tensor, or `neuron` is given without
            recorded states.
        ValueError: If the state has no such variable, a shape is not one of these, or `spikes` has
            another shape.
    """
    recorded = hasattr(states, "_fields")
    if neuron is not None and not recorded:
        raise TypeError(
            "traces computes the threshold of the neuron from its recorded states, "
            f"got {type(states).__name__}; run the neuron with record_states=True."
        )
    values = to_time_by_neuron("traces", find_variable("traces", states, variable) if recorded else states, sample)
    if dt is None:
        dt = DEFAULT_DT if neuron is None else neuron.dt
    times, end = time_axis("traces", len(values), dt)
    spiked = None if spikes is None else to_time_by_neuron("traces", spikes, sample) != 0
    if spiked is not None and spiked.shape != values.shape:
        raise ValueError(
            f"traces: spikes of shape {spiked.shape} do not match the state of shape {values.shape}; "
            "both must be from the same run."
        )
    line_colors = neuron_colors("traces", color, values.shape[1])
    ax = get_axes("traces", ax)
    lines = [ax.plot(times, v, color=c, **kwargs)[0] for v, c in zip(values.T, line_colors, strict=True)]
    top = values.max()
    if neuron is not None and variable.split(".")[-1] == "v":
        levels = _threshold_levels(neuron, states, sample)
        if levels is not None:
            _draw_threshold(ax, times, levels, tolerance=1e-5 * np.abs(values).max())
            top = max(top, levels.max())
        _draw_resets(ax, neuron)
    if spiked is not None:
        _draw_ticks(ax, times, spiked, lines, bottom=values.min(), top=top)
    ax.set(xlabel="time (ms)", ylabel=variable_label(variable) if recorded else "", xlim=(0, end))
    return ax


def find_variable(caller: str, states: object, name: str) -> Tensor:
    """The state variable with this dotted name, or else the first whose dotted name ends with it."""
    variables = dict(leaves(states))
    for key in (name, *(key for key in variables if key.split(".")[-1] == name)):
        if key in variables:
            return variables[key]
    raise ValueError(
        f"{caller}: {type(states).__name__} has no variable {name!r}; its variables are {', '.join(variables)}."
    )


def threshold_potential(neuron: Dynamics, states: Any) -> Tensor | None:
    """The membrane potential at which a neuron spikes, at every step of its recorded states.

    Args:
        neuron: The neuron that was run.
        states: States recorded with ``record_states=True``.

    Returns:
        The threshold, in the shape of the potential. `None` for models that do not spike, and for
        models whose distance to threshold is not the potential minus a threshold.
    """
    inner = unwrap(neuron)
    while isinstance(getattr(states, "neuron", None), tuple):
        states = states.neuron
    if not neuron.spiking or not hasattr(states, "v"):
        return None
    with torch.no_grad():
        if not isinstance(inner, ODENeuron):
            return inner.v_th.expand_as(states.v) if hasattr(inner, "v_th") else None
        distance = inner.threshold(states, states)
        shifted = states._replace(v=states.v + 1)
        is_difference = torch.allclose(inner.threshold(shifted, shifted), distance + 1, atol=1e-4)
        return states.v - distance if is_difference else None


def unwrap(neuron: Any) -> Any:
    """The model inside wrappers such as `Refractory`."""
    while isinstance(neuron, Wrapper):
        neuron = neuron.neuron
    return neuron


def _threshold_levels(neuron: Dynamics, states: object, sample: int | None) -> np.ndarray | None:
    """The threshold, shape (time, neurons)."""
    threshold = threshold_potential(neuron, states)
    return None if threshold is None else to_time_by_neuron("traces", threshold, sample)


def _draw_threshold(ax: Axes, times: np.ndarray, levels: np.ndarray, tolerance: float) -> None:
    shared = np.allclose(levels, levels[:, :1], atol=tolerance)
    ax.plot(times, levels[:, :1] if shared else levels, color=GRAY, linestyle="--", linewidth=0.7, zorder=1)
    _label_line(ax, "threshold", levels[-1].max())


def _draw_resets(ax: Axes, neuron: Dynamics) -> None:
    inner = unwrap(neuron)
    resets_to_value = isinstance(getattr(inner, "reset_mechanism", ResetToValue()), ResetToValue)
    if resets_to_value and hasattr(inner, "v_reset"):
        for v in np.unique(inner.v_reset.numpy(force=True)):
            ax.axhline(v, color=GRAY, linestyle=":", linewidth=0.7, zorder=1)
            _label_line(ax, "reset", v)


def _draw_ticks(
    ax: Axes, times: np.ndarray, spiked: np.ndarray, lines: list[Line2D], bottom: float, top: float
) -> None:
    """Draw the spikes of each line as a row of ticks above the lines, which span the heights from `bottom` to `top`."""
    height = (top - bottom) or 1.0
    row_height = min(0.15, 0.6 / len(lines)) * height
    for k, line in enumerate(lines):
        y = top + 0.06 * height + row_height * k
        # The ticks have the color of their line, except that those of a single neuron contrast with it.
        color = line.get_color() if len(lines) > 1 else ORANGE
        ax.vlines(times[spiked[:, k]], y, y + 0.8 * row_height, color=color, linewidth=1.0)


def _label_line(ax: Axes, text: str, y: float) -> None:
    """Write the name of a horizontal line at its right end."""
    ax.annotate(
        text,
        (1, y),
        xycoords=ax.get_yaxis_transform(),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        color=GRAY,
        fontsize="small",
        annotation_clip=False,
    )
