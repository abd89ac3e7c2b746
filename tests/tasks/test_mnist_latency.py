"""Training on latency-coded MNIST by exact gradients of spike times: `geir.tasks.mnist_latency`."""

import json
import runpy
import sys

import numpy as np
import pytest
import torch

from geir.tasks import mnist_latency as task

QUICK = {"epochs": 1, "hidden": 15, "batch_size": 20}


@pytest.fixture
def data(tmp_path):
    """Digits that are two bright rows at the height of their class, on a noisy background."""
    generator = np.random.default_rng(0)
    labels = np.arange(200) % 10
    images = generator.integers(0, 40, (200, 28, 28))
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 3 : 2 * label + 5] = generator.integers(200, 256, (2, 28))
    arrays = {"images": images.astype(np.uint8), "labels": labels.astype(np.uint8)}
    path = tmp_path / "mnist.npz"
    np.savez(path, **{f"{split}_{name}": x for split in ("train", "test") for name, x in arrays.items()})
    return path


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


def test_the_numbers_of_images_and_the_seed_decide_the_run(data, tmp_path):
    counts = {"train_images": 60, "test_images": 30}
    runs = [task.run(data, **QUICK, **counts, seed=seed, out=tmp_path / str(k)) for k, seed in enumerate((1, 1, 2))]
    assert (runs[0]["train_images"], runs[0]["test_images"]) == (60, 30)
    weights = [torch.load(run["weights"], weights_only=True)["0.weight"] for run in runs]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_validation_leaves_out_the_last_training_images_and_tests_on_them(data, tmp_path, monkeypatch):
    monkeypatch.setattr(task, "VALIDATION", 50)
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
    monkeypatch.setattr(task, "VALIDATION", 200)
    with pytest.raises(ValueError, match="--validate needs more than 200 training images, got 200"):
        task.run(data, **QUICK, validate=True, out=tmp_path)


def test_a_run_is_resumed(data, tmp_path):
    whole = task.run(data, **QUICK | {"epochs": 2}, out=tmp_path / "whole")
    task.run(data, **QUICK, out=tmp_path / "parts")
    resumed = task.run(data, **QUICK | {"epochs": 2}, out=tmp_path / "parts", resume=True)
    weights = [torch.load(run["weights"], weights_only=True)["0.weight"] for run in (whole, resumed)]
    assert torch.equal(*weights)


def test_the_last_line_of_the_command_is_the_result(data, monkeypatch, capsys, tmp_path):
    arguments = ["--data", str(data), "--epochs", "1", "--hidden", "5", "--train-images", "20", "--test-images", "10"]
    monkeypatch.setattr(sys, "argv", ["mnist_latency", *arguments, "--out", str(tmp_path / "out")])
    monkeypatch.delitem(sys.modules, "geir.tasks.mnist_latency")
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("geir.tasks.mnist_latency", run_name="__main__")
    assert stopped.value.code == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["task"] == "mnist_latency"


def test_settings_must_be_positive(data):
    with pytest.raises(ValueError, match="--train-images must be positive, got 0"):
        task.run(data, train_images=0)
