"""Encode values in a population: by which neurons are active, or by the order of their spikes."""

import torch
from torch import Tensor

from .._util.function_module import module_of
from .._util.precision import widen
from .._util.validation import check_integer, check_positive, time_indices


def population(x: Tensor, out_features: int, low: float = 0.0, high: float = 1.0, sigma: float | None = None) -> Tensor:
    r"""Activities of a population with Gaussian tuning curves, :math:`\exp(-(x - c_k)^2 / 2\sigma^2)`.

    Args:
        x: Values, any shape.
        out_features: Number of neurons in the population.
        low: Preferred value of the first neuron. The preferred values :math:`c_k` are evenly spaced.
        high: Preferred value of the last neuron.
        sigma: Width of the tuning curves. Default: the spacing of the preferred values.

    Returns:
        Activities in [0, 1], shape (\*x.shape, out_features); use them as intensities for `poisson`.

    Raises:
        ValueError: If `out_features` is less than 2, `low` is not below `high`, or `sigma` is not positive and finite.
        TypeError: If `x` is not floating-point.

    >>> population(torch.tensor([0.5]), 3)
    tensor([[0.6065, 1.0000, 0.6065]])
    """
    if not x.is_floating_point():
        raise TypeError(f"encode.population expected floating-point values, got {x.dtype}; convert them with .float().")
    if out_features < 2 or not low < high:
        raise ValueError(
            f"encode.population needs at least 2 neurons and low < high, "
            f"got out_features={out_features}, low={low} and high={high}."
        )
    sigma = (high - low) / (out_features - 1) if sigma is None else sigma
    check_positive("encode.population", sigma=sigma)
    values = widen(x).unsqueeze(-1)
    centers = torch.linspace(low, high, out_features, dtype=values.dtype, device=x.device)
    return torch.exp(-(((values - centers) / sigma) ** 2) / 2).to(x.dtype)


def rank_order(x: Tensor, steps: int | None = None) -> Tensor:
    r"""One spike per neuron, in descending order of the values along the last dimension.

    The neuron with the largest value spikes at step 0, the next one at step 1. Only the order of the values matters;
    neurons with equal values spike in the order of their index.

    Reference: S. Thorpe & J. Gautrais, *Rank order coding*, 1998.

    Args:
        x: Values, shape (..., neurons).
        steps: Number of steps; neurons with a rank of `steps` or more stay silent. Default: the number of neurons.

    Returns:
        Spikes, shape (steps, ..., neurons), in the dtype of `x`.

    Raises:
        ValueError: If `x` is not floating-point or has no dimension, or `steps` is not an integer >= 0.

    >>> rank_order(torch.tensor([0.2, 0.9, 0.5]))
    tensor([[0., 1., 0.],
            [0., 0., 1.],
            [1., 0., 0.]])
    """
    if x.dim() == 0 or not x.is_floating_point():
        raise ValueError(
            f"encode.rank_order expected floating-point values of shape (..., neurons), "
            f"got {x.dtype} of shape {tuple(x.shape)}."
        )
    steps = x.shape[-1] if steps is None else steps
    check_integer("encode.rank_order", steps=steps)
    # Sorting a permutation gives its inverse: from the neuron of each rank to the rank of each neuron.
    ranks = x.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    return (ranks == time_indices(steps, x)).to(x.dtype)


class PopulationEncoder(module_of(population)):
    """Module form of `population`."""


class RankOrderEncoder(module_of(rank_order)):
    """Module form of `rank_order`."""
