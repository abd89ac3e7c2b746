"""Properties of every task of `geir.tasks`: its command, its seed, its checkpoint, its settings, its errors."""

import json
import os
import runpy
import signal
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from task_table import COMMANDS, TASKS

from geir.tasks.catalog import all_tasks
from geir.tasks.command_line import flag_name

every_task = pytest.mark.parametrize("task", TASKS, ids=str)
every_command = pytest.mark.parametrize("task", COMMANDS, ids=lambda task: task.name)
# Numbers that may be 0, with what 0 means.
MAY_BE_ZERO = {
    "max_gradient_norm": "no limit",
    "levels": "ReLU",
    "augment": "no augmentation",
    "images": "all, in stdp",
}


@pytest.fixture(autouse=True)
def needs(request):
    task = request.node.callspec.params.get("task") if hasattr(request.node, "callspec") else None
    if task is not None and task.name == "control":
        pytest.importorskip("gymnasium", reason="the environments are those of gymnasium")


def run(task, folder, **settings):
    """Run a task; returns its result without times and paths, and its weights."""
    result = task.module.run(**task.arguments(), **settings, out=folder)
    weights = torch.load(folder / "weights.pt", weights_only=True) if (folder / "weights.pt").exists() else {}
    for file in folder.glob("*.pt"):
        weights |= torch.load(file, weights_only=True)
    kept = {name: value for name, value in result.items() if "seconds" not in name and str(folder) not in str(value)}
    return kept, weights


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def interrupt_after(updates, monkeypatch):
    """Press Ctrl-C during an update; returns the list of updates so far."""
    step, seen = torch.optim.Adam.step, []

    def counted(self, *arguments, **options):
        seen.append(None)
        if len(seen) == updates:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", counted)
    return seen


def test_the_table_has_all_tasks():
    # The networks of the published data sets need gigabytes.
    assert {task.name for task in TASKS} == {task.name for task in all_tasks()} - {"published_datasets", "edges"}


@every_command
def test_the_last_line_of_the_command_is_the_result(task, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [task.name, *task.flags(), f"--out={tmp_path}"])
    # As `python -m` does, without the seconds that another process needs to import PyTorch.
    monkeypatch.delitem(sys.modules, f"geir.tasks.{task.name}", raising=False)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module(f"geir.tasks.{task.name}", run_name="__main__")
    assert stopped.value.code == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["task"], result["interrupted"]) == (task.name, False)
    assert result["command"].startswith(f"python -m geir.tasks.{task.name} --")


@every_task
def test_a_run_is_determined_by_its_seed_also_if_it_is_interrupted_and_resumed(task, tmp_path, monkeypatch):
    if hasattr(task.module, "EPOCH"):
        monkeypatch.setattr(task.module, "EPOCH", 2)
    with monkeypatch.context() as patch:
        updates = interrupt_after(0, patch)
        expected, weights = run(task, tmp_path / "whole", seed=1)
    assert weights
    _, others = run(task, tmp_path / "other", seed=2)
    assert not same(weights, others)
    if not task.resumes:
        again, repeated = run(task, tmp_path / "again", seed=1)
        assert again == expected
        assert same(repeated, weights)
        return
    with monkeypatch.context() as patch:
        # In the last epoch, if there are several.
        interrupt_after(max(len(updates) - 1, 1), patch)
        stopped, _ = run(task, tmp_path / "parts", seed=1)
    assert stopped["interrupted"]
    assert "figure" not in stopped
    resumed, continued = run(task, tmp_path / "parts", seed=1, resume=True)
    assert resumed == expected
    assert same(continued, weights)


@every_command
def test_numbers_out_of_range_are_refused(task):
    names = {declared.name for declared in fields(task.defaults)} - {"seed"}
    numbers = [name for name in names if type(getattr(task.defaults, name)) in (int, float)]
    assert numbers
    for name in numbers:
        zero = name in MAY_BE_ZERO and (name != "images" or task.name == "stdp")
        if zero:
            assert getattr(replace(task.defaults, **{name: 0}), name) == 0
        message = f"{flag_name(name)} must not be negative, got -1" if zero else f"{flag_name(name)} must be positive"
        for value in (-1,) if zero else (-1, 0, float("nan")):
            with pytest.raises(ValueError, match=message):
                replace(task.defaults, **{name: value})


@every_command
def test_unknown_choices_are_refused_and_the_known_ones_named(task):
    for declared in fields(task.defaults):
        choices = declared.metadata["choices"]
        if choices:
            expected = f"{flag_name(declared.name)} must be one of {', '.join(choices)}, got 'other'"
            with pytest.raises(ValueError, match=expected):
                replace(task.defaults, **{declared.name: "other"})
    limited = {declared.name for declared in fields(task.defaults) if declared.metadata["choices"]}
    assert limited == {declared.name for declared in fields(task.defaults)} & {
        *("method", "neuron", "rule", "target", "environment", "strategy", "logger")
    }


@pytest.mark.parametrize("task", [task for task in COMMANDS if task.data], ids=lambda task: task.name)
def test_missing_data_is_one_sentence_that_says_what_to_give(task, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^There is no .*missing\.npz; .*--data.*\.$") as raised:
        task.module.run(data=tmp_path / "missing.npz", out=tmp_path)
    assert "\n" not in str(raised.value)


@every_command
def test_the_folder_may_be_given_as_text(task):
    assert replace(task.defaults, out="runs/other").out == Path("runs/other")
