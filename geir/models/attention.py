"""Attention between the pixels of spiking feature maps, (time, batch, channels, height, width), without a softmax."""

from torch import Tensor

from ..containers import Network, SequentialState, StateThread
from .base import ModuleFactory, NormFactory
from .blocks import conv_norm


def _spikes_of(channels: int, neuron: ModuleFactory, norm: NormFactory) -> SequentialState:
    """The queries, keys or values: a linear map of the channels with normalization and neurons."""
    return SequentialState(*conv_norm(channels, channels, 1, norm), neuron(), lift=True)


def _check_heads(name: str, channels: int, heads: int) -> None:
    if heads < 1 or channels % heads:
        raise ValueError(f"{name}.heads must divide the number of channels, {channels}, got {heads}.")


class SpikingSelfAttention(Network):
    r"""Spiking self-attention (SSA): products of spikes, of which no softmax is taken.

    .. math:: y = \mathrm{SN}\left(s \, Q K^\top V\right)

    Queries, keys and values are spikes, each :math:`\mathrm{SN}(\mathrm{BN}(W x))`; rows are pixels, and every head has
    its part of the channels. SN are neurons. A projection of the channels, with normalization and neurons, follows.

    Reference: Z. Zhou et al., *Spikformer: when spiking neural network meets transformer*, 2023.

    Args:
        channels: Number of channels.
        heads: Number of heads.
        scale: Factor :math:`s`: the neuron's `threshold_weight`, divided by the product that makes it spike at once.
        neuron: Returns the neurons of one layer.
        norm: Returns the normalization of a given number of channels.

    Raises:
        ValueError: If `heads` does not divide `channels`.
    """

    def __init__(self, channels: int, heads: int, scale: float, neuron: ModuleFactory, norm: NormFactory):
        super().__init__()
        _check_heads("SpikingSelfAttention", channels, heads)
        self.heads = heads
        self.scale = scale
        self.query = _spikes_of(channels, neuron, norm)
        self.key = _spikes_of(channels, neuron, norm)
        self.value = _spikes_of(channels, neuron, norm)
        self.attention = neuron()
        self.projection = SequentialState(*conv_norm(channels, channels, 1, norm, bias=True), neuron(), lift=True)

    def forward_over_time(self, xs: Tensor, run: StateThread) -> Tensor:
        # Shape (time, batch, heads, channels of a head, pixels).
        query, key, value = (
            run(xs, module).flatten(3).unflatten(2, (self.heads, -1)) for module in (self.query, self.key, self.value)
        )
        # First the product over pixels: its cost is linear in their number. The sums of spikes are exact in any order.
        products = (value @ key.transpose(-1, -2)) @ query
        return run(self.scale * products.flatten(2, 3).view(xs.shape), self.attention, self.projection)


class SpikeDrivenSelfAttention(Network):
    r"""Spike-driven self-attention (SDSA): masks channels, without products of matrices.

    .. math:: y = \mathrm{SN}\Big(s \sum_\text{pixels} Q \odot K\Big) \odot V

    Queries, keys and values are spikes, each :math:`\mathrm{SN}(\mathrm{BN}(W x))`. SN are neurons. Every channel is
    summed by itself, so heads would change nothing.

    Reference: M. Yao et al., *Spike-driven transformer*, 2023.

    Args:
        channels: Number of channels.
        scale: Factor :math:`s`: the neuron's `threshold_weight`, divided by the sum that makes it spike at once.
        neuron: Returns the neurons of one layer.
        norm: Returns the normalization of a given number of channels.
    """

    def __init__(self, channels: int, scale: float, neuron: ModuleFactory, norm: NormFactory):
        super().__init__()
        self.scale = scale
        self.query = _spikes_of(channels, neuron, norm)
        self.key = _spikes_of(channels, neuron, norm)
        self.value = _spikes_of(channels, neuron, norm)
        self.attention = neuron()

    def forward_over_time(self, xs: Tensor, run: StateThread) -> Tensor:
        query, key, value = (run(xs, module) for module in (self.query, self.key, self.value))
        return run(self.scale * (query * key).sum((-2, -1), keepdim=True), self.attention) * value


class TokenAttention(Network):
    r"""Query-key token attention (QKTA): masks pixels, with a cost that is linear in their number.

    .. math:: y = \mathrm{SN}\Big(s \sum_\text{channels} Q\Big) \odot K

    Queries and keys are spikes, each :math:`\mathrm{SN}(\mathrm{BN}(W x))`; every head sums its part of the channels.
    SN are neurons. A projection of the channels, with normalization and neurons, follows.

    Reference: C. Zhou et al., *QKFormer: hierarchical spiking transformer using Q-K attention*, 2024.

    Args:
        channels: Number of channels.
        heads: Number of heads.
        scale: Factor :math:`s`: the neuron's `threshold_weight`, divided by the sum that makes it spike at once.
        neuron: Returns the neurons of one layer.
        norm: Returns the normalization of a given number of channels.

    Raises:
        ValueError: If `heads` does not divide `channels`.
    """

    def __init__(self, channels: int, heads: int, scale: float, neuron: ModuleFactory, norm: NormFactory):
        super().__init__()
        _check_heads("TokenAttention", channels, heads)
        self.heads = heads
        self.scale = scale
        self.query = _spikes_of(channels, neuron, norm)
        self.key = _spikes_of(channels, neuron, norm)
        self.attention = neuron()
        self.projection = SequentialState(*conv_norm(channels, channels, 1, norm, bias=True), neuron(), lift=True)

    def forward_over_time(self, xs: Tensor, run: StateThread) -> Tensor:
        # Shape (time, batch, heads, channels of a head, height, width).
        query, key = (run(xs, module).unflatten(2, (self.heads, -1)) for module in (self.query, self.key))
        mask = run(self.scale * query.sum(3, keepdim=True), self.attention)
        return run((mask * key).flatten(2, 3), self.projection)
