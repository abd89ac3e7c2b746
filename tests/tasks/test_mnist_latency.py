"""Training on latency-coded MNIST by exact gradients of spike times: `geir.tasks.mnist_latency`."""

import numpy as np
import pytest
import torch
from task_table import write_mnist

from geir.tasks import mnist, mnist_latency as task

QUICK = {"epochs": 1, "hidden": 15, "batch_size": 20}


@pytest.fixture
def data(tmp_path):
    return write_mnist(tmp_path / "mnist.npz", 200, 200)


def test_brighter_pixels_spike_earlier_and_dark_ones_do_not():
    times, units = task.encode(torch.tensor([[0, 255, 51, 25, 26], [0, 0, 102, 0, 0]], dtype=torch.uint8))
    assert units[0].tolist() == [1, 2, 4]
    assert times[0].tolist() == pytest.approx([0.0, 16e-3, 20e-3 * (1 - 26 / 255)])
    assert times[1].tolist() == pytest.approx([12e-3, torch.inf, torch.inf])
    assert units[1, 0] == 2


def test_a_small_network_learns_in_a_few_epochs(data, tmp_path):
    quick = QUICK | {"epochs": 5, "hidden": 40, "learning_rate": 1e-2}
    result = task.run(data, **quick, out=tmp_path / "out")
    # One in ten by chance.
    assert result["test_accuracy"] > 0.8
    assert result["parameters"] == 784 * 40 + 40 * 10


def test_the_numbers_of_images_are_those_of_the_settings(data, tmp_path):
    result = task.run(data, **QUICK, train_images=60, test_images=30, out=tmp_path)
    assert (result["train_images"], result["test_images"]) == (60, 30)


def test_validation_leaves_out_the_last_training_images_and_tests_on_them(data, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "HELD_OUT", 50)
    seen, evaluate = [], task.accuracy

    def watched(model, images, labels):
        seen.append(images)
        return evaluate(model, images, labels)

    monkeypatch.setattr(task, "accuracy", watched)
    result = task.run(data, **QUICK, validate=True, out=tmp_path)
    assert (result["train_images"], result["test_images"]) == (150, 50)
    with np.load(data) as arrays:
        expected = torch.from_numpy(arrays["train_images"][150:]).flatten(1)
    assert torch.equal(seen[0], expected)
    monkeypatch.setattr(mnist, "HELD_OUT", 200)
    with pytest.raises(ValueError, match="--validate needs more than 200 training images, got 200"):
        task.run(data, **QUICK, validate=True, out=tmp_path)
