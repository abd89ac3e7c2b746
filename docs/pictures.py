"""What the executed pages draw with: the look of every picture, and the picture of a model's response."""

import inspect
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats
from torch import Tensor

import geir
from geir.ode import ODE, ODENeuron

STYLE = {
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "figure.figsize": (7.2, 3.0),
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "svg.hashsalt": "geir",
}
BLUE, ORANGE, GREY = "#2660a4", "#c4541d", "0.55"


def setup() -> None:
    """Set the look of the pictures of an executed page."""
    plt.rcParams.update(STYLE)
    set_matplotlib_formats("svg", metadata={"Date": None}, bbox_inches=None)


def draw_response(model: type, path: Path) -> None:
    """Write the picture of a model's response as SVG."""
    with plt.rc_context(STYLE):
        response(example(model)).savefig(path, metadata={"Date": None})


def milliseconds(values: Tensor, dt: float = 1e-3) -> Tensor:
    """The time of every step of `values`, in ms."""
    return 1e3 * dt * torch.arange(len(values))


def raster(axes: Axes, zs: Tensor, dt: float = 1e-3, **style: Any) -> None:
    """Mark the spikes of shape (time, neurons), one line of marks for each neuron."""
    trains = [1e3 * dt * train.nonzero().flatten() for train in zs.detach().T]
    axes.eventplot(trains, **{"lineoffsets": range(len(trains)), "linewidths": 1, "colors": "k", "linelengths": 0.8} | style)
    axes.set(ylim=(-0.6, len(trains) - 0.4), xlim=(0, 1e3 * dt * len(zs)))


def meanings(state: type) -> dict[str, str]:
    """What each part of a state means: the comments at the fields of its named tuple."""
    found = re.findall(r"^    (\w+):[^#\n]*#\s*(.+)$", inspect.getsource(state), re.MULTILINE)
    return dict(found)


def parts(state: Any, prefix: str = "") -> list[tuple[str, str, Tensor]]:
    """Name, meaning and value of every tensor in a state, nested ones included."""
    found = []
    for name, part in zip(state._fields, state, strict=True):
        meaning = meanings(type(state)).get(name, "")
        found += parts(part, f"{prefix}{name}.") if isinstance(part, tuple) else [(prefix + name, meaning, part)]
    return found


def example(model: type) -> geir.Dynamics:
    """One neuron of a model with its default parameters; a wrapper is put around a LIF neuron."""
    needed = [p for p in inspect.signature(model).parameters.values() if p.default is p.empty]
    return model(*(geir.LIF() for _ in needed))


def takes_spikes(neuron: Any) -> bool:
    """Whether input makes the state jump, so that spikes are the natural input."""
    inner = getattr(neuron, "neuron", neuron)
    return isinstance(inner, ODE) and type(inner).receive is not ODE.receive


def typical_input(neuron: Any, seconds: float = 0.2) -> Tensor:
    """Silence, then random spikes or a current for most of the time, then silence; strong enough for at least 6 output spikes."""
    steps = round(seconds / neuron.dt)
    xs = torch.zeros(steps)
    on = slice(steps // 10, 3 * steps // 4)
    if takes_spikes(neuron):
        xs[on] = (torch.rand(steps, generator=torch.Generator().manual_seed(3))[on] < 150 * neuron.dt).float()
    else:
        xs[on] = 1.0
    if not hasattr(neuron, "surrogate"):
        return xs
    for gain in (2 ** (k / 4) for k in range(-24, 40)):
        zs, _ = neuron(gain * xs)
        if zs.sum() >= 6:
            return round(gain, 2) * xs
    raise AssertionError(f"{type(neuron).__name__} does not spike at any strength of input.")


def threshold(neuron: Any, states: Any) -> Tensor | None:
    """The potential at which the neuron spikes, at every step, if its distance to threshold grows as its potential does."""
    inner, states = getattr(neuron, "neuron", neuron), getattr(states, "neuron", states)
    if not isinstance(inner, ODENeuron):
        return inner.v_th.expand(len(states.v)) if hasattr(inner, "v_th") and hasattr(neuron, "surrogate") else None
    distance = inner.threshold(states, states)
    above = states._replace(v=states.v + 1)
    return states.v - distance if torch.allclose(inner.threshold(above, above), distance + 1, atol=1e-4) else None


def response(neuron: Any) -> Figure:
    """The picture of one neuron's input, its membrane potential with its spikes, and every other part of its state."""
    neuron.record_states = True
    with torch.no_grad():
        xs = typical_input(neuron)
        zs, states = neuron(xs)
        level = threshold(neuron, states)
    ts, traces = milliseconds(xs, neuron.dt), parts(states)
    # The potential first.
    traces.sort(key=lambda trace: trace[0].split(".")[-1] != "v")
    heights = (0.6, *(1.4 if name.split(".")[-1] == "v" else 0.8 for name, _, _ in traces))
    figure = Figure(figsize=(7.2, 1.05 * sum(heights) + 0.4))
    top, *rows = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    if takes_spikes(neuron):
        raster(top, xs[:, None], neuron.dt)
        top.set(yticks=[], title=f"input: spikes of weight {xs.max():.2g}")
        top.spines["left"].set_visible(False)
    else:
        top.plot(ts, xs, color="k", drawstyle="steps-post")
        top.set_title("input current, $x$")
    for axes, (name, meaning, values) in zip(rows, traces, strict=True):
        short = name.split(".")[-1]
        axes.plot(ts, values, color=BLUE)
        axes.set_title(f"{meaning}, ${short}$" if len(short) == 1 else f"{short}: {meaning}")
        if short == "v" and hasattr(neuron, "surrogate"):
            mark_spikes(axes, ts, zs, values, level)
    rows[-1].set(xlabel="time (ms)", xlim=(0, 1e3 * neuron.dt * len(ts)))
    return figure


def mark_spikes(axes: Axes, ts: Tensor, zs: Tensor, v: Tensor, level: Tensor | None = None) -> None:
    """Mark the spikes above a potential, and draw the threshold."""
    top = float(v.max() if level is None else torch.maximum(v, level).max())
    if level is not None:
        axes.plot(ts, level, color=GREY, linestyle="--", linewidth=0.8, label="threshold")
    height = top - float(v.min())
    axes.vlines(ts[zs > 0], top + 0.08 * height, top + 0.3 * height, color=ORANGE, linewidth=1.2, label="spike")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0, borderaxespad=0.2)
