"""Storing and recalling bits: `geir.tasks.memory`."""

import pytest
import torch

from geir.tasks import memory as task

QUICK = {"steps": 160, "device": "cpu"}


def test_bits_are_stored_in_the_first_half_and_recalled_in_the_second():
    spikes, labels = task.draw(300, 480, torch.Generator().manual_seed(0)).tensors
    assert spikes.shape == (300, 480, 20)
    assert labels.shape == (300, 480)
    # Two stores, twelve periods, twenty steps, four groups of five inputs.
    active = spikes.view(300, 2, 12, 20, 4, 5).sum((3, 5)) > 0
    zero, one, store, recall = active.unbind(-1)
    assert torch.equal(store.sum(2), torch.ones(300, 2))
    assert torch.equal(recall.sum(2), torch.ones(300, 2))
    when_stored, when_recalled = store.int().argmax(2), recall.int().argmax(2)
    assert when_stored.unique().tolist() == list(range(6))
    assert when_recalled.unique().tolist() == list(range(6, 12))
    # In every period there is one bit, but none during the recall.
    assert torch.equal(zero ^ one, ~recall)
    stored = one.gather(2, when_stored[..., None])[..., 0].long()
    assert 0.45 < stored.float().mean() < 0.55
    periods = labels.view(300, 2, 12, 20)
    assert (periods == periods[..., :1]).all()
    assert torch.equal(periods[..., 0].gather(2, when_recalled[..., None])[..., 0], stored)
    assert int((periods[..., 0] != -1).sum()) == 600


def test_active_inputs_spike_at_their_rate():
    spikes, _ = task.draw(300, 480, torch.Generator().manual_seed(0)).tensors
    groups = spikes.view(300, 24, 20, 4, 5).float()
    shown = groups.mean((2, 4))
    assert shown[shown > 0].mean().item() == pytest.approx(50 * 5e-3, abs=0.003)


def test_answers_are_mean_outputs_in_periods_of_recall():
    vs = torch.zeros(80, 2, 2)
    # Early in the second period of the first sequence, and in its third.
    vs[20:25, 0, 1], vs[40:60, 0, 0] = 1.0, 3.0
    vs[60:80, 1, 0] = 2.0
    labels = torch.full((2, 80), -1)
    labels[0, 20:40], labels[1, 60:80] = 1, 1
    right, answers = task.recalled(vs, labels)
    assert right.tolist() == [1, 0]
    assert answers.tolist() == [1, 1]
    expected = (-torch.tensor([0.0, 0.25]).log_softmax(0)[1] - torch.tensor([2.0, 0.0]).log_softmax(0)[1]) / 2
    torch.testing.assert_close(task.recall_loss(vs, labels), expected)


def test_training_learns_to_recall(tmp_path):
    small = {"epochs": 8, "batch_size": 25, "decay": 1.0, "sequences": 600, "test_sequences": 100, "hidden": 40}
    result = task.run(**QUICK, **small, out=tmp_path)
    assert result["test_accuracy"] > 0.9
    assert (result["train_sequences"], result["test_sequences"]) == (600, 100)
    assert (tmp_path / "memory.png").exists()


def test_no_threshold_adapts_with_constant_thresholds():
    assert torch.equal(task.network(6)[0].beta > 0, torch.arange(6) >= 3)
    assert not task.network(6, constant=True)[0].beta.any()


def test_periods_are_whole():
    with pytest.raises(ValueError, match="--steps must be a multiple of 80, got 100"):
        task.run(steps=100)
