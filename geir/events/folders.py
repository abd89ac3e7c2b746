"""Folders of recordings."""

import stat
from pathlib import Path
from typing import Final, NamedTuple

# Files and folders of operating systems, file servers, archives and Python, in lower case. Names that begin with a dot,
# such as .DS_Store and .ipynb_checkpoints, are ignored as well.
_FOREIGN_NAMES: Final = frozenset(
    {
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "icon\r",
        "$recycle.bin",
        "system volume information",
        "__macosx",
        "__pycache__",
        "@eadir",
        "lost+found",
    }
)


class ClassFolders(NamedTuple):
    """Recordings in one folder per class.

    Attributes:
        paths: The files, class after class.
        labels: The label of each file, the position of its class in `classes`.
        classes: The names of the folders.
    """

    paths: list[Path]
    labels: list[int]
    classes: list[str]


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is hidden, or is one that operating systems and tools leave in other folders."""
    attributes = getattr(path.stat(), "st_file_attributes", 0)  # on Windows only
    return (
        path.name.startswith((".", "~$"))
        or path.name.lower() in _FOREIGN_NAMES
        or bool(attributes & stat.FILE_ATTRIBUTE_HIDDEN)
    )


def find_recordings(folder: Path) -> ClassFolders:
    """Find the recordings in a folder that contains one folder per class, in alphabetical order.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If there are none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"EventDataset: the folder {folder} does not exist.")
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not is_hidden(path))
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        recordings = [path for path in sorted((folder / name).iterdir()) if path.is_file() and not is_hidden(path)]
        paths += recordings
        labels += [label] * len(recordings)
    if not paths:
        raise ValueError(f"EventDataset: {folder} must contain one folder of recordings per class, but contains none.")
    return ClassFolders(paths, labels, classes)
