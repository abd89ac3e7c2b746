"""Curves that characterize a neuron or a learning rule."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.typing import ColorType
from torch import Tensor

from .._util.state import tensors_of
from ..core.neuron import Dynamics
from ..core.ode import ODE
from ..wrappers import CellMixin, RecurrentMixin
from ._arrays import to_array
from ._style import BLUE, Colors, get_axes, GRAY, neuron_colors, ORANGE
from .states import unwrap


def f_i_curve(
    neuron: Dynamics,
    ax: Axes | None = None,
    *,
    inputs: Tensor | None = None,
    duration: float = 1.0,
    settle: float = 0.2,
    color: Colors | None = None,
    **kwargs: Any,
) -> Axes:
    """Plot the firing rate of a neuron against constant input (f-I curve), measured by running the neuron.

    After the neuron has run for `settle`, the rate is the inverse of the mean interval between spikes;
    it is 0 for fewer than two spikes.

    Args:
        neuron: A layer over time such as `LIF()`, not recurrent. If its parameters have one value per
            neuron, there is one curve for each neuron.
        ax: Axes to draw into. Default: pyplot's current axes, or new ones.
        inputs: Input values, shape (n,); each is the input at every step of a run. For models with a
            synapse, where an input makes the synaptic current jump, that is one jump per step. Default:
            101 values from 0 to 3.
        duration: Duration of the measurement in seconds.
        settle: Duration of the run before the measurement, in seconds.
        color: One color, or one for each neuron. Default: the colors of the palette in turn.
        **kwargs: Passed to `Axes.plot`.

    Returns:
        The axes.

    Raises:
        TypeError: If `neuron` is not a spiking layer over time.
        ValueError: If `neuron` is recurrent, `inputs` does not have shape (n,), or a duration is out of
            range.
    """
    if not isinstance(neuron, Dynamics) or isinstance(neuron, CellMixin) or not neuron.spiking:
        raise TypeError(f"f_i_curve expected a spiking layer over time, such as LIF(), got {neuron!r}.")
    if any(isinstance(part, RecurrentMixin) for part in neuron.modules()):
        raise ValueError(
            f"f_i_curve measures single neurons, but {type(neuron).__name__} is recurrent; "
            "use the layer without recurrence."
        )
    values = torch.as_tensor(to_array("f_i_curve", torch.linspace(0, 3, 101) if inputs is None else inputs))
    if values.dim() != 1 or not len(values):
        raise ValueError(f"f_i_curve expected inputs of shape (n,), got {tuple(values.shape)}.")
    if not (duration > 0 and settle >= 0):
        raise ValueError(f"f_i_curve expected duration > 0 s and settle >= 0 s, got {duration} and {settle}.")
    hertz = _firing_rates(neuron, values, round(settle / neuron.dt), round(duration / neuron.dt))
    line_colors = neuron_colors("f_i_curve", color, hertz.shape[1])
    ax = get_axes("f_i_curve", ax)
    for curve, line_color in zip(hertz.T, line_colors, strict=True):
        ax.plot(values, curve, color=line_color, **kwargs)
    input_is_current = isinstance(unwrap(neuron), ODE) and not input_is_impulse(neuron)
    ax.set(xlabel="input current" if input_is_current else "input per step", ylabel="firing rate (Hz)", ylim=(0, None))
    ax.margins(x=0)
    return ax


def input_is_impulse(neuron: Dynamics) -> bool:
    """Whether an input makes the state jump, as a spike does, instead of acting as a current."""
    inner = unwrap(neuron)
    return isinstance(inner, ODE) and type(inner).receive is not ODE.receive


def _firing_rates(neuron: Dynamics, inputs: Tensor, settle_steps: int, steps: int) -> np.ndarray:
    """Firing rates in Hz, shape (inputs, neurons)."""
    neuron = copy.deepcopy(neuron)
    neuron.record_states = False
    tensors = tensors_of(neuron).values()
    shape = torch.broadcast_tensors(torch.zeros(()), *tensors)[0].shape
    device = next((tensor.device for tensor in tensors), None)
    with torch.no_grad():
        x = inputs.reshape(-1, *(1 for _ in shape)).expand(-1, *shape).to(device)
        x = x.to(neuron.state_dtype(x))
        zs, _ = neuron(x.expand(settle_steps + steps, *x.shape))
    spiked = (zs[settle_steps:].cpu().flatten(1) > 0).int()
    count = spiked.sum(0)
    first = spiked.argmax(0)
    last = len(spiked) - 1 - spiked.flip(0).argmax(0)
    duration = (last - first) * neuron.dt
    hertz = torch.where(count > 1, (count - 1) / duration.clamp(min=neuron.dt), 0.0)
    return hertz.reshape(len(inputs), -1).numpy()


def stdp_window(
    window: Callable[[Tensor], Tensor] | tuple[Tensor, Tensor],
    ax: Axes | None = None,
    *,
    max_lag: float = 80e-3,
    color: ColorType | None = None,
    **kwargs: Any,
) -> Axes:
    """Plot the weight change of spike-timing-dependent plasticity against the lag between pre- and postsynaptic spike.

    Args:
        window: A function from lags in seconds (postsynaptic minus presynaptic spike time), shape (n,),
            to weight changes; or a tuple of lags and measured weight changes, each of shape (n,).
        ax: Axes to draw into. Default: pyplot's current axes, or new ones.
        max_lag: Largest absolute lag for which a function is drawn, in seconds.
        color: Color of the line. Default: blue for negative lags, orange for positive ones.
        **kwargs: Passed to `Axes.plot`.

    Returns:
        The axes.

    Raises:
        TypeError: If `window` is neither a function nor a tuple of two tensors.
        ValueError: If lags and changes do not have the same shape (n,), or `max_lag` is not positive.
    """
    if not max_lag > 0:
        raise ValueError(f"stdp_window: max_lag must be a positive number of seconds, got {max_lag}.")
    if callable(window):
        # A lag of 0, where most windows are discontinuous, is not drawn.
        positive = torch.linspace(0, max_lag, 401)[1:]
        lags = torch.cat([-positive.flip(0), positive])
        window = lags, window(lags)
    if not isinstance(window, tuple) or len(window) != 2:
        raise TypeError(
            f"stdp_window expected a function of the lag, or a tuple of lags and changes, got {type(window).__name__}."
        )
    lags_s, changes = (to_array("stdp_window", part) for part in window)
    if lags_s.ndim != 1 or lags_s.shape != changes.shape:
        raise ValueError(
            f"stdp_window expected lags and changes of the same shape (n,), got {lags_s.shape} and {changes.shape}."
        )
    order = np.argsort(lags_s)
    lags_ms = 1e3 * lags_s[order]
    changes = changes[order]
    ax = get_axes("stdp_window", ax)
    ax.axhline(0, color=GRAY, linewidth=0.6, zorder=0)
    ax.axvline(0, color=GRAY, linewidth=0.6, zorder=0)
    # Two separate lines, because the window jumps at 0.
    for side, default in ((lags_ms < 0, BLUE), (lags_ms >= 0, ORANGE)):
        ax.plot(lags_ms[side], changes[side], color=color or default, **kwargs)
    ax.set(xlabel=r"$t_\mathrm{post} - t_\mathrm{pre}$ (ms)", ylabel=r"weight change, $\Delta w$")
    return ax
