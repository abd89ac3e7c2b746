"""Learning N-MNIST in one pass: `geir.tasks.nmnist_online`."""

import pytest
import torch
from task_table import write_nmnist

from geir.learning import Online
from geir.tasks import nmnist_online as task

QUICK = {"hidden": 10, "steps": 4, "batch_size": 1}


@pytest.mark.parametrize("rule", ["ottt", "eprop"])
def test_one_pass_is_enough_for_classes_that_are_far_apart(tmp_path, rule):
    result = task.run(
        write_nmnist(tmp_path, 60),
        rule=rule,
        steps=3,
        batch_size=1,
        hidden=30,
        learning_rate=5e-3,
        out=tmp_path / "out",
    )
    # One in ten by chance.
    assert result["test_accuracy"] > 0.9
    assert result["epochs"] == 1
    assert (result["train_recordings"], result["rule"]) == (60, rule)


def test_weights_change_after_every_frame_and_every_recording_is_seen_once(tmp_path, monkeypatch):
    seen, changes = [], 0

    def learn(learner, optimizer, xs, labels):
        seen.append(xs.sum((0, 1, 2, 3)).argmax().item() // 3)
        assert seen[-1] == labels.item()
        step = optimizer.step

        def count_step():
            nonlocal changes
            before = learner.model[1].module.weight.clone()
            step()
            changes += not torch.equal(before, learner.model[1].module.weight)

        monkeypatch.setattr(optimizer, "step", count_step)
        loss = original(learner, optimizer, xs, labels)
        monkeypatch.setattr(optimizer, "step", step)
        return loss

    original = task.learn
    monkeypatch.setattr(task, "learn", learn)
    task.run(write_nmnist(tmp_path), **QUICK, out=tmp_path / "out")
    assert sorted(seen) == sorted(2 * list(range(10)))
    assert changes == 20 * 4


@pytest.mark.parametrize("rule", task.RULES)
def test_the_gradient_of_a_frame_does_not_go_back_in_time(rule):
    torch.manual_seed(0)
    learner = Online(task.network(10), task.RULES[rule])
    first = torch.ones(1, 2, 34, 34, requires_grad=True)
    _, state = learner(first)
    y, _ = learner(torch.ones(1, 2, 34, 34), state)
    y.sum().backward()
    assert first.grad is None
