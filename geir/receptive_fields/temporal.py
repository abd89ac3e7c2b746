"""Temporal receptive fields: a cascade of leaky integrators, causal and recursive."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn, Tensor

from ..containers import Network, StateThread
from ..core.parameters import Learnable, learnable
from ..neurons import LIBox


def temporal_scale_distribution(
    n_scales: int, min_scale: float, max_scale: float | None = None, c: float = math.sqrt(2)
) -> Tensor:
    r"""Temporal scales :math:`\sigma_k`, each `c` times the one before, so that their logarithms are evenly spaced.

    Args:
        n_scales: Number of scales.
        min_scale: The first, in seconds.
        max_scale: The last, in seconds. Default: :math:`c^{n - 1}` times the first. If given, `c` follows from it.
        c: Ratio of neighbours.

    Returns:
        Standard deviations in seconds, shape (n_scales,).

    >>> 1e3 * temporal_scale_distribution(4, min_scale=0.01)
    tensor([10.0000, 14.1421, 20.0000, 28.2843])
    """
    if not isinstance(n_scales, int) or n_scales < 1:
        raise ValueError(f"temporal_scale_distribution: n_scales must be a positive whole number, got {n_scales!r}.")
    if not 0 < min_scale < math.inf or not 1 < c < math.inf:
        raise ValueError(f"temporal_scale_distribution needs min_scale > 0 s and c > 1, got {min_scale} and {c}.")
    if max_scale is None:
        max_scale = min_scale * c ** (n_scales - 1)
    if not min_scale <= max_scale < math.inf or (max_scale > min_scale) != (n_scales > 1):
        raise ValueError(
            f"temporal_scale_distribution: max_scale must be larger than min_scale, or equal for one scale; got {max_scale} and {min_scale} s "
            f"for {n_scales}."
        )
    return torch.logspace(math.log2(min_scale), math.log2(max_scale), n_scales, base=2)


class TemporalReceptiveField(Network):
    r"""Temporal receptive fields at several scales: leaky integrators in cascade, each fed by the one before.

    .. math::
        \mu_k \dot v_k = v_{k-1} - v_k, \qquad v_0 = x, \qquad \mu_k = \sqrt{\sigma_k^2 - \sigma_{k-1}^2}, \quad \sigma_0 = 0.

    The kernel of level :math:`k` is that of exponentials in series: never negative, of mean :math:`\sum_{j \le k} \mu_j` and variance
    :math:`\sum_{j \le k} \mu_j^2 = \sigma_k^2`. With scales a factor :math:`c` apart (`temporal_scale_distribution`) it tends to Lindeberg's
    time-causal limit kernel, the same at every scale but for its extent. The integrators are exact for input held during a step; sampled, the
    mean of each is less by half a step, to first order in `dt`.

    Reference: T. Lindeberg, *Time-causal and time-recursive spatio-temporal receptive fields*, 2016.

    Args:
        scales: Standard deviations :math:`\sigma_k` in seconds, increasing; ``learnable(scales)`` to learn the time constants.
        dt: Step size in seconds.
        neuron: Makes one level, given its time constant as `tau_mem`, and `dt`.

    >>> field = TemporalReceptiveField(temporal_scale_distribution(3, min_scale=5e-3))
    >>> ys, state = field(torch.rand(100, 8, 2, 16, 16))
    >>> ys.shape
    torch.Size([100, 8, 6, 16, 16])
    """

    def __init__(
        self, scales: Tensor | Sequence[float] | Any, dt: float = 1e-3, neuron: Callable[..., nn.Module] = LIBox
    ):
        super().__init__()
        wrap = learnable if isinstance(scales, Learnable) else lambda value: value
        given = scales.value if isinstance(scales, Learnable) else scales
        sigma = torch.as_tensor(given, dtype=torch.get_default_dtype()).detach()
        if sigma.dim() != 1 or not len(sigma) or not bool((sigma.diff(prepend=sigma.new_zeros(1)) > 0).all()):
            raise ValueError(
                f"TemporalReceptiveField takes scales that increase from above 0 s, as by temporal_scale_distribution, got {given!r}."
            )
        mu = torch.sqrt((sigma**2).diff(prepend=sigma.new_zeros(1)))
        self.levels = nn.ModuleList(neuron(tau_mem=wrap(float(value)), dt=dt) for value in mu)

    def forward_over_time(self, xs: Tensor, run: StateThread) -> Tensor:
        """Respond over time: input (time, batch, channels, ...) to (time, batch, scales * channels, ...), first all channels of the first scale."""
        if xs.dim() < 3:
            raise ValueError(f"TemporalReceptiveField takes (time, batch, channels, ...), got shape {tuple(xs.shape)}.")
        responses = []
        for level in self.levels:
            xs = run(xs, level)
            responses.append(xs)
        return torch.cat(responses, 2)


class SpatioTemporalReceptiveField(Network):
    """Spatio-temporal receptive fields that are products: spatial fields, then temporal ones at every point.

    Args:
        spatial: Spatial fields, such as `SampledSpatialReceptiveField2d`.
        temporal: Temporal fields, such as `TemporalReceptiveField`.

    >>> from geir.receptive_fields import SampledSpatialReceptiveField2d
    >>> spatial = SampledSpatialReceptiveField2d(2, 9, scales=[1.0, 2.0], derivatives=1)
    >>> field = SpatioTemporalReceptiveField(spatial, TemporalReceptiveField([5e-3, 10e-3]))
    >>> ys, state = field(torch.rand(20, 4, 2, 16, 16))
    >>> ys.shape
    torch.Size([20, 4, 12, 16, 16])
    """

    def __init__(self, spatial: nn.Module, temporal: nn.Module):
        super().__init__()
        for name, module in (("spatial", spatial), ("temporal", temporal)):
            if not isinstance(module, nn.Module):
                raise TypeError(f"SpatioTemporalReceptiveField.{name} must be a module, got {module!r}.")
        self.spatial, self.temporal = spatial, temporal

    def forward_over_time(self, xs: Tensor, run: StateThread) -> Tensor:
        return run(xs, self.spatial, self.temporal)
