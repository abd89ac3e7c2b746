"""The command line that all tasks share: flags from a settings dataclass, Ctrl-C, exit codes."""

import argparse
import dataclasses
import json
import os
import platform
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import torch
from torch import distributed
from torch.distributed import DistNetworkError

from .._runtime.memory import keep_freed_memory
from .catalog import read_task
from .processes import started_processes
from .settings import flag_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# A task's result: the object that is printed as JSON.
Result = dict[str, str | int | float | bool | None]

# Exit code of a program that was interrupted by Ctrl-C, as shells define it.
EXIT_INTERRUPTED = 130

# What `--data` is in tasks that read MNIST.
MNIST_FILES = "MNIST: .npz file, or folder of IDX files as torchvision stores them"


def build_parser(
    task: str,
    docstring: str | None,
    defaults: "DataclassInstance",
    data: str | None = None,
    data_default: str | None = None,
) -> argparse.ArgumentParser:
    """Build a command line with one flag for each field of a settings dataclass.

    Args:
        task: Name of the task, for the usage line.
        docstring: That of the task's module; `--help` shows its summary.
        defaults: The default settings, an instance of a `geir.tasks.settings.TaskSettings`.
        data: What the files of the flag `--data` are, if the task reads files.
        data_default: What the task uses without this flag. Default: it is required.
    """
    described = read_task(docstring)
    summary = f"{described.summary} " if described else ""
    parser = argparse.ArgumentParser(
        f"python -m geir.tasks.{task}",
        description=f"{summary}Prints the result as a JSON object on the last line.",
    )
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
    if data is not None:
        help_text = data if data_default is None else f"{data} (default: {data_default})"
        parser.add_argument("--data", type=Path, required=data_default is None, metavar="PATH", help=help_text)
    return parser


def main(
    parser: argparse.ArgumentParser,
    run: Callable[..., Result],
    arguments: list[str] | None = None,
    several_processes: bool = False,
) -> int:
    """Run a task from its command line.

    The last line printed to stdout is the result as JSON, with the command and the machine. Invalid settings and
    unreadable files are reported on stderr.

    Args:
        parser: The command line, from `build_parser`.
        run: The task; called with the parsed flags as keyword arguments.
        arguments: Command-line arguments. Default: those of the process.
        several_processes: Whether the processes of `torchrun` or SLURM run the task together.

    Returns:
        The exit code: 0, 1 after an error, 130 after Ctrl-C.
    """
    settings = vars(parser.parse_args(arguments))
    processes = started_processes()
    keep_freed_memory()
    try:
        if processes.total > 1 and not several_processes:
            raise ValueError(f"{parser.prog} runs in one process, but {processes.total} were started.")
        result = run(**settings)
    except DistNetworkError as error:
        print(f"error: {_network_error(error)}", file=sys.stderr)
        return 1
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        # Gloo and NCCL raise nothing more specific.
        if processes.total == 1 or "onnection" not in str(error):
            raise
        print(
            "error: another process of this run has ended; to continue from the last checkpoint, run the same command "
            "with --resume.",
            file=sys.stderr,
        )
        return 1
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    if processes.rank == 0:
        print(json.dumps(result | describe_run(parser, settings)))
    return EXIT_INTERRUPTED if result["interrupted"] else 0


def _network_error(error: Exception) -> str:
    port = os.environ.get("MASTER_PORT")
    if "EADDRINUSE" in str(error):
        return f"port {port} is in use; choose another with MASTER_PORT, or a free one by torchrun --standalone."
    place = f"{os.environ.get('MASTER_ADDR')}:{port}"
    return f"the processes could not connect at {place}: {str(error).splitlines()[0]}"


def describe_run(parser: argparse.ArgumentParser, settings: Mapping[str, object]) -> Result:
    """How a result was obtained: the command, without what does not change the result, the machine and versions."""
    words = []
    for name, value in settings.items():
        if name in ("out", "resume", "device", "logger") or value == parser.get_default(name):
            continue
        shown = value.name if isinstance(value, Path) else str(value)
        words += [flag_name(name)] if value is True else [flag_name(name), shown]
    seed = settings.get("seed")
    on_gpu = torch.cuda.is_available() and settings.get("device", "cpu") != "cpu"
    return {
        "command": " ".join([parser.prog, *map(shlex.quote, words)]),
        "seed": seed if isinstance(seed, int) else None,
        "machine": torch.cuda.get_device_name() if on_gpu else _processor(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }


def _processor() -> str:
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        # Linux has the name here only.
        names = re.findall(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.M)
        name = names[0] if names else name
    return f"{name}, {os.cpu_count()} cores"


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C, or SIGTERM as sent by SLURM and torchrun, into a request to stop.

    Yields a function that returns whether it arrived. A second Ctrl-C raises `KeyboardInterrupt` as usual, a second
    SIGTERM ends the process. Outside of the main thread, which cannot install signal handlers, the function always
    returns False.
    """
    interrupted = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    try:
        previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread
        yield lambda: False
        return
    try:
        yield lambda: interrupted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
