"""Which neurons are connected: pairs drawn at random, by probability, number or distance, without dense matrices."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Numbers that are drawn at once, to bound the memory that this takes.
_MAX_AT_ONCE = 2**22


class Pairs(NamedTuple):
    """Connected pairs of neurons, ordered by source; a pair that occurs twice is connected twice."""

    sources: Tensor  # presynaptic neurons, shape (pairs,), integers
    targets: Tensor  # postsynaptic neurons, shape (pairs,), integers

    def check(self, sources: int, targets: int) -> None:
        """Raise `ValueError` unless these are pairs of existing neurons, sorted by source."""
        for name, neurons, size in (("sources", self.sources, sources), ("targets", self.targets, targets)):
            if neurons.dim() != 1 or len(neurons) != len(self.sources) or neurons.is_floating_point():
                raise ValueError(
                    f"Pairs.{name} must be integers of shape (pairs,), got {neurons.dtype}, {tuple(neurons.shape)}."
                )
            if len(neurons) and not 0 <= int(neurons.min()) <= int(neurons.max()) < size:
                raise ValueError(
                    f"Pairs.{name} must be from 0 to {size - 1}, got {int(neurons.min())} to {int(neurons.max())}."
                )
        if bool((self.sources.diff() < 0).any()):
            raise ValueError("Pairs.sources must be in order; sort the pairs by source.")


def random_pairs(
    sources: int,
    targets: int,
    probability: float | None = None,
    *,
    number: int | None = None,
    autapses: bool = True,
    generator: torch.Generator | None = None,
) -> Pairs:
    """Pairs of neurons drawn at random; time and memory are proportional to their number.

    Args:
        sources: Number of presynaptic neurons.
        targets: Number of postsynaptic neurons.
        probability: Probability of each possible pair.
        number: Number of pairs instead, each drawn independently of all others, so that a pair may occur several
            times (multapses).
        autapses: Whether neuron k may be connected to neuron k; False if both are the same neurons and should not.
        generator: Random number generator. Default: that of PyTorch.

    Raises:
        TypeError: If neither or both of `probability` and `number` are given.
        ValueError: If the probability is not in [0, 1], the number is negative, or there is no possible pair.

    >>> generator = torch.Generator().manual_seed(0)
    >>> len(random_pairs(40_000, 40_000, 1e-6, generator=generator).sources)
    1614
    """
    if (probability is None) == (number is None):
        raise TypeError("random_pairs takes either a probability or a number.")
    if not autapses and sources != targets:
        raise ValueError(f"random_pairs: without autapses, sources and targets are the same, got {sources}, {targets}.")
    # Without autapses, one possible target less: that of the source itself is skipped.
    row = targets if autapses else targets - 1
    if probability is not None:
        if not isinstance(probability, int | float) or not 0 <= probability <= 1:
            raise ValueError(f"random_pairs: probability must be in [0, 1], got {probability!r}.")
        places = _random_places(sources * row, float(probability), generator)
        pairs = Pairs(places // max(1, row), places % max(1, row))
    else:
        assert number is not None
        if not isinstance(number, int) or number < 0 or (number and sources * row < 1):
            raise ValueError(f"random_pairs: number must be >= 0, of {sources * row} possible pairs, got {number!r}.")
        pairs = _random_number(sources, row, number, generator)
    return pairs if autapses else pairs._replace(targets=pairs.targets + (pairs.targets >= pairs.sources))


def _random_number(sources: int, targets: int, number: int, generator: torch.Generator | None) -> Pairs:
    """So many pairs, each drawn independently.

    The targets are independent of the sources, so that the sources, in order, follow from how often each is drawn.
    """
    counts = torch.zeros(max(1, sources), dtype=torch.long)
    for first in range(0, number, _MAX_AT_ONCE):
        drawn = torch.randint(len(counts), (min(_MAX_AT_ONCE, number - first),), generator=generator)
        counts += torch.bincount(drawn, minlength=len(counts))
    drawn_targets = torch.randint(max(1, targets), (number,), generator=generator)
    return Pairs(torch.repeat_interleave(counts), drawn_targets)


def _random_places(count: int, probability: float, generator: torch.Generator | None) -> Tensor:
    """Each of the numbers 0 ... count - 1 with a probability, in order.

    The distances between them are drawn, from the geometric distribution: those that are not chosen take no time.
    """
    if probability == 0 or count == 0:
        return torch.zeros(0, dtype=torch.long)
    if probability == 1:
        return torch.arange(count)
    expected = count * probability
    at_once = min(_MAX_AT_ONCE, int(expected + 4 * math.sqrt(expected)) + 16)
    drawn, last = list[Tensor](), -1
    while last < count:
        uniform = torch.rand(at_once, dtype=torch.float64, generator=generator)
        distances = 1 + (torch.log1p(-uniform) / math.log1p(-probability)).clamp(max=count).long()
        places = distances.cumsum(0) + last
        last = int(places[-1])
        drawn.append(places[places < count])
    return torch.cat(drawn)


def distance_pairs(
    source_positions: Tensor,
    target_positions: Tensor,
    probability: Callable[[Tensor], Tensor],
    *,
    period: Sequence[float] | None = None,
    autapses: bool = True,
    generator: torch.Generator | None = None,
) -> Pairs:
    """Pairs of neurons drawn at random with a probability that depends on their distance.

    All possible pairs are visited, a bounded number at once, so that memory is proportional to the number of pairs
    drawn.

    Args:
        source_positions: Positions of the presynaptic neurons, shape (sources, dimensions).
        target_positions: Positions of the postsynaptic neurons, shape (targets, dimensions).
        probability: From distances to probabilities, elementwise, such as ``lambda d: 0.5 * torch.exp(-d / 0.1)``.
        period: Size of a periodic space in each dimension, whose opposite borders are the same.
        autapses: Whether neuron k may be connected to neuron k.
        generator: Random number generator. Default: that of PyTorch.

    Raises:
        ValueError: If the positions are no matrices of equally many columns, the period does not have one positive size
            for each, or a probability is not in [0, 1].

    >>> grid = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0))
    >>> distance_pairs(grid, grid, lambda d: (d == 1).float()).targets[:5]
    tensor([1, 3, 0, 2, 4])
    """
    shapes = tuple(source_positions.shape), tuple(target_positions.shape)
    if source_positions.dim() != 2 or target_positions.dim() != 2 or shapes[0][1] != shapes[1][1]:
        raise ValueError(
            f"distance_pairs takes positions of shape (neurons, dimensions), got {shapes[0]}, {shapes[1]}."
        )
    if period is not None and (len(period) != shapes[0][1] or not all(size > 0 for size in period)):
        raise ValueError(f"distance_pairs: period must have {shapes[0][1]} positive sizes, got {tuple(period)}.")
    rows = max(1, _MAX_AT_ONCE // max(1, shapes[1][0]))
    drawn = [torch.zeros(0, 2, dtype=torch.long)]
    for first in range(0, shapes[0][0], rows):
        square = torch.zeros(())
        for k, (source, target) in enumerate(zip(source_positions.t(), target_positions.t(), strict=True)):
            apart = (source[first : first + rows, None] - target).abs()
            if period is not None:
                apart = apart.remainder(period[k])
                apart = torch.minimum(apart, period[k] - apart)
            square = square + apart.square()
        chance = probability(square.sqrt())
        if chance.shape != square.shape or not bool(((chance >= 0) & (chance <= 1)).all()):
            raise ValueError(
                f"distance_pairs: probability must return one number in [0, 1] for each distance, got "
                f"shape {tuple(chance.shape)}, from {chance.min().item():.6g} to {chance.max().item():.6g}."
            )
        chosen = torch.rand(chance.shape, generator=generator, dtype=chance.dtype) < chance
        pairs = chosen.nonzero() + torch.tensor([first, 0])
        drawn.append(pairs if autapses else pairs[pairs[:, 0] != pairs[:, 1]])
    return Pairs(*torch.cat(drawn).t())
