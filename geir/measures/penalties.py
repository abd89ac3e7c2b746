"""Penalties on activity, to add to a loss.

Penalties are functions of the spikes or potentials that a network returns over time, shape (time, ...);
`record_outputs` collects them from all layers. Each penalty is computed per spike train and averaged over all trains.
To penalize the mean activity over the batch instead, pass that mean: ``rate_penalty(zs.mean(1))`` for spikes of shape
(time, batch, ...).
"""

import math
from typing import Any

import torch
from torch import nn, Tensor

from .._util.precision import widen
from .._util.recording import Call, record_calls
from .._util.validation import check_has_time
from ..core.neuron import Dynamics
from ..wrappers import CellMixin
from .statistics import firing_rate


def rate_penalty(zs: Tensor, lower: float = 0.0, upper: float = math.inf, dt: float = 1e-3) -> Tensor:
    r"""Penalty on firing rates :math:`r` outside a band.

    The mean of :math:`\max(0, \text{lower} - r)^2 + \max(0, r - \text{upper})^2`.

    Reference: G. Bellec et al., *Long short-term memory and learning-to-learn in networks of spiking neurons*, 2018
    (for a single target rate).

    Args:
        zs: Spikes, shape (time, ...).
        lower: Rate below which a train is penalized, in Hz.
        upper: Rate above which a train is penalized, in Hz. For a target rate, set both to the same value.
        dt: Step size in seconds.

    Returns:
        Scalar, in Hz squared.

    Raises:
        ValueError: If `zs` has no step, `lower` is negative or exceeds `upper`, or `dt` is not positive and finite.
        TypeError: If `zs` is not floating-point.

    >>> rate_penalty(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), lower=2.0)
    tensor(2.)
    """
    if lower < 0:
        raise ValueError(f"measures.rate_penalty: lower must not be negative, got {lower} Hz.")
    return _band_penalty("measures.rate_penalty", firing_rate(zs, dt), lower, upper)


def silence_penalty(zs: Tensor, min_spikes: float = 1.0) -> Tensor:
    r"""Penalty on too few spikes: the mean of :math:`\max(0, n_\text{min} - n)^2` with spike counts :math:`n`.

    Args:
        zs: Spikes, shape (time, ...).
        min_spikes: Number of spikes below which a train is penalized, :math:`n_\text{min}`.

    Returns:
        Scalar.

    Raises:
        ValueError: If `zs` has no step.
        TypeError: If `zs` is not floating-point.

    >>> silence_penalty(torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    tensor(0.5000)
    """
    check_has_time("measures.silence_penalty", zs)
    return _band_penalty("measures.silence_penalty", widen(zs).sum(0), min_spikes, math.inf)


def voltage_penalty(vs: Tensor, lower: float = -1.0, upper: float = 1.0) -> Tensor:
    r"""Penalty on membrane potentials :math:`v` outside a band.

    The mean, over time too, of :math:`\max(0, \text{lower} - v)^2 + \max(0, v - \text{upper})^2`.

    Reference: G. Bellec et al., *A solution to the learning dilemma for recurrent networks of spiking neurons*, 2020.

    Args:
        vs: Membrane potentials, shape (time, ...), such as ``states.v`` of recorded states.
        lower: Potential below which the penalty applies.
        upper: Potential above which the penalty applies.

    Returns:
        Scalar.

    Raises:
        ValueError: If `vs` has no step, or `lower` exceeds `upper`.
        TypeError: If `vs` is not floating-point.
    """
    check_has_time("measures.voltage_penalty", vs)
    return _band_penalty("measures.voltage_penalty", widen(vs), lower, upper)


def activity_penalty(zs: Tensor, power: float = 1.0) -> Tensor:
    """Penalty on all spikes: the mean of spike counts to the given power.

    Reference: F. Zenke & T. Vogels, *The remarkable robustness of surrogate gradient learning for instilling complex
    function in spiking neural networks*, 2021.

    Args:
        zs: Spikes, shape (time, ...).
        power: 1 for the L1 norm of the counts (lasso), 2 for their mean square.

    Returns:
        Scalar.

    Raises:
        ValueError: If `zs` has no step, or `power` is less than 1 or infinite.
        TypeError: If `zs` is not floating-point.
    """
    if not 1 <= power < math.inf:
        raise ValueError(f"measures.activity_penalty: power must be at least 1 and finite, got {power}.")
    check_has_time("measures.activity_penalty", zs)
    return (widen(zs).abs().sum(0) ** power).mean()


