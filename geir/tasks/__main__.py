"""Lists the tasks: `python -m geir.tasks`."""

import textwrap

from .catalog import all_tasks

if __name__ == "__main__":
    for task in all_tasks():
        print(task.command)
        print(textwrap.fill(task.summary, 100, initial_indent="    ", subsequent_indent="    "))
