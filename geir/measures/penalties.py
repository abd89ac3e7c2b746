"""Penalties on activity, to add to a loss: functions of spikes and potentials over time, which a network returns and `neuron_outputs` collects.

Each takes (time, ...), looks at every train by itself and gives the mean over all trains. To look at a neuron's mean over the batch, pass that:
``rate_penalty(zs.mean(1))`` for spikes of shape (time, batch, ...).
"""

import math
from typing import Any

import torch
from torch import nn, Tensor

from .._util.recording import record_calls
from .._util.validation import check_has_time
from ..core.neuron import Dynamics
from ..wrappers import CellMixin
from .statistics import firing_rate


def rate_penalty(zs: Tensor, lower: float = 0.0, upper: float = math.inf, dt: float = 1e-3) -> Tensor:
    r"""How far rates are from where they should be: the mean of :math:`\max(0, \text{lower} - r)^2 + \max(0, r - \text{upper})^2`.

    Reference: G. Bellec et al., *Long short-term memory and learning-to-learn in networks of spiking neurons*, 2018 (for one target rate).

    Args:
        zs: Spikes, shape (time, ...).
        lower: Rate below which a train is penalised, in Hz.
        upper: Rate above which it is; both the same for a target.
        dt: Step size in seconds.

    Returns:
        Scalar, in Hz squared.

    >>> rate_penalty(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), lower=2.0)
    tensor(2.)
    """
    if lower < 0:
        raise ValueError(f"rate_penalty: a rate cannot be negative, got lower={lower} Hz.")
    return _outside("rate_penalty", firing_rate(zs, dt), lower, upper)


def silence_penalty(zs: Tensor, least: float = 1.0) -> Tensor:
    r"""How many spikes are missing: the mean of :math:`\max(0, \text{least} - n)^2` with spike counts :math:`n`. Spikes (time, ...) to a scalar.

    >>> silence_penalty(torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    tensor(0.5000)
    """
    return _outside("silence_penalty", check_has_time("silence_penalty", zs).sum(0), least, math.inf)


def voltage_penalty(vs: Tensor, lower: float = -1.0, upper: float = 1.0) -> Tensor:
    r"""How far potentials stray: the mean of :math:`\max(0, \text{lower} - v)^2 + \max(0, v - \text{upper})^2`, over time too.

    Reference: G. Bellec et al., *A solution to the learning dilemma for recurrent networks of spiking neurons*, 2020.

    Args:
        vs: Potentials, shape (time, ...), such as a recorded state's ``v``.
        lower: Potential below which it is penalised.
        upper: Potential above which it is.

    Returns:
        Scalar.
    """
    return _outside("voltage_penalty", check_has_time("voltage_penalty", vs), lower, upper)


def activity_penalty(zs: Tensor, power: float = 1.0) -> Tensor:
    """The mean of spike counts (`power` 1, a lasso) or of their squares (2). Spikes (time, ...) to a scalar.

    Reference: F. Zenke & T. Vogels, *The remarkable robustness of surrogate gradient learning for instilling complex function in spiking
    neural networks*, 2021.
    """
    if not 1 <= power < math.inf:
        raise ValueError(f"activity_penalty: power must be at least 1, got {power}.")
    return (check_has_time("activity_penalty", zs).abs().sum(0) ** power).mean()


def _outside(caller: str, values: Tensor, lower: float, upper: float) -> Tensor:
    if not lower <= upper:
        raise ValueError(f"{caller}: lower must not exceed upper, got {lower} and {upper}.")
    return (torch.relu(lower - values) ** 2 + torch.relu(values - upper) ** 2).mean()


def spike_accumulator(zs: Tensor, total: Tensor | None = None) -> Tensor:
    """Spike counts over a stream that comes in parts: those of this part, shape (time, ...) to (...), and the total so far.

    >>> total = None
    >>> for zs in torch.ones(3, 20, 2):
    ...     total = spike_accumulator(zs, total)
    >>> total
    tensor([60., 60.])
    """
    return _accumulated("spike_accumulator", zs, total)


def voltage_accumulator(states: Any, total: Tensor | None = None) -> Tensor:
    """The sum over time of potentials: of recorded states whose ``v`` has shape (time, ...), or of potentials, to (...), and the total so far."""
    vs = getattr(states, "v", states)
    if not isinstance(vs, Tensor):
        raise TypeError(
            f"voltage_accumulator takes a state with a potential `v`, or potentials, got {type(states).__name__}."
        )
    return _accumulated("voltage_accumulator", vs, total)


def _accumulated(caller: str, values: Tensor, total: Tensor | None) -> Tensor:
    new = check_has_time(caller, values).sum(0)
    if total is not None and total.shape != new.shape:
        raise ValueError(f"{caller} adds to a total of shape {tuple(new.shape)}, got {tuple(total.shape)}.")
    return new if total is None else total + new


def neuron_outputs(model: nn.Module, *inputs: Any) -> tuple[Any, dict[str, Tensor]]:
    """Run a network, and keep what each of its neurons returned.

    Args:
        model: Any module.
        *inputs: What to call it with, such as spikes and a state.

    Returns:
        Its result, and the outputs over time of each neuron (or synapse or filter) in it by name; the steps of a cell are stacked.

    >>> import geir
    >>> model = geir.SequentialState(geir.Lift(nn.Linear(5, 8)), geir.LIF(), geir.Lift(nn.Linear(8, 2)), geir.LI())
    >>> (vs, state), outputs = neuron_outputs(model, torch.ones(50, 16, 5))
    >>> {name: tuple(zs.shape) for name, zs in outputs.items()}
    {'1': (50, 16, 8), '3': (50, 16, 2)}
    >>> penalty = rate_penalty(outputs["1"], upper=50.0)
    """
    parts: dict[str, list[Tensor]] = {}

    def see(name: str, module: nn.Module, arguments: tuple[Any, ...], result: Any) -> None:
        if isinstance(module, Dynamics):
            zs, _ = result
            parts.setdefault(name, []).append(zs[None] if isinstance(module, CellMixin) else zs)

    with record_calls(model, see):
        result = model(*inputs)
    return result, {name: torch.cat(each) for name, each in parts.items()}
