"""The network that learns by STDP: `geir.tasks.diehl_cook`."""

from math import exp

import pytest
import torch

from geir.tasks.diehl_cook import DiehlCook


def network(inputs=20, neurons=3, dt=1e-3):
    return DiehlCook(inputs, neurons, dt, torch.Generator().manual_seed(0))


def test_a_spike_adds_the_trace_of_the_input_to_the_weights():
    model = network()
    before, dt, tau = model.weights.clone(), 1e-3, 20e-3
    xs, zs = torch.zeros(30, 2, 20), torch.zeros(30, 2, 3)
    xs[4, 0, 7] = xs[10, 0, 7] = xs[25, 0, 8] = xs[3, 1, 9] = 1
    zs[12, 0, 1] = zs[20, 1, 1] = 1
    model.learn(xs, zs)
    expected = before.clone()
    expected[1, 7] += 0.01 * (exp(-8 * dt / tau) + exp(-2 * dt / tau))
    expected[1, 9] += 0.01 * exp(-17 * dt / tau)
    expected *= 2 / expected.sum(1, keepdim=True)
    assert not torch.allclose(expected[1], before[1], atol=1e-3)
    torch.testing.assert_close(model.weights, expected)
    torch.testing.assert_close(model.weights[[0, 2]], before[[0, 2]])


def test_weights_stay_between_bounds_and_keep_their_sum():
    model = network(inputs=200)
    for _ in range(30):
        model.learn(
            (torch.rand(50, 4, 200) < 0.06).float() * (torch.arange(200) < 40), (torch.rand(50, 4, 3) < 0.3).float()
        )
    assert model.weights.min() >= 0
    assert model.weights[:, :40].sum() > 0.9 * model.weights.sum()
    torch.testing.assert_close(model.weights.sum(1), torch.full((3,), 20.0))


def test_thresholds_rise_with_spikes_and_decay():
    model = network()
    rest = model.cells.v_th.clone()
    assert rest[0].item() == pytest.approx(2.5 * 1e-3 * 2)
    zs = torch.zeros(100, 2, 3)
    zs[3, 0, 0] = zs[50, 1, 0] = zs[4, 1, 2] = 1
    model.learn(torch.zeros(100, 2, 20), zs)
    torch.testing.assert_close(model.cells.v_th / rest, torch.tensor([1.1, 1.0, 1.05]))
    # 100 presentations of 0.1 s, two at a time, are 20 s.
    for _ in range(100):
        model.learn(torch.zeros(100, 2, 20), torch.zeros(100, 2, 3))
    torch.testing.assert_close(model.cells.v_th / rest, 1 + torch.tensor([0.1, 0.0, 0.05]) * exp(-20 / 1e3))


def test_a_neuron_fires_above_the_threshold_rate_and_silences_the_others():
    model = network(inputs=784, neurons=20)
    for rate, fires in ((2.2, False), (2.8, True)):
        # Constant input, the mean of spike trains at this rate.
        zs = model(torch.full((1500, 1, 784), rate * 1e-3))
        assert bool(zs.any()) == fires
    model.cells.v_th[4] *= 0.9
    zs = model(torch.full((300, 1, 784), 20e-3))[:, 0]
    assert zs[:, 4].sum() > 5
    assert zs.sum() == zs[:, 4].sum()
