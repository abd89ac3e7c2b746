"""The origin of published data sets, and errors that explain how to obtain missing files."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from ..recording import ErrorMode


class Options(TypedDict, total=False):
    """Options of `EventDataset`."""

    prepare: Callable[[Any], object] | None
    cache: str | os.PathLike[str] | None
    cache_key: str | None
    transform: Callable[[Any], object] | None
    errors: ErrorMode


class Origin(NamedTuple):
    """Where a data set comes from.

    Attributes:
        name: Name of its class.
        archive: The archive that its authors publish.
        page: The page where they publish it.
    """

    name: str
    archive: str
    page: str

    def require(self, path: Path) -> Path:
        """Return the path of a file or folder of the data set.

        Raises:
            FileNotFoundError: If it does not exist.
        """
        if not path.exists():
            raise FileNotFoundError(
                f"{self.name}: {path} does not exist; unpack {self.archive} from {self.page}, and pass the folder with "
                "its content."
            )
        return path

    def check_split(self, split: object, splits: tuple[str, ...] = ("train", "test")) -> None:
        """Check the argument `split`.

        Raises:
            ValueError: If there is no such split.
        """
        if split not in splits:
            names = " or ".join(f'"{name}"' for name in splits)
            raise ValueError(f"{self.name}: split must be {names}, got {split!r}.")

    def check_count(self, place: Path, noun: str, found: int, expected: int) -> None:
        """Check the number of recordings, classes or files.

        Raises:
            ValueError: If it is not the published one.
        """
        if found != expected:
            raise ValueError(
                f"{self.name}: {place} has {found:,} {noun}, but the data set has {expected:,}; unpack {self.archive} "
                "again, or pass partial=True to use a part of the data set."
            )
