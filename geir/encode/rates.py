"""Values as the rates of random spikes."""

import torch
from torch import Tensor

from .._util.function_module import module_of
from .intensities import check_intensities, check_steps


def poisson_encode(
    x: Tensor, seq_length: int, f_max: float = 100.0, dt: float = 1e-3, generator: torch.Generator | None = None
) -> Tensor:
    r"""Poisson spike trains: at every step a spike with probability :math:`x f_\text{max} \Delta t`.

    Args:
        x: Intensities in [0, 1], any shape.
        seq_length: Number of steps.
        f_max: Rate at intensity 1, in Hz.
        dt: Step size in seconds.
        generator: Source of randomness. Default: PyTorch's.

    Returns:
        Spikes, shape (seq_length, \*x.shape), in the dtype of `x`.

    Raises:
        ValueError: If an intensity is out of range, `f_max` is negative, or `f_max * dt` exceeds 1.

    >>> zs = poisson_encode(torch.tensor([0.0, 0.5, 1.0]), 1000, generator=torch.Generator().manual_seed(0))
    >>> zs.sum(0)  # spikes in one second
    tensor([  0.,  52., 103.])
    """
    check_steps("poisson_encode", seq_length=seq_length)
    return _random_spikes("poisson_encode", x, 0.0, (seq_length,), f_max, dt, generator)


def poisson_encode_step(
    x: Tensor, f_max: float = 100.0, dt: float = 1e-3, generator: torch.Generator | None = None
) -> Tensor:
    """One step of `poisson_encode`, for networks that run one step at a time: spikes in the shape of `x`."""
    return _random_spikes("poisson_encode_step", x, 0.0, (), f_max, dt, generator)


def signed_poisson_encode(
    x: Tensor, seq_length: int, f_max: float = 100.0, dt: float = 1e-3, generator: torch.Generator | None = None
) -> Tensor:
    """Poisson spike trains as by `poisson_encode`, of -1 where an intensity in [-1, 1] is negative."""
    check_steps("signed_poisson_encode", seq_length=seq_length)
    return torch.sign(x) * _random_spikes("signed_poisson_encode", x, -1.0, (seq_length,), f_max, dt, generator)


def signed_poisson_encode_step(
    x: Tensor, f_max: float = 100.0, dt: float = 1e-3, generator: torch.Generator | None = None
) -> Tensor:
    """One step of `signed_poisson_encode`: spikes in the shape of `x`."""
    return torch.sign(x) * _random_spikes("signed_poisson_encode_step", x, -1.0, (), f_max, dt, generator)


def _random_spikes(
    caller: str,
    x: Tensor,
    low: float,
    steps: tuple[int, ...],
    f_max: float,
    dt: float,
    generator: torch.Generator | None,
) -> Tensor:
    if f_max < 0 or dt < 0:
        raise ValueError(f"{caller}: f_max and dt must not be negative, got f_max={f_max} Hz and dt={dt} s.")
    if not f_max * dt <= 1:
        raise ValueError(
            f"{caller}: a rate of f_max={f_max} Hz means {f_max * dt:.3g} spikes in a step of dt={dt} s; at most 1 is possible."
        )
    check_intensities(caller, x, low)
    chance = torch.rand((*steps, *x.shape), device=x.device, dtype=x.dtype, generator=generator)
    return (chance < x.abs() * f_max * dt).to(x.dtype)


class PoissonEncoder(module_of(poisson_encode)):
    """`poisson_encode` as a module."""


class PoissonEncoderStep(module_of(poisson_encode_step)):
    """`poisson_encode_step` as a module."""


class SignedPoissonEncoder(module_of(signed_poisson_encode)):
    """`signed_poisson_encode` as a module."""


class SignedPoissonEncoderStep(module_of(signed_poisson_encode_step)):
    """`signed_poisson_encode_step` as a module."""
