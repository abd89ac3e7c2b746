#!/usr/bin/env python3
"""Set up and run, on a machine with Python and git:

    python3 run.py digits      train a spiking network on handwritten digits
    python3 run.py tests       run the tests
    python3 run.py checks      lint, types, import rules
    python3 run.py docs        build the documentation into docs/_build/html

Everything is installed into .venv, once. More arguments are passed on: python3 run.py digits --help
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = HERE / ".venv" / ("Scripts" if os.name == "nt" else "bin")
PYTHON = str(BIN / "python")

# What each job needs installed, and its commands.
JOBS = {
    "digits": ("tasks", [[PYTHON, "-m", "geir.tasks.digits"]]),
    "tests": ("test", [[PYTHON, "-m", "pytest", "-n", "2"]]),
    "checks": (
        "dev",
        [
            [PYTHON, "-m", "ruff", "check"],
            [PYTHON, "-m", "ruff", "format", "--check"],
            [PYTHON, "-m", "pyright"],
            [str(BIN / "lint-imports")],
        ],
    ),
    "docs": (
        "docs",
        [[PYTHON, "-m", "sphinx", "-W", "--keep-going", "-j", "auto", "-b", "html", "docs", "docs/_build/html"]],
    ),
}


def install(extra):
    """Make .venv and install geir with an extra, unless that was done for the same requirements before."""
    mark = HERE / ".venv" / f"geir-{extra}"
    wanted = (HERE / "pyproject.toml").read_text() + (HERE / "constraints.txt").read_text()
    if mark.exists() and mark.read_text() == wanted:
        return
    if not Path(PYTHON).exists():
        print("Making .venv ...", file=sys.stderr)
        venv.create(HERE / ".venv", with_pip=True)
    print("Installing ...", file=sys.stderr)
    subprocess.run([PYTHON, "-m", "pip", "install", "-c", "constraints.txt", "-e", f".[{extra}]"], cwd=HERE, check=True)
    mark.write_text(wanted)


def main():
    """Run the job that the command line names."""
    job, *arguments = sys.argv[1:] or ["--help"]
    if job not in JOBS:
        sys.exit(__doc__)
    if sys.version_info < (3, 11):  # noqa: UP036  (who runs this may have an older one)
        sys.exit(f"geir needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
    extra, commands = JOBS[job]
    install(extra)
    for command in commands:
        code = subprocess.run(command + arguments, cwd=HERE).returncode
        if code:
            sys.exit(code)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    except KeyboardInterrupt:
        sys.exit(130)
