#!/usr/bin/env python3
"""Install geir into .venv and run it. Needs only Python 3.11 or newer, and a network for the first run.

    python3 run.py digits      train a spiking network on handwritten digits
    python3 run.py tests       run the tests
    python3 run.py checks      run the linter, the type checker and the import rules
    python3 run.py docs        build the documentation into docs/_build/html
    python3 run.py notebooks   write the Jupyter notebooks into runs/notebooks

Further arguments go to the command itself, for example: python3 run.py digits --help
"""

# An older Python must get as far as the check of its version.
from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = str(BIN / "python")


class Job(NamedTuple):
    """The extra of geir that a job needs installed, and its commands."""

    extra: str
    commands: list[list[str]]


JOBS: dict[str, Job] = {
    "digits": Job("tasks", [[PYTHON, "-m", "geir.tasks.digits"]]),
    "tests": Job("test", [[PYTHON, "-m", "pytest", "-n", "2"]]),
    "checks": Job(
        "dev",
        [
            [PYTHON, "-m", "ruff", "check"],
            [PYTHON, "-m", "ruff", "format", "--check"],
            [PYTHON, "-m", "pyright"],
            [str(BIN / "lint-imports")],
        ],
    ),
    "docs": Job(
        "docs",
        [[PYTHON, "-m", "sphinx", "-W", "--keep-going", "-j", "auto", "-b", "html", "docs", "docs/_build/html"]],
    ),
    "notebooks": Job("docs", [[PYTHON, "docs/ipynb.py", "runs/notebooks"]]),
}


def install(extra: str) -> None:
    """Create .venv and install geir with an extra, unless the same requirements are already installed.

    A marker file in .venv, one for each extra, holds the requirements that were installed.
    """
    marker = VENV / f"geir-{extra}"
    requirements = (ROOT / "pyproject.toml").read_text() + (ROOT / "constraints.txt").read_text()
    if marker.exists() and marker.read_text() == requirements:
        return
    if not Path(PYTHON).exists():
        print("Creating .venv ...", file=sys.stderr)
        venv.create(VENV, with_pip=True)
    print("Installing ...", file=sys.stderr)
    subprocess.run([PYTHON, "-m", "pip", "install", "-c", "constraints.txt", "-e", f".[{extra}]"], cwd=ROOT, check=True)
    marker.write_text(requirements)


def main() -> None:
    """Run the job named on the command line; exits with the code of the first command that fails."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name not in JOBS:
        sys.exit(__doc__)
    if sys.version_info < (3, 11):  # noqa: UP036  (the user's Python may be older than those geir supports)
        sys.exit(f"geir needs Python 3.11 or newer; this is Python {sys.version.split()[0]}.")
    job = JOBS[name]
    install(job.extra)
    for command in job.commands:
        code = subprocess.run(command + arguments, cwd=ROOT).returncode
        if code:
            sys.exit(code)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    except KeyboardInterrupt:
        sys.exit(130)
