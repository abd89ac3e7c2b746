"""Data sets of images shown to an event camera: N-MNIST, N-Caltech101 and CIFAR10-DVS."""

import os
import re
from pathlib import Path
from typing import Final, Literal, Unpack

from ..dataset import EventDataset
from ..folders import ClassFolders, find_recordings
from .origin import Options, Origin

_NMNIST: Final = Origin("NMNIST", "Train.zip and Test.zip", 'the page "N-MNIST" of Garrick Orchard')
_NMNIST_COUNTS: Final = {"train": 60_000, "test": 10_000}
_DIGITS: Final = tuple("0123456789")

_NCALTECH101: Final = Origin("NCaltech101", "Caltech101.zip", 'the page "N-Caltech101" of Garrick Orchard')
_NCALTECH101_COUNT: Final = 8_709
_NCALTECH101_CLASSES: Final = 101
# Images were at most this large on the monitor, in pixels of the camera.
_NCALTECH101_SIZE: Final = (240, 180)

_CIFAR10DVS: Final = Origin(
    "CIFAR10DVS", "airplane.zip to truck.zip", 'the page "CIFAR10-DVS" of Hongmin Li et al. on figshare'
)
_CIFAR10DVS_COUNT: Final = 10_000
_CIFAR10: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class NMNIST(EventDataset):
    """N-MNIST: the digits of MNIST, seen by a moving event camera; 60,000 training and 10,000 test recordings.

    A recording has 34x34 pixels and takes about 0.3 s.

    Args:
        folder: The folder with the unpacked folders `Train` and `Test`, each with a folder per digit.
        split: ``"train"`` or ``"test"``, those of MNIST.
        partial: Whether recordings may be missing.
        options: Options of `EventDataset`: `prepare`, `cache`, `cache_key`, `transform` and `errors`.

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If `split` is not one of the above, there is an unknown class, or recordings are missing.

    Reference:
        Orchard, Jayawant, Cohen & Thakor, "Converting static image datasets to spiking neuromorphic
        datasets using saccades" (2015).
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        split: Literal["train", "test"] = "train",
        *,
        partial: bool = False,
        **options: Unpack[Options],
    ):
        _NMNIST.check_split(split)
        place = Path(folder) / split.capitalize()
        found = _find_classes(_NMNIST, place, _DIGITS)
        if not partial:
            _NMNIST.check_count(place, "recordings", len(found.paths), _NMNIST_COUNTS[split])
        super().__init__(found.paths, found.labels, sensor_size=(34, 34), **options)
        self.classes = found.classes


class NCaltech101(EventDataset):
    """N-Caltech101: the images of Caltech101, seen by a moving event camera; 8,709 recordings of 101 classes.

    The recordings are of different sizes, at most 240x180 pixels; all have that size here. The authors define no split.
    Here, the training set is the first nine tenths of each class in the order of their numbers, rounded up.

    Args:
        folder: The unpacked folder `Caltech101`, with one folder per class.
        split: ``"train"`` or ``"test"``.
        partial: Whether to accept missing recordings or classes. Labels number the classes that are present.
        options: Options of `EventDataset`: `prepare`, `cache`, `cache_key`, `transform` and `errors`.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If `split` is not one of the above, or recordings or classes are missing.

    Reference:
        Orchard, Jayawant, Cohen & Thakor, "Converting static image datasets to spiking neuromorphic
        datasets using saccades" (2015).
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        split: Literal["train", "test"] = "train",
        *,
        partial: bool = False,
        **options: Unpack[Options],
    ):
        _NCALTECH101.check_split(split)
        place = Path(folder)
        found = _find_classes(_NCALTECH101, place)
        if not partial:
            _NCALTECH101.check_count(place, "classes", len(found.classes), _NCALTECH101_CLASSES)
            _NCALTECH101.check_count(place, "recordings", len(found.paths), _NCALTECH101_COUNT)
        found = _nine_tenths(found, split)
        super().__init__(found.paths, found.labels, sensor_size=_NCALTECH101_SIZE, **options)
        self.classes = found.classes


class CIFAR10DVS(EventDataset):
    """CIFAR10-DVS: 1,000 images of each class of CIFAR-10, moved before a 128x128 event camera.

    The authors define no split. Here, as is usual, the training set is the first 900 recordings of each class in the
    order of their numbers, and the test set the other 100.

    Args:
        folder: The folder with the unpacked folders `airplane` to `truck`.
        split: ``"train"`` or ``"test"``.
        partial: Whether to accept missing recordings. The training set is the first 90 % of those present.
        options: Options of `EventDataset`: `prepare`, `cache`, `cache_key`, `transform` and `errors`.

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If `split` is not one of the above, there is an unknown class, or recordings are missing.

    Reference:
        Li, Liu, Ji, Li & Shi, "CIFAR10-DVS: an event-stream dataset for object classification" (2017).
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        split: Literal["train", "test"] = "train",
        *,
        partial: bool = False,
        **options: Unpack[Options],
    ):
        _CIFAR10DVS.check_split(split)
        place = Path(folder)
        found = _find_classes(_CIFAR10DVS, place, _CIFAR10)
        if not partial:
            _CIFAR10DVS.check_count(place, "recordings", len(found.paths), _CIFAR10DVS_COUNT)
        found = _nine_tenths(found, split)
        super().__init__(found.paths, found.labels, sensor_size=(128, 128), **options)
        self.classes = found.classes


def _find_classes(origin: Origin, folder: Path, classes: tuple[str, ...] = ()) -> ClassFolders:
    """Find the recordings of a folder, whose classes must be those given, in alphabetical order."""
    for name in classes or ("",):
        origin.require(folder / name)
    found = find_recordings(folder)
    unknown = sorted({*found.classes} - {*classes})
    if classes and unknown:
        raise ValueError(
            f"{origin.name}: {folder / unknown[0]} is none of the {len(classes)} classes; "
            f"keep only the content of {origin.archive} in {folder}."
        )
    return found


def _nine_tenths(found: ClassFolders, split: str) -> ClassFolders:
    """Select the first nine tenths of each class, rounded up, or the others."""
    chosen: list[tuple[Path, int]] = []
    for label in range(len(found.classes)):
        paths = [path for path, one in zip(found.paths, found.labels, strict=True) if one == label]
        paths.sort(key=_numeric_order)
        count = len(paths) - len(paths) // 10
        chosen += [(path, label) for path in (paths[:count] if split == "train" else paths[count:])]
    return ClassFolders([path for path, _ in chosen], [label for _, label in chosen], found.classes)


def _numeric_order(path: Path) -> list[tuple[int, str]]:
    """Key for sorting that puts `a_2` before `a_10`."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
