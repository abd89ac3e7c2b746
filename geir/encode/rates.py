"""Encode values as firing rates of random spikes."""

import torch
from torch import Generator, Tensor

from .._util.function_module import module_of
from .._util.precision import widen
from .._util.validation import check_integer
from ._validation import check_intensities


def poisson(
    x: Tensor, steps: int, f_max: float = 100.0, dt: float = 1e-3, generator: Generator | None = None
) -> Tensor:
    r"""Poisson spike trains: each step has a spike with probability :math:`x f_\text{max} \Delta t`.

    Args:
        x: Intensities in [0, 1], any shape.
        steps: Number of steps.
        f_max: Firing rate at intensity 1, in Hz.
        dt: Step size in seconds.
        generator: Random number generator. Default: PyTorch's.

    Returns:
        Spikes, shape (steps, \*x.shape), in the dtype of `x`.

    Raises:
        ValueError: If an intensity is out of range, `steps`, `f_max` or `dt` is negative, or `f_max * dt` exceeds 1.
        TypeError: If `x` is not floating-point.

    >>> zs = poisson(torch.tensor([0.0, 0.5, 1.0]), 1000, generator=torch.Generator().manual_seed(0))
    >>> zs.sum(0)  # spikes in one second
    tensor([  0.,  52., 103.])
    """
    check_integer("encode.poisson", steps=steps)
    _check_arguments("encode.poisson", x, f_max, dt)
    return _draw_spikes(x, (steps, *x.shape), f_max, dt, generator)


def poisson_step(x: Tensor, f_max: float = 100.0, dt: float = 1e-3, generator: Generator | None = None) -> Tensor:
    """One step of `poisson`, for networks that run step by step.

    Args:
        x: Intensities in [0, 1], any shape.
        f_max: Firing rate at intensity 1, in Hz.
        dt: Step size in seconds.
        generator: Random number generator. Default: PyTorch's.

    Returns:
        Spikes, in the shape and dtype of `x`.

    Raises:
        ValueError: If an intensity is out of range, `f_max` or `dt` is negative, or `f_max * dt` exceeds 1.
        TypeError: If `x` is not floating-point.
    """
    _check_arguments("encode.poisson_step", x, f_max, dt)
    return _draw_spikes(x, x.shape, f_max, dt, generator)


def signed_poisson(
    x: Tensor, steps: int, f_max: float = 100.0, dt: float = 1e-3, generator: Generator | None = None
) -> Tensor:
    r"""Poisson spike trains of intensities in [-1, 1]: spikes of the sign of the intensity; see `poisson`.

    Args:
        x: Intensities in [-1, 1], any shape.
        steps: Number of steps.
        f_max: Firing rate at intensities 1 and -1, in Hz.
        dt: Step size in seconds.
        generator: Random number generator. Default: PyTorch's.

    Returns:
        Spikes of +1 and -1, shape (steps, \*x.shape), in the dtype of `x`.

    Raises:
        ValueError: If an intensity is out of range, `steps`, `f_max` or `dt` is negative, or `f_max * dt` exceeds 1.
        TypeError: If `x` is not floating-point.
    """
    check_integer("encode.signed_poisson", steps=steps)
    _check_arguments("encode.signed_poisson", x, f_max, dt, low=-1.0)
    return torch.sign(x) * _draw_spikes(x, (steps, *x.shape), f_max, dt, generator)


def signed_poisson_step(
    x: Tensor, f_max: float = 100.0, dt: float = 1e-3, generator: Generator | None = None
) -> Tensor:
    """One step of `signed_poisson`, for networks that run step by step.

    Args:
        x: Intensities in [-1, 1], any shape.
        f_max: Firing rate at intensities 1 and -1, in Hz.
        dt: Step size in seconds.
        generator: Random number generator. Default: PyTorch's.

    Returns:
        Spikes of +1 and -1, in the shape and dtype of `x`.

    Raises:
        ValueError: If an intensity is out of range, `f_max` or `dt` is negative, or `f_max * dt` exceeds 1.
        TypeError: If `x` is not floating-point.
    """
    _check_arguments("encode.signed_poisson_step", x, f_max, dt, low=-1.0)
    return torch.sign(x) * _draw_spikes(x, x.shape, f_max, dt, generator)


def _check_arguments(caller: str, x: Tensor, f_max: float, dt: float, low: float = 0.0) -> None:
    if f_max < 0 or dt < 0:
        raise ValueError(f"{caller}: f_max and dt must not be negative, got f_max={f_max} Hz and dt={dt} s.")
    if not f_max * dt <= 1:
        raise ValueError(
            f"{caller}: f_max={f_max} Hz is {f_max * dt:.3g} spikes per step of dt={dt} s, "
            "but a step holds at most one; reduce f_max or dt."
        )
    check_intensities(caller, x, low)


def _draw_spikes(x: Tensor, shape: tuple[int, ...], f_max: float, dt: float, generator: Generator | None) -> Tensor:
    """Spikes of the given shape, with the probabilities `|x| * f_max * dt`."""
    probability = widen(x).abs() * f_max * dt
    uniform = torch.rand(shape, device=x.device, dtype=probability.dtype, generator=generator)
    return (uniform < probability).to(x.dtype)


class PoissonEncoder(module_of(poisson)):
    """Module form of `poisson`."""


class PoissonEncoderCell(module_of(poisson_step)):
    """Module form of `poisson_step`. Norse calls it ``PoissonEncoderStep``, which works too."""


class SignedPoissonEncoder(module_of(signed_poisson)):
    """Module form of `signed_poisson`."""


class SignedPoissonEncoderCell(module_of(signed_poisson_step)):
    """Module form of `signed_poisson_step`."""


PoissonEncoderStep = PoissonEncoderCell
