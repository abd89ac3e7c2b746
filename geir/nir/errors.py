"""The error of the NIR interface."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


class NIRError(ValueError):
    """A graph that is damaged, that NIR cannot express, or that cannot be run.

    Args:
        reason: What is wrong and what to do about it.
        node: Name of the node, if one is to blame.
        file: Path of the file, if the graph was read from one.
    """

    def __init__(self, reason: str, node: str | None = None, file: str | None = None):
        super().__init__(reason, node, file)
        self.reason, self.node, self.file = reason, node, file

    def __str__(self) -> str:
        where = [] if self.file is None else [self.file]
        where += [] if self.node is None else [f"node {self.node!r}"]
        return ": ".join([*where, self.reason])


@contextmanager
def errors_of(node: str | None = None, file: str | None = None, kind: type[Exception] = ValueError) -> Iterator[None]:
    """A context whose errors of a kind become a `NIRError` that names this node or file, if it names none."""
    try:
        yield
    except NIRError as error:
        raise NIRError(error.reason, error.node or node, error.file or file) from error.__cause__
    except kind as error:
        raise NIRError(str(error) or type(error).__name__, node, file) from error


def import_nir() -> ModuleType:
    """Import the `nir` package.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import nir
    except ImportError as error:
        raise ImportError("NIR graphs need the nir package; install it: pip install 'geir[nir]'") from error
    return nir
