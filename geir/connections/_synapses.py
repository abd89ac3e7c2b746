"""Synapses with interpolated delays as synapses with delays of whole steps."""

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack

from .._runtime.stepper import Synapses
from .interpolation import Taps


def is_traced() -> bool:
    """Whether shapes may not depend on values: in compiled code and in function transforms."""
    return torch.compiler.is_compiling() or peek_interpreter_stack() is not None


def whole_steps(weights: Tensor, starts: Tensor, targets: Tensor, taps: Taps, bias: Tensor | None) -> Synapses:
    """One synapse for each tap of each synapse; without taps of weight 0, if the delays need no gradient.

    Args:
        weights: Weights, ordered by presynaptic neuron, shape (synapses,).
        starts: The first synapse of each presynaptic neuron, and the number of synapses.
        targets: The postsynaptic neuron of each synapse.
        taps: Taps of the delays, each part of shape (taps, synapses) or (taps, 1).
        bias: Bias of the postsynaptic neurons.
    """
    keep = taps.weights.requires_grad or is_traced()
    if not keep and taps.steps.shape[1] == 1:
        used = taps.weights[:, 0] != 0
        taps = Taps(taps.steps[used], taps.weights[used])
    count = len(taps.steps)
    if count == 1:
        if keep or not bool((taps.weights == 1).all()):
            weights = weights * taps.weights[0].to(weights.dtype)
        return Synapses(weights, starts, targets, taps.steps[0].int(), bias)
    shape = (count, len(weights))
    scaled = (weights * taps.weights.to(weights.dtype)).t().flatten()
    delays = taps.steps.expand(shape).t().flatten().int()
    starts, targets = starts * count, targets.repeat_interleave(count)
    if keep:
        return Synapses(scaled, starts, targets, delays, bias)
    used = taps.weights.expand(shape).t().flatten() != 0
    numbers = torch.cat([starts.new_zeros(1), used.cumsum(0)])
    return Synapses(scaled[used], numbers[starts], targets[used], delays[used], bias)
