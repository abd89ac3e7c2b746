"""Synaptic scaling: exact growth, and the rate at which it stabilizes neurons."""

import numpy as np
import torch
from plasticity_cases import DOUBLE, double, final_rates, run
from torch import nn

import geir
from geir.plasticity import Plastic, SynapticScaling


def test_all_weights_of_a_silent_neuron_grow_by_the_same_factor():
    rule, silence = double(SynapticScaling(eta=0.1, target_rate=5.0)), torch.zeros(400, 1, 3, dtype=DOUBLE)
    initial = torch.tensor([[0.1, -0.2, 0.3]] * 3, dtype=DOUBLE)
    weight, _ = run(rule, silence, silence, initial)
    torch.testing.assert_close(weight, initial * np.exp(0.1 * 5.0 * 0.4), rtol=1e-6, atol=0)


def test_scaling_brings_neurons_to_the_target_rate_and_preserves_the_ratios_of_weights():
    connection = nn.Linear(20, 2, bias=False)
    initial = torch.rand(2, 20) * torch.tensor([[0.2], [2.0]])
    connection.weight.data = initial.clone()
    layer = Plastic(connection, geir.LIF(), SynapticScaling(eta=0.05, target_rate=20.0, tau=0.1))
    xs = (torch.rand(2000, 16, 20) < 0.03).float()
    torch.testing.assert_close(final_rates(layer, xs, 800), torch.full((2,), 20.0), rtol=0, atol=2.5)
    factor = (layer.weight / initial).detach()
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor), rtol=1e-3, atol=0)
