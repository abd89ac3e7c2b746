"""Sparse connections with a delay in each synapse."""

import torch
from torch import Tensor

from .._runtime import sparse
from .._runtime.stepper import Synapses, SynapticConnection
from .._util.precision import HALF_PRECISION, widen
from .._util.validation import check_broadcastable
from ..core.parameters import setting
from ._synapses import is_traced, whole_steps
from .delay import _DelayBase, _DelayCellMixin
from .interpolation import NearestStep, Taps
from .sparse import SparseLinear

# Delays that are rounded at once.
_AT_ONCE = 2**20


class DelayedSparseLinear(_DelayBase, SynapticConnection):
    r"""A sparse connection with a delay in each synapse:
    :math:`y_{t, k} = b_k + \sum_{j \to k} w_{j \to k}\, x_{t - d_{j \to k} / \Delta t,\, j}`.

    Memory and time are proportional to the number of synapses. As the recurrent weights of a neuron it runs inside the
    kernel, where its time is proportional to the number of spikes.

    Args:
        connection: The connection without delays. Delays are one number, or one for each of its synapses, in the order
            of its weights, shape (synapses,).
        max_delay: Length of the buffer in seconds. Default: the longest of the given delays.
        dt: Step size in seconds.
        interpolation: How a delay between two steps is realized: `LinearInterpolation()`,
            `GaussianInterpolation(...)` or `NearestStep()`.

    Raises:
        TypeError: If the connection is not a `SparseLinear`.
        ValueError: If a delay is longer than the buffer, or the number of delays is not that of the synapses.

    >>> synapses = SparseLinear(1000, 1000, bias=False, connection_probability=0.01)
    >>> delays = 5e-3 * torch.rand(len(synapses.weight))
    >>> ys, state = DelayedSparseLinear(synapses, delay=delays)(torch.ones(20, 1, 1000))
    >>> ys.shape
    torch.Size([20, 1, 1000])
    """

    connection: SparseLinear = setting(kw_only=False, accepts=SparseLinear, expected="a SparseLinear")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_broadcastable(type(self).__name__, "delay", self.delay, self.connection.weight.shape, "the synapses")

    @property
    def in_features(self) -> int:
        """Number of inputs."""
        return self.connection.in_features

    @property
    def out_features(self) -> int:
        """Number of outputs."""
        return self.connection.out_features

    def synapses(self) -> Synapses:
        layer = self.connection
        if isinstance(self.interpolation, NearestStep) and not is_traced():
            # Part by part: there may be hundreds of millions of synapses, and little memory besides.
            seconds = self.delay.detach().reshape(-1)
            delays = torch.empty(len(seconds), dtype=torch.int32, device=seconds.device)
            for given, steps in zip(seconds.split(_AT_ONCE), delays.split(_AT_ONCE), strict=True):
                steps.copy_(self.taps_of(given).steps[0])
            return Synapses(widen(layer.weight), layer.starts, layer.targets, delays, layer.bias)
        steps, weights = self.taps()
        taps = Taps(steps.reshape(len(steps), -1), weights.reshape(len(weights), -1))
        return whole_steps(widen(layer.weight), layer.starts, layer.targets, taps, layer.bias)

    def respond(self, all_steps: Tensor) -> Tensor:
        if all_steps.dim() < 2 or all_steps.shape[-1] != self.in_features:
            raise ValueError(
                f"{type(self).__name__} takes {self.in_features} inputs in the last dimension, "
                f"got one step of shape {tuple(all_steps.shape[1:])}."
            )
        weights, starts, targets, delays, bias = self.synapses()
        count, wide = len(all_steps) - self.longest, widen(all_steps)
        ys = torch.zeros((), dtype=wide.dtype, device=wide.device) if bias is None else widen(bias)
        traced = is_traced()
        for steps in range(self.longest + 1) if traced else delays.unique().tolist():
            part = wide[self.longest - steps :][:count]
            chosen = (delays == steps).expand(weights.shape)
            if traced:
                of_delay = torch.where(chosen, weights, 0), starts, targets
            else:
                numbers = torch.cat([starts.new_zeros(1), chosen.cumsum(0)])
                of_delay = weights[chosen], numbers[starts], targets[chosen]
            ys = ys + sparse.connect(part, *of_delay, self.out_features)
        ys = ys.expand(*all_steps[self.longest :].shape[:-1], self.out_features)  # without any synapse
        return ys.to(all_steps.dtype) if all_steps.dtype in HALF_PRECISION else ys


class DelayedSparseLinearCell(_DelayCellMixin, DelayedSparseLinear):
    """One step of `DelayedSparseLinear`: from (..., in_features) to (..., out_features)."""
