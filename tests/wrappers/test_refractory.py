"""Refractory neurons."""

import numpy as np
import pytest
import torch

import geir

DOUBLE = torch.float64


def test_refractory_neurons_wait_while_their_current_continues():
    period, dt = 7e-3, 1e-3
    xs = torch.full((200, 1), 2.0, dtype=DOUBLE)
    zs, states = geir.LIFRefrac(period=period, dt=dt, record_states=True).double()(xs)
    times = zs.flatten().nonzero().flatten()
    assert len(times) > 10
    assert np.diff(times).min() > 7
    for t in times[:-1]:
        assert (states.neuron.v[t : t + 8] == 0).all(), "the potential stays at its reset for the period"
        assert states.wait[t] == 7
    free = geir.LIF(dt=dt, record_states=True).double()(xs)[1]
    torch.testing.assert_close(states.neuron.i, free.i)


@pytest.mark.parametrize("dt", [0.25e-3, 1e-3])
def test_refractory_periods_are_in_seconds(dt):
    zs, _ = geir.Refractory(geir.IAF(dt=dt), period=10e-3)(torch.full((round(0.3 / dt), 1), 50.0))
    intervals = np.diff(zs.flatten().nonzero().flatten().numpy()) * dt
    assert intervals == pytest.approx(10e-3 + dt, abs=dt)


def test_a_period_of_zero_gives_the_plain_neuron():
    xs = torch.rand(100, 5) * 2
    torch.testing.assert_close(geir.LIFRefrac(period=0.0)(xs)[0], geir.LIF()(xs)[0])


def test_the_gradient_passes_through_the_refractory_period():
    """A spike's effect on later spikes, through the waiting time, is in the gradient."""
    neuron = geir.LIFRefrac(
        period=3e-3, surrogate=geir.surrogates.Gaussian(), reset_mechanism=geir.ResetToValue(detach=True)
    ).double()
    xs = torch.full((12, 1), 1.2, dtype=DOUBLE, requires_grad=True)
    zs, state = neuron(xs)
    (grad,) = torch.autograd.grad(state.wait.sum(), xs)
    assert zs.sum() > 0
    assert grad.abs().sum() > 0


def test_every_neuron_may_have_a_resting_potential_of_its_own():
    """The resting state then has the shape of the neurons, also when it is looked at without input."""
    v_rest = torch.tensor([-0.2, 0.0, 0.3])
    neuron = geir.LIFRefrac(v_rest=v_rest, v_reset=-1.0)
    _, state = neuron(torch.zeros(5, 2, 3))
    torch.testing.assert_close(state.neuron.v, v_rest.expand(2, 3))
    assert geir.LIFMC(3, v_rest=v_rest)
    assert geir.Noisy(geir.LIF(v_rest=v_rest))
    assert geir.Stochastic(geir.LIF(v_rest=v_rest))
