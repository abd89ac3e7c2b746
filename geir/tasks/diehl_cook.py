"""The network of `geir.tasks.stdp`: neurons that compete for their inputs and learn them by STDP.

Reference: P. Diehl & M. Cook, *Unsupervised learning of digit recognition using spike-timing-dependent plasticity*,
2015. For the differences from it, see `geir.tasks.stdp`.
"""

import math
from typing import Any, cast

import torch
from torch import nn, Tensor

from ..neurons import LIBox, LIFRefracRecurrent


class DiehlCook(nn.Module):
    """Neurons that compete for their inputs and learn them.

    Weights are between 0 and 1; the weights of each neuron sum to a tenth of the number of inputs.

    Args:
        inputs: Number of inputs.
        neurons: Number of neurons.
        dt: Step size in seconds.
        generator: Random generator of the initial weights.
    """

    tau_syn = 1e-3  # seconds
    tau_trace = 20e-3  # seconds
    tau_threshold = 1e3  # seconds
    eta = 0.01  # learning rate
    # Mean rate of a neuron's field, in Hz, at which the neuron just reaches its threshold at rest.
    threshold_rate = 2.5
    # Rise of the threshold by a spike, relative to the threshold at rest.
    threshold_rise = 0.05
    # Decrease of the other neurons' potentials by a spike, relative to the threshold at rest.
    inhibition = 5.0

    def __init__(self, inputs: int, neurons: int, dt: float, generator: torch.Generator):
        super().__init__()
        self.weight_sum = 0.1 * inputs
        self.v_th = self.threshold_rate * self.tau_syn * self.weight_sum
        tau_mem = 100e-3
        # Type checkers do not know the signatures of named variants.
        self.cells = cast(Any, LIFRefracRecurrent)(
            inputs,
            neurons,
            tau_mem=tau_mem,
            tau_syn=self.tau_syn,
            period=5e-3,
            v_th=torch.full((neurons,), self.v_th),
            input_weights=0.3 * torch.rand(neurons, inputs, generator=generator),
            recurrent_weights=torch.full((neurons, neurons), -self.inhibition * self.v_th * tau_mem / self.tau_syn),
            dt=dt,
        )
        self.trace = LIBox(tau_mem=self.tau_trace, dt=dt)
        # Learning does not use gradients.
        self.requires_grad_(False)
        self.normalize()

    @property
    def weights(self) -> Tensor:
        """The field of each neuron, shape (neurons, inputs)."""
        return cast(Tensor, self.cells.input_weights)

    @property
    def thresholds(self) -> Tensor:
        """The threshold of each neuron, shape (neurons,)."""
        return cast(Tensor, self.cells.v_th)

    def forward(self, xs: Tensor) -> Tensor:
        """Run from rest: input spikes (time, batch, inputs) to spikes (time, batch, neurons)."""
        zs, _ = self.cells(xs)
        return zs

    def learn(self, xs: Tensor, zs: Tensor) -> None:
        r"""Update weights and thresholds from the inputs and spikes of a presentation.

        For each spike of a neuron, its weights grow by :math:`\eta` times the trace of the inputs, to
        which a spike adds one and which decays with `tau_trace`. The weights are then clipped and
        normalized. Each spike raises the threshold, which decays with `tau_threshold`.

        Args:
            xs: Input spikes, shape (time, batch, inputs).
            zs: Spikes of the neurons, shape (time, batch, neurons).
        """
        step, sample, neuron = zs.nonzero(as_tuple=True)
        # In one step, a leaky integrator moves by this fraction of an input that is held during the step.
        gain = -math.expm1(-self.trace.dt / self.tau_trace)
        traces = self.trace(xs)[0][step, sample] / gain
        self.weights.index_add_(0, neuron, self.eta * traces).clamp_(0, 1)
        self.normalize()
        steps, batch, _ = xs.shape
        seconds = steps * batch * self.trace.dt
        excess = (self.thresholds - self.v_th) * math.exp(-seconds / self.tau_threshold)
        self.thresholds.copy_(self.v_th + excess + self.threshold_rise * self.v_th * zs.sum((0, 1)))

    def normalize(self) -> None:
        """Scale the weights of each neuron to their fixed sum."""
        self.weights.mul_(self.weight_sum / self.weights.sum(1, keepdim=True))
