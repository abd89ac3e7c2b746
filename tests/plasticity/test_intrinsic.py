"""Intrinsic plasticity: the rate at which a moving threshold stabilizes neurons."""

import pytest
import torch
from plasticity_cases import final_rates
from torch import nn

import geir
from geir.plasticity import IntrinsicPlasticity, Plastic, STDPSensor


def test_thresholds_bring_neurons_to_the_target_rate():
    connection = nn.Linear(20, 2, bias=False)
    connection.weight.data = torch.rand(2, 20) * torch.tensor([[0.3], [1.5]])
    intrinsic = IntrinsicPlasticity(eta=0.3, target_rate=20.0)
    layer = Plastic(connection, geir.LIF(v_th=torch.ones(2)), STDPSensor(), intrinsic)
    xs = (torch.rand(1000, 16, 20) < 0.03).float()
    torch.testing.assert_close(final_rates(layer, xs, 500), torch.full((2,), 20.0), rtol=0, atol=2.5)
    low, high = layer.neuron.v_th
    assert low < high


def test_values_that_neurons_prepare_from_their_threshold_are_updated_with_it():
    class Prepared(geir.IAF):
        def prepare(self):
            return (self.v_th.clone(),)

        def step(self, x, state, v_th):
            z = self.surrogate(state.v + x - v_th)
            return z, geir.neurons.IAFState((1 - z) * (state.v + x))

    results = []
    for neuron in (Prepared(v_th=torch.ones(3)), geir.IAF(v_th=torch.ones(3))):
        connection = nn.Linear(6, 3, bias=False)
        nn.init.constant_(connection.weight, 0.3)
        layer = Plastic(connection, neuron, STDPSensor(), IntrinsicPlasticity(eta=1.0))
        results.append(layer(torch.ones(50, 2, 6))[0])
    assert results[0].sum() > 10
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_thresholds_that_do_not_match_the_spikes_are_rejected():
    with pytest.raises(ValueError, match=r"v_th has shape \(3,\), which does not broadcast to the spikes, \(2, 4\)"):
        IntrinsicPlasticity()(torch.ones(2, 4), torch.ones(3))
