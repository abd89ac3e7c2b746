"""Values as the times of spikes."""

from typing import Any

import torch
from torch import Tensor

from .._util.function_module import module_of
from .._util.validation import check_has_time, time_indices
from ..core.neuron import Dynamics
from ..neurons import LIFBox
from .intensities import check_intensities, check_steps


def constant_current_encode(x: Tensor, seq_length: int, neuron: Dynamics[Any] | None = None) -> Tensor:
    r"""Spikes of neurons driven by `x` as a constant current.

    Args:
        x: Currents, any shape.
        seq_length: Number of steps.
        neuron: The neurons. Default: `LIFBox()`, which spike at :math:`x > 1` with the period :math:`\tau_\text{mem} \ln \frac{x}{x - 1}`.

    Returns:
        Spikes, shape (seq_length, \*x.shape).
    """
    check_steps("constant_current_encode", seq_length=seq_length)
    neuron = LIFBox().to(x.device, torch.promote_types(x.dtype, torch.float32)) if neuron is None else neuron
    zs, _ = neuron(x.expand(seq_length, *x.shape))
    return zs


def spike_latency_encode(zs: Tensor) -> Tensor:
    """Only the first spike of each train: spikes of shape (time, ...) to the same with at most one spike each."""
    return check_has_time("spike_latency_encode", zs) * (torch.cumsum(zs != 0, 0) == 1)


def latency_encode(x: Tensor, seq_length: int, neuron: Dynamics[Any] | None = None) -> Tensor:
    r"""One spike each, the sooner the stronger the current: the first of `constant_current_encode`.

    By default after :math:`\tau_\text{mem} \ln \frac{x}{x - 1}`, the logarithmic latency of a charging membrane; `time_to_first_spike_encode`
    has the linear one.
    """
    return spike_latency_encode(constant_current_encode(x, seq_length, neuron))


def time_to_first_spike_encode(x: Tensor, seq_length: int) -> Tensor:
    r"""One spike each, at step :math:`\lfloor (1 - x) T \rfloor` of :math:`T`: intensity 1 at once, 0 never.

    Args:
        x: Intensities in [0, 1], any shape.
        seq_length: Number of steps, :math:`T`.

    Returns:
        Spikes, shape (seq_length, \*x.shape), in the dtype of `x`.

    >>> time_to_first_spike_encode(torch.tensor([1.0, 0.5, 0.0]), 4)
    tensor([[1., 0., 0.],
            [0., 0., 0.],
            [0., 1., 0.],
            [0., 0., 0.]])
    """
    check_steps("time_to_first_spike_encode", seq_length=seq_length)
    check_intensities("time_to_first_spike_encode", x)
    return (torch.floor((1 - x) * seq_length) == time_indices(seq_length, x)).to(x.dtype)


def phase_encode(x: Tensor, seq_length: int, period: int = 8) -> Tensor:
    r"""The binary digits of :math:`x`, the highest first, again in every period: a spike in phase :math:`k` counts :math:`2^{-(k + 1)}`.

    Intensities are cut to `period` digits, so that 1 becomes :math:`1 - 2^{-K}`.

    Reference: J. Kim, H. Kim, S. Huh, J. Lee & K. Choi, *Deep neural networks with weighted spikes*, 2018.

    Args:
        x: Intensities in [0, 1], any shape.
        seq_length: Number of steps.
        period: Number of phases, :math:`K`.

    Returns:
        Spikes, shape (seq_length, \*x.shape), in the dtype of `x`; times `phase_weights`, what they count.

    >>> phase_encode(torch.tensor([0.5, 0.75, 0.3125]), 4, period=4).T
    tensor([[1., 0., 0., 0.],
            [1., 1., 0., 0.],
            [0., 1., 0., 1.]])
    """
    check_steps("phase_encode", seq_length=seq_length)
    check_steps("phase_encode", least=1, period=period)
    check_intensities("phase_encode", x)
    digits = torch.floor(x.to(torch.promote_types(x.dtype, torch.float32)) * 2**period).clamp(max=2**period - 1).long()
    phase = time_indices(seq_length, x) % period
    return ((digits >> (period - 1 - phase)) & 1).to(x.dtype)


