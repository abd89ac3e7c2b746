"""The learning window of a rule, measured by running the rule."""

import copy

import torch
from torch import Tensor

from .rule import AnyRule


def stdp_window(rule: AnyRule, delays: Tensor, weight: float = 0.5, pairs: int = 1, frequency: float = 1.0) -> Tensor:
    """The change of a weight by pairs of spikes, for each delay between the two spikes.

    The rule runs in double precision, with one synapse for each delay.

    Args:
        rule: The learning rule.
        delays: Times from the presynaptic to the postsynaptic spike, in seconds, multiples of the
            rule's step size; shape (n,).
        weight: Initial weight.
        pairs: Number of pairs.
        frequency: Pairs per second; the interval between pairs must be a multiple of the rule's step size.

    Returns:
        Change of the weight, shape (n,), float64.

    Raises:
        ValueError: If a delay or the interval between pairs is not a multiple of the step size, if
            there is no delay or no pair, or if the weight is outside the rule's bounds.

    >>> from geir.plasticity import STDP
    >>> stdp_window(STDP(), torch.tensor([-20e-3, 0.0, 20e-3]))
    tensor([-0.0019,  0.0050,  0.0018], dtype=torch.float64)
    """
    if delays.dim() != 1 or not len(delays):
        raise ValueError(f"stdp_window takes delays of shape (n,) with n > 0, got {tuple(delays.shape)}.")
    if not (pairs > 0 and frequency > 0):
        raise ValueError(f"stdp_window takes at least one pair, at a frequency > 0 Hz, got {pairs} at {frequency} Hz.")
    lags = _to_steps("delays", delays, rule.dt)
    period = int(_to_steps("intervals between pairs", torch.tensor([1 / frequency]), rule.dt))
    rule = copy.deepcopy(rule).double()
    synapses = torch.arange(len(lags))
    pre_times = period * torch.arange(pairs)[:, None] - min(0, int(lags.min()))
    post_times = pre_times + lags
    steps = int(post_times.max()) + 1 + int(lags.abs().max())
    pres = torch.zeros(steps, len(lags), dtype=torch.float64)
    posts = torch.zeros_like(pres)
    pres[pre_times, synapses] = 1
    posts[post_times, synapses] = 1
    initial = torch.full((len(lags), len(lags)), weight, dtype=torch.float64)
    rule.check_weight(initial)
    current = initial.clone()
    state = rule.initial_state(pres[0], posts[0], initial)
    for pre, post in zip(pres, posts, strict=True):
        state = rule.update_(pre, post, current, state)
    return (current - initial).diagonal().clone()


def _to_steps(name: str, times: Tensor, dt: float) -> Tensor:
    steps = (times.double() / dt).round().long()
    mismatched = (steps * dt - times).abs() > 1e-3 * dt
    if mismatched.any():
        raise ValueError(
            f"stdp_window takes {name} that are multiples of the step size {dt} s, "
            f"got {times[mismatched][0].item():.6g} s."
        )
    return steps
