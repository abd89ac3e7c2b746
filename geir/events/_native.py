"""Compilation of the C sources of `geir.events`."""

import ctypes
import functools
from importlib.resources import files

from .._runtime import native


@functools.cache
def load(filename: str, **values: str) -> ctypes.CDLL | None:
    """Compile a C source of this package and load it. Repeated calls return the same library.

    Args:
        filename: Path of the source, relative to `geir.events`.
        values: Text to substitute for each placeholder ``{{name}}`` of the source.

    Returns:
        The library, or None without a working C compiler; callers then use PyTorch or NumPy.
    """
    source = files("geir.events").joinpath(filename).read_text()
    for name, value in values.items():
        source = source.replace(f"{{{{{name}}}}}", value)
    try:
        return native.load(source)
    except native.NoCompilerError:
        return None
