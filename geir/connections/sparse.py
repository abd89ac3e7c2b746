"""Sparsely connected linear layers."""

import math
from abc import ABC, abstractmethod

import torch
from torch import nn, Tensor
from torch.nn import functional

from .._runtime import sparse
from .._runtime.stepper import Synapses, SynapticConnection
from .._util.precision import HALF_PRECISION
from .pairs import Pairs, random_pairs


def _masked_connections(mask: Tensor) -> Pairs:
    """The nonzero entries of a matrix of shape (targets, sources)."""
    indices = mask.t().nonzero().t() if mask.layout is torch.strided else _transposed_entries(mask).indices()
    return Pairs(*indices)


def _transposed_entries(matrix: Tensor) -> Tensor:
    """The entries of a matrix of any layout and shape (targets, sources), as a sparse matrix (sources,
    targets) in order."""
    return matrix.detach().to_sparse_coo().t().coalesce()


class _PartlyConnected(nn.Module, ABC):
    """A linear layer in which only some connections exist. Abstract: a subclass defines `_create`."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        mask: Tensor | None = None,
        connection_probability: float | None = None,
        pairs: Pairs | None = None,
        generator: torch.Generator | None = None,
    ):
        caller = type(self).__name__
        if sum(given is not None for given in (mask, connection_probability, pairs)) != 1:
            raise TypeError(f"{caller} takes either a mask or a connection_probability or pairs.")
        if mask is not None:
            shape = (out_features, in_features)
            if not isinstance(mask, Tensor) or mask.shape != shape:
                given = f"shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
                raise ValueError(
                    f"{caller}.mask must be a tensor of shape {shape}, one entry per connection, got {given}."
                )
            connections = _masked_connections(mask)
        elif pairs is not None:
            pairs.check(in_features, out_features)
            connections = pairs
        else:
            if not isinstance(connection_probability, int | float) or not 0 <= connection_probability <= 1:
                raise ValueError(f"{caller}.connection_probability must be in [0, 1], got {connection_probability!r}.")
            connections = random_pairs(in_features, out_features, connection_probability, generator=generator)
        self._create(in_features, out_features, bias, connections)

    @abstractmethod
    def _create(self, in_features: int, out_features: int, bias: bool, connections: Pairs) -> None:
        """Initialize the module with these connections."""


class MaskedLinear(_PartlyConnected, nn.Linear):
    """`torch.nn.Linear` with a mask: missing connections have weight zero and no gradient.

    Suited to layers in which many connections exist; see `SparseLinear` for few. Silent inputs are
    skipped, as in `SparseInputLinear`.

    Args:
        in_features: Number of inputs.
        out_features: Number of outputs.
        bias: Whether to add a learnable bias.
        mask: The existing connections, shape (out_features, in_features): a dense tensor, nonzero where
            there is a connection, or a sparse matrix.
        connection_probability: The probability of each connection, instead of a mask.
        pairs: The connected pairs of neurons, instead of a mask; see `random_pairs` and `distance_pairs`.
        generator: Random number generator of the connections. Default: that of PyTorch.

    Raises:
        TypeError: If not exactly one of `mask`, `connection_probability` and `pairs` is given.
        ValueError: If the mask has another shape, the probability is not in [0, 1], or pairs are not in order.
    """

    mask: Tensor

    def _create(self, in_features: int, out_features: int, bias: bool, connections: Pairs) -> None:
        nn.Linear.__init__(self, in_features, out_features, bias)
        mask = torch.zeros(out_features, in_features, dtype=torch.bool)
        mask[connections.targets, connections.sources] = True
        self.register_buffer("mask", mask)
        with torch.no_grad():
            self.weight.mul_(mask)

    def forward(self, input: Tensor) -> Tensor:
        """Shape (..., in_features) to (..., out_features)."""
        return sparse.linear(input, self.weight * self.mask, self.bias)


class SparseLinear(_PartlyConnected, SynapticConnection):
    r"""A linear layer that stores only the weights of existing connections:
    :math:`y_k = b_k + \sum_{j \to k} w_{j \to k}\, x_j`.

    Suited to layers in which few connections exist, about one in ten or fewer: memory and time are
    proportional to their number. The parameter ``weight`` has one value per connection, ordered by
    input; the buffers ``starts`` and ``targets`` define the connections (compressed sparse columns). On
    devices other than the CPU, and inside `torch.compile` and `torch.func`, each call creates the dense
    matrix.

    Args:
        in_features: Number of inputs.
        out_features: Number of outputs.
        bias: Whether to add a learnable bias.
        mask: The existing connections, shape (out_features, in_features): a dense tensor, nonzero where
            there is a connection, or a sparse matrix.
        connection_probability: The probability of each connection, instead of a mask.
        pairs: The connected pairs of neurons, instead of a mask; see `random_pairs` and `distance_pairs`.
        generator: Random number generator of the connections. Default: that of PyTorch.

    Raises:
        TypeError: If not exactly one of `mask`, `connection_probability` and `pairs` is given.
        ValueError: If the mask has another shape, the probability is not in [0, 1], or pairs are not in order.

    >>> SparseLinear(1000, 1000, connection_probability=0.01)(torch.ones(1, 1000)).shape
    torch.Size([1, 1000])
    """

    bias: Tensor | None
    starts: Tensor
    targets: Tensor

    def _create(self, in_features: int, out_features: int, bias: bool, connections: Pairs) -> None:
        nn.Module.__init__(self)
        self.in_features = in_features
        self.out_features = out_features
        counts = torch.bincount(connections.sources, minlength=in_features)
        self.register_buffer("starts", torch.cat([counts.new_zeros(1), counts.cumsum(0)]))
        self.register_buffer("targets", connections.targets.to(torch.int32))
        mean_fan_in = len(self.targets) / out_features
        bound = 1 / math.sqrt(max(1.0, mean_fan_in))
        self.weight = nn.Parameter(torch.empty(len(self.targets)).uniform_(-bound, bound))
        bias_parameter = nn.Parameter(torch.empty(out_features).uniform_(-bound, bound)) if bias else None
        self.register_parameter("bias", bias_parameter)

    @classmethod
    def from_weights(cls, weights: Tensor, bias: Tensor | None = None) -> "SparseLinear":
        """A layer with the given weights.

        Args:
            weights: Matrix of shape (out_features, in_features): dense, where zeros are missing
                connections, or of any sparse layout.
            bias: Bias, shape (out_features,). Default: no bias.

        Raises:
            ValueError: If `weights` is not a matrix.
        """
        if not isinstance(weights, Tensor) or weights.dim() != 2:
            given = f"shape {tuple(weights.shape)}" if isinstance(weights, Tensor) else type(weights).__name__
            raise ValueError(f"{cls.__name__}.from_weights takes a matrix (out_features, in_features), got {given}.")
        out_features, in_features = weights.shape
        layer = cls(in_features, out_features, bias is not None, mask=weights)
        layer.weight = nn.Parameter(_transposed_entries(weights).values().clone())
        if bias is not None:
            layer.bias = nn.Parameter(bias.detach().clone())
        return layer

    @classmethod
    def from_synapses(cls, weights: Tensor, starts: Tensor, targets: Tensor, out_features: int) -> "SparseLinear":
        """A layer without bias that keeps these tensors, without a copy.

        Args:
            weights: Weights, ordered by input, shape (connections,).
            starts: The first connection of each input, and the number of connections, shape (in_features + 1,).
            targets: The output of each connection, 32-bit integers, shape (connections,).
            out_features: Number of outputs.

        Raises:
            ValueError: If the tensors do not describe connections, or an output does not exist.
        """
        count = len(weights)
        if not (targets.dtype == torch.int32 and targets.shape == weights.shape == (count,)):
            raise ValueError(
                f"{cls.__name__}.from_synapses takes weights of shape (connections,) and for each a 32-bit target, got "
                f"{tuple(weights.shape)} and {tuple(targets.shape)}, {targets.dtype}."
            )
        if starts.dim() != 1 or not len(starts) or starts[0] != 0 or starts[-1] != count or (starts.diff() < 0).any():
            raise ValueError(
                f"{cls.__name__}.from_synapses takes the first connection of each input, in order, and their number, "
                f"{count}, got {starts.tolist() if len(starts) < 5 else starts}."
            )
        if count and not 0 <= int(targets.min()) <= int(targets.max()) < out_features:
            raise ValueError(
                f"{cls.__name__}.from_synapses takes targets from 0 to {out_features - 1}, got {int(targets.min())} to "
                f"{int(targets.max())}."
            )
        layer = cls(len(starts) - 1, out_features, bias=False, connection_probability=0)
        layer.weight, layer.starts, layer.targets = nn.Parameter(weights), starts, targets
        return layer

    def dense(self) -> Tensor:
        """The matrix of weights, shape (out_features, in_features), differentiable."""
        return sparse.dense(self.weight, self.starts, self.targets, self.out_features)

    def synapses(self) -> Synapses:
        delay = torch.zeros(1, dtype=torch.int32, device=self.targets.device)
        return Synapses(self.weight, self.starts, self.targets, delay, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Shape (..., in_features) to (..., out_features).

        Raises:
            ValueError: If the last dimension does not have size `in_features`.
        """
        if input.dim() == 0 or input.shape[-1] != self.in_features:
            raise ValueError(
                f"{type(self).__name__} takes {self.in_features} inputs in the last dimension, "
                f"got shape {tuple(input.shape)}."
            )
        if input.dtype in HALF_PRECISION:
            # Rounded once, bias included.
            return functional.linear(input, self.dense(), self.bias)
        sums = sparse.connect(input, self.weight, self.starts, self.targets, self.out_features)
        return sums if self.bias is None else sums + self.bias.to(sums.dtype)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"connections={len(self.targets)}, bias={self.bias is not None}"
        )
