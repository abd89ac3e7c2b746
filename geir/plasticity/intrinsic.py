"""Plasticity of the neuron itself."""

import numbers

import torch
from torch import Tensor

from ..core.parameters import Declared, Parameter, parameter, setting


class IntrinsicPlasticity(Declared):
    r"""A threshold that moves until the neuron fires at a target rate.

    .. math:: \dot v_\text{th} = \eta \, \Big(\sum_k \delta(t - t_k) - \rho\Big):

    every spike raises the threshold by :math:`\eta`, and in silence it falls by :math:`\eta \rho` a second, exactly, whatever `dt`. It is at
    rest where the rate is :math:`\rho`. Neurons and samples that share a threshold move it by their mean.

    Reference: D. Querlioz et al., *Immunity to device variations in a spiking neural network with memristive nanodevices*, 2013.

    >>> intrinsic = IntrinsicPlasticity(eta=0.1, target_rate=10.0)
    >>> intrinsic(torch.tensor([[1.0, 0.0]]), torch.tensor([1.0, 1.0]))
    tensor([1.0990, 0.9990])
    """

    dt: float = setting(
        default=1e-3,
        accepts=numbers.Real,
        check=lambda dt: 0 < dt < float("inf"),
        expected="a positive number of seconds",
    )
    eta: Parameter = parameter(default=1e-2, at_least=0.0, doc="rise of the threshold by a spike")
    target_rate: Parameter = parameter(default=10.0, unit="Hz", above=0.0, doc="rate to reach")

    @torch.no_grad()
    def forward(self, z: Tensor, v_th: Tensor) -> Tensor:
        """The thresholds after one step.

        Args:
            z: Spikes, shape (batch, *neurons).
            v_th: Thresholds, broadcastable to the spikes.

        Raises:
            ValueError: If the thresholds do not broadcast to the spikes.
        """
        fits = v_th.dim() <= z.dim() and all(b in (1, a) for a, b in zip(z.shape[::-1], v_th.shape[::-1], strict=False))
        if not fits:
            raise ValueError(
                f"IntrinsicPlasticity takes thresholds that broadcast to the spikes {tuple(z.shape)}, got {tuple(v_th.shape)}."
            )
        fired = z.to(v_th.dtype).sum_to_size(v_th.shape) * (v_th.numel() / max(1, z.numel()))
        return v_th + self.eta * (fired - self.target_rate * self.dt)
