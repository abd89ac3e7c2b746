"""Accumulating evidence by e-prop: `geir.tasks.evidence_accumulation`."""

import pytest
import torch

from geir.tasks import evidence_accumulation as task

QUICK = {"iterations": 3, "batch_size": 4, "neurons": 20, "test_trials": 20}


def test_inputs_spike_at_the_rates_of_their_groups_and_the_side_is_that_of_most_cues():
    xs, sides = task.draw_trials(500, torch.Generator().manual_seed(0))
    assert xs.shape == (450, 500, 40)
    assert set(xs.unique().tolist()) == {0.0, 1.0}
    left, right, recall, background = xs.unflatten(-1, (4, 10)).mean(-1).unbind(-1)
    assert 0.4 < sides.float().mean() < 0.6
    counts = []
    for k in range(7):
        cue = slice(30 * k, 30 * k + 20)
        # Exactly one side is active: 20 steps of 10 inputs at a probability of 0.2.
        both = torch.stack([left[cue].mean(0), right[cue].mean(0)])
        assert (both.amin(0) == 0).all()
        assert both.amax(0).mean().item() == pytest.approx(0.2, abs=0.005)
        counts.append(both.argmax(0))
        assert not left[30 * k + 20 : 30 * k + 30].any()
    assert torch.equal((torch.stack(counts).sum(0) > 3).long(), sides)
    assert not left[210:].any()
    assert not right[210:].any()
    assert not recall[:-30].any()
    assert recall[-30:].mean().item() == pytest.approx(0.2, abs=0.005)
    assert background.mean().item() == pytest.approx(0.05, abs=0.002)


def test_a_trial_shows_one_side_in_most_cues():
    _, sides = task.draw_trials(1000, torch.Generator().manual_seed(0))
    xs, _ = task.draw_trials(1000, torch.Generator().manual_seed(0))
    right = torch.stack([xs[30 * k : 30 * k + 20, :, 10:20].any(0).any(-1) for k in range(7)])
    # The larger count of a binomial of 7 with 0.7: the smaller side has 3 cues in this share of the trials.
    narrow = (torch.minimum(right.sum(0), 7 - right.sum(0)) == 3).float().mean().item()
    expected = 35 * (0.7**4 * 0.3**3 + 0.7**3 * 0.3**4)
    assert narrow == pytest.approx(expected, abs=0.06)
    assert torch.equal((right.sum(0) > 3).long(), sides)


def test_the_output_is_read_during_recall():
    assert task.recall(torch.arange(450)[:, None]).flatten().tolist() == list(range(420, 450))


def test_the_error_is_the_share_of_wrong_sides():
    trials = task.draw_trials(20, torch.Generator().manual_seed(0))

    def constant(xs):
        return torch.tensor([1.0, 0.0]).expand(*xs.shape[:2], 2), None

    assert task.error_rate(constant, trials) == trials.sides.float().mean()


def test_all_weights_learn(tmp_path):
    untrained = task.network(20, torch.Generator().manual_seed(0)).state_dict()
    result = task.run(**QUICK, out=tmp_path)
    trained = torch.load(result["weights"], weights_only=True)
    assert trained.keys() == {f"model.{name}" for name in untrained} | {"feedback_0"}
    for name in ("0.input_weights", "0.recurrent_weights", "1.module.weight", "1.module.bias"):
        assert not torch.equal(trained[f"model.{name}"], untrained[name])