def phase_weights(seq_length: int, period: int = 8) -> Tensor:
    r"""What a spike of `phase_encode` counts: :math:`2^{-(1 + t \bmod K)}`, shape (seq_length,).

    >>> zs = phase_encode(torch.tensor([0.3125]), 8)
    >>> phase_weights(8) @ zs
    tensor([0.3125])
    """
    check_steps("phase_weights", seq_length=seq_length)
    check_steps("phase_weights", least=1, period=period)
    return 0.5 ** (1 + torch.arange(seq_length) % period)


def burst_encode(
    x: Tensor, seq_length: int, max_spikes: int = 5, shortest: int = 2, longest: int | None = None
) -> Tensor:
    r"""A burst from step 0 on, with the more spikes and the shorter intervals, the stronger the intensity.

    There are :math:`\lceil N_\text{max} x \rceil` spikes, every :math:`\lceil T_\text{max} - (T_\text{max} - T_\text{min}) x \rceil` steps.

    Reference: W. Guo, M. E. Fouda, A. M. Eltawil & K. N. Salama, *Neural coding in spiking neural networks: a comparative study for robust
    neuromorphic systems*, 2021.

    Args:
        x: Intensities in [0, 1], any shape.
        seq_length: Number of steps.
        max_spikes: Number of spikes at intensity 1, :math:`N_\text{max}`.
        shortest: Interval at intensity 1 in steps, :math:`T_\text{min}`.
        longest: Interval towards intensity 0 in steps, :math:`T_\text{max}`. Default: as many as leave room for
            `max_spikes` at that interval.

    Returns:
        Spikes, shape (seq_length, \*x.shape), in the dtype of `x`.

    Raises:
        ValueError: If an intensity is out of range, or `longest` is shorter than `shortest` or leaves no room for `max_spikes`.

    >>> burst_encode(torch.tensor([0.0, 0.2, 0.5, 1.0]), 9, max_spikes=3).T
    tensor([[0., 0., 0., 0., 0., 0., 0., 0., 0.],
            [1., 0., 0., 0., 0., 0., 0., 0., 0.],
            [1., 0., 0., 1., 0., 0., 0., 0., 0.],
            [1., 0., 1., 0., 1., 0., 0., 0., 0.]])
    """
    check_steps("burst_encode", seq_length=seq_length)
    check_steps("burst_encode", least=1, max_spikes=max_spikes, shortest=shortest)
    check_intensities("burst_encode", x)
    fits = (seq_length - 1) // max(1, max_spikes - 1)
    longest = fits if longest is None else longest
    if not shortest <= longest <= fits:
        raise ValueError(
            f"burst_encode: {max_spikes} spikes fit into {seq_length} steps with intervals of up to {fits} steps, "
            f"so shortest={shortest} <= longest={longest} <= {fits} must hold."
        )
    spikes = torch.ceil(max_spikes * x)
    interval = torch.ceil(longest - (longest - shortest) * x)
    steps = time_indices(seq_length, x)
    return ((steps % interval == 0) & (steps < spikes * interval)).to(x.dtype)


class ConstantCurrentLIFEncoder(module_of(constant_current_encode)):
    """`constant_current_encode` as a module."""


class SpikeLatencyLIFEncoder(module_of(latency_encode)):
    """`latency_encode` as a module."""


class SpikeLatencyEncoder(module_of(spike_latency_encode)):
    """`spike_latency_encode` as a module."""


class TimeToFirstSpikeEncoder(module_of(time_to_first_spike_encode)):
    """`time_to_first_spike_encode` as a module."""


class PhaseEncoder(module_of(phase_encode)):
    """`phase_encode` as a module."""


class BurstEncoder(module_of(burst_encode)):
    """`burst_encode` as a module."""
