"""Datasets of event recordings: from folders, files or other datasets, with preprocessing cached on disk."""

import functools
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast, NamedTuple, Protocol

import numpy
import torch
from torch import nn, Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from .recording import check_error_mode, ErrorMode, read_events
from .store import Events

# Files and folders of operating systems, file servers, archives and Python, in lower case. Names that begin with a dot,
# such as .DS_Store and .ipynb_checkpoints, are ignored as well.
_FOREIGN_NAMES = frozenset(
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

# A prepared or transformed recording has whatever type the user's functions return.
Sample = tuple[Any, int]


class _Indexable(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> object: ...


class EventDataset(Dataset[Sample]):
    """Recordings and their labels. A recording is read when it is accessed, also in the workers of a `DataLoader`.

    Args:
        source: A folder that contains one folder of recordings per class; or a list of paths or of
            `Events`; or another dataset of pairs of a recording and a label. The recordings of a
            dataset may be structured arrays, as in tonic. Hidden files and folders, and those that
            operating systems and notebooks create, are ignored.
        labels: Labels of the recordings of a list. Default: -1 for all.
        prepare: Module applied to each recording first, such as `CountFrames`. It must be
            deterministic, because its result is cached.
        cache: Folder in which the results of `prepare` are cached, separately for each recording
            and each setting of `prepare`. Default: no caching.
        transform: Function applied to each prepared recording on every access.
        sensor_size: Width and height of the sensor in pixels, for structured arrays and files that do
            not state it. Default for structured arrays: the `sensor_size` of the dataset.
        errors: What happens where a file is invalid; see `read_events`.
        read: Function that reads a path.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If the folder contains no recordings in class folders, the number of labels is
            wrong, or there is a `cache` without a `prepare`.

    Attributes:
        classes: Names of the class folders in the order of the labels; None if `source` is not a
            folder.

    >>> events = Events(t=[0, 10], x=[0, 1], y=[0, 0], p=[1, 1], sensor_size=(2, 1))
    >>> from geir.events.transforms import CountFrames
    >>> EventDataset([events, events], labels=[3, 4], transform=CountFrames(bins=1))[1]
    (tensor([[[[0., 0.]],
             [[1., 1.]]]]), 4)
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Sequence[str | os.PathLike[str] | Events] | Dataset[Any],
        labels: Sequence[int] | Tensor | None = None,
        *,
        prepare: nn.Module | None = None,
        cache: str | os.PathLike[str] | None = None,
        transform: Callable[[Any], object] | None = None,
        sensor_size: tuple[int, int] | None = None,
        errors: ErrorMode = "strict",
        read: Callable[[str | os.PathLike[str]], Events] = read_events,
    ):
        if cache is not None and not isinstance(prepare, nn.Module):
            raise ValueError(
                "EventDataset caches the results of the module `prepare`, "
                f"so `cache` needs a module as `prepare`, got {prepare!r}."
            )
        self.classes: list[str] | None = None
        if isinstance(source, str | os.PathLike):
            folder = _find_recordings(Path(source))
            source, labels, self.classes = folder.paths, folder.labels, folder.classes
        self._has_labels = isinstance(source, Dataset)
        # `Dataset` declares no length, but datasets with an index have one.
        self.source = cast(_Indexable, source)
        if labels is not None and (self._has_labels or len(labels) != len(self.source)):
            raise ValueError(
                "EventDataset.labels must contain one label for each recording of a list: "
                f"there are {len(self.source)} recordings, got {len(labels)} labels."
            )
        self.labels = None if labels is None else [int(label) for label in labels]
        self.prepare = prepare
        self.transform = transform
        check_error_mode("EventDataset", errors)
        self.sensor_size = None if sensor_size is None else Events.empty(sensor_size).sensor_size
        if errors != "strict" and read is not read_events:
            raise ValueError(
                "EventDataset.errors applies to read_events; a function of your own, `read`, decides itself "
                "what happens on errors."
            )
        if read is read_events:
            read = functools.partial(read_events, errors=errors, sensor_size=self.sensor_size)
        self.read = read
        self.cache = None if cache is None else Path(cache)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"EventDataset has {len(self)} recordings, got index {index}.")
        index %= len(self)
        path = self._cache_path(index)
        if path is not None and path.exists():
            prepared, label = torch.load(path, weights_only=True)
        else:
            recording, label = self._load(index)
            prepared = recording if self.prepare is None else self.prepare(recording)
            if path is not None:
                _save(path, (prepared, label))
        return (prepared if self.transform is None else self.transform(prepared)), label

    def _load(self, index: int) -> tuple[Events, int]:
        item = self.source[index]
        if self._has_labels:
            recording, label = cast(tuple[object, int], item)
        else:
            recording, label = item, -1 if self.labels is None else self.labels[index]
        if isinstance(recording, str | os.PathLike):
            recording = self.read(recording)
        elif isinstance(recording, numpy.ndarray) and recording.dtype.names:
            width, height = self._array_size()
            recording = Events.from_structured(recording, (width, height))
        return cast(Events, recording), int(label)

    def _array_size(self) -> tuple[int, int]:
        """Return the width and height of the sensor of structured arrays."""
        # An attribute of tonic datasets: width, height and polarities, or None if recordings differ in size.
        stated: Sequence[int] | None = self.sensor_size or getattr(self.source, "sensor_size", None)
        if stated is None:
            raise ValueError(
                "EventDataset: the source contains structured arrays, but has no sensor_size, or it is None; "
                "pass sensor_size=(width, height), at least as large as the largest recording."
            )
        width, height = map(int, stated[:2])
        return width, height

    def _cache_path(self, index: int) -> Path | None:
        """File of a cached result, named by everything that the result depends on."""
        if self.cache is None:
            return None
        label = None if self.labels is None else self.labels[index]
        key = [repr(self.prepare), str(index), str(label)]
        if not self._has_labels:
            recording = self.source[index]
            if isinstance(recording, str | os.PathLike):
                path = Path(recording)
                key += [str(path.resolve()), str(path.stat().st_mtime_ns), str(path.stat().st_size)]
        return self.cache / f"{hashlib.sha256('|'.join(key).encode()).hexdigest()[:32]}.pt"


def collate(samples: Sequence[Sample]) -> tuple[Any, Tensor]:
    """Combine samples of an `EventDataset` into a batch with time first. Used as `collate_fn` of a `DataLoader`.

    Args:
        samples: Pairs of a tensor (time, ...), or any other object, and a label.

    Returns:
        One tensor (time, batch, ...), padded with zeros to the longest sample, or a list of the
        objects; and the labels.

    >>> xs, labels = collate([(torch.ones(2, 3), 0), (torch.ones(4, 3), 1)])
    >>> xs.shape, labels
    (torch.Size([4, 2, 3]), tensor([0, 1]))
    """
    inputs, labels = zip(*samples, strict=True)
    batch = pad_sequence(list(inputs)) if isinstance(inputs[0], Tensor) else list(inputs)
    return batch, torch.tensor(labels)


class _Folder(NamedTuple):
    paths: list[Path]
    labels: list[int]
    classes: list[str]


def _is_hidden(path: Path) -> bool:
    """Whether a file or folder is hidden, or is one that operating systems and tools leave in other folders."""
    attributes = getattr(path.stat(), "st_file_attributes", 0)  # on Windows only
    return (
        path.name.startswith((".", "~$"))
        or path.name.lower() in _FOREIGN_NAMES
        or bool(attributes & stat.FILE_ATTRIBUTE_HIDDEN)
    )


def _find_recordings(folder: Path) -> _Folder:
    if not folder.is_dir():
        raise FileNotFoundError(f"EventDataset: the folder {folder} does not exist.")
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not _is_hidden(path))
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        recordings = [path for path in sorted((folder / name).iterdir()) if path.is_file() and not _is_hidden(path)]
        paths += recordings
        labels += [label] * len(recordings)
    if not paths:
        raise ValueError(f"EventDataset: {folder} must contain one folder of recordings per class, but contains none.")
    return _Folder(paths, labels, classes)


def _save(path: Path, sample: Sample) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Replaced atomically, because another worker may be reading the file.
    temporary = path.with_suffix(f".{os.getpid()}")
    torch.save(sample, temporary)
    os.replace(temporary, path)
