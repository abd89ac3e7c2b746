"""Learning N-MNIST in one pass: `geir.tasks.nmnist_online`."""

import json
import runpy
import sys

import numpy as np
import pytest
import torch

from geir.events import Events
from geir.learning import Online
from geir.tasks import nmnist_online as task

QUICK = {"hidden": 10, "steps": 4, "batch_size": 1}


def archive(folder, number=20):
    """Recordings whose class is the column in which events arrive."""
    generator = torch.Generator().manual_seed(0)
    recordings = []
    for k in range(number):
        t = torch.randint(80_000, (200,), generator=generator).sort().values
        y = torch.randint(34, (200,), generator=generator)
        p = torch.randint(2, (200,), generator=generator)
        recordings.append(Events(t, torch.full((200,), 3 * (k % 10)), y, p, sensor_size=(34, 34)))
    whole = Events.cat(recordings)
    columns = {name: column.numpy() for name, column in zip("txyp", whole.columns(), strict=True)}
    labels = (np.arange(number) % 10).astype(np.uint8)
    for split in ("train", "test"):
        np.savez(folder / f"nmnist_{split}.npz", **columns, offsets=200 * np.arange(number + 1), labels=labels)
    return folder


@pytest.mark.parametrize("rule", ["ottt", "eprop"])
def test_one_pass_is_enough_for_classes_that_are_far_apart(tmp_path, rule):
    result = task.run(
        archive(tmp_path, 60), rule=rule, steps=3, batch_size=1, hidden=30, learning_rate=5e-3, out=tmp_path / "out"
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
    task.run(archive(tmp_path), **QUICK, out=tmp_path / "out")
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


def test_runs_are_determined_by_their_seed(tmp_path):
    archive(tmp_path)
    results = [task.run(tmp_path, **QUICK, seed=seed, out=tmp_path / str(k)) for k, seed in enumerate((1, 1, 2))]
    models = [torch.load(result["weights"], weights_only=True) for result in results]
    weights = [model["model.1.module.weight"] for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_last_line_of_the_command_is_the_result(tmp_path, monkeypatch, capsys):
    arguments = ["--data", str(archive(tmp_path)), "--hidden", "5", "--steps", "2", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["nmnist_online", *arguments])
    monkeypatch.delitem(sys.modules, "geir.tasks.nmnist_online")
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("geir.tasks.nmnist_online", run_name="__main__")
    assert stopped.value.code == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["task"] == "nmnist_online"


def test_the_rule_must_be_known(tmp_path):
    with pytest.raises(ValueError, match="--rule must be one of ottt, eprop, got 'bptt'"):
        task.run(tmp_path, rule="bptt")
