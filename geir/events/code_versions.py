"""Versions of the code of libraries."""

import functools
import hashlib
import os
import sys
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePath


@functools.lru_cache(maxsize=1024)
def library_version(module: str) -> str | None:
    """Return the version of the library that a module is of; None if it is not geir or an installed package."""
    top = module.partition(".")[0]
    if top == __name__.partition(".")[0]:
        return f"geir {geir_digest()}"
    if top in sys.stdlib_module_names and top != "__main__":
        return f"Python {sys.version_info}"
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if file is None:
        return None
    # `pip install --target` installs packages into any folder, so those that geir requires count wherever they are.
    if top not in ("torch", "numpy") and not {"site-packages", "dist-packages"} & set(PurePath(file).parts):
        return None
    status = os.stat(file)
    version = getattr(sys.modules.get(top), "__version__", "unknown")
    return f"version {version}, {status.st_size} {status.st_mtime_ns}"


@functools.cache
def geir_digest() -> str:
    """Return a hash of the source of geir, which changes when its results may."""
    content = hashlib.blake2b(digest_size=16)

    def add(folder: Traversable) -> None:
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if entry.is_dir():
                add(entry)
            elif entry.name.endswith((".py", ".c", ".h")):
                content.update(f"{entry.name}\n".encode() + entry.read_bytes())

    add(files(__name__.partition(".")[0]))
    return content.hexdigest()
