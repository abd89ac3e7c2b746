"""What the executed pages draw with: the look of every picture, and the picture of a model's response."""

import inspect
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats
from torch import Tensor

import geir
import geir.plot
from geir._util.state import map_state
from geir.plot import BLUE as BLUE, GREY as GREY, ORANGE as ORANGE
from geir.plot.models import input_jumps

# On a page: no background, and the same file at every build.
STYLE = geir.plot.STYLE | {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "figure.figsize": (7.2, 3.0),
    "font.size": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "svg.hashsalt": "geir",
}


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
    """One neuron of a model with its default parameters, or two compartments; a wrapper is put around a LIF neuron."""
    given = {"neuron": geir.LIF(), "hidden_size": 2}
    return model(*(given[p.name] for p in inspect.signature(model).parameters.values() if p.default is p.empty))


def into_first(neuron: Any, xs: Tensor) -> Tensor:
    """The input of one neuron as that of the first compartment, where there are several."""
    return xs[:, None] * torch.eye(neuron.hidden_size)[0] if hasattr(neuron, "hidden_size") else xs


def typical_input(neuron: Any, seconds: float = 0.2) -> Tensor:
    """Silence, then random spikes or a current for most of the time, then silence; strong enough for at least 6 output spikes."""
    steps = round(seconds / neuron.dt)
    xs = torch.zeros(steps)
    on = slice(steps // 10, 3 * steps // 4)
    if input_jumps(neuron):
        xs[on] = (torch.rand(steps, generator=torch.Generator().manual_seed(3))[on] < 150 * neuron.dt).float()
    else:
        xs[on] = 1.0
    if not hasattr(neuron, "surrogate"):
        return xs
    for gain in (2 ** (k / 4) for k in range(-24, 40)):
        zs, _ = neuron(into_first(neuron, gain * xs))
        if zs.sum() >= 6:
            return round(gain, 2) * xs
    raise AssertionError(f"{type(neuron).__name__} does not spike at any strength of input.")


def response(neuron: Any) -> Figure:
    """The picture of one neuron's input, its membrane potential with its spikes, and every other part of its state."""
    neuron.record_states = True
    torch.manual_seed(0)
    with torch.no_grad():
        xs = typical_input(neuron)
        zs, states = neuron(into_first(neuron, xs))
    several = zs.dim() > 1
    first, of_first = (map_state(lambda part: part[:, 0], states), zs[:, 0]) if several else (states, zs)
    ts, traces = milliseconds(xs, neuron.dt), [trace for trace in parts(states) if "generator" not in trace[0]]
    # The potential first.
    traces.sort(key=lambda trace: trace[0].split(".")[-1] != "v")
    heights = (0.6, *(1.4 if name.split(".")[-1] == "v" else 0.8 for name, _, _ in traces))
    figure = Figure(figsize=(7.2, 1.05 * sum(heights) + 0.4))
    top, *rows = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    if input_jumps(neuron):
        geir.plot.raster(xs, top, dt=neuron.dt)
        top.set(xlabel="", ylabel="", yticks=[], title=f"input: spikes of weight {xs.max():.2g}")
        top.spines["left"].set_visible(False)
    else:
        top.plot(ts, xs, color="k", drawstyle="steps-post")
        top.set_title("input current, $x$")
    for axes, (name, meaning, values) in zip(rows, traces, strict=True):
        short = name.split(".")[-1]
        if several:
            axes.plot(ts, values[:, 1:], color=GREY)
        spikes = of_first if short == "v" and hasattr(neuron, "surrogate") else None
        geir.plot.traces(first, axes, part=name, neuron=neuron, spikes=spikes)
        axes.set(xlabel="", ylabel="", title=f"{meaning}, ${short}$" if len(short) == 1 else f"{short}: {meaning}")
    rows[-1].set_xlabel("time (ms)")
    return figure
