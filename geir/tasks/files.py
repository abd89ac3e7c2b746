"""Atomic writing of files, and reading of arrays."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file such that `path` always holds either the old or the new content, complete, even after a crash.

    The content goes to a temporary file in the same folder, is flushed to disk, and then renamed to `path`.

    Args:
        path: The file to write.
        write: Called with the open temporary file; writes the content to it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_arrays(path: Path, names: tuple[str, ...], what: str) -> list[np.ndarray]:
    """Read arrays of an ``.npz`` file.

    Args:
        path: The file.
        names: Names of the arrays.
        what: What the file holds, for error messages.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is unreadable or lacks an array.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; give --data an .npz file of {what}.")
    try:
        # NumPy does not close the file if it is broken, so it is opened and closed here.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = tuple(file.files)
            if set(names) <= set(found):
                return [file[name] for name in names]
    except Exception as error:
        raise ValueError(f"{path} is not a readable .npz file: {error}") from error
    raise ValueError(f"{path} must have the arrays {', '.join(names)}; it has only {', '.join(found)}.")
