"""Groups of neurons in one layer, and the connections between them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .delayed_sparse import DelayedSparseLinear
from .interpolation import Interpolation, LinearInterpolation
from .pairs import Pairs, random_pairs
from .sparse import SparseLinear

# One number for all synapses, one for each, or a function from their number to one for each.
Values = float | Tensor | Callable[[int], Tensor]

_LINEAR = LinearInterpolation()


@dataclass(frozen=True)
class Projection:
    """Connections from one group of neurons to another.

    Args:
        source: Name of the presynaptic group.
        target: Name of the postsynaptic group.
        weight: Weights: one number, a tensor of shape (synapses,), or a function from the number of synapses to
            such a tensor.
        probability: Probability of each possible synapse.
        number: Number of synapses instead; see `random_pairs`.
        pairs: The connected pairs instead, by their places in the two groups.
        delay: Delays in seconds, like `weight`.
        autapses: Whether neurons connect to themselves, of a group with itself.
    """

    source: str
    target: str
    weight: Values
    probability: float | None = None
    number: int | None = None
    pairs: Pairs | None = None
    delay: Values = 0.0
    autapses: bool = True

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.probability, self.number, self.pairs)) != 1:
            raise TypeError("Projection takes one of probability, number and pairs.")


class Groups:
    """The neurons of one layer, in named groups.

    Args:
        **sizes: Number of neurons of each group.

    Raises:
        ValueError: If a size is not a positive integer.

    >>> groups = Groups(excitatory=3200, inhibitory=800)
    >>> groups.size
    4000
    >>> zs = torch.zeros(100, 1, groups.size)
    >>> zs[..., groups["inhibitory"]].shape
    torch.Size([100, 1, 800])
    >>> groups.values(excitatory=20e-3, inhibitory=10e-3)
    tensor([0.0200, 0.0200, 0.0200,  ..., 0.0100, 0.0100, 0.0100])
    """

    def __init__(self, **sizes: int) -> None:
        self._slices: dict[str, slice] = {}
        first = 0
        for name, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"Groups.{name} must be a positive number of neurons, got {size!r}.")
            self._slices[name] = slice(first, first + size)
            first += size
        self.size = first

    def __getitem__(self, name: str) -> slice:
        """The places of the neurons of a group in the layer."""
        if name not in self._slices:
            raise KeyError(f"there is no group {name!r}; there are: {', '.join(self._slices) or 'none'}.")
        return self._slices[name]

    def values(self, **values: float | Tensor) -> Tensor:
        """A parameter with one value for each neuron, given by group: numbers, or tensors of shape (group,).

        Raises:
            ValueError: If a group is missing, or its tensor has another shape.
        """
        if values.keys() != self._slices.keys():
            expected, given = ", ".join(self._slices), ", ".join(values)
            raise ValueError(f"Groups.values takes one value for each of the groups {expected}, got {given}.")
        return torch.cat(
            [_expand(values[name], s.stop - s.start, f"Groups.values: {name}") for name, s in self._slices.items()]
        )

    def connect(
        self,
        *projections: Projection,
        dt: float = 1e-3,
        interpolation: Interpolation = _LINEAR,
        generator: torch.Generator | None = None,
    ) -> SparseLinear | DelayedSparseLinear:
        """The connections within the layer, for the `recurrent_weights` of a recurrent neuron.

        Args:
            *projections: Connections from group to group.
            dt: Step size in seconds.
            interpolation: How a delay between two steps is realized. With the default, such a synapse becomes two;
                `NearestStep()` rounds its delay.
            generator: Random number generator. Default: that of PyTorch.

        Returns:
            A `SparseLinear`, or a `DelayedSparseLinear` if there is a delay.

        Raises:
            KeyError: If there is no group of this name.
            ValueError: If weights or delays do not have the shape (synapses,), or pairs are not in their groups.

        >>> groups = Groups(excitatory=80, inhibitory=20)
        >>> groups.connect(
        ...     Projection("excitatory", "inhibitory", weight=0.1, probability=0.2, delay=1.5e-3),
        ...     Projection("inhibitory", "excitatory", weight=-0.4, number=300, delay=1e-3),
        ... ).in_features
        100
        """
        for projection in projections:
            for name in (projection.source, projection.target):
                _ = self[name]  # raises if there is no such group
        return _join(projections, self._slices, self._slices, dt, interpolation, generator)

    def project(
        self,
        *projections: Projection,
        dt: float = 1e-3,
        interpolation: Interpolation = _LINEAR,
        generator: torch.Generator | None = None,
    ) -> SparseLinear | DelayedSparseLinear:
        """The connections from one group to another, for `geir.Populations`, whose groups are separate layers.

        Args:
            *projections: Connections, all from the same group to the same group.
            dt, interpolation, generator: As those of `connect`.

        Returns:
            A layer from the neurons of the one group to those of the other.

        Raises:
            KeyError: If there is no group of this name.
            ValueError: If the projections are between different groups, or as for `connect`.

        >>> groups = Groups(excitatory=80, inhibitory=20)
        >>> groups.project(Projection("excitatory", "inhibitory", weight=0.1, probability=0.2, delay=1e-3)).out_features
        20
        """
        ends = {(projection.source, projection.target) for projection in projections}
        if len(ends) != 1:
            raise ValueError(
                f"Groups.project takes projections from one group to one group, got {sorted(ends)}; use it once for "
                "each."
            )
        ((source, target),) = ends
        sizes = [self[name].stop - self[name].start for name in (source, target)]
        return _join(
            projections, {source: slice(0, sizes[0])}, {target: slice(0, sizes[1])}, dt, interpolation, generator
        )


class _Drawn(NamedTuple):
    """The synapses of a projection, ordered by source, in half the memory of pairs."""

    counts: Tensor  # number of synapses of each presynaptic neuron of the layer
    targets: Tensor  # their postsynaptic neurons in the layer


def _draw(
    projection: Projection,
    sources: Mapping[str, slice],
    targets: Mapping[str, slice],
    generator: torch.Generator | None,
) -> _Drawn:
    """The synapses of a projection."""
    source, target = sources[projection.source], targets[projection.target]
    sizes = source.stop - source.start, target.stop - target.start
    pairs = projection.pairs
    if pairs is None:
        autapses = projection.autapses or projection.source != projection.target
        pairs = random_pairs(
            *sizes, projection.probability, number=projection.number, autapses=autapses, generator=generator
        )
    else:
        pairs.check(*sizes)
    counts = torch.zeros(_size(sources), dtype=torch.long)
    counts[source] = torch.bincount(pairs.sources, minlength=sizes[0])
    return _Drawn(counts, pairs.targets.to(torch.int32) + target.start)


def _size(groups: Mapping[str, slice]) -> int:
    return max((group.stop for group in groups.values()), default=0)


def _join(
    projections: Sequence[Projection],
    sources: Mapping[str, slice],
    targets: Mapping[str, slice],
    dt: float,
    interpolation: Interpolation,
    generator: torch.Generator | None,
) -> SparseLinear | DelayedSparseLinear:
    """The layer of projections between groups of these places.

    A network may have hundreds of millions of synapses. So there is one projection at a time in memory besides the
    result, and of the others only the targets.
    """
    drawn = [_draw(projection, sources, targets, generator) for projection in projections]
    counts = sum((each.counts for each in drawn), torch.zeros(_size(sources), dtype=torch.long))
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    number = int(starts[-1])
    postsynaptic = torch.empty(number, dtype=torch.int32)
    weights, delays = torch.empty(number), torch.empty(number)
    # Of each neuron, the place of its next synapse: those of a projection follow those of the projections before.
    free = starts[:-1].clone()
    drawn.reverse()
    for projection in projections:
        each = drawn.pop()  # and frees the one before
        name, count = f"of the projection from {projection.source} to {projection.target}", len(each.targets)
        places = (free - each.counts.cumsum(0) + each.counts).repeat_interleave(each.counts)
        places += torch.arange(count)
        postsynaptic[places] = each.targets
        weights[places] = _expand(projection.weight, count, f"Groups: the weight {name}")
        delays[places] = _expand(projection.delay, count, f"Groups: the delay {name}")
        free += each.counts
    layer = SparseLinear.from_synapses(weights, starts, postsynaptic, _size(targets))
    if not bool(delays.any()):
        return layer
    shared = bool((delays == delays[0]).all())
    return DelayedSparseLinear(layer, delay=delays[0] if shared else delays, dt=dt, interpolation=interpolation)


def _expand(values: Values, count: int, name: str) -> Tensor:
    """One value for each of `count` neurons or synapses."""
    given = torch.as_tensor(values(count) if callable(values) else values, dtype=torch.get_default_dtype())
    if given.dim() and given.shape != (count,):
        raise ValueError(f"{name} must be a number or have shape ({count},), got {tuple(given.shape)}.")
    return given.expand(count)
