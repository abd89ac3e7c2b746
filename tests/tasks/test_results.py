"""The list of tasks and the page of results: `geir.tasks.catalog` and `geir.tasks.results`."""

import importlib
import json
import runpy
import sys
from pathlib import Path

import pytest

from geir import tasks
from geir.tasks.catalog import all_tasks
from geir.tasks.results import group, page, read_lines

DOCS = Path(__file__).parents[2] / "docs"
LINE = {
    "task": "digits",
    "seed": 0,
    "command": "python -m geir.tasks.digits",
    "machine": "a machine",
    "seconds": 30.0,
    "interrupted": False,
    "test_accuracy": 0.5,
}


def write(path, *results):
    path.write_text("".join(json.dumps(result) + "\n" for result in results))
    return path


def programs():
    """Names of the modules that run as a program with the common command line."""
    for path in Path(tasks.__file__).parent.glob("*.py"):
        if "sys.exit(main(" in path.read_text():
            yield path.stem


def test_every_program_is_listed_once_with_its_command():
    names = [task.name for task in all_tasks()]
    assert sorted(names) == sorted([*programs(), "edges"])
    for task in all_tasks():
        assert task.command.startswith(f"python -m geir.tasks.{task.name}")
        assert len(task.summary) > 20


def test_the_list_of_tasks_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tasks"])
    runpy.run_module("geir.tasks", run_name="__main__")
    printed = capsys.readouterr().out
    assert "python -m geir.tasks.digits\n    Train a spiking convolutional network" in printed
    assert printed.count("python -m ") == len(list(all_tasks()))


def test_published_figures_name_an_entry_of_the_result():
    for task in all_tasks():
        source = Path(tasks.__file__).parent / f"{task.name}.py"
        if source.exists() and "PUBLISHED" in source.read_text():
            published = importlib.import_module(f"geir.tasks.{task.name}").PUBLISHED
            assert published.measure in ("test_accuracy", "test_error")
            assert published.value
            assert published.source


def test_the_page_shows_median_range_seeds_and_time(tmp_path):
    runs = [
        LINE | {"seed": seed, "command": f"python -m geir.tasks.digits --seed {seed}"} | {"test_accuracy": value}
        for seed, value in ((1, 0.91), (2, 0.97), (3, 0.92))
    ]
    text = page(group(read_lines([write(tmp_path / "a.jsonl", *runs[:2]), write(tmp_path / "b.jsonl", runs[2])])))
    row = "| digits | test accuracy | – | 92.0 % (91.0 % to 97.0 %) | 3 | 30 s |"
    assert row in text
    assert "```bash\npython -m geir.tasks.digits\n```\n\nWith `--seed`: 1: 91.0 %, 2: 97.0 %, 3: 92.0 %." in text


def test_runs_with_other_settings_have_a_row_of_their_own(tmp_path):
    other = LINE | {"command": "python -m geir.tasks.digits --epochs 3"}
    experiments = group(read_lines([write(tmp_path / "a.jsonl", LINE, other)]))
    assert [len(experiment.runs) for experiment in experiments] == [1, 1]


def test_rewards_are_not_shown_as_shares(tmp_path):
    rewards = LINE | {"task": "control", "test_reward": -84.25}
    del rewards["test_accuracy"]
    assert "| control | test reward | – | -84.2 | 1 |" in page(group([rewards]))


def test_the_machine_is_named_once():
    assert page(group([LINE, LINE | {"seed": 1}])).count("Machine: a machine.") == 1


def test_measures_to_compare_with_stand_below():
    other = LINE | {"test_accuracy_relu": 0.625, "test_episodes": 400}
    text = page(group([other, other | {"seed": 1, "test_accuracy_relu": 0.75}]))
    assert "\n`test_accuracy_relu`: 0: 62.5 %, 1: 75.0 %.\n" in text
    assert "test_episodes" not in text


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([LINE | {"interrupted": True}], "a.jsonl, line 1: the run was interrupted; finish it with --resume"),
        ([{"task": "digits"}], "a.jsonl, line 1: the result has no command, interrupted, machine, seconds, seed"),
        ([LINE, 5], "a.jsonl, line 2: expected the JSON object that a task prints"),
        ([LINE, LINE], "two results of `python -m geir.tasks.digits` with seed 0"),
        ([LINE | {"task": "alchemy"}], "There is no task 'alchemy'; the tasks are "),
    ],
)
def test_lines_that_are_no_result_raise(tmp_path, results, message):
    with pytest.raises(ValueError, match=message):
        group(read_lines([write(tmp_path / "a.jsonl", *results)]))


def test_the_page_of_the_documentation_is_that_of_its_results():
    assert (DOCS / "results.md").read_text() == page(group(read_lines(sorted((DOCS / "results").glob("*.jsonl")))))


def test_results_of_the_documentation_name_no_folder_of_a_machine():
    for file in (DOCS / "results").glob("*.jsonl"):
        for result in read_lines([file]):
            assert not [text for text in result.values() if isinstance(text, str) and text.startswith("/")], file.name
