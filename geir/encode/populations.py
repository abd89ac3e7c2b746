"""Values spread over a population: which neurons are active, or in which order."""

import torch
from torch import Tensor

from .._util.function_module import module_of
from .._util.validation import check_positive, time_indices
from .intensities import check_steps


def population_encode(
    x: Tensor, out_features: int, low: float = 0.0, high: float = 1.0, sigma: float | None = None
) -> Tensor:
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
        raise ValueError(
            f"population_encode needs at least 2 neurons and low < high, got {out_features} and {low}, {high}."
        )
    sigma = (high - low) / (out_features - 1) if sigma is None else sigma
    check_positive("population_encode", sigma=sigma)
    centres = torch.linspace(low, high, out_features, dtype=x.dtype, device=x.device)
    return torch.exp(-(((x.unsqueeze(-1) - centres) / sigma) ** 2) / 2)


def rank_order_encode(x: Tensor, seq_length: int | None = None) -> Tensor:
    r"""One spike each, in the order of strength along the last dimension: the strongest at step 0, the next at step 1.

    Only the order counts; equals spike in the order of their index.

    Reference: S. Thorpe & J. Gautrais, *Rank order coding*, 1998.

    Args:
        x: Values, shape (..., neurons).
        seq_length: Number of steps; whose rank is beyond stays silent. Default: the number of neurons.

    Returns:
        Spikes, shape (seq_length, ..., neurons), in the dtype of `x`.

    >>> rank_order_encode(torch.tensor([0.2, 0.9, 0.5]))
    tensor([[0., 1., 0.],
            [0., 0., 1.],
            [1., 0., 0.]])
    """
    if x.dim() == 0 or not x.is_floating_point():
        raise ValueError(
            f"rank_order_encode takes floating-point values of shape (..., neurons), got {x.dtype} of shape {tuple(x.shape)}."
        )
    seq_length = x.shape[-1] if seq_length is None else seq_length
    check_steps("rank_order_encode", seq_length=seq_length)
    # The inverse of a permutation is what sorts it.
    ranks = x.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    return (ranks == time_indices(seq_length, x)).to(x.dtype)


class PopulationEncoder(module_of(population_encode)):
    """`population_encode` as a module."""


class RankOrderEncoder(module_of(rank_order_encode)):
    """`rank_order_encode` as a module."""
