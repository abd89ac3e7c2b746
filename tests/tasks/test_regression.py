"""Regression of a membrane potential: `geir.tasks.regression`."""

import numpy as np
import pytest
import torch

from geir.tasks import regression as task

QUICK = {"epochs": 2, "hidden": 16, "steps": 20, "batch_size": 8, "test_curves": 50}


def test_curves_are_square_roots_of_lines_from_0():
    xs, ys = task.draw_curves(200, 50, torch.Generator().manual_seed(0))
    assert xs.shape == ys.shape == (50, 200, 1)
    assert not xs[0].any()
    torch.testing.assert_close(xs.diff(dim=0), (xs[-1] / 49).expand(49, 200, 1), rtol=0, atol=1e-6)
    assert 0 < xs[-1].min() < 0.05
    assert 0.95 < xs[-1].max() < 1
    torch.testing.assert_close(ys.square(), xs)


def test_errors_are_relative_to_the_curves():
    ys = torch.tensor([3.0, 4.0])
    assert task.relative_error(torch.zeros(2), ys) == 1
    assert task.relative_error(torch.tensor([3.0, 3.5]), ys) == pytest.approx(0.1)


def test_the_linear_error_is_that_of_the_best_line():
    curves = task.draw_curves(20, 50, torch.Generator().manual_seed(0))
    xs, ys = curves.xs.flatten().double().numpy(), curves.ys.flatten().double().numpy()
    slope, offset = np.polyfit(xs, ys, 1)
    expected = np.linalg.norm(slope * xs + offset - ys) / np.linalg.norm(ys)
    assert task.linear_error(curves) == pytest.approx(expected)
    line = task.Curves(curves.xs, 2 * curves.xs + 1)
    assert task.linear_error(line) == pytest.approx(0, abs=1e-6)


def test_training_lowers_the_error_and_changes_weights_and_decays(tmp_path, monkeypatch):
    monkeypatch.setattr(task, "EPOCH", 30)
    torch.manual_seed(0)
    untrained = task.network(16).state_dict()
    result = task.run(**QUICK | {"epochs": 4, "learning_rate": 1e-2}, out=tmp_path)
    assert result["test_error"] < 0.4
    assert "test_accuracy" not in result
    trained = torch.load(result["weights"], weights_only=True)
    assert trained.keys() == untrained.keys()
    for name in (
        "0.module.weight",
        "1.logit_beta",
        "2.module.weight",
        "3.logit_beta",
        "4.module.bias",
        "5.log_tau_mem",
    ):
        assert not torch.equal(trained[name], untrained[name])


def test_a_curve_has_at_least_two_steps():
    with pytest.raises(ValueError, match="--steps must be at least 2, got 1"):
        task.run(steps=1)