def _band_penalty(caller: str, values: Tensor, lower: float, upper: float) -> Tensor:
    """Mean squared distance of values from the interval [lower, upper]."""
    if not lower <= upper:
        raise ValueError(f"{caller}: lower must not exceed upper, got lower={lower} and upper={upper}.")
    return (torch.relu(lower - values) ** 2 + torch.relu(values - upper) ** 2).mean()


def spike_accumulator(zs: Tensor, total: Tensor | None = None) -> Tensor:
    """Spike counts of a stream that arrives in chunks.

    Args:
        zs: Spikes of the current chunk, shape (time, ...).
        total: Result for the chunks so far, shape (...). Default: none.

    Returns:
        Spike counts including this chunk, shape (...).

    Raises:
        ValueError: If `zs` has no step, or `total` does not have the shape of one step.
        TypeError: If `zs` is not floating-point.

    >>> total = None
    >>> for zs in torch.ones(3, 20, 2):
    ...     total = spike_accumulator(zs, total)
    >>> total
    tensor([60., 60.])
    """
    return _accumulate("measures.spike_accumulator", zs, total)


def voltage_accumulator(states: tuple[object, ...] | Tensor, total: Tensor | None = None) -> Tensor:
    """Sum over time of the membrane potentials of a stream that arrives in chunks.

    Args:
        states: Recorded states of the current chunk, whose ``v`` has shape (time, ...), or the potentials themselves.
        total: Result for the chunks so far, shape (...). Default: none.

    Returns:
        Summed potentials including this chunk, shape (...).

    Raises:
        ValueError: If there is no step, or `total` does not have the shape of one step.
        TypeError: If `states` has no potential `v`, or the potentials are not floating-point.
    """
    vs = getattr(states, "v", states)
    if not isinstance(vs, Tensor):
        raise TypeError(
            "measures.voltage_accumulator expected a state with a membrane potential `v`, or a tensor of potentials, "
            f"got {type(states).__name__}."
        )
    return _accumulate("measures.voltage_accumulator", vs, total)


def _accumulate(caller: str, values: Tensor, total: Tensor | None) -> Tensor:
    check_has_time(caller, values)
    chunk = widen(values).sum(0)
    if total is not None and total.shape != chunk.shape:
        raise ValueError(
            f"{caller}: total has shape {tuple(total.shape)}, but one step of input has shape {tuple(chunk.shape)}."
        )
    return chunk if total is None else total + chunk


def record_outputs(model: nn.Module, *inputs: Any) -> tuple[Any, dict[str, Tensor]]:
    """Run a network and record the output of each of its neurons.

    Args:
        model: Any module.
        *inputs: Arguments of the call, such as spikes and a state.

    Returns:
        The result of the call, and the outputs of each neuron, synapse model or filter by its name, shape (time, ...).
        The steps of a cell are stacked.

    >>> import geir
    >>> model = geir.SequentialState(geir.Lift(nn.Linear(5, 8)), geir.LIF(), geir.Lift(nn.Linear(8, 2)), geir.LI())
    >>> (vs, state), outputs = record_outputs(model, torch.ones(50, 16, 5))
    >>> {name: tuple(zs.shape) for name, zs in outputs.items()}
    {'1': (50, 16, 8), '3': (50, 16, 2)}
    >>> penalty = rate_penalty(outputs["1"], upper=50.0)
    """
    chunks: dict[str, list[Tensor]] = {}

    def add_output(call: Call) -> None:
        if isinstance(call.module, Dynamics):
            output, _ = call.result
            zs = output[None] if isinstance(call.module, CellMixin) else output
            chunks.setdefault(call.name, []).append(zs)

    with record_calls(model, add_output):
        result = model(*inputs)
    return result, {name: torch.cat(outputs) for name, outputs in chunks.items()}
