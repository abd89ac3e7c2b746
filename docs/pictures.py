"""Figures of the executed pages: their style, and the figure of a model's response."""

import inspect
import re
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats
from torch import Tensor

import geir
import geir.plot
from geir._util.state import map_state
from geir.plot import BLUE as BLUE, GRAY as GRAY, ORANGE as ORANGE
from geir.plot.curves import input_is_impulse

# Transparent background, and the same SVG file in every build.
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

# A typical input makes a neuron spike at least this many times.
MIN_SPIKES = 6


class Variable(NamedTuple):
    """A state variable."""

    name: str  # dotted name
    meaning: str
    value: Tensor

    @property
    def short_name(self) -> str:
        return self.name.split(".")[-1]


def setup() -> None:
    """Set the style of the figures of an executed page."""
    plt.rcParams.update(STYLE)
    set_matplotlib_formats("svg", metadata={"Date": None}, bbox_inches=None)


def draw_response(model: type[geir.Dynamics], path: Path) -> None:
    """Save the figure of a model's response as SVG."""
    with plt.rc_context(STYLE):
        response(example(model)).savefig(path, metadata={"Date": None})


def milliseconds(values: Tensor, dt: float = 1e-3) -> Tensor:
    """The time of every step of `values`, in ms."""
    return 1e3 * dt * torch.arange(len(values))


def field_comments(state_class: type) -> dict[str, str]:
    """The comment at each field of a state, which describes it."""
    return dict(re.findall(r"^    (\w+):[^#\n]*#\s*(.+)$", inspect.getsource(state_class), re.MULTILINE))


def state_variables(state: tuple, prefix: str = "") -> list[Variable]:
    """All variables of a state, including those of nested states."""
    variables = []
    comments = field_comments(type(state))
    for name, value in zip(state._fields, state, strict=True):
        if isinstance(value, tuple):
            variables += state_variables(value, f"{prefix}{name}.")
        else:
            variables.append(Variable(prefix + name, comments.get(name, ""), value))
    return variables


def example(model: type[geir.Dynamics]) -> geir.Dynamics:
    """One neuron of a model with default parameters. A wrapper is put around LIF; there are two compartments."""
    arguments = {"neuron": geir.LIF(), "hidden_size": 2}
    required = [p.name for p in inspect.signature(model).parameters.values() if p.default is p.empty]
    return model(*(arguments[name] for name in required))


def as_input(neuron: geir.Dynamics, xs: Tensor) -> Any:
    """The input of a neuron, shape (time,), as input of its first compartment, or of all of its receptors."""
    if torch.Tensor not in neuron.input_types:
        receptors: Any = neuron.input_types[0]
        return receptors(*(xs for _ in receptors._fields))
    return xs[:, None] * torch.eye(neuron.hidden_size)[0] if hasattr(neuron, "hidden_size") else xs


def typical_input(neuron: geir.Dynamics, seconds: float = 0.2) -> Tensor:
    """Random spikes, or a constant current, between two silent periods, strong enough for several output spikes."""
    steps = round(seconds / neuron.dt)
    xs = torch.zeros(steps)
    active = slice(steps // 10, 3 * steps // 4)
    if input_is_impulse(neuron):
        random = torch.rand(steps, generator=torch.Generator().manual_seed(3))
        xs[active] = (random[active] < 150 * neuron.dt).float()
    else:
        xs[active] = 1.0
    if not neuron.spiking:
        return xs
    for gain in (2 ** (k / 4) for k in range(-24, 40)):
        zs, _ = neuron(as_input(neuron, gain * xs))
        if zs.sum() >= MIN_SPIKES:
            return round(gain, 2) * xs
    raise AssertionError(f"{type(neuron).__name__} does not spike for any strength of input.")


def response(neuron: geir.Dynamics) -> Figure:
    """The figure of a neuron's input, its membrane potential with its spikes, and its other state variables."""
    neuron.record_states = True
    torch.manual_seed(0)
    with torch.no_grad():
        xs = typical_input(neuron)
        zs, states = neuron(as_input(neuron, xs))
    variables = [variable for variable in state_variables(states) if "generator" not in variable.name]
    # The membrane potential comes first.
    variables.sort(key=lambda variable: variable.short_name != "v")
    heights = (0.6, *(1.4 if variable.short_name == "v" else 0.8 for variable in variables))
    figure = Figure(figsize=(7.2, 1.05 * sum(heights) + 0.4))
    top, *rows = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    draw_input(top, neuron, xs)
    # Of several compartments, the first is drawn as a trace and the others in gray.
    has_compartments = zs.dim() > 1
    first_states = map_state(lambda part: part[:, 0], states) if has_compartments else states
    first_zs = zs[:, 0] if has_compartments else zs
    for ax, variable in zip(rows, variables, strict=True):
        name = variable.short_name
        if has_compartments:
            ax.plot(milliseconds(xs, neuron.dt), variable.value[:, 1:], color=GRAY)
        spikes = first_zs if name == "v" and neuron.spiking else None
        geir.plot.traces(first_states, ax, variable=variable.name, neuron=neuron, spikes=spikes)
        title = f"{variable.meaning}, ${name}$" if len(name) == 1 else f"{name}: {variable.meaning}"
        ax.set(xlabel="", ylabel="", title=title)
    rows[-1].set_xlabel("time (ms)")
    return figure


def draw_input(ax: Axes, neuron: geir.Dynamics, xs: Tensor) -> None:
    """Draw the input of a neuron as spikes, or as a current."""
    if input_is_impulse(neuron):
        geir.plot.raster(xs, ax, dt=neuron.dt)
        ax.set(xlabel="", ylabel="", yticks=[], title=f"input: spikes of weight {xs.max():.2g}")
        ax.spines["left"].set_visible(False)
    else:
        ax.plot(milliseconds(xs, neuron.dt), xs, color="k", drawstyle="steps-post")
        ax.set_title("input current, $x$")
