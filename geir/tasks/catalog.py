"""The tasks of this package, read from their docstrings."""

import ast
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# The first line of the docstring of a task: what it does, and its command.
_FIRST_LINE = re.compile(r"(?P<summary>.+): `(?P<command>python -m geir\.tasks\.(?P<name>\w+)\b.*)`\.")


class Task(NamedTuple):
    """A task."""

    name: str
    summary: str
    command: str


class Published(NamedTuple):
    """A published result; a task that reproduces one has it as `PUBLISHED`."""

    measure: str  # the entry of the task's result to compare with
    value: str  # as published
    source: str


def read_task(docstring: str | None) -> Task | None:
    """The task that the first line of a docstring describes, if it does."""
    found = _FIRST_LINE.fullmatch((docstring or "").strip().split("\n\n")[0].replace("\n", " "))
    return Task(found["name"], found["summary"] + ".", found["command"]) if found else None


def all_tasks() -> Iterator[Task]:
    """All tasks, by name. Their modules are read, not imported, which would take long."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        file = f"{module.name}/__init__.py" if module.ispkg else f"{module.name}.py"
        source = (Path(__file__).parent / file).read_text(encoding="utf-8")
        task = read_task(ast.get_docstring(ast.parse(source)))
        if task and task.name == module.name:
            yield task
