"""Spike trains of spikes given by times and neurons."""

import numpy as np
import pytest
import torch

from geir.encode import spike_trains


@pytest.mark.parametrize("dt", [1e-3, 1e-4, 3e-4, 0.1])
def test_every_step_of_a_grid_is_found_although_its_time_is_rounded(dt):
    steps = np.arange(1000)
    zs = spike_trains(steps * dt, steps % 7, size=7, steps=1000, dt=dt)
    assert torch.equal(zs.nonzero(), torch.tensor(np.stack([steps, steps % 7], 1)))


def test_times_between_steps_are_in_the_step_that_has_begun():
    zs = spike_trains([0.4e-3, 0.6e-3, 0.99e-3, 1.5e-3], [0, 0, 0, 0], size=1, steps=2)
    assert zs.flatten().tolist() == [3, 1]


def test_a_list_of_spikes_is_that_of_the_spike_trains_it_came_from():
    zs = torch.poisson(0.3 * torch.ones(50, 4), generator=torch.Generator().manual_seed(0))
    step, neuron = zs.nonzero().T
    count = zs[step, neuron].long()
    order = torch.randperm(int(count.sum()), generator=torch.Generator().manual_seed(1))
    times = (step * 1e-3).repeat_interleave(count)[order]
    assert torch.equal(spike_trains(times, neuron.repeat_interleave(count)[order], size=4, steps=50), zs)


def test_no_spikes_are_silence():
    assert torch.equal(spike_trains([], [], size=3, steps=5), torch.zeros(5, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([10.0], [0]), r"times must be from 0 to 0.02 s, the end of 20 steps, got 10; times are in seconds"),
        (([20e-3], [0]), r"got 0.02"),
        (([-1e-3], [0]), r"times must be from 0"),
        (([float("nan")], [0]), r"times must be from 0"),
        (([1e-3], [3]), r"neurons must be integers from 0 to 2, got 3"),
        (([1e-3], [-1]), r"neurons must be integers from 0 to 2, got -1"),
        (([1e-3], [0.5]), r"neurons must be integers from 0 to 2, got 0.5"),
        (([1e-3, 2e-3], [0]), r"a time and a neuron for each spike, both of shape \(spikes,\), got \(2,\) and \(1,\)"),
        ((np.zeros((20, 3)), np.zeros((20, 3))), r"got \(20, 3\)"),
    ],
)
def test_spikes_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        spike_trains(*arguments, size=3, steps=20)


def test_a_step_size_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="dt must be a positive number of seconds"):
        spike_trains([], [], size=3, steps=20, dt=0.0)
