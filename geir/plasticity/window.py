"""What a rule does to spikes at a distance: its learning window, by running it."""

import copy
from typing import Any

import torch
from torch import Tensor

from .rule import Rule


def stdp_window(rule: Rule[Any], delays: Tensor, weight: float = 0.5, pairs: int = 1, frequency: float = 1.0) -> Tensor:
    """The change of a weight by pairs of spikes, at each distance in time. The rule is run in double precision, each delay at a synapse of its own.

    Args:
        rule: The rule.
        delays: Times from the spike before the synapse to that behind it, in seconds, whole steps of the rule; shape (n,).
        weight: The weight to start from.
        pairs: How many pairs.
        frequency: Pairs a second.

    Returns:
        Change of the weight, shape (n,), float64.

    Raises:
        ValueError: If a delay or the interval between pairs is not in whole steps.

    >>> from geir.plasticity import STDP
    >>> stdp_window(STDP(), torch.tensor([-20e-3, 0.0, 20e-3]))
    tensor([-0.0019,  0.0050,  0.0018], dtype=torch.float64)
    """
    if delays.dim() != 1 or not len(delays):
        raise ValueError(f"stdp_window takes delays of shape (n,), got {tuple(delays.shape)}.")
    if not (pairs > 0 and frequency > 0):
        raise ValueError(f"stdp_window takes at least one pair, at a frequency > 0 Hz, got {pairs} at {frequency} Hz.")
    late, period = (
        _steps("delays", delays, rule.dt),
        int(_steps("an interval between pairs", torch.tensor([1 / frequency]), rule.dt)),
    )
    rule, n = copy.deepcopy(rule).double(), len(late)
    spikes = period * torch.arange(pairs)[:, None] - min(0, int(late.min()))
    pre, post = torch.zeros(2, int((spikes + late).max()) + 1 + int(abs(late).max()), n, dtype=torch.float64)
    pre[spikes, torch.arange(n)] = 1
    post[spikes + late, torch.arange(n)] = 1
    start = torch.full((n, n), weight, dtype=torch.float64)
    rule.check_weight(start)
    moved, state = start.clone(), rule.start(pre[0], post[0], start)
    for z_pre, z_post in zip(pre, post, strict=True):
        state = rule.learn_(z_pre, z_post, moved, state)
    return (moved - start).diagonal().clone()


def _steps(what: str, times: Tensor, dt: float) -> Tensor:
    steps = (times.double() / dt).round().long()
    wrong = (steps * dt - times).abs() > 1e-3 * dt
    if wrong.any():
        raise ValueError(f"stdp_window takes {what} in whole steps of {dt} s, got {times[wrong][0].item():.6g} s.")
    return steps
