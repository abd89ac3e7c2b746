"""MNIST as a sequence of pixels: `geir.tasks.sequential_mnist`."""

import numpy as np
import pytest
import torch
from task_table import write_halves

from geir.tasks import mnist, sequential_mnist as task


@pytest.fixture
def path(tmp_path):
    return write_halves(tmp_path / "mnist.npz")


def test_halves_of_images_are_told_apart_and_drawn(tmp_path, path):
    result = task.run(
        data=path, epochs=12, batch_size=8, learning_rate=1e-2, steps=28, hidden=24, device="cpu", out=tmp_path
    )
    assert result["test_accuracy"] == 1
    assert (result["train_images"], result["test_images"]) == (80, 20)
    assert (tmp_path / "sequential_mnist.png").exists()


def test_pixels_arrive_row_by_row():
    images = torch.arange(2 * 784).view(2, 1, 28, 28)
    xs = task.arrive(torch.arange(784), images, 112)
    assert xs.shape == (112, 2, 7)
    assert xs[0, 1].tolist() == list(range(784, 791))
    # Four steps are a row.
    assert torch.equal(xs[4:8, 0].flatten(), images[0, 0, 1])
    assert torch.equal(task.arrive(torch.arange(784), images, 784)[:, 0, 0], torch.arange(784))


def test_permuted_pixels_have_one_order_for_all_images_and_runs(path):
    plain, permuted, again = task.load(path), task.load(path, permuted=True), task.load(path, permuted=True)
    images = torch.arange(2 * 784).view(2, 1, 28, 28)
    xs = permuted.encode(images, 784)[..., 0]
    assert not torch.equal(xs, plain.encode(images, 784)[..., 0])
    assert torch.equal(xs[:, 0].sort().values, torch.arange(784))
    assert torch.equal(xs[:, 1] - xs[:, 0], torch.full((784,), 784))
    assert torch.equal(xs, again.encode(images, 784)[..., 0])


def test_the_answer_is_that_of_the_last_step(path):
    vs = torch.tensor([[[9.0, 0.0], [0.0, 9.0]], [[1.0, 2.0], [1.0, 2.0]]])
    right, answers = task.load(path).count_answers(vs, torch.tensor([1, 0]))
    assert right.tolist() == [True, False]
    assert answers.tolist() == [1, 1]


def test_validation_leaves_the_last_training_images_out(path, monkeypatch):
    monkeypatch.setattr(mnist, "HELD_OUT", 30)
    whole, part = task.load(path), task.load(path, validate=True)
    assert (len(part.train), len(part.test)) == (50, 30)
    for kept, tensor in enumerate(whole.train.tensors):
        assert torch.equal(torch.cat([part.train.tensors[kept], part.test.tensors[kept]]), tensor)


def test_half_of_the_neurons_adapt():
    layer = task.network(hidden=10, steps=112)[0]
    assert torch.equal(layer.beta > 0, torch.arange(10) >= 5)
    assert layer.input_weights.shape == (10, 7)


def test_a_run_with_another_order_is_not_resumed(tmp_path, path, monkeypatch):
    monkeypatch.setattr(mnist, "HELD_OUT", 30)
    quick = {"data": path, "epochs": 1, "steps": 28, "hidden": 4, "device": "cpu", "out": tmp_path}
    task.run(**quick)
    with pytest.raises(ValueError, match="was written with --permuted False, but this run has --permuted True"):
        task.run(**quick, permuted=True, resume=True)
    with pytest.raises(ValueError, match="was written with --validate False, but this run has --validate True"):
        task.run(**quick, validate=True, resume=True)


def test_pixels_are_standardized(path):
    xs = task.load(path).train.tensors[0]
    arrays = np.load(path)
    expected = (arrays["train_images"][3] / 255 - mnist.PIXEL_MEAN) / mnist.PIXEL_STD
    np.testing.assert_allclose(xs[3, 0], expected, atol=1e-5)


def test_steps_divide_the_pixels(path):
    with pytest.raises(ValueError, match="--steps must divide the 784 pixels, as do 56, 112 and 784; got 100"):
        task.run(data=path, steps=100)
