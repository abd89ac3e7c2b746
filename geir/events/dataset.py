"""Datasets of event recordings: from folders, files or other datasets, with preprocessing cached on disk."""

import copy
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast, Protocol

import numpy
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from .cache import file_state, NotCachedError, read_cached, write_cached
from .code_versions import geir_digest
from .excerpt import Excerpt
from .fingerprint import fingerprint, UnknownContentError
from .folders import find_recordings
from .recording import check_error_mode, ErrorMode, read_events
from .store import Events

# A prepared or transformed recording has whatever type the user's functions return.
Sample = tuple[Any, int]


class _Indexable(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> object: ...


class EventDataset(Dataset[Sample]):
    """Recordings and their labels. A recording is read when it is accessed, also in the workers of a `DataLoader`.

    Args:
        source: A folder that contains one folder of recordings per class; or a list of paths, of
            `Excerpt` or of `Events`; or another dataset of pairs of a recording and a label. The
            recordings of a dataset may be structured arrays, as in tonic. Hidden files and folders,
            and those that operating systems and notebooks create, are ignored.
        labels: Labels of the recordings of a list. Default: -1 for all.
        prepare: Module or function applied to each recording first, such as `CountFrames`. With a
            `cache`, it must be deterministic, and return tensors, arrays, `Events`, numbers, texts,
            or tuples, lists and dicts of these.
        cache: Folder in which the results of `prepare` are cached. Default: no caching. A result is
            used again only if everything that it depends on is unchanged: the recording (the path,
            size and times of a file; the content of `Events` and arrays), the settings and the code
            of `prepare` and `read`, and geir. Datasets may share a folder. The recordings of another
            dataset are taken from it on every access, to compare them.
        cache_key: Text that replaces the settings and the code of `prepare` and `read`, which you
            change whenever these change. Needed if they cannot be determined, as for lambdas,
            objects of C code, and functions that use variables which can change.
        transform: Function applied to each prepared recording on every access.
        sensor_size: Width and height of the sensor in pixels, for structured arrays and files that do
            not state it. Default for structured arrays: the `sensor_size` of the dataset.
        errors: What happens where a file is invalid; see `read_events`.
        read: Function that reads a path.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If the folder contains no recordings in class folders, the number of labels is
            wrong, or there is a `cache` without a `prepare`, or one whose settings and code cannot
            be determined.
        TypeError: On access, if the result of `prepare` or the recording is of a type that cannot be
            cached.

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
        source: str | os.PathLike[str] | Sequence[str | os.PathLike[str] | Excerpt | Events] | Dataset[Any],
        labels: Sequence[int] | Tensor | None = None,
        *,
        prepare: Callable[[Any], object] | None = None,
        cache: str | os.PathLike[str] | None = None,
        cache_key: str | None = None,
        transform: Callable[[Any], object] | None = None,
        sensor_size: tuple[int, int] | None = None,
        errors: ErrorMode = "strict",
        read: Callable[[str | os.PathLike[str]], Events] = read_events,
    ):
        if cache is not None and prepare is None:
            raise ValueError(
                "EventDataset caches the results of `prepare`, so `cache` needs a module or function as `prepare`, "
                "got None."
            )
        if cache_key is not None and (cache is None or not isinstance(cache_key, str)):
            raise ValueError(
                f"EventDataset.cache_key must be a text and needs a `cache`, got {cache_key!r} and cache={cache!r}."
            )
        self.classes: list[str] | None = None
        if isinstance(source, str | os.PathLike):
            folder = find_recordings(Path(source))
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
        self.cache_key = cache_key
        if cache is not None:
            # Raises an error now, not at the first access.
            self._settings_key()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"EventDataset has {len(self)} recordings, got index {index}.")
        index %= len(self)
        item = self.source[index]
        if self._has_labels:
            recording, label = cast(tuple[object, int], item)
        else:
            recording, label = item, -1 if self.labels is None else self.labels[index]
        prepared = self._prepare(recording)
        return (prepared if self.transform is None else self.transform(prepared)), int(label)

    def _prepare(self, recording: object) -> Any:
        """Return the result of `prepare` for an entry of the source, from the cache if it is there."""
        if self.prepare is None:
            return self._load(recording)
        if self.cache is None:
            return self.prepare(self._load(recording))
        path = self.cache / f"{fingerprint(self._settings_key(), self._recording_key(recording))}.pt"
        try:
            return read_cached(path)
        except NotCachedError:
            return write_cached(path, self.prepare(self._load(recording)))

    def fill_cache(self, workers: int = 0) -> None:
        """Cache the results of `prepare` for all recordings, with a progress bar.

        Results that are in the cache already are checked and kept.

        Args:
            workers: Number of processes; 0 for none but this one.

        Raises:
            ImportError: If tqdm is not installed.
            ValueError: If the dataset has no `cache`.
        """
        if self.cache is None:
            raise ValueError("EventDataset.fill_cache needs a dataset with a `cache` and a `prepare`.")
        try:
            from tqdm import tqdm
        except ImportError:
            raise ImportError(
                "EventDataset.fill_cache shows its progress with tqdm; install it: pip install 'geir[events]'"
            ) from None
        # Workers need not send the results back.
        data = copy.copy(self)
        data.transform = _discard
        # With its own generator, the loader does not change the random numbers that are drawn later.
        loader = DataLoader(data, batch_size=None, num_workers=workers, generator=torch.Generator())
        for _ in tqdm(loader, total=len(self), unit=" recordings", disable=None):
            pass

    def _load(self, recording: object) -> Events:
        """Return an entry of the source as events, if it is a path, an excerpt or an array."""
        if isinstance(recording, Excerpt):
            return recording.of(self.read(recording.path))
        if isinstance(recording, str | os.PathLike):
            recording = self.read(recording)
        elif isinstance(recording, numpy.ndarray) and recording.dtype.names:
            recording = Events.from_structured(recording, self._array_size())
        return cast(Events, recording)

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

    def _settings_key(self) -> str:
        """Return a text that changes with everything but the recording that a cached result depends on."""
        environment = (geir_digest(), str(torch.__version__), numpy.__version__)
        if self.cache_key is not None:
            return fingerprint("key", self.cache_key, self.sensor_size, environment)
        keys: list[object] = []
        for name, function in (("prepare", self.prepare), ("read", self.read)):
            try:
                keys.append(fingerprint(function))
            except UnknownContentError as error:
                raise ValueError(
                    f"EventDataset cannot determine when the results of `{name}` change: {error}. Change that, or "
                    f"pass cache_key=..., a text that you change whenever `prepare` or `read` change."
                ) from None
        return fingerprint(*keys, self.sensor_size, environment)

    def _recording_key(self, recording: object) -> object:
        """Return what identifies the content of an entry of the source."""
        if isinstance(recording, Excerpt):
            return file_state(Path(recording.path)), recording.start, recording.stop
        if isinstance(recording, str | os.PathLike):
            return file_state(Path(recording))
        # Only an array needs the sensor size of the dataset.
        size = self._array_size() if isinstance(recording, numpy.ndarray) and recording.dtype.names else None
        try:
            return fingerprint(recording, size)
        except UnknownContentError as error:
            raise TypeError(f"EventDataset cannot cache results for this recording: {error}.") from None


def _discard(prepared: object) -> int:
    return 0


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
