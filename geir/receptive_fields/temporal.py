"""Temporal receptive fields: a causal, recursive cascade of leaky integrators."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn, Tensor

from .._util.precision import wide_dtype, widen
from ..containers import Network, StateThread
from ..core.parameters import Learnable, learnable
from ..neurons import LIBox


def temporal_scale_distribution(
    n_scales: int, min_scale: float, max_scale: float | None = None, c: float = math.sqrt(2)
) -> Tensor:
    r"""Logarithmically spaced temporal scales :math:`\sigma_k`, each `c` times the previous one.

    Args:
        n_scales: Number of scales.
        min_scale: The first scale, in seconds.
        max_scale: The last scale, in seconds. Default: :math:`c^{n - 1}` times the first scale. If
            given, it determines `c`.
        c: Ratio of neighboring scales, larger than 1.

    Returns:
        Standard deviations in seconds, shape (n_scales,).

    Raises:
        ValueError: If a number is out of range, or `max_scale` is not larger than `min_scale`, except
            for one scale.

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
            "temporal_scale_distribution: max_scale must be larger than min_scale, or equal to it for one scale, "
            f"got {max_scale} s and {min_scale} s for {n_scales} scales."
        )
    dtype = torch.get_default_dtype()
    scales = torch.logspace(math.log2(min_scale), math.log2(max_scale), n_scales, base=2, dtype=wide_dtype(dtype))
    return scales.to(dtype)


class TemporalReceptiveField(Network):
    r"""Temporal receptive fields at several scales: a cascade of leaky integrators, each driven by the
    previous one.

    .. math::
        \mu_k \dot v_k = v_{k-1} - v_k, \qquad v_0 = x, \qquad
        \mu_k = \sqrt{\sigma_k^2 - \sigma_{k-1}^2}, \quad \sigma_0 = 0.

    The kernel of level :math:`k` is a convolution of exponentials: it is not negative, and has the mean
    :math:`\sum_{j \le k} \mu_j` and the variance :math:`\sum_{j \le k} \mu_j^2 = \sigma_k^2`. For
    scales with a constant ratio :math:`c` (`temporal_scale_distribution`) it tends to Lindeberg's
    time-causal limit kernel, which is the same at all scales up to its extent. The integrators are
    exact for input that is held during each step; sampling reduces the mean of each by half a step, to
    first order in `dt`.

    Reference: T. Lindeberg, *Time-causal and time-recursive spatio-temporal receptive fields*, 2016.

    Args:
        scales: Standard deviations :math:`\sigma_k` in seconds, increasing; ``learnable(scales)`` to
            learn the time constants.
        dt: Step size in seconds.
        neuron: Constructs one level from the arguments `tau_mem` and `dt`.

    Raises:
        ValueError: If the scales do not increase from above zero.

    >>> field = TemporalReceptiveField(temporal_scale_distribution(3, min_scale=5e-3))
    >>> ys, state = field(torch.rand(100, 8, 2, 16, 16))
    >>> ys.shape
    torch.Size([100, 8, 6, 16, 16])
    """

    def __init__(
        self,
        scales: Tensor | Sequence[float] | Learnable,
        dt: float = 1e-3,
        neuron: Callable[..., nn.Module] = LIBox,
    ):
        super().__init__()
        is_learnable = isinstance(scales, Learnable)
        values = scales.value if isinstance(scales, Learnable) else scales
        sigma = torch.as_tensor(values, dtype=wide_dtype(torch.get_default_dtype())).detach()
        if sigma.dim() != 1 or not len(sigma) or not bool((sigma.diff(prepend=sigma.new_zeros(1)) > 0).all()):
            raise ValueError(
                "TemporalReceptiveField takes scales that increase from above 0 s, "
                f"such as those of temporal_scale_distribution, got {values!r}."
            )
        time_constants = torch.sqrt((sigma**2).diff(prepend=sigma.new_zeros(1))).tolist()
        self.levels = nn.ModuleList(
            neuron(tau_mem=learnable(tau_mem) if is_learnable else tau_mem, dt=dt) for tau_mem in time_constants
        )

    def forward_over_time(self, xs: Tensor, run: StateThread) -> Tensor:
        """Compute the responses over time.

        Args:
            xs: Input, shape (time, batch, channels, ...).
            run: Runs the levels and keeps their states.

        Returns:
            Responses, shape (time, batch, scales * channels, ...); all channels of the first scale come first.

        Raises:
            ValueError: If the input has no channels.
        """
        if xs.dim() < 3:
            raise ValueError(f"TemporalReceptiveField takes (time, batch, channels, ...), got shape {tuple(xs.shape)}.")
        # Each level is driven by the exact response of the previous one.
        dtype, xs = xs.dtype, widen(xs)
        responses = []
        for level in self.levels:
            xs = run(xs, level)
            responses.append(xs)
        return torch.cat(responses, 2).to(dtype)


class SpatioTemporalReceptiveField(Network):
    """Space-time separable receptive fields: spatial fields, followed by temporal fields at every point.

    Args:
        spatial: Spatial fields, such as `SampledSpatialReceptiveField2d`.
        temporal: Temporal fields, such as `TemporalReceptiveField`.

    Raises:
        TypeError: If an argument is not a module.

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
        self.spatial = spatial
        self.temporal = temporal

    def forward_over_time(self, xs: Tensor, run: StateThread) -> Tensor:
        return run(xs, self.spatial, self.temporal)
