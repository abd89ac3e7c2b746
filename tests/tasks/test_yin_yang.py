"""Training on Yin-Yang by exact gradients of spike times: `geir.tasks.yin_yang`."""

import numpy as np
import pytest
import torch

from geir.tasks import yin_yang

QUICK = {"epochs": 2, "hidden": 40, "points": 600, "test_points": 200, "batch_size": 20}


def test_points_have_the_published_shape():
    # Centers and corners of the symbol, by hand: Yin is the upper half with the left bulge.
    points = np.array(
        [[0.25, 0.5], [0.75, 0.5], [0.5, 0.9], [0.5, 0.1], [0.25, 0.35], [0.75, 0.65], [0.25, 0.65], [0.75, 0.35]]
    )
    labels = yin_yang.classify(points)
    assert labels[:2].tolist() == [2, 2]
    assert labels[2] != labels[3]
    # Around the left dot both sides have one class, around the right dot the other.
    assert labels[4] == labels[6] == labels[2]
    assert labels[5] == labels[7] == labels[3]
    drawn = yin_yang.draw_points(3000, 0)
    assert torch.bincount(drawn.labels).tolist() == [1000] * 3
    assert ((drawn.coordinates - 0.5).norm(dim=1) <= 0.5).all()
    # A point and its mirror image through the center have the two classes, or are both in a dot.
    mirrored = yin_yang.classify(1 - drawn.coordinates.numpy())
    assert (np.array([1, 0, 2])[drawn.labels.numpy()] == mirrored).mean() > 0.999


def test_coordinates_are_spike_times():
    times, units = yin_yang.encode(torch.tensor([[0.2, 0.9]], dtype=torch.float64))
    expected = {0: 16e-3, 1: 37e-3, 2: 34e-3, 3: 13e-3, 4: 20e-3}
    found = dict(zip(units[0].tolist(), times[0].tolist(), strict=True))
    assert found == pytest.approx(expected)
    assert (times.diff() >= 0).all()


def test_a_small_network_learns_in_two_epochs(tmp_path):
    result = yin_yang.run(**QUICK, out=tmp_path)
    # One in three by chance.
    assert result["test_accuracy"] > 0.55
    assert result["parameters"] == 40 * 5 + 3 * 40
    assert not result["interrupted"]
    saved = torch.load(result["weights"], weights_only=True)
    assert saved["0.weight"].shape == (40, 5)


def test_a_silent_unit_of_the_label_is_woken():
    points = yin_yang.draw_points(30, 0)
    model = yin_yang.network(20, 0)
    with torch.no_grad():
        model[1].weight[1] *= 1e-3
    spikes = yin_yang.encode(points.coordinates)
    assert model(*spikes)[:, 1].isinf().all()
    loss = model.loss(*spikes, points.labels)
    (grad,) = torch.autograd.grad(loss, model[1].weight)
    assert grad.isfinite().all()
    assert (grad[1] <= 0).all()
    assert grad[1].sum() < 0
