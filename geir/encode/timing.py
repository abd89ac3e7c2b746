"""Encode values as the times of spikes."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack

from .._util.function_module import module_of
from .._util.precision import wide_dtype, widen
from .._util.validation import check_has_time, check_integer, time_indices
from ..core.parameters.parameter import has_values
from ..neurons import LIFBox
from ._validation import check_intensities

# A layer of neurons: from currents over time to spikes over time and a state.
Layer = Callable[[Tensor], tuple[Tensor, object]]
# Digits of an intensity that fit into an int64.
_MAX_DIGITS = 62


def constant_current_lif(x: Tensor, steps: int, neuron: Layer | None = None) -> Tensor:
    r"""Spikes of neurons driven by the constant current `x`.

    Args:
        x: Currents, any shape.
        steps: Number of steps.
        neuron: Neurons over time, such as ``geir.LIF()``. Default: ``geir.LIFBox()``, which spikes for :math:`x > 1`,
            with period :math:`\tau_\text{mem} \ln \frac{x}{x - 1}`.

    Returns:
        Spikes, shape (steps, \*x.shape).

    Raises:
        ValueError: If `steps` is not an integer >= 0.

    Warns:
        UserWarning: If no current reaches the threshold of the default neuron, such as intensities in [0, 1].
    """
    check_integer("encode.constant_current_lif", steps=steps)
    if neuron is None:
        if _all_at_most_one(x):
            warnings.warn(
                "encode.constant_current_lif: no current exceeds 1, the threshold of LIFBox(), so there will be no "
                f"spike; the largest is {x.max().item():.3g}. Scale intensities in [0, 1], for example by 10.",
                stacklevel=2,
            )
        neuron = LIFBox().to(x.device, wide_dtype(x.dtype))
    zs, _ = neuron(x.expand(steps, *x.shape))
    return zs


def _all_at_most_one(x: Tensor) -> bool:
    """Whether these are numbers at hand, and none exceeds 1."""
    if torch.compiler.is_compiling() or peek_interpreter_stack() is not None:
        return False
    return x.is_floating_point() and has_values(x) and x.numel() > 0 and bool((x <= 1).all())


def spike_latency(zs: Tensor) -> Tensor:
    """Keep only the first spike of each spike train.

    Args:
        zs: Spikes, shape (time, ...).

    Returns:
        Spikes, shape (time, ...), at most one per train.

    Raises:
        ValueError: If `zs` has no step.
        TypeError: If `zs` is not floating-point.
    """
    check_has_time("encode.spike_latency", zs)
    return zs * (torch.cumsum(zs != 0, 0) == 1)


def spike_latency_lif(x: Tensor, steps: int, neuron: Layer | None = None) -> Tensor:
    r"""One spike, earlier for a larger current: the first spike of `constant_current_lif`.

    With the default neuron, the latency is :math:`\tau_\text{mem} \ln \frac{x}{x - 1}`, the time that a membrane
    takes to charge to threshold. `time_to_first_spike` has a linear latency instead.

    Args:
        x: Currents, any shape.
        steps: Number of steps.
        neuron: Neurons over time, as in `constant_current_lif`.

    Returns:
        Spikes, shape (steps, \*x.shape), at most one per neuron.

    Raises:
        ValueError: If `steps` is not an integer >= 0.
    """
    return spike_latency(constant_current_lif(x, steps, neuron))


def time_to_first_spike(x: Tensor, steps: int) -> Tensor:
    r"""One spike, at step :math:`\lfloor (1 - x) T \rfloor` of :math:`T`; intensity 0 stays silent.

    Args:
        x: Intensities in [0, 1], any shape.
        steps: Number of steps, :math:`T`.

    Returns:
        Spikes, shape (steps, \*x.shape), in the dtype of `x`.

    Raises:
        ValueError: If an intensity is out of range, or `steps` is not an integer >= 0.
        TypeError: If `x` is not floating-point.

    >>> time_to_first_spike(torch.tensor([1.0, 0.5, 0.0]), 4)
    tensor([[1., 0., 0.],
            [0., 0., 0.],
            [0., 1., 0.],
            [0., 0., 0.]])
    """
    check_integer("encode.time_to_first_spike", steps=steps)
    check_intensities("encode.time_to_first_spike", x)
    # Compared as integers: step numbers beyond 2**24 are not representable in float32.
    first = torch.floor((1 - widen(x)) * steps).long()
    return (first == time_indices(steps, x)).to(x.dtype)


def phase(x: Tensor, steps: int, period: int = 8) -> Tensor:
    r"""The binary digits of :math:`x`, most significant first, repeated every period.

    A spike in phase :math:`k` has the weight :math:`2^{-(k + 1)}`; see `phase_weights`. Intensities are truncated to
    `period` digits, so 1 is encoded as :math:`1 - 2^{-K}`.

    Reference: J. Kim, H. Kim, S. Huh, J. Lee & K. Choi, *Deep neural networks with weighted spikes*, 2018.

    Args:
        x: Intensities in [0, 1], any shape.
        steps: Number of steps.
        period: Number of phases, :math:`K`.

    Returns:
        Spikes, shape (steps, \*x.shape), in the dtype of `x`.

    Raises:
        ValueError: If an intensity is out of range, `steps` is not an integer >= 0, or `period` not an integer from 1
            to 62.
        TypeError: If `x` is not floating-point.

    >>> phase(torch.tensor([0.5, 0.75, 0.3125]), 4, period=4).T
    tensor([[1., 0., 0., 0.],
            [1., 1., 0., 0.],
            [0., 1., 0., 1.]])
    """
    check_integer("encode.phase", steps=steps)
    check_integer("encode.phase", minimum=1, period=period)
    if period > _MAX_DIGITS:
        raise ValueError(f"encode.phase: period must be at most {_MAX_DIGITS} binary digits, got {period}.")
    check_intensities("encode.phase", x)
    digits = torch.floor(widen(x) * 2**period).long().clamp(max=2**period - 1)
    index = time_indices(steps, x) % period
    return ((digits >> (period - 1 - index)) & 1).to(x.dtype)


def phase_weights(steps: int, period: int = 8) -> Tensor:
    r"""Weights of the spikes of `phase`, :math:`2^{-(1 + t \bmod K)}`.

    The weighted sum of the spikes over one period is the encoded value.

    Args:
        steps: Number of steps.
        period: Number of phases, :math:`K`.

    Returns:
        Weights, shape (steps,).

    Raises:
        ValueError: If `steps` is not an integer >= 0, or `period` not an integer >= 1.

    >>> zs = phase(torch.tensor([0.3125]), 8)
    >>> phase_weights(8) @ zs
    tensor([0.3125])
    """
    check_integer("encode.phase_weights", steps=steps)
    check_integer("encode.phase_weights", minimum=1, period=period)
    return 0.5 ** (1 + torch.arange(steps) % period)


def burst(x: Tensor, steps: int, max_spikes: int = 5, min_interval: int = 2, max_interval: int | None = None) -> Tensor:
    r"""A burst that starts at step 0, with more spikes and shorter intervals for a larger intensity.

    The burst has :math:`\lceil N_\text{max} x \rceil` spikes at intervals of
    :math:`\lceil T_\text{max} - (T_\text{max} - T_\text{min}) x \rceil` steps.

    Reference: W. Guo, M. E. Fouda, A. M. Eltawil & K. N. Salama, *Neural coding in spiking neural networks: a
    comparative study for robust neuromorphic systems*, 2021.

    Args:
        x: Intensities in [0, 1], any shape.
        steps: Number of steps.
        max_spikes: Number of spikes at intensity 1, :math:`N_\text{max}`.
        min_interval: Interval at intensity 1 in steps, :math:`T_\text{min}`.
        max_interval: Limit of the interval at intensity 0 in steps, :math:`T_\text{max}`. Default: the largest with
            which `max_spikes` spikes fit into the run.

    Returns:
        Spikes, shape (steps, \*x.shape), in the dtype of `x`.

    Raises:
        ValueError: If an intensity is out of range, `max_interval` is less than `min_interval`, or `max_spikes`
            spikes at an interval of `max_interval` do not fit into the run; or if an integer is too small.
        TypeError: If `x` is not floating-point.

    >>> burst(torch.tensor([0.0, 0.2, 0.5, 1.0]), 9, max_spikes=3).T
    tensor([[0., 0., 0., 0., 0., 0., 0., 0., 0.],
            [1., 0., 0., 0., 0., 0., 0., 0., 0.],
            [1., 0., 0., 1., 0., 0., 0., 0., 0.],
            [1., 0., 1., 0., 1., 0., 0., 0., 0.]])
    """
    check_integer("encode.burst", steps=steps)
    check_integer("encode.burst", minimum=1, max_spikes=max_spikes, min_interval=min_interval)
    check_intensities("encode.burst", x)
    limit = (steps - 1) // max(1, max_spikes - 1)
    max_interval = limit if max_interval is None else max_interval
    if not min_interval <= max_interval <= limit:
        raise ValueError(
            f"encode.burst: {max_spikes} spikes fit into {steps} steps only at intervals of up to {limit} steps; "
            f"expected min_interval <= max_interval <= {limit}, "
            f"got min_interval={min_interval} and max_interval={max_interval}."
        )
    intensity = widen(x)
    spikes = torch.ceil(max_spikes * intensity).long()
    interval = torch.ceil(max_interval - (max_interval - min_interval) * intensity).long()
    indices = time_indices(steps, x)
    return ((indices % interval == 0) & (indices < spikes * interval)).to(x.dtype)


class ConstantCurrentLIFEncoder(module_of(constant_current_lif)):
    """Module form of `constant_current_lif`."""


class SpikeLatencyEncoder(module_of(spike_latency)):
    """Module form of `spike_latency`."""


class SpikeLatencyLIFEncoder(module_of(spike_latency_lif)):
    """Module form of `spike_latency_lif`."""


class TimeToFirstSpikeEncoder(module_of(time_to_first_spike)):
    """Module form of `time_to_first_spike`."""


class PhaseEncoder(module_of(phase)):
    """Module form of `phase`."""


class BurstEncoder(module_of(burst)):
    """Module form of `burst`."""
