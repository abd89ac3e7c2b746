"""Linear connections of which only some are there."""

import math

import torch
from torch import nn, Tensor

from .._runtime import sparse


def _pattern(
    owner: str, in_features: int, out_features: int, mask: Tensor | None, connection_probability: float | None
) -> Tensor:
    """Source and target, shape (2, connections), of those that are given, or of each with a probability; ordered."""
    if (mask is None) == (connection_probability is None):
        raise TypeError(f"{owner} takes either a mask or a connection_probability.")
    if mask is None:
        probability = connection_probability
        if not isinstance(probability, int | float) or not 0 <= probability <= 1:
            raise ValueError(f"{owner}.connection_probability must be in [0, 1], got {probability!r}.")
        # Some sources at a time, for all pairs may be more than memory holds.
        some = max(1, 2**24 // out_features)
        drawn = [
            (torch.rand(min(some, in_features - k), out_features) < probability).nonzero().add_(torch.tensor([k, 0]))
            for k in range(0, in_features, some)
        ]
        return torch.cat(drawn).t()
    if not isinstance(mask, Tensor) or mask.shape != (out_features, in_features):
        got = f"shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(
            f"{owner}.mask must be a tensor of shape {(out_features, in_features)}, one entry a connection, got {got}."
        )
    return mask.t().nonzero().t() if mask.layout is torch.strided else _entries(mask).indices()


def _entries(matrix: Tensor) -> Tensor:
    """The entries of a sparse matrix (targets, sources), ordered by source."""
    return matrix.detach().to_sparse_coo().t().coalesce()


class MaskedLinear(nn.Linear):
    """`torch.nn.Linear` of which only some connections are there; the weights of the others stay without effect and gradient.

    It is the connection of choice where many are there. Inputs that are zero are skipped where they are many, as in `EventLinear`.

    Args:
        in_features: Number of inputs.
        out_features: Number of outputs.
        bias: Whether there is a bias.
        mask: Which connections there are, shape (out_features, in_features): dense, not zero where there is one, or a sparse matrix.
        connection_probability: Instead of the mask: the probability of each.

    Raises:
        TypeError: If neither or both of mask and probability are given.
        ValueError: If the mask has another shape, or the probability is not in [0, 1].
    """

    mask: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        mask: Tensor | None = None,
        connection_probability: float | None = None,
    ):
        pattern = _pattern(type(self).__name__, in_features, out_features, mask, connection_probability)
        super().__init__(in_features, out_features, bias)
        sources, targets = pattern
        self.register_buffer(
            "mask",
            torch.zeros(out_features, in_features, dtype=torch.bool).index_put_((targets, sources), torch.tensor(True)),
        )
        with torch.no_grad():
            self.weight.mul_(self.mask)

    def forward(self, input: Tensor) -> Tensor:
        """Shape (..., in_features) to (..., out_features)."""
        return sparse.linear(input, self.weight * self.mask, self.bias)


class SparseLinear(nn.Module):
    r"""A linear connection that keeps only the weights that are there: :math:`y_k = b_k + \sum_{j \to k} w_{j \to k}\, x_j`.

    It is the connection of choice where few are there, about one in ten or less: memory and time go with their number. The parameter
    ``weight`` has one number a connection, ordered by its input; the buffers ``starts`` and ``targets`` say which (compressed sparse columns).
    On other devices than the CPU, and inside `torch.compile` and `torch.func`, the dense matrix is made for every call.

    Args:
        in_features: Number of inputs.
        out_features: Number of outputs.
        bias: Whether there is a bias.
        mask: Which connections there are, shape (out_features, in_features): dense, not zero where there is one, or a sparse matrix.
        connection_probability: Instead of the mask: the probability of each.

    Raises:
        TypeError: If neither or both of mask and probability are given.
        ValueError: If the mask has another shape, or the probability is not in [0, 1].

    >>> SparseLinear(1000, 1000, connection_probability=0.01)(torch.ones(1, 1000)).shape
    torch.Size([1, 1000])
    """

    bias: Tensor | None
    starts: Tensor
    targets: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        mask: Tensor | None = None,
        connection_probability: float | None = None,
    ):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        sources, targets = _pattern(type(self).__name__, in_features, out_features, mask, connection_probability)
        counts = torch.bincount(sources, minlength=in_features)
        self.register_buffer("starts", torch.cat([counts.new_zeros(1), counts.cumsum(0)]))
        self.register_buffer("targets", targets.contiguous())
        bound = 1 / math.sqrt(max(1.0, len(self.targets) / out_features))
        self.weight = nn.Parameter(torch.empty(len(self.targets)).uniform_(-bound, bound))
        self.register_parameter(
            "bias", nn.Parameter(torch.empty(out_features).uniform_(-bound, bound)) if bias else None
        )

    @classmethod
    def from_weights(cls, weights: Tensor, bias: Tensor | None = None) -> "SparseLinear":
        """With the given weights, a matrix (out_features, in_features), dense, whose zeros are no connections, or of any sparse layout.

        Raises:
            ValueError: If it is not a matrix.
        """
        if not isinstance(weights, Tensor) or weights.dim() != 2:
            got = f"shape {tuple(weights.shape)}" if isinstance(weights, Tensor) else type(weights).__name__
            raise ValueError(f"{cls.__name__}.from_weights takes a matrix (out_features, in_features), got {got}.")
        entries = _entries(weights)
        made = cls(weights.shape[1], weights.shape[0], bias is not None, mask=weights)
        made.weight = nn.Parameter(entries.values().clone())
        if bias is not None:
            made.bias = nn.Parameter(bias.detach().clone())
        return made

    def dense(self) -> Tensor:
        """The matrix of weights, shape (out_features, in_features), differentiable."""
        return sparse.dense(self.weight, self.starts, self.targets, self.out_features)

    def forward(self, input: Tensor) -> Tensor:
        """Shape (..., in_features) to (..., out_features).

        Raises:
            ValueError: If the last dimension is not the number of inputs.
        """
        if input.dim() == 0 or input.shape[-1] != self.in_features:
            raise ValueError(
                f"{type(self).__name__} takes {self.in_features} inputs in the last dimension, got shape {tuple(input.shape)}."
            )
        sums = sparse.connect(input, self.weight, self.starts, self.targets, self.out_features)
        return sums if self.bias is None else sums + self.bias.to(sums.dtype)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, connections={len(self.targets)}, bias={self.bias is not None}"
