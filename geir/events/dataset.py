"""Datasets of event recordings: from folders, files or other datasets, with preprocessing cached on disk."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast, NamedTuple, Protocol

import numpy
import torch
from torch import nn, Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from .recording import read_events
from .store import Events

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
            dataset may be structured arrays, as in tonic, if the dataset has a `sensor_size`.
        labels: Labels of the recordings of a list. Default: -1 for all.
        prepare: Module applied to each recording first, such as `CountFrames`. It must be
            deterministic, because its result is cached.
        cache: Folder in which the results of `prepare` are cached, separately for each recording
            and each setting of `prepare`. Default: no caching.
        transform: Function applied to each prepared recording on every access.
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
            sensor_size: Sequence[int] | None = getattr(
                self.source, "sensor_size", None
            )  # an attribute of tonic datasets
            if sensor_size is None:
                raise ValueError(
                    "EventDataset: the source contains structured arrays, but has no sensor_size; "
                    "set its attribute sensor_size to the width and height of the sensor."
                )
            width, height = map(int, sensor_size[:2])
            recording = Events.from_structured(recording, (width, height))
        return cast(Events, recording), int(label)

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


def _find_recordings(folder: Path) -> _Folder:
    if not folder.is_dir():
        raise FileNotFoundError(f"EventDataset: the folder {folder} does not exist.")
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        recordings = [path for path in sorted((folder / name).iterdir()) if path.is_file()]
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
