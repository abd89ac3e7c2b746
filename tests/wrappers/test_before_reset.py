"""`BeforeReset`: the potential that crossed the threshold."""

import pytest
import torch

import geir
from geir import BeforeReset, LIF


def test_spikes_and_states_are_those_of_the_neuron_and_spikes_are_where_the_potential_exceeds_the_threshold():
    xs = 3 * torch.rand(80, 2, 5)
    zs, states = BeforeReset(LIF(v_th=0.5), record_states=True)(xs)
    expected, plain = LIF(v_th=0.5, record_states=True)(xs)
    assert zs.sum() > 20
    assert torch.equal(zs, expected)
    assert torch.equal(states.neuron.v, plain.v)
    assert plain.v.max() <= 0.5, "the recorded potential never exceeds the threshold"
    assert torch.equal(states.v_before > 0.5, zs > 0)
    # Where there was no spike, nothing was reset.
    assert torch.equal(states.v_before[zs == 0], plain.v[zs == 0])


def test_a_loss_on_the_potential_before_the_reset_reaches_the_weights():
    weights = torch.rand(5, requires_grad=True)
    _, states = BeforeReset(LIF(v_th=0.5), record_states=True)(2 * weights * torch.ones(40, 5))
    (states.v_before - 1.05).square().mean().backward()
    assert weights.grad.abs().min() > 0


def test_it_combines_with_other_wrappers_on_the_outside_only():
    _, state = geir.Refractory(BeforeReset(geir.Noisy(LIF()).neuron))(torch.rand(20, 3))
    assert state.neuron.v_before.shape == (3,)
    for neuron in (geir.IAF(), geir.Refractory(LIF())):
        with pytest.raises(TypeError, match=r"apply other wrappers around it: Refractory\(BeforeReset"):
            BeforeReset(neuron)
