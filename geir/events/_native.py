"""Loading of the package's C sources, for modules that have a slower path without a C compiler."""

import ctypes
import functools
import re
from importlib.resources import files

from .._runtime import native
from .._runtime.template import render_template


def read_source(filename: str, **values: str) -> str:
    """Read a C source of `geir.events`.

    ``#include "x.h"`` is replaced by the content of ``x.h`` if that file is in the same folder as
    the source: sources are compiled in a temporary folder, where the compiler finds only
    ``native.h`` of the runtime. Inlining also makes the header part of the key under which the
    compiled library is cached.

    Args:
        filename: Path of the source below ``geir/events``.
        values: Text that replaces ``{{name}}`` in the source.
    """
    source = files("geir.events").joinpath(filename)
    folder = files("geir.events").joinpath(filename.rpartition("/")[0])

    def inline(include: re.Match[str]) -> str:
        header = folder.joinpath(include[1])
        return header.read_text() if header.is_file() else include[0]

    text = re.sub(r'^#include "(.+)"$', inline, source.read_text(), flags=re.MULTILINE)
    return render_template(text, values)


@functools.cache
def load(filename: str, **values: str) -> ctypes.CDLL | None:
    """Compile a C source of `geir.events` and load it; takes the arguments of `read_source`.

    Returns:
        The library, loaded once per process, or None if there is no C compiler or it fails.
    """
    try:
        return native.load(read_source(filename, **values))
    except native.NoCompilerError:
        return None
