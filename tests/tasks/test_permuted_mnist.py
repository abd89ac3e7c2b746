"""Permuted MNIST, task after task: `geir.tasks.permuted_mnist`."""

import json

import numpy as np
import pytest
import torch
from task_table import write_mnist
from torch.nn.utils import parametrize

from geir.learning import BinaryWeight
from geir.tasks import permuted_mnist
from geir.tasks.permuted_mnist import METHODS

QUICK = {"tasks": 2, "images": 400, "test_images": 100, "batch_size": 20, "hidden": 50, "steps": 6}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_mnist(tmp_path_factory.mktemp("data") / "mnist.npz", 500, 120)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_two_tasks(method, data, tmp_path):
    result = permuted_mnist.run(data, method=method, epochs=2, out=tmp_path, **QUICK)
    # One in ten by chance.
    assert result["when_learned"] > 0.6
    assert result["tasks"] == 2
    history = json.loads((tmp_path / "accuracies.json").read_text())
    assert [len(after) for after in history] == [1, 2]
    assert result["test_accuracy"] == pytest.approx(np.mean(history[-1]))
    assert result["first_task"] == history[-1][0]
    assert result["when_learned"] == pytest.approx((history[0][0] + history[1][1]) / 2)
    weights = torch.load(result["weights"], weights_only=True)
    assert sum("original" in name for name in weights) == (3 if method in permuted_mnist.BINARY else 0)


def test_methods_differ_in_what_they_protect(data, tmp_path):
    results = {}
    for method in METHODS:
        permuted_mnist.run(data, method=method, out=tmp_path / method, **QUICK)
        results[method] = torch.load(tmp_path / method / "weights.pt", weights_only=True)
    for one, other in (("plain", "intelligence"), ("plain", "elastic"), ("binary", "metaplastic")):
        assert results[one].keys() == results[other].keys()
        assert any(not torch.equal(a, b) for a, b in zip(results[one].values(), results[other].values(), strict=True))


def test_binary_networks_compute_with_binary_weights():
    model = permuted_mnist.Classifier(hidden=20, steps=4, binary=True, seed=0)
    lists = [m for m in model.modules() if isinstance(m, parametrize.ParametrizationList)]
    assert [type(p) for m in lists for p in m] == [BinaryWeight] * 3
    assert len(model.image.weight.abs().unique()) == 1
    assert len(permuted_mnist.Classifier(20, 4, False, 0).image.weight.abs().unique()) > 1000


def test_tasks_are_permutations_of_the_same_images():
    images = permuted_mnist.Images(torch.arange(12.0).view(2, 6), torch.tensor([0, 1]))
    permuted = images.permuted(torch.tensor([3, 0, 5, 1, 2, 4]))
    assert permuted.pixels.tolist() == [[3, 0, 5, 1, 2, 4], [9, 6, 11, 7, 8, 10]]
    assert permuted.labels.tolist() == [0, 1]
