"""The page of results, from the JSON lines that tasks print: ``python -m geir.tasks.results FILES > docs/results.md``.

Everything on the page is derived: results, commands, times and machines from the lines, summaries and published figures
from the tasks.
"""

import argparse
import importlib
import json
import re
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .catalog import all_tasks, Published, Task

# Entries of results that are compared where a task does not say which.
MEASURES = ("test_accuracy", "test_error", "test_reward")
_HEADER = """\
# Results

Each task was run with several seeds; the median and the range of their results stand beside the published figure.
Times are the median of one run on the clock, on a machine that other work may have shared. This page is generated from
what the tasks print:

```bash
python -m geir.tasks.results docs/results/*.jsonl > docs/results.md
```
"""


class Experiment(NamedTuple):
    """The runs of a task that differ only in their seed."""

    task: Task
    published: Published | None
    command: str
    runs: list[dict[str, Any]]  # as read from JSON


def read_lines(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Read results from files of JSON lines.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a line is no result, or one of a run that was interrupted.
    """
    results = []
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            try:
                result = json.loads(line)
                missing = {"task", "seed", "command", "machine", "seconds", "interrupted"} - result.keys()
            except (ValueError, AttributeError) as error:
                raise ValueError(f"{place}: expected the JSON object that a task prints on its last line.") from error
            if missing:
                raise ValueError(f"{place}: the result has no {', '.join(sorted(missing))}; run the task again.")
            if result["interrupted"]:
                raise ValueError(f"{place}: the run was interrupted; finish it with --resume.")
            results.append(result)
    return results


def group(results: Iterable[dict[str, Any]]) -> list[Experiment]:
    """The experiments of results, in the order of their tasks and commands.

    Raises:
        ValueError: If a task is unknown, or two results have the same command and seed.
    """
    tasks = {task.name: task for task in all_tasks()}
    experiments: dict[tuple[str, str], Experiment] = {}
    for result in results:
        name = result["task"]
        if name not in tasks:
            raise ValueError(f"There is no task {name!r}; the tasks are {', '.join(tasks)}.")
        command = result["command"].replace(f" --seed {result['seed']}", "")
        published = getattr(importlib.import_module(f"{__package__}.{name}"), "PUBLISHED", None)
        experiment = experiments.setdefault((name, command), Experiment(tasks[name], published, command, []))
        if result["seed"] in (run["seed"] for run in experiment.runs):
            raise ValueError(f"There are two results of `{command}` with seed {result['seed']}.")
        experiment.runs.append(result)
    return [experiments[key] for key in sorted(experiments)]


def page(experiments: Sequence[Experiment]) -> str:
    """The page, in Markdown."""
    machines = sorted({run["machine"] for experiment in experiments for run in experiment.runs})
    lines = [
        _HEADER,
        f"{'Machine' if len(machines) == 1 else 'Machines'}: {'; '.join(machines)}.",
        "",
        "| task | measure | published | geir, median (range) | seeds | time |",
        "| --- | --- | --: | --: | --: | --: |",
    ]
    for experiment in experiments:
        measure = _measure(experiment)
        values = [run[measure] for run in experiment.runs]
        median, low, high = (_number(measure, value) for value in (statistics.median(values), min(values), max(values)))
        seconds = statistics.median(run["seconds"] for run in experiment.runs)
        cells = [
            f"{experiment.task.name} {_flags(experiment)}".strip(),
            measure.replace("_", " "),
            experiment.published.value if experiment.published else "–",
            median if len(values) == 1 else f"{median} ({low} to {high})",
            str(len(values)),
            _time(seconds),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    previous = None
    for experiment in experiments:
        if experiment.task != previous:
            lines += ["", f"## {experiment.task.name}", "", experiment.task.summary]
            if experiment.published:
                lines += ["", f"Published: {experiment.published.value}, {experiment.published.source}."]
            previous = experiment.task
        measure = _measure(experiment)
        # Such as the error of a network that is trained beside the first.
        others = [key for key, value in experiment.runs[0].items() if _is_comparison(key, value) and key != measure]
        lines += ["", "```bash", experiment.command, "```", "", f"With `--seed`: {_seeds(experiment, measure)}."]
        lines += [f"`{other}`: {_seeds(experiment, other)}." for other in others]
    return "\n".join(lines) + "\n"


def _seeds(experiment: Experiment, measure: str) -> str:
    """A measure for each seed."""
    return ", ".join(f"{run['seed']}: {_number(measure, run[measure])}" for run in experiment.runs)


def _is_comparison(key: str, value: object) -> bool:
    return key.startswith(MEASURES) and isinstance(value, float)


def _flags(experiment: Experiment) -> str:
    """The flags of the command, by which the experiments of a task differ, without the data."""
    _, _, flags = experiment.command.partition(f"geir.tasks.{experiment.task.name}")
    flags = re.sub(r" --data \S+", "", flags).strip()
    return f"`{flags}`" if flags else ""


def _measure(experiment: Experiment) -> str:
    if experiment.published:
        return experiment.published.measure
    for measure in MEASURES:
        if all(measure in run for run in experiment.runs):
            return measure
    raise ValueError(f"Results of `{experiment.command}` have none of {', '.join(MEASURES)}.")


def _number(measure: str, value: float) -> str:
    return f"{value:.1f}" if measure == "test_reward" else f"{100 * value:.1f} %"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m geir.tasks.results", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILES", help="JSON lines that tasks printed")
    try:
        print(page(group(read_lines(parser.parse_args().files))), end="")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
