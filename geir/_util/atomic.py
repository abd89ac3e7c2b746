"""Atomic replacement of files."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Replace a file only once its new content is complete.

    The body writes to a temporary path in the same folder, which has the suffix of the target. When
    the body succeeds, the temporary file replaces the target in one step, so that another process
    sees either the old or the new content. When it raises, the temporary file is removed and the
    target is left as it was. Each call has its own temporary path, so several processes may write
    the same target; the last one to finish wins.

    Args:
        path: File to create or replace. Its folder must exist.

    Yields:
        Path of the temporary file, which does not exist yet.
    """
    target = Path(path)
    draft = target.with_name(f".{target.stem}.{secrets.token_hex(6)}{target.suffix}")
    try:
        yield draft
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
