import itertools

import torch

from geir._util.validation import spike_steps, time_indices


def test_time_indices_broadcast_against_one_step():
    x = torch.zeros(2, 5)
    indices = time_indices(4, x)
    assert indices.shape == (4, 1, 1)
    assert indices.flatten().tolist() == [0, 1, 2, 3]


def test_spike_steps_agree_with_a_search_in_every_train():
    trains = torch.tensor(list(itertools.product([0.0, 1.0, -1.0], repeat=4)))
    found = spike_steps(trains.T, 3)
    for train, steps in zip(trains.tolist(), found.T.tolist(), strict=True):
        expected = [step for step, z in enumerate(train) if z]
        assert steps == (expected + [4] * 3)[:3]
