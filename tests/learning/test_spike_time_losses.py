"""Losses on lists of spikes, and their conversion from and to spike tensors."""

import math

import pytest
import torch

from geir.learning import (
    first_spike_cross_entropy,
    first_spike_times,
    soft_spike_counts,
    spike_counts,
    spikes_to_times,
    times_to_spikes,
)

INF = math.inf
TIMES = torch.tensor([[1e-3, 2e-3, 3e-3, INF], [5e-3, INF, INF, INF]], dtype=torch.float64)
UNITS = torch.tensor([[2, 0, 2, -1], [1, -1, -1, -1]])


def test_first_spike_times_are_the_earliest_of_each_unit():
    times = TIMES.clone().requires_grad_()
    first = first_spike_times(times, UNITS, 3)
    assert first.tolist() == [[2e-3, INF, 1e-3], [INF, 5e-3, INF]]
    first[first.isfinite()].sum().backward()
    assert times.grad.tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]


def test_first_spike_times_without_spikes_are_infinite():
    assert first_spike_times(TIMES[:, :0], UNITS[:, :0], 2).tolist() == [[INF, INF], [INF, INF]]


def test_the_cross_entropy_is_that_of_its_equation():
    first = torch.tensor([[2e-3, 4e-3, 3e-3]], dtype=torch.float64, requires_grad=True)
    loss = first_spike_cross_entropy(first, torch.tensor([2]), tau=1e-3, missing=0.1, alpha=0.5, tau_late=6e-3)
    weights = [math.exp(-2), math.exp(-4), math.exp(-3)]
    expected = -math.log(weights[2] / sum(weights)) + 0.5 * (math.exp(3 / 6) - 1)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    torch.autograd.gradcheck(
        lambda t: first_spike_cross_entropy(1e-3 * t, torch.tensor([2]), tau=1e-3, missing=0.1, alpha=0.5),
        first.detach() * 1e3 + torch.zeros(1, 3).requires_grad_(),
    )


def test_units_without_a_spike_count_as_late_ones_without_gradient():
    first = torch.tensor([[2e-3, INF, 1e-3]], requires_grad=True)
    for label in range(3):
        loss = first_spike_cross_entropy(first, torch.tensor([label]), tau=1e-3, missing=10e-3, alpha=0.1)
        (grad,) = torch.autograd.grad(loss, first)
        assert loss.isfinite()
        assert grad.isfinite().all()
        assert grad[0, 1] == 0


def test_wrong_arguments_of_the_cross_entropy_are_refused():
    first = torch.rand(2, 3)
    with pytest.raises(ValueError, match=r"labels of shape \(batch,\), got \(2, 3\) and \(3,\)"):
        first_spike_cross_entropy(first, torch.zeros(3).long(), tau=1.0, missing=1.0)
    with pytest.raises(ValueError, match="without NaN"):
        first_spike_cross_entropy(first * math.nan, torch.zeros(2).long(), tau=1.0, missing=1.0)
    with pytest.raises(ValueError, match="tau must be positive"):
        first_spike_cross_entropy(first, torch.zeros(2).long(), tau=0.0, missing=1.0)


def test_spikes_are_counted_for_each_unit():
    assert spike_counts(TIMES, UNITS, 3).tolist() == [[1, 0, 2], [0, 1, 0]]


def test_soft_counts_are_counts_far_from_their_edge_and_differentiable_at_it():
    sharp = soft_spike_counts(TIMES, UNITS, 3, until=1.0, width=1e-3)
    torch.testing.assert_close(sharp, spike_counts(TIMES, UNITS, 3).double())
    times = TIMES.clone().requires_grad_()
    soft = soft_spike_counts(times, UNITS, 3, until=3e-3, width=1e-3)
    assert soft[0, 2].item() == pytest.approx(1 / (1 + math.exp(-2)) + 0.5, rel=1e-12)
    soft.sum().backward()
    assert times.grad[0, 2].item() == pytest.approx(-0.25 / 1e-3, rel=1e-12)
    assert (times.grad[TIMES.isinf()] == 0).all()


def test_spike_tensors_return_from_lists_of_spikes():
    g = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        for dt in (1e-3, 1e-4, 0.3):
            zs = torch.poisson(0.2 * torch.ones(400, 3, 5), generator=g).to(dtype)
            spikes = spikes_to_times(zs, dt)
            assert spikes.times.dtype == dtype
            assert torch.equal(times_to_spikes(*spikes, steps=400, size=5, dt=dt), zs)
            assert spikes.times.isfinite().sum() == zs.sum()


def test_spikes_between_steps_are_in_the_step_that_has_begun():
    zs = times_to_spikes(TIMES + 0.4e-3, UNITS, steps=6, size=3, dt=1e-3)
    assert zs.nonzero().tolist() == [[1, 0, 2], [2, 0, 0], [3, 0, 2], [5, 1, 1]]


def test_an_empty_spike_tensor_is_an_empty_list():
    spikes = spikes_to_times(torch.zeros(10, 2, 3))
    assert spikes.times.shape == (2, 0)
    assert times_to_spikes(*spikes, steps=10, size=3).sum() == 0


def test_wrong_conversions_are_refused():
    with pytest.raises(ValueError, match="whole numbers of spikes"):
        spikes_to_times(torch.full((4, 1, 2), 0.5))
    with pytest.raises(ValueError, match="whole numbers of spikes"):
        spikes_to_times(torch.full((4, 1, 2), math.nan))
    with pytest.raises(ValueError, match=r"\(time, batch, units\), got \(4, 2\)"):
        spikes_to_times(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="a spike at 0.005 s is after the last of 5 steps"):
        times_to_spikes(TIMES, UNITS, steps=5, size=3)
    with pytest.raises(ValueError, match="dt must be positive"):
        times_to_spikes(TIMES, UNITS, steps=5, size=3, dt=0.0)
