"""Two layers of LIF neurons in continuous time that classify by first spikes.

The output unit that spikes first is the prediction. Loss and settings are those of T. Wunderlich & C. Pehle,
*Event-based backpropagation can compute exact gradients for spiking neural networks*, 2021. In addition, silent units
of the label are woken by their highest potential, and gradients are clipped.
"""

from typing import cast

import torch
from torch import nn, Tensor

from ..learning import first_spike_cross_entropy, first_spike_times, SpikeTimeLayer
from ..neurons import LIF
from .epochs import descend

TAU_MEM, TAU_SYN = 20e-3, 5e-3
# In the loss: time scales in seconds, and the time that stands for a missing spike.
TAU, TAU_LATE, ALPHA, MISSING = 0.5e-3, 6.4e-3, 3e-3, 60e-3
# Gradients grow without bound where a potential grazes its threshold.
MAX_GRADIENT = 1.0

# Mean and standard deviation of the initial weights of a layer, at which its neurons spike.
Weights = tuple[float, float]


class FirstSpikeClassifier(nn.ModuleList):
    """Two layers of LIF neurons in continuous time.

    Args:
        sizes: Number of input units, hidden neurons and classes.
        weights: Initial weights of both layers.
        earliest: Time before which nothing happens, in seconds.
        seed: Seed of the weights.
        wake: A silent unit of the label has no spike to move: its highest potential rises instead, with this weight.
    """

    def __init__(
        self,
        sizes: tuple[int, int, int],
        weights: tuple[Weights, Weights],
        earliest: float,
        seed: int,
        wake: float = 10.0,
    ):
        super().__init__()
        self.classes, self.earliest, self.wake = sizes[-1], earliest, wake
        generator = torch.Generator().manual_seed(seed)
        for n_in, n_out, (mean, std) in zip(sizes[:-1], sizes[1:], weights, strict=True):
            layer = SpikeTimeLayer(n_in, n_out, LIF(tau_mem=TAU_MEM, tau_syn=TAU_SYN), max_spikes=4 * n_out + 1024)
            nn.init.normal_(layer.weight, mean, std, generator=generator)
            self.append(layer)

    def forward(self, times: Tensor, units: Tensor) -> Tensor:
        """Times of the first spikes of the output units, shape (batch, classes)."""
        hidden, output = self._layers()
        return first_spike_times(*output(*hidden(times, units)), size=self.classes)

    def loss(self, times: Tensor, units: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy of first spike times; where the unit of the label is silent, its highest potential."""
        hidden, output = self._layers()
        spikes = hidden(times, units)
        first = first_spike_times(*output(*spikes), size=self.classes)
        loss = first_spike_cross_entropy(first, labels, tau=TAU, missing=MISSING, alpha=ALPHA, tau_late=TAU_LATE)
        silent = first.gather(1, labels[:, None])[:, 0].isinf()
        if not bool(silent.any()):
            return loss
        readings = torch.arange(self.earliest, MISSING, 1e-3, dtype=torch.float64)
        states = output.run(spikes.times[silent], spikes.units[silent], at=readings).states
        unit = labels[silent].view(-1, 1, 1).expand(-1, len(readings), 1)
        highest = states.v.gather(2, unit)[..., 0].amax(1)
        return loss + self.wake * (1 - highest).sum() / len(labels)

    def update(self, optimizer: torch.optim.Optimizer, times: Tensor, units: Tensor, labels: Tensor) -> float:
        """Take one step of an optimizer, with clipped gradients; returns the loss."""
        return descend(optimizer, self.loss(times, units, labels), MAX_GRADIENT)

    @torch.no_grad()
    def count_right(self, times: Tensor, units: Tensor, labels: Tensor) -> int:
        """Number of samples whose unit spikes first."""
        first = self(times, units)
        return int(((first.argmin(1) == labels) & first.isfinite().any(1)).sum())

    def _layers(self) -> tuple[SpikeTimeLayer, SpikeTimeLayer]:
        # PyTorch does not declare what a list of modules holds.
        return cast(tuple[SpikeTimeLayer, SpikeTimeLayer], tuple(self))
