"""The command line that all tasks share: flags from a settings dataclass, Ctrl-C, exit codes."""

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from .._runtime.memory import keep_freed_memory

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# A task's result: the object that is printed as JSON.
Result = dict[str, str | int | float | bool | None]

# Exit code of a program that was interrupted by Ctrl-C, as shells define it.
EXIT_INTERRUPTED = 130


def flag_name(setting: str) -> str:
    """The flag of a setting: `batch_size` becomes `--batch-size`."""
    return f"--{setting.replace('_', '-')}"


def check_positive_settings(settings: object, names: tuple[str, ...]) -> None:
    """Check that settings are positive.

    Raises:
        ValueError: If one is not; the message names its flag.
    """
    for name in names:
        value = getattr(settings, name)
        if not value > 0:
            raise ValueError(f"{flag_name(name)} must be positive, got {value}.")


def build_parser(task: str, description: str, defaults: "DataclassInstance") -> argparse.ArgumentParser:
    """Build a command line with one flag for each field of a settings dataclass.

    Args:
        task: Name of the task, for the usage line.
        description: Shown by `--help`.
        defaults: The default settings. The metadata of each field hold its `help` text.
    """
    parser = argparse.ArgumentParser(f"python -m geir.tasks.{task}", description=description)
    for field in dataclasses.fields(defaults):
        flag = flag_name(field.name)
        help_text = field.metadata["help"]
        default = getattr(defaults, field.name)
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true", help=help_text)
        else:
            parser.add_argument(
                flag,
                type=type(default),
                default=default,
                metavar=field.name.upper(),
                help=f"{help_text} (default: {default})",
            )
    return parser


def add_mnist_argument(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add the flag `--data` of tasks that read MNIST.

    Args:
        parser: The command line.
        default: What the task uses without the flag; None if it is required.
    """
    form = "MNIST: .npz file, or folder of IDX files as torchvision stores them"
    parser.add_argument(
        "--data",
        type=Path,
        required=default is None,
        metavar="PATH",
        help=form if default is None else f"{form} (default: {default})",
    )


def main(parser: argparse.ArgumentParser, run: Callable[..., Result], arguments: list[str] | None = None) -> int:
    """Run a task from its command line.

    The last line printed to stdout is the result as JSON. Invalid settings and unreadable files are
    reported on stderr.

    Args:
        parser: The command line, from `build_parser`.
        run: The task; called with the parsed flags as keyword arguments.
        arguments: Command-line arguments. Default: those of the process.

    Returns:
        The exit code: 0, 1 after an error, 130 after Ctrl-C.
    """
    settings = vars(parser.parse_args(arguments))
    keep_freed_memory()
    try:
        result = run(**settings)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return EXIT_INTERRUPTED if result["interrupted"] else 0


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a request to stop.

    Yields a function that returns whether Ctrl-C was pressed. A second Ctrl-C raises
    `KeyboardInterrupt` as usual. Outside of the main thread, which cannot install signal handlers,
    the function always returns False.
    """
    interrupted = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(number, signal.default_int_handler)

    try:
        previous = signal.signal(signal.SIGINT, handle)
    except ValueError:  # not in the main thread
        yield lambda: False
        return
    try:
        yield lambda: interrupted
    finally:
        signal.signal(signal.SIGINT, previous)
