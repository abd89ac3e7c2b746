import json
from dataclasses import replace

import pytest
import torch
from torch.nn import functional
from torch.utils.data import TensorDataset

from geir.tasks import digits, loop, training


@pytest.fixture(scope="module")
def small_data():
    data = digits.load()
    train_images, train_labels = data.train.tensors
    test_images, test_labels = data.test.tensors
    return training.Data(
        train=TensorDataset(train_images[:320], train_labels[:320]),
        test=TensorDataset(test_images[:100], test_labels[:100]),
    )


@pytest.fixture
def run(small_data):
    """Run a training of two epochs of five batches; returns the result."""

    def run(out, **changes):
        settings = {"epochs": 2, "steps": 8, "batch_size": 64, "learning_rate": 0.02, "device": "cpu", "out": out}
        return training.train("digits", digits.network, small_data, replace(digits.DEFAULTS, **settings | changes))

    return run


def weights(folder):
    return torch.load(folder / "weights.pt", weights_only=True)


class StopAfter:
    """Stands for `stop_on_interrupt` when Ctrl-C is pressed after a number of questions whether to stop."""

    def __init__(self, questions):
        self.left = questions

    def __enter__(self):
        return self.stopped

    def __exit__(self, *_):
        return False

    def stopped(self):
        self.left -= 1
        return self.left < 0


def test_same_seed_repeats_the_run_and_another_seed_does_not(tmp_path, run):
    a, b, _ = (run(tmp_path / str(k), epochs=1, seed=seed) for k, seed in enumerate((1, 1, 2)))
    assert a["test_accuracy"] == b["test_accuracy"]
    torch.testing.assert_close(weights(tmp_path / "0"), weights(tmp_path / "1"), rtol=0, atol=0)
    assert not torch.equal(weights(tmp_path / "0")["0.module.weight"], weights(tmp_path / "2")["0.module.weight"])


def test_run_that_is_interrupted_and_resumed_equals_an_uninterrupted_run(tmp_path, run, monkeypatch):
    expected = run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        # It asks after every batch, so this stops in the middle of the first epoch.
        patch.setattr(loop, "stop_on_interrupt", lambda: StopAfter(2))
        result = run(tmp_path / "parts")
    assert result["interrupted"]
    assert result["epochs"] == 0
    assert json.loads((tmp_path / "parts" / "checkpoint.json").read_text())["progress"]["batch"] == 3
    assert "figure" not in result
    resumed = run(tmp_path / "parts", resume=True)
    assert resumed["test_accuracy"] == expected["test_accuracy"]
    assert resumed["seconds"] >= result["seconds"]
    torch.testing.assert_close(weights(tmp_path / "parts"), weights(tmp_path / "whole"), rtol=0, atol=0)


def test_finished_run_can_be_trained_for_more_epochs(tmp_path, run):
    run(tmp_path / "parts", epochs=1)
    resumed = run(tmp_path / "parts", epochs=2, resume=True)
    whole = run(tmp_path / "whole", epochs=2)
    assert resumed["epochs"] == 2
    assert resumed["test_accuracy"] == whole["test_accuracy"]


def test_gradients_are_scaled_down_to_the_largest_norm(tmp_path, run):
    # Adam divides by the size of the gradient plus 1e-8, so that far smaller gradients hardly change a weight.
    run(tmp_path, epochs=1, max_gradient_norm=1e-12)
    torch.manual_seed(0)
    initial = digits.network().state_dict()
    torch.testing.assert_close(weights(tmp_path), dict(initial), rtol=0, atol=2e-5)


def test_loss_and_accuracy_are_those_of_the_data(tmp_path, small_data):
    """Of the last potentials; of the two answers to each sample, the second is always right."""

    def last_loss(vs, labels):
        return functional.cross_entropy(vs[-1], labels)

    def two_answers(vs, labels):
        return (vs[-1].argmax(-1) == labels) + 1, torch.full_like(labels, 2)

    data = replace(small_data, loss=last_loss, count_answers=two_answers)
    settings = replace(digits.DEFAULTS, epochs=1, steps=8, batch_size=320, device="cpu", out=tmp_path)
    result = training.train("digits", digits.network, data, settings)
    torch.manual_seed(0)
    initial, trained = digits.network(), digits.network()
    trained.load_state_dict(weights(tmp_path))
    with torch.inference_mode():
        first = initial(data.encode(data.train.tensors[0], 8))[0][-1]
        last = trained(data.encode(data.test.tensors[0], 8))[0][-1]
    history = json.loads((tmp_path / "checkpoint.json").read_text())["progress"]["history"]
    expected = functional.cross_entropy(first, data.train.tensors[1]).item()
    assert history[0]["loss"] == pytest.approx(expected, rel=1e-5)
    recognized = (last.argmax(-1) == data.test.tensors[1]).double().mean().item()
    assert result["test_accuracy"] == pytest.approx((recognized + 1) / 2)
