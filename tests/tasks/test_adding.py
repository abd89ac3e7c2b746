"""The adding problem by FPTT and by backpropagation through time: `geir.tasks.adding`."""

import pytest
import torch

from geir.tasks import adding as task

QUICK = {"steps": 20, "chunk": 7, "iterations": 3, "batch_size": 4, "hidden": 5, "test_sequences": 10}


def test_one_number_of_each_half_is_marked_and_the_mean_has_the_stated_error():
    xs, sums = task.draw_sequences(4000, 9, torch.Generator().manual_seed(0))
    numbers, marks = xs.unbind(-1)
    assert torch.equal(marks[:4].sum(0), torch.ones(4000))
    assert torch.equal(marks[4:].sum(0), torch.ones(4000))
    assert (marks.sum(1) > 600).all()
    torch.testing.assert_close(sums, torch.stack([n[m > 0].sum() for n, m in zip(numbers.T, marks.T, strict=True)]))
    assert (sums - 1).square().mean().item() == pytest.approx(task.BASELINE, rel=0.05)


@pytest.mark.parametrize("method", ["fptt", "bptt"])
def test_updates_are_those_of_the_method(method, tmp_path, monkeypatch):
    lengths, forward = [], task.Adder.forward

    def watched(self, xs, state=None):
        if torch.is_grad_enabled():
            lengths.append((len(xs), state is None))
            assert state is None or not state.v.requires_grad
        return forward(self, xs, state)

    monkeypatch.setattr(task.Adder, "forward", watched)
    result = task.run(**QUICK | {"iterations": 2}, method=method, out=tmp_path)
    assert lengths == 2 * ([(7, True), (7, False), (6, False)] if method == "fptt" else [(20, True)])
    assert (result["method"], result["epochs"], result["interrupted"]) == (method, 1, False)
    assert result["test_error"] == pytest.approx(6 * result["test_mse"])
    assert result["baseline_mse"] == 1 / 6


def test_the_weights_with_the_smallest_validation_error_are_tested(tmp_path, monkeypatch):
    monkeypatch.setattr(task, "EPOCH", 1)
    errors, seen = iter([0.5, 0.1, 0.3]), []

    def error(model, sequences):
        seen.append([p.detach().clone() for p in model.parameters()])
        return next(errors, 0.2)

    monkeypatch.setattr(task, "mean_squared_error", error)
    result = task.run(**QUICK, out=tmp_path)
    assert (result["validation_mse"], result["test_mse"]) == (0.3, 0.2)
    assert len(seen) == 4
    assert all(torch.equal(a, b) for a, b in zip(seen[3], seen[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(seen[3], seen[2], strict=True))
    assert result["parameters"] == sum(p.numel() for p in seen[0])


def test_a_short_problem_is_learned(tmp_path):
    settings = {"steps": 6, "chunk": 3, "iterations": 100, "batch_size": 64, "hidden": 20, "learning_rate": 1e-2}
    assert task.run(**settings, out=tmp_path)["test_error"] < 0.5


def test_a_sequence_has_a_step_for_each_number(tmp_path):
    with pytest.raises(ValueError, match="--steps must be at least 2, one for each number, got 1"):
        task.run(steps=1, out=tmp_path)
