"""Plasticity of a neuron's threshold."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from .._util.precision import keep_wide
from .._util.validation import check_broadcastable
from ..core.parameters import Declared, Parameter, parameter
from .rule import step_size


class IntrinsicPlasticity(Declared):
    r"""A threshold that moves until the neuron fires at a target rate.

    .. math:: \dot v_\text{th} = \eta \, \Big(\sum_k \delta(t - t_k) - \rho\Big)

    Every spike raises the threshold by :math:`\eta`, and the threshold falls by :math:`\eta \rho` per
    second, exactly, whatever `dt`. It is stationary when the rate is :math:`\rho`. Neurons and samples
    that share a threshold move it by their mean.

    Reference: D. Querlioz et al., *Immunity to device variations in a spiking neural network with
    memristive nanodevices*, 2013.

    Args:
        dt: Step size in seconds.

    >>> intrinsic = IntrinsicPlasticity(eta=0.1, target_rate=10.0)
    >>> intrinsic(torch.tensor([[1.0, 0.0]]), torch.tensor([1.0, 1.0]))
    tensor([1.0990, 0.9990])
    """

    dt: float = step_size()
    eta: Parameter = parameter(default=1e-2, at_least=0.0, doc="rise of the threshold per spike")
    target_rate: Parameter = parameter(default=10.0, unit="Hz", above=0.0, doc="target rate")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        return super()._apply(keep_wide(fn), recurse)

    @torch.no_grad()
    def forward(self, z: Tensor, v_th: Tensor) -> Tensor:
        """The thresholds after one step.

        Args:
            z: Spikes, shape (batch, *neurons).
            v_th: Thresholds, broadcastable to the spikes.

        Returns:
            The new thresholds, of the shape of `v_th`.

        Raises:
            TypeError: If the thresholds are not float32 or float64.
            ValueError: If the thresholds do not broadcast to the spikes.
        """
        if v_th.dtype not in (torch.float32, torch.float64):
            raise TypeError(
                f"{type(self).__name__} moves thresholds in steps too small for {v_th.dtype}; keep them in float32."
            )
        check_broadcastable(type(self).__name__, "v_th", v_th, z.shape, "the spikes")
        mean_spikes = z.to(v_th.dtype).sum_to_size(v_th.shape) * (v_th.numel() / max(1, z.numel()))
        return v_th + self.eta * (mean_spikes - self.target_rate * self.dt)
