"""Atomic writing of files."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO


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
