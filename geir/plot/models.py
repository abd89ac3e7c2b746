"""What a model does, found by running it or by its equations."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from .._util.state import leaves, tensors_of
from ..core.neuron import Dynamics
from ..core.ode import ODE
from ..wrappers import CellMixin
from .canvas import array, axes_for, BLUE, colors, GREY, INK, ORANGE, over_time, symbol
from .states import part_of, unwrapped


def f_i_curve(
    neuron: Dynamics[Any],
    axes: Axes | None = None,
    *,
    inputs: Any = None,
    duration: float = 1.0,
    settle: float = 0.2,
    color: Any = None,
    **style: Any,
) -> Axes:
    """A neuron's firing rate against constant input, from runs of the neuron.

    The rate is one over the mean interval between spikes, once the neuron has run for `settle`; 0 with fewer than two spikes.

    Args:
        neuron: A layer over time such as `LIF()`, not recurrent. Parameters with one value per neuron give one curve each.
        axes: Where to draw. Default: pyplot's current axes, or new ones.
        inputs: Inputs, shape (n,), each given at every step; for models with a synapse, to which input is a jump, that is a jump at every step.
            Default: 101 of them from 0 to 3.
        duration: Seconds over which spikes are counted.
        settle: Seconds before that.
        color: One color, or one for each neuron.
        **style: More of matplotlib's `Line2D`.

    Raises:
        TypeError: If `neuron` is not a layer over time that spikes.
        ValueError: If it is recurrent, `inputs` are not of shape (n,), or a time is negative.
    """
    if not isinstance(neuron, Dynamics) or isinstance(neuron, CellMixin) or not hasattr(neuron, "surrogate"):
        raise TypeError(f"f_i_curve takes a layer over time that spikes, such as LIF(), got {neuron!r}.")
    if any(getattr(part, "recurrent", False) for part in neuron.modules()):
        raise ValueError(
            f"f_i_curve is of one neuron, but {type(neuron).__name__} is recurrent; take the layer without recurrence."
        )
    currents = torch.as_tensor(array("f_i_curve", torch.linspace(0, 3, 101) if inputs is None else inputs))
    if currents.dim() != 1 or not len(currents):
        raise ValueError(f"f_i_curve takes inputs of shape (n,), got {tuple(currents.shape)}.")
    if not (duration > 0 and settle >= 0):
        raise ValueError(f"f_i_curve runs for a duration > 0 s after settle >= 0 s, got {duration} and {settle}.")
    hertz = _firing_rates(neuron, currents, round(settle / neuron.dt), round(duration / neuron.dt))
    shades = colors("f_i_curve", color, hertz.shape[1])
    axes = axes_for("f_i_curve", axes)
    for curve, shade in zip(hertz.T, shades, strict=True):
        axes.plot(currents, curve, color=shade, **style)
    current = isinstance(unwrapped(neuron), ODE) and not input_jumps(neuron)
    axes.set(xlabel="input current" if current else "input at every step", ylabel="firing rate (Hz)", ylim=(0, None))
    axes.margins(x=0)
    return axes


def input_jumps(neuron: Dynamics[Any]) -> bool:
    """Whether input makes the state jump, so that spikes are the natural input, and not a current."""
    inner = unwrapped(neuron)
    return isinstance(inner, ODE) and type(inner).receive is not ODE.receive


def _firing_rates(neuron: Dynamics[Any], currents: Tensor, settle: int, steps: int) -> np.ndarray:
    """Rates in Hz, shape (inputs, neurons)."""
    neuron = copy.deepcopy(neuron)
    neuron.record_states = False
    tensors = tensors_of(neuron).values()
    size = torch.broadcast_tensors(torch.zeros(()), *tensors)[0].shape
    device = next((t.device for t in tensors), None)
    with torch.no_grad():
        x = currents.reshape(-1, *(1 for _ in size)).expand(-1, *size).to(device)
        x = x.to(neuron.state_dtype(x))
        zs, _ = neuron(x.expand(settle + steps, *x.shape))
    fired = zs[settle:].cpu().flatten(1) > 0
    count = fired.sum(0)
    first = fired.int().argmax(0)
    last = len(fired) - 1 - fired.int().flip(0).argmax(0)
    hertz = torch.where(count > 1, (count - 1) / ((last - first) * neuron.dt).clamp(min=neuron.dt), 0.0)
    return hertz.reshape(len(currents), -1).numpy()


def phase_plane(
    neuron: ODE[Any],
    axes: Axes | None = None,
    *,
    parts: Sequence[str] | None = None,
    limits: Sequence[Sequence[float]] | None = None,
    x: float = 0.0,
    state: Any = None,
    trajectory: Any = None,
    spikes: Tensor | None = None,
) -> Axes:
    """The plane of two parts of a neuron's state: where each stands still (nullclines), how the state flows, and a run through it.

    All is taken from the model's `derivative`.

    Args:
        neuron: A neuron given by differential equations, with parameters for one neuron.
        axes: Where to draw. Default: pyplot's current axes, or new ones.
        parts: The two parts of the state, such as `("v", "w")`. Default: the two that there are besides a synaptic current `i`.
        limits: What to show, ``((low, high), (low, high))``. Default: where the trajectory is.
        x: Input, for models to which input is a current.
        state: The state whose other parts are held, such as a synaptic current. Default: at rest.
        trajectory: Recorded states of one neuron, drawn as a line.
        spikes: Spikes of the same run. The line is interrupted where they reset it, and begins again at an open square.

    Raises:
        TypeError: If `neuron` is not given by differential equations.
        ValueError: If it does not have two such parts, its parameters are of several neurons, or nothing tells the limits.
    """
    if not isinstance(neuron, ODE):
        raise TypeError(
            f"phase_plane takes a neuron given by differential equations, a geir.ODE such as AdEx(), got {neuron!r}."
        )
    name, held = type(neuron).__name__, neuron.rest() if state is None else state
    for key, tensor in (*neuron.declared_parameters().items(), *leaves(held)):
        if tensor.numel() != 1:
            raise ValueError(f"phase_plane draws one neuron, but {name} has {key} of shape {tuple(tensor.shape)}.")
    across, up = _two_parts(name, held, parts)
    path = (
        None
        if trajectory is None
        else np.stack([over_time("phase_plane", part_of("phase_plane", trajectory, p))[:, 0] for p in (across, up)])
    )
    if limits is None:
        if path is None:
            raise ValueError("phase_plane needs limits=((low, high), (low, high)), or a trajectory to take them from.")
        low, high = path.min(1), path.max(1)
        margin = 0.15 * (high - low)
        limits = ((low[0] - margin[0], high[0] + margin[0]), (low[1] - margin[1], high[1] + margin[1]))
    (left, right), (bottom, top) = limits
    axes = axes_for("phase_plane", axes)
    columns, rows = (torch.linspace(*ends, 300, dtype=torch.float64) for ends in ((left, right), (bottom, top)))
    grid = dict(zip((across, up), torch.meshgrid(columns, rows, indexing="xy"), strict=True))
    with torch.no_grad():
        full = type(held)(*(grid.get(key, part.double().reshape(()).expand(300, 300)) for key, part in leaves(held)))
        slopes = neuron.derivative(torch.full((300, 300), x, dtype=torch.float64), full)
    flow = [array("phase_plane", getattr(slopes, p)) for p in (across, up)]
    axes.streamplot(
        columns.numpy(), rows.numpy(), *flow, color="0.85", density=0.9, linewidth=0.5, arrowsize=0.5, zorder=0
    )
    for part, slope, color in zip((across, up), flow, (BLUE, ORANGE), strict=True):
        if slope.min() < 0 < slope.max():
            nullcline = axes.contour(columns, rows, slope, levels=[0], colors=[color], linewidths=1.2)
            axes.clabel(nullcline, fmt={0.0: rf"$\dot {part} = 0$"}, fontsize="medium")
    if path is not None:
        _draw_path(axes, path, spikes)
    axes.set(xlabel=symbol(across), ylabel=symbol(up), xlim=(left, right), ylim=(bottom, top))
    return axes


def _two_parts(name: str, state: Any, parts: Sequence[str] | None) -> tuple[str, str]:
    chosen = tuple(key for key in state._fields if key != "i") if parts is None else tuple(parts)
    if len(chosen) != 2 or not set(chosen) <= set(state._fields):
        got = f"chose {', '.join(chosen)}" if parts is not None else "left them open"
        raise ValueError(
            f"phase_plane draws two parts of {name}'s state, which has {', '.join(state._fields)}; parts= {got}."
        )
    return chosen[0], chosen[1]


def _draw_path(axes: Axes, path: np.ndarray, spikes: Tensor | None) -> None:
    fired = np.zeros(path.shape[1], bool) if spikes is None else over_time("phase_plane", spikes)[:, 0] != 0
    if len(fired) != path.shape[1]:
        raise ValueError(f"phase_plane: the trajectory has {path.shape[1]} steps, but the spikes {len(fired)}.")
    resets = fired.nonzero()[0]
    axes.plot(*np.insert(path, resets, np.nan, axis=1), color=INK, linewidth=0.8)
    axes.plot(*path[:, resets], "s", markersize=3.5, markerfacecolor="white", markeredgecolor=INK, markeredgewidth=0.8)


def stdp_window(
    window: Callable[[Tensor], Any] | tuple[Any, Any],
    axes: Axes | None = None,
    *,
    span: float = 80e-3,
    color: Any = None,
    **style: Any,
) -> Axes:
    """Change of a weight against the time from a presynaptic to a postsynaptic spike.

    Args:
        window: A function from times in seconds, shape (n,), to changes; or the pair of times and changes, each of shape (n,).
        axes: Where to draw. Default: pyplot's current axes, or new ones.
        span: Up to which time a function is drawn, in seconds, before and after.
        color: Of the line. Default: blue where the postsynaptic spike is first, orange where the presynaptic is.
        **style: More of matplotlib's `Line2D`.

    Raises:
        TypeError: If `window` is neither a function nor a pair.
        ValueError: If times and changes are not of one shape (n,), or `span` is not positive.
    """
    if not span > 0:
        raise ValueError(f"stdp_window: span must be a positive number of seconds, got {span}.")
    if callable(window):
        # 0 itself, where most windows jump, is not drawn.
        ahead = torch.linspace(0, span, 401)[1:]
        times = torch.cat([-ahead.flip(0), ahead])
        window = times, window(times)
    if not isinstance(window, tuple) or len(window) != 2:
        raise TypeError(
            f"stdp_window takes a function of time, or the pair of times and changes, got {type(window).__name__}."
        )
    ts, changes = (array("stdp_window", part) for part in window)
    if ts.ndim != 1 or ts.shape != changes.shape:
        raise ValueError(f"stdp_window takes times and changes of one shape (n,), got {ts.shape} and {changes.shape}.")
    order = np.argsort(ts)
    ts, changes = 1e3 * ts[order], changes[order]
    axes = axes_for("stdp_window", axes)
    axes.axhline(0, color=GREY, linewidth=0.6, zorder=0)
    axes.axvline(0, color=GREY, linewidth=0.6, zorder=0)
    # One line before 0 and one after it, which do not meet.
    for side, shade in ((ts < 0, BLUE), (ts >= 0, ORANGE)):
        axes.plot(ts[side], changes[side], color=color or shade, **style)
    axes.set(xlabel=r"$t_\mathrm{post} - t_\mathrm{pre}$ (ms)", ylabel=r"weight change, $\Delta w$")
    return axes
