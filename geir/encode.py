"""From values to spikes and currents over time. Each function has a module of the same meaning; random ones take a `generator`."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from .neuron import Dynamics
from .neurons import LIFBox

__all__ = [
    "ConstantCurrentLIFEncoder",
    "PoissonEncoder",
    "PopulationEncoder",
    "SignedPoissonEncoder",
    "SpikeLatencyEncoder",
    "SpikeLatencyLIFEncoder",
    "constant_current_encode",
    "latency_encode",
    "poisson_encode",
    "population_encode",
    "signed_poisson_encode",
    "spike_latency_encode",
]


def poisson_encode(x: Tensor, seq_length: int, f_max: float = 100.0, dt: float = 1e-3, generator: torch.Generator | None = None) -> Tensor:
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
        ValueError: If an intensity is out of range, or `f_max * dt` exceeds 1.

    >>> zs = poisson_encode(torch.tensor([0.0, 0.5, 1.0]), 1000, generator=torch.Generator().manual_seed(0))
    >>> zs.sum(0)  # spikes in one second
    tensor([  0.,  52., 103.])
    """
    return _random_spikes("poisson_encode", x, 0.0, seq_length, f_max, dt, generator)


def signed_poisson_encode(x: Tensor, seq_length: int, f_max: float = 100.0, dt: float = 1e-3, generator: torch.Generator | None = None) -> Tensor:
    """Poisson spike trains as by `poisson_encode`, of -1 where an intensity in [-1, 1] is negative."""
    return torch.sign(x) * _random_spikes("signed_poisson_encode", x, -1.0, seq_length, f_max, dt, generator)


def _random_spikes(who: str, x: Tensor, low: float, seq_length: int, f_max: float, dt: float, generator: torch.Generator | None) -> Tensor:
    _check_length(who, seq_length)
    if not 0 <= f_max * dt <= 1:
        raise ValueError(f"{who}: a rate of f_max={f_max} Hz means {f_max * dt:.3g} spikes in a step of dt={dt} s; at most 1 is possible.")
    if not x.is_floating_point():
        raise TypeError(f"{who} takes floating-point intensities, got {x.dtype}.")
    if not torch.compiler.is_compiling() and x.numel() and not bool(((x >= low) & (x <= 1)).all()):
        worst = x.flatten()[x.abs().argmax()].item()
        raise ValueError(f"{who} takes intensities in [{low:g}, 1], got {round(worst, 6)}; scale the input, as in x / 255 for bytes.")
    chance = torch.rand((seq_length, *x.shape), device=x.device, dtype=x.dtype, generator=generator)
    return (chance < x.abs() * f_max * dt).to(x.dtype)


def _check_length(who: str, seq_length: int) -> None:
    if not isinstance(seq_length, int) or seq_length < 0:
        raise ValueError(f"{who}: seq_length must be a whole number of steps, got {seq_length!r}.")


def constant_current_encode(x: Tensor, seq_length: int, neuron: Dynamics[Any] | None = None) -> Tensor:
    r"""Spikes of neurons driven by `x` as a constant current.

    Args:
        x: Currents, any shape.
        seq_length: Number of steps.
        neuron: The neurons. Default: `LIFBox()`, which spike at :math:`x > 1` with the period :math:`\tau_\text{mem} \ln \frac{x}{x - 1}`.

    Returns:
        Spikes, shape (seq_length, \*x.shape).
    """
    _check_length("constant_current_encode", seq_length)
    neuron = LIFBox().to(x.device, torch.promote_types(x.dtype, torch.float32)) if neuron is None else neuron
    zs, _ = neuron(x.expand(seq_length, *x.shape))
    return zs


def spike_latency_encode(zs: Tensor) -> Tensor:
    """Only the first spike of each train: spikes of shape (time, ...) to the same with at most one spike each."""
    return zs * (torch.cumsum(zs != 0, 0) == 1)


def latency_encode(x: Tensor, seq_length: int, neuron: Dynamics[Any] | None = None) -> Tensor:
    """One spike each, the sooner the stronger the current: the first of `constant_current_encode`."""
    return spike_latency_encode(constant_current_encode(x, seq_length, neuron))


def population_encode(x: Tensor, out_features: int, low: float = 0.0, high: float = 1.0, sigma: float | None = None) -> Tensor:
    r"""Activities of a population with Gaussian tuning, :math:`\exp(-(x - c_k)^2 / 2\sigma^2)`.

    Args:
        x: Values, any shape.
        out_features: Number of neurons in the population.
        low: First preferred value; the others are evenly spaced.
        high: Last preferred value.
        sigma: Width of tuning. Default: the spacing of preferred values.

    Returns:
        Activities in [0, 1], shape (\*x.shape, out_features), to serve as intensities for `poisson_encode`.

    >>> population_encode(torch.tensor([0.5]), 3)
    tensor([[0.6065, 1.0000, 0.6065]])
    """
    if out_features < 2 or not low < high:
        raise ValueError(f"population_encode needs at least 2 neurons and low < high, got {out_features} and {low}, {high}.")
    sigma = (high - low) / (out_features - 1) if sigma is None else sigma
    if not 0 < sigma < math.inf:
        raise ValueError(f"population_encode: sigma must be positive and finite, got {sigma}.")
    centres = torch.linspace(low, high, out_features, dtype=x.dtype, device=x.device)
    return torch.exp(-(((x.unsqueeze(-1) - centres) / sigma) ** 2) / 2)


class _Encoder(nn.Module):
    """Holds an encoding function's settings."""

    def __init__(self, **settings: Any):
        super().__init__()
        for name, value in settings.items():
            setattr(self, name, value)
        self._names = tuple(settings)

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._names}

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v!r}" for k, v in self._settings().items() if v is not None and not isinstance(v, nn.Module))


class PoissonEncoder(_Encoder):
    """`poisson_encode` as a module."""

    def __init__(self, seq_length: int, f_max: float = 100.0, dt: float = 1e-3, generator: torch.Generator | None = None):
        super().__init__(seq_length=seq_length, f_max=f_max, dt=dt, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return poisson_encode(x, **self._settings())


class SignedPoissonEncoder(_Encoder):
    """`signed_poisson_encode` as a module."""

    def __init__(self, seq_length: int, f_max: float = 100.0, dt: float = 1e-3, generator: torch.Generator | None = None):
        super().__init__(seq_length=seq_length, f_max=f_max, dt=dt, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return signed_poisson_encode(x, **self._settings())


class ConstantCurrentLIFEncoder(_Encoder):
    """`constant_current_encode` as a module."""

    def __init__(self, seq_length: int, neuron: Dynamics[Any] | None = None):
        super().__init__(seq_length=seq_length, neuron=LIFBox() if neuron is None else neuron)

    def forward(self, x: Tensor) -> Tensor:
        return constant_current_encode(x, **self._settings())


class SpikeLatencyLIFEncoder(ConstantCurrentLIFEncoder):
    """`latency_encode` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        return latency_encode(x, **self._settings())


class SpikeLatencyEncoder(nn.Module):
    """`spike_latency_encode` as a module."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, zs: Tensor) -> Tensor:
        return spike_latency_encode(zs)


class PopulationEncoder(_Encoder):
    """`population_encode` as a module."""

    def __init__(self, out_features: int, low: float = 0.0, high: float = 1.0, sigma: float | None = None):
        super().__init__(out_features=out_features, low=low, high=high, sigma=sigma)

    def forward(self, x: Tensor) -> Tensor:
        return population_encode(x, **self._settings())
