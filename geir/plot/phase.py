"""Phase planes of neurons given by differential equations."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from .._util.state import leaves
from ..core.ode import ODE
from ._arrays import to_array, to_time_by_neuron
from ._style import BLUE, get_axes, INK, ORANGE, variable_label
from .states import find_variable

# Points per axis at which the flow is computed.
GRID_SIZE = 300

# Distance of the labels of nullclines from the vertical and horizontal edges, as a fraction of the axes.
LABEL_MARGIN = np.array([0.14, 0.06])

Limits = tuple[float, float]


class _Trajectory(NamedTuple):
    points: np.ndarray  # shape (2, time)
    resets: np.ndarray  # steps with a spike


class _Flow(NamedTuple):
    columns: np.ndarray  # shape (n,)
    rows: np.ndarray  # shape (n,)
    slopes: tuple[np.ndarray, np.ndarray]  # derivatives of both variables, each of shape (rows, columns)


def phase_plane(
    neuron: ODE,
    ax: Axes | None = None,
    *,
    variables: Sequence[str] | None = None,
    xlim: Limits | None = None,
    ylim: Limits | None = None,
    current: float = 0.0,
    state: Any = None,
    trajectory: Any = None,
    spikes: Tensor | None = None,
) -> Axes:
    """Plot the phase plane of two state variables: their nullclines, the flow, and optionally a trajectory.

    All are computed from the `derivative` of the model.

    Args:
        neuron: A neuron given by differential equations, with parameters for a single neuron.
        ax: Axes to draw into. Default: pyplot's current axes, or new ones.
        variables: Names of the horizontal and the vertical variable, such as ``("v", "w")``. Default:
            the two variables of the state other than a synaptic current `i`.
        xlim: Range of the horizontal variable. Default: the range of the trajectory, with a margin.
        ylim: Range of the vertical variable. Default: likewise.
        current: Constant input, for models whose input is a current.
        state: State that holds the values of all other variables, such as a synaptic current. Default:
            the resting state.
        trajectory: States of one neuron recorded with ``record_states=True``, drawn as a line.
        spikes: Spikes of the same run. The line is interrupted at each reset and continues from an open
            square.

    Returns:
        The axes.

    Raises:
        TypeError: If `neuron` is not given by differential equations.
        ValueError: If the state does not have two such variables, parameters or state are those of
            several neurons, or there is neither a range nor a trajectory.
    """
    if not isinstance(neuron, ODE):
        raise TypeError(
            "phase_plane expected a neuron given by differential equations, that is a geir.ODE such as AdEx(), "
            f"got {neuron!r}."
        )
    name, state = type(neuron).__name__, neuron.rest() if state is None else state
    for key, tensor in (*neuron.declared_parameters().items(), *leaves(state)):
        if tensor.numel() != 1:
            raise ValueError(f"phase_plane draws a single neuron, but {name} has {key} of shape {tuple(tensor.shape)}.")
    horizontal, vertical = _select_variables(name, state, variables)
    path = None if trajectory is None else _make_trajectory(trajectory, (horizontal, vertical), spikes)
    xlim = _choose_limits(xlim, path, 0)
    ylim = _choose_limits(ylim, path, 1)
    flow = _compute_flow(neuron, state, (horizontal, vertical), (xlim, ylim), current)
    ax = get_axes("phase_plane", ax)
    ax.streamplot(
        flow.columns, flow.rows, *flow.slopes, color="0.85", density=0.9, linewidth=0.5, arrowsize=0.5, zorder=0
    )
    for variable, slope, color in zip((horizontal, vertical), flow.slopes, (BLUE, ORANGE), strict=True):
        if slope.min() < 0 < slope.max():
            _draw_nullcline(ax, flow, slope, rf"$\dot {variable} = 0$", color)
    if path is not None:
        _draw_trajectory(ax, path)
    ax.set(xlabel=variable_label(horizontal), ylabel=variable_label(vertical), xlim=xlim, ylim=ylim)
    return ax


def _select_variables(name: str, state: Any, variables: Sequence[str] | None) -> tuple[str, str]:
    selected = tuple(key for key in state._fields if key != "i") if variables is None else tuple(variables)
    if len(selected) != 2 or not set(selected) <= set(state._fields):
        given = "by default " if variables is None else "got "
        raise ValueError(
            f"phase_plane expected the names of two variables of {name}, whose state has {', '.join(state._fields)}; "
            f"{given}{', '.join(selected) or 'none'}. Pass variables=."
        )
    return selected[0], selected[1]


def _make_trajectory(states: object, variables: tuple[str, str], spikes: Tensor | None) -> _Trajectory:
    points = np.stack(
        [to_time_by_neuron("phase_plane", find_variable("phase_plane", states, key))[:, 0] for key in variables]
    )
    steps = points.shape[1]
    if spikes is None:
        return _Trajectory(points, np.array([], int))
    spiked = to_time_by_neuron("phase_plane", spikes)[:, 0] != 0
    if len(spiked) != steps:
        raise ValueError(
            f"phase_plane: the trajectory has {steps} steps, but spikes has {len(spiked)}; "
            "both must be from the same run."
        )
    return _Trajectory(points, spiked.nonzero()[0])


def _choose_limits(given: Limits | None, path: _Trajectory | None, index: int) -> Limits:
    """The range of a variable: the one given, or that of the trajectory with a margin of 15 %."""
    if given is not None:
        return given
    if path is None:
        raise ValueError("phase_plane needs xlim and ylim, or a trajectory that determines them.")
    values = path.points[index]
    margin = 0.15 * (values.max() - values.min())
    return values.min() - margin, values.max() + margin


def _compute_flow(
    neuron: ODE, state: Any, variables: tuple[str, str], limits: tuple[Limits, Limits], current: float
) -> _Flow:
    """The derivatives of both variables on a grid, with all other variables held at `state`."""
    columns, rows = (torch.linspace(low, high, GRID_SIZE, dtype=torch.float64) for low, high in limits)
    grid = dict(zip(variables, torch.meshgrid(columns, rows, indexing="xy"), strict=True))
    shape = (GRID_SIZE, GRID_SIZE)
    with torch.no_grad():
        states = type(state)(
            *(grid.get(key, tensor.double().reshape(()).expand(shape)) for key, tensor in leaves(state))
        )
        derivative = neuron.derivative(torch.full(shape, current, dtype=torch.float64), states)
    first, second = (to_array("phase_plane", getattr(derivative, key)) for key in variables)
    return _Flow(columns.numpy(), rows.numpy(), (first, second))


def _draw_nullcline(ax: Axes, flow: _Flow, slope: np.ndarray, label: str, color: str) -> None:
    nullcline = ax.contour(flow.columns, flow.rows, slope, levels=[0], colors=[color], linewidths=1.2)
    # The label is at the leftmost point that is well inside the axes; near an edge it would be clipped.
    points = np.concatenate([path.vertices for path in nullcline.get_paths()])
    low = np.array([flow.columns[0], flow.rows[0]])
    high = np.array([flow.columns[-1], flow.rows[-1]])
    margin = LABEL_MARGIN * (high - low)
    inside = points[((points > low + margin) & (points < high - margin)).all(1)]
    position = [tuple(inside[inside[:, 0].argmin()])] if len(inside) else False
    ax.clabel(nullcline, fmt={0.0: label}, fontsize="medium", manual=position)


def _draw_trajectory(ax: Axes, path: _Trajectory) -> None:
    # NaN before each reset interrupts the line.
    ax.plot(*np.insert(path.points, path.resets, np.nan, axis=1), color=INK, linewidth=0.8)
    after_reset = path.points[:, path.resets]
    ax.plot(*after_reset, "s", markersize=3.5, markerfacecolor="white", markeredgecolor=INK, markeredgewidth=0.8)
