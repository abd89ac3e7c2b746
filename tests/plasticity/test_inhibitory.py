"""Inhibitory STDP: its window, and the rate at which it stabilizes neurons."""

import torch
from plasticity_cases import final_rates
from torch import nn

import geir
from geir.plasticity import InhibitorySTDP, Plastic


def test_the_window_of_inhibitory_stdp_is_symmetric():
    rule, delays = InhibitorySTDP(eta=0.01, target_rate=0.0), 1e-3 * torch.arange(1.0, 40.0)
    after, before = (geir.plasticity.stdp_window(rule, d, weight=-0.5) for d in (delays, -delays))
    torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(after, -0.01 * torch.exp(-delays.double() / 20e-3), rtol=1e-5, atol=1e-9)


def test_inhibition_holds_neurons_at_the_target_rate():
    connection = nn.Linear(100, 3)
    nn.init.zeros_(connection.weight)
    # The bias is the excitation.
    connection.bias.data = torch.tensor([0.3, 0.4, 0.5])
    layer = Plastic(connection, geir.LIF(), InhibitorySTDP(eta=0.02, target_rate=20.0))
    xs = (torch.rand(1500, 8, 100) < 0.02).float()
    assert geir.LIF()(connection(xs[:500]).detach())[0].mean() > 0.06
    torch.testing.assert_close(final_rates(layer, xs, 800), torch.full((3,), 20.0), rtol=0, atol=2.5)
    assert layer.weight.lt(0).all()
