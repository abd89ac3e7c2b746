"""States over time, with what the neuron compares them to."""

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from .._util.state import leaves
from ..core.neuron import Dynamics
from ..core.ode import ODENeuron
from ..core.resets import ResetToValue
from ..wrappers import Wrapper
from .canvas import axes_for, colors, GREY, milliseconds, ORANGE, over_time, symbol


def traces(
    states: Any,
    axes: Axes | None = None,
    *,
    part: str = "v",
    spikes: Tensor | None = None,
    neuron: Dynamics[Any] | None = None,
    dt: float | None = None,
    sample: int | None = None,
    color: Any = None,
    **style: Any,
) -> Axes:
    """One part of the state over time, one line for each neuron; with its spikes, and with the threshold and reset of a `neuron`.

    Args:
        states: What a run with `record_states` returned, or a tensor of shape (time, neurons), (time,), or (time, batch, ...).
        axes: Where to draw. Default: pyplot's current axes, or new ones.
        part: Which part of the state, such as `"i"`; of a nested state the last name is enough.
        spikes: The output of the same run, marked above the lines.
        neuron: The model that ran. With it, lines show where `v` makes it spike, and where a spike resets it to.
        dt: Step size in seconds. Default: the neuron's, or 1 ms.
        sample: Which one of a batch.
        color: One color, or one for each neuron.
        **style: More of matplotlib's `Line2D`.

    Raises:
        TypeError: If `states` are neither states nor a tensor, or `neuron` is given without states.
        ValueError: If there is no such part, a shape is not one of these, or the spikes are of another run.
    """
    recorded = hasattr(states, "_fields")
    if neuron is not None and not recorded:
        raise TypeError(
            f"traces finds the neuron's threshold from its recorded states, got {type(states).__name__}; run it with record_states=True."
        )
    values = over_time("traces", part_of("traces", states, part) if recorded else states, sample)
    ts, end = milliseconds("traces", len(values), getattr(neuron, "dt", 1e-3) if dt is None else dt)
    fired = None if spikes is None else over_time("traces", spikes, sample)
    if fired is not None and fired.shape != values.shape:
        raise ValueError(
            f"traces: spikes have shape {fired.shape}, but the state {values.shape} over time and neurons."
        )
    neurons = values.shape[1]
    shades = colors("traces", color, neurons)
    axes = axes_for("traces", axes)
    lines = [axes.plot(ts, v, color=shade, **style)[0] for v, shade in zip(values.T, shades, strict=True)]
    highest = [values.max()]
    if neuron is not None and part.split(".")[-1] == "v":
        level = threshold(neuron, states)
        if level is not None:
            levels = over_time("traces", level, sample)
            same = np.allclose(levels, levels[:, :1], atol=1e-5 * np.abs(values).max())
            axes.plot(ts, levels[:, :1] if same else levels, color=GREY, linestyle="--", linewidth=0.7, zorder=1)
            _name_line(axes, "threshold", levels[-1].max())
            highest.append(levels.max())
        for v in np.unique(_resets(neuron)):
            axes.axhline(v, color=GREY, linestyle=":", linewidth=0.7, zorder=1)
            _name_line(axes, "reset", v)
    if fired is not None:
        top, height = max(highest), (max(highest) - values.min()) or 1.0
        # Rows of ticks above the lines, in their colors; one neuron's stand out from its line.
        step = min(0.15, 0.6 / len(lines)) * height
        for k, line in enumerate(lines):
            at, low = ts[fired[:, k] != 0], top + 0.06 * height + step * k
            axes.vlines(at, low, low + 0.8 * step, color=line.get_color() if len(lines) > 1 else ORANGE, linewidth=1.0)
    axes.set(xlabel="time (ms)", ylabel=symbol(part) if recorded else "", xlim=(0, end))
    return axes


def part_of(caller: str, states: Any, name: str) -> Tensor:
    """The part of a state of this dotted name, or whose last name it is."""
    found = dict(leaves(states))
    for key in (name, *(key for key in found if key.split(".")[-1] == name)):
        if key in found:
            return found[key]
    raise ValueError(f"{caller}: {type(states).__name__} has no part {name!r}; it has {', '.join(found)}.")


def threshold(neuron: Dynamics[Any], states: Any) -> Tensor | None:
    """The potential at which a neuron would spike, at every step of recorded states.

    Returns:
        Shape of the potential; `None` for models whose distance to threshold does not grow as the potential does, or that do not spike.
    """
    inner = unwrapped(neuron)
    while isinstance(getattr(states, "neuron", None), tuple):
        states = states.neuron
    if not hasattr(neuron, "surrogate") or not hasattr(states, "v"):
        return None
    with torch.no_grad():
        if not isinstance(inner, ODENeuron):
            return inner.v_th.expand_as(states.v) if hasattr(inner, "v_th") else None
        distance = inner.threshold(states, states)
        above = states._replace(v=states.v + 1)
        return states.v - distance if torch.allclose(inner.threshold(above, above), distance + 1, atol=1e-4) else None


def unwrapped(neuron: Any) -> Any:
    """The model inside wrappers such as `Refractory`, which hold it, and its state, as `neuron`."""
    while isinstance(neuron, Wrapper):
        neuron = neuron.neuron
    return neuron


def _resets(neuron: Dynamics[Any]) -> np.ndarray:
    inner = unwrapped(neuron)
    to_value = isinstance(getattr(inner, "reset_mechanism", ResetToValue()), ResetToValue)
    return inner.v_reset.numpy(force=True) if to_value and hasattr(inner, "v_reset") else np.array([])


def _name_line(axes: Axes, text: str, height: float) -> None:
    """Write at the right end of a line what it is."""
    axes.annotate(
        text,
        (1, height),
        xycoords=axes.get_yaxis_transform(),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        color=GREY,
        fontsize="small",
        annotation_clip=False,
    )
