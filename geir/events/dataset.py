"""Recordings as a data set: from folders, files or other data sets, binned once and kept."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from .store import Events
from .recording import read_events


class EventDataset(Dataset[tuple[Any, int]]):
    """Recordings and their labels, of which each is read when it is asked for, also in the workers of a `DataLoader`.

    Args:
        source: A folder with one folder of recordings for each class; or a list of paths or of `Events`; or another data set of pairs of a recording
            and a label, whose recordings may be structured arrays as those of tonic, if it has a `sensor_size`.
        labels: Of the recordings of a list. Default: -1.
        prepare: Applied to each recording first, and always to the same effect, so that its result can be kept: a module such as `CountFrames`.
        cache: Folder in which the results of `prepare` are kept, apart for each recording and each setting of `prepare`.
        transform: Applied to what is prepared, each time anew.
        read: Reads a path.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If a folder has no recordings in folders, there are not as many labels as recordings, or there is a `cache` of nothing.

    >>> events = Events(t=[0, 10], x=[0, 1], y=[0, 0], p=[1, 1], sensor_size=(2, 1))
    >>> from geir.events.transforms import CountFrames
    >>> EventDataset([events, events], labels=[3, 4], transform=CountFrames(bins=1))[1]
    (tensor([[[[0., 0.]],
             [[1., 1.]]]]), 4)
    """

    classes: list[str] | None = None  # names of the folders, in the order of the labels

    def __init__(
        self,
        source: str | os.PathLike[str] | Sequence[Any] | Dataset[Any],
        labels: Sequence[int] | Tensor | None = None,
        *,
        prepare: nn.Module | None = None,
        cache: str | os.PathLike[str] | None = None,
        transform: Callable[[Any], Any] | None = None,
        read: Callable[[Any], Events] = read_events,
    ):
        if cache is not None and not isinstance(prepare, nn.Module):
            raise ValueError(f"EventDataset keeps in its cache what a module `prepare` makes, got {prepare!r}.")
        if isinstance(source, str | os.PathLike):
            source, labels, self.classes = _by_folder(Path(source))
        self.pairs = isinstance(source, Dataset)
        if labels is not None and (self.pairs or len(labels) != len(source)):  # pyright: ignore[reportArgumentType]  (data sets of pairs have lengths)
            raise ValueError(
                f"EventDataset takes a label for each of {len(source)} recordings of a list, got {len(labels)}."
            )  # pyright: ignore[reportArgumentType]
        self.source: Any = source
        self.labels = None if labels is None else [int(label) for label in labels]
        self.prepare, self.transform, self.read = prepare, transform, read
        self.cache = None if cache is None else Path(cache)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"EventDataset has {len(self)} recordings, got index {index}.")
        index %= len(self)
        path = self._kept(index)
        if path is not None and path.exists():
            thing, label = torch.load(path, weights_only=True)
        else:
            thing, label = self._recording(index)
            thing = thing if self.prepare is None else self.prepare(thing)
            if path is not None:
                _keep(path, (thing, label))
        return (thing if self.transform is None else self.transform(thing)), label

    def _recording(self, index: int) -> tuple[Any, int]:
        recording, label = (
            self.source[index]
            if self.pairs
            else (self.source[index], -1 if self.labels is None else self.labels[index])
        )
        if isinstance(recording, str | os.PathLike):
            recording = self.read(recording)
        elif (
            not isinstance(recording, Events)
            and getattr(recording, "dtype", None) is not None
            and recording.dtype.names
        ):
            if not hasattr(self.source, "sensor_size"):
                raise ValueError("EventDataset: the data set of structured arrays says no sensor_size.")
            width, height = map(int, self.source.sensor_size[:2])
            recording = Events.from_structured(recording, (width, height))
        return recording, int(label)

    def _kept(self, index: int) -> Path | None:
        """Where a result is kept: by what made it and from what."""
        if self.cache is None:
            return None
        made_from = [repr(self.prepare), str(index), str(None if self.labels is None else self.labels[index])]
        if not self.pairs and isinstance(self.source[index], str | os.PathLike):
            path = Path(self.source[index])
            made_from += [str(path.resolve()), str(path.stat().st_mtime_ns), str(path.stat().st_size)]
        return self.cache / f"{hashlib.sha256('|'.join(made_from).encode()).hexdigest()[:32]}.pt"


def collate(samples: Sequence[tuple[Any, int]]) -> tuple[Any, Tensor]:
    """A batch for a network from samples of an `EventDataset`, as `collate_fn` of a `DataLoader`.

    Args:
        samples: Tensors (time, ...) and labels, or anything else and labels.

    Returns:
        One tensor (time, batch, ...), padded with zeros to the longest, or else a list; and the labels.

    >>> xs, labels = collate([(torch.ones(2, 3), 0), (torch.ones(4, 3), 1)])
    >>> xs.shape, labels
    (torch.Size([4, 2, 3]), tensor([0, 1]))
    """
    things, labels = zip(*samples, strict=True)
    return pad_sequence(list(things)) if isinstance(things[0], Tensor) else list(things), torch.tensor(labels)


def _by_folder(folder: Path) -> tuple[list[Path], list[int], list[str]]:
    if not folder.is_dir():
        raise FileNotFoundError(f"EventDataset: there is no folder {folder}.")
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    found = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((folder / name).iterdir())
        if path.is_file()
    ]
    if not found:
        raise ValueError(f"EventDataset: {folder} has no recordings in folders, one for each class.")
    paths, labels = zip(*found, strict=True)
    return list(paths), list(labels), classes


def _keep(path: Path, thing: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all, for another worker may read it.
    temporary = path.with_suffix(f".{os.getpid()}")
    torch.save(thing, temporary)
    os.replace(temporary, path)
