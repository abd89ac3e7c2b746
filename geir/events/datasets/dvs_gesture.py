"""DVS128 Gesture."""

import os
from bisect import bisect_right
from pathlib import Path
from typing import Final, Literal, NamedTuple, Unpack

from ..dataset import EventDataset
from ..errors import EventFileError
from ..excerpt import Excerpt
from .origin import Options, Origin

_ORIGIN: Final = Origin("DVSGesture", "DvsGesture.tar.gz", 'the page "DVS128 Gesture Dataset" of IBM Research')
# In the order of their numbers in the files, which begin with 1.
_CLASSES: Final = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter clockwise",
    "left arm clockwise",
    "left arm counter clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)
_TRIALS: Final = {"train": 98, "test": 24}


class DVSGesture(EventDataset):
    """DVS128 Gesture: 11 hand gestures of 29 subjects under different illuminations, seen by a 128x128 event camera.

    A trial is an AEDAT 3.1 file of several gestures, and a table of their classes, start and end times. Each gesture is
    a recording, whose times start at 0. There are 1,176 in the training set (98 trials) and 288 in the test set (24).

    A gesture ends where the next one begins, if not before: in `user22_led_labels.csv`, the end of one gesture was
    entered too late.

    Args:
        folder: The unpacked folder, with `trials_to_train.txt` and `trials_to_test.txt`, which define the split.
        split: ``"train"`` or ``"test"``; they have different subjects.
        partial: Whether trials may be missing from the list of the split.
        options: Options of `EventDataset`: `prepare`, `cache`, `cache_key`, `transform` and `errors`.

    Raises:
        FileNotFoundError: If a file is missing.
        EventFileError: If a table is invalid.
        ValueError: If `split` is not one of the above, or trials are missing from the list.

    Reference:
        Amir et al., "A low power, fully event-based gesture recognition system" (2017).
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        split: Literal["train", "test"] = "train",
        *,
        partial: bool = False,
        **options: Unpack[Options],
    ):
        _ORIGIN.check_split(split)
        path = _ORIGIN.require(Path(folder) / f"trials_to_{split}.txt")
        names = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
        if not partial:
            _ORIGIN.check_count(path, "trials", len(names), _TRIALS[split])
        gestures = [gesture for name in names for gesture in _read_gestures(path.with_name(name))]
        labels = [gesture.label for gesture in gestures]
        super().__init__([gesture.excerpt for gesture in gestures], labels, sensor_size=(128, 128), **options)
        self.classes = list(_CLASSES)


class _Gesture(NamedTuple):
    excerpt: Excerpt
    label: int


def _read_gestures(path: Path) -> list[_Gesture]:
    """Read the table of a trial."""
    _ORIGIN.require(path)
    table = _ORIGIN.require(path.with_name(f"{path.stem}_labels.csv"))
    gestures: list[_Gesture] = []
    lines = table.read_text(errors="replace").splitlines()
    # The first line has the names of the columns.
    for number, line in enumerate(lines[1:], start=2):
        if line.strip():
            gestures.append(_parse(path, table, number, line))
    if not gestures:
        raise EventFileError(table, None, "the table lists no gestures; unpack or download it again")
    starts = sorted(gesture.excerpt.start for gesture in gestures)
    return [_Gesture(_end_before_next(excerpt, starts), label) for excerpt, label in gestures]


def _parse(path: Path, table: Path, number: int, line: str) -> _Gesture:
    try:
        label, start, stop = map(int, line.split(","))
    except ValueError:
        label = start = stop = 0
    if not (1 <= label <= len(_CLASSES) and 0 <= start < stop):
        raise EventFileError(
            table,
            None,
            f"line {number} must be the class, from 1 to {len(_CLASSES)}, and the start and end in microseconds, "
            f"got {line!r}",
        )
    return _Gesture(Excerpt(path, start, stop), label - 1)


def _end_before_next(excerpt: Excerpt, starts: list[int]) -> Excerpt:
    following = bisect_right(starts, excerpt.start)
    return excerpt._replace(stop=min([excerpt.stop, *starts[following : following + 1]]))
