"""Train the usual network on a large data set: `python -m geir.tasks.published_datasets --dataset NAME --data FOLDER`.

- `shd` and `ssc`, the Spiking Heidelberg Digits and Spiking Speech Commands: a recurrent layer of LIF neurons, as in
  B. Cramer et al., *The Heidelberg spiking data sets for the systematic evaluation of spiking neural networks*, 2020.
- `dvs-gesture` and `cifar10-dvs`, recordings of event cameras at half their resolution: stages of a 3 x 3 convolution,
  batch normalization, LIF neurons and pooling, as in W. Fang et al., *Incorporating learnable membrane time constant to
  enhance learning of spiking neural networks*, 2021. Of a gesture, the first 1.5 s are used.
- `cifar10`, the images of A. Krizhevsky, *Learning multiple layers of features from tiny images*, 2009, in the binary
  version, `data_batch_1.bin` to `test_batch.bin`: the same, with two convolutions in each stage.

Folders are those of `geir.events.datasets`. Nothing is downloaded.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn, Tensor
from torch.utils.data import Dataset, TensorDataset

from ..containers import init_weights, SequentialState
from ..events import collate
from ..events.datasets import CIFAR10DVS, DVSGesture, SHD, SSC
from ..events.transforms import CountFrames, Downsample
from ..neurons import LI, LIF, LIFRecurrent
from .command_line import build_parser, main, Result
from .data import Data
from .settings import setting
from .training import Settings, train

UNITS, SPIKE_DT = 700, 10e-3
IMAGE_DT = 10e-3
# Of event cameras, at half their resolution.
CAMERA_IMAGE = (2, 64, 64)
CIFAR10_IMAGE = (3, 32, 32)
# In the binary version, the label of an image precedes its pixels.
CIFAR10_BYTES = 1 + 3 * 32 * 32
CIFAR10_CLASSES = 10
# By which an image of CIFAR-10 is moved at most.
MARGIN = 4


@dataclass(frozen=True)
class DatasetSettings(Settings):
    """Settings of a training run on a published data set."""

    dataset: str = setting("shd", "shd, ssc, dvs-gesture, cifar10-dvs or cifar10; decides the other defaults")
    steps: int = setting(100, "number of time steps; later events are dropped")
    width: int = setting(128, "number of recurrent neurons, or of channels of the first stage")
    partial: bool = setting(False, "accept a folder in which recordings are missing")


# What is trained, and with which data.
Setup = tuple[Callable[[], SequentialState], Data[Any]]


class Benchmark(NamedTuple):
    """A data set with its usual network and settings."""

    setup: Callable[[Path, DatasetSettings], Setup]
    settings: DatasetSettings


def recurrent(width: int, classes: int) -> SequentialState:
    """A recurrent layer of LIF neurons and a leaky readout, for frames of 700 units."""
    model = SequentialState(
        LIFRecurrent(UNITS, width, dt=SPIKE_DT, tau_mem=2 * SPIKE_DT, tau_syn=SPIKE_DT),
        nn.Linear(width, classes),
        LI(dt=SPIKE_DT, tau_mem=2 * SPIKE_DT, tau_syn=SPIKE_DT),
        lift=True,
    )
    init_weights(model, rate=20.0)
    return model


def convolutional(
    widths: Sequence[int], depth: int, image: tuple[int, int, int], classes: int, dt: float
) -> SequentialState:
    """Stages of convolutions, each followed by pooling, a hidden layer of 512 neurons and a leaky readout.

    Args:
        widths: Number of channels of each stage.
        depth: Number of convolutions of each stage.
        image: Channels, height and width of the input.
        classes: Number of outputs.
        dt: Time step in seconds. The time constant of membranes is two steps.
    """
    neuron = partial(LIF, dt=dt, tau_mem=2 * dt, tau_syn=dt)
    channels, height, width = image
    layers: list[nn.Module] = []
    for number in widths:
        for _ in range(depth):
            layers += [nn.Conv2d(channels, number, 3, padding=1, bias=False), nn.BatchNorm2d(number), neuron()]
            channels = number
        layers.append(nn.MaxPool2d(2))
        height, width = height // 2, width // 2
    layers += [nn.Flatten(), nn.Linear(channels * height * width, 512), neuron()]
    layers += [nn.Linear(512, classes), LI(dt=dt, tau_mem=2 * dt, tau_syn=dt)]
    model = SequentialState(*layers, lift=True)
    init_weights(model)
    return model


def _spike_trains(kind: type[SHD] | type[SSC], classes: int, folder: Path, settings: DatasetSettings) -> Setup:
    train_set, test_set = (kind(folder, split, dt=SPIKE_DT, steps=settings.steps) for split in ("train", "test"))
    data = Data(train_set, test_set, collate=collate, encode=_frames, sample_noun="recordings")
    return partial(recurrent, settings.width, classes), data


def _recordings(
    kind: type[DVSGesture] | type[CIFAR10DVS],
    classes: int,
    stages: int,
    dt: float,
    folder: Path,
    settings: DatasetSettings,
) -> Setup:
    frames = CountFrames(dt=dt, start=0, stop=round(settings.steps * dt * 1e6), dtype=torch.uint8)
    # Reading the files takes longer than training, so frames are computed once.
    options = {"prepare": nn.Sequential(Downsample(space=2), frames), "cache": settings.out / "frames"}
    train_set, test_set = (kind(folder, split, partial=settings.partial, **options) for split in ("train", "test"))
    data = Data(train_set, test_set, collate=collate, encode=_frames, sample_noun="recordings")
    return partial(convolutional, (settings.width,) * stages, 1, CAMERA_IMAGE, classes, dt), data


def _frames(xs: Tensor, steps: int) -> Tensor:
    # `collate` has put time first, and the data sets have cut their recordings to `steps`.
    return xs.float()


def _cifar10(folder: Path, settings: DatasetSettings) -> Setup:
    train_names = [f"data_batch_{k}.bin" for k in range(1, 6)]
    found = [name for name in train_names if (folder / name).exists()] if settings.partial else train_names
    train_images, train_labels = _read_cifar10(folder, found or train_names)
    mean, std = train_images.mean((0, 2, 3), keepdim=True), train_images.std((0, 2, 3), keepdim=True)
    test_images, test_labels = _read_cifar10(folder, ["test_batch.bin"])
    test_set = TensorDataset((test_images - mean) / std, test_labels)
    data = Data[Any](MovedImages((train_images - mean) / std, train_labels), test_set)
    widths = [settings.width * 2**k for k in range(3)]
    return partial(convolutional, widths, 2, CIFAR10_IMAGE, CIFAR10_CLASSES, IMAGE_DT), data


def _read_cifar10(folder: Path, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Images, shape (number, 3, 32, 32), from 0 to 1, and labels."""
    records = []
    for path in (folder / name for name in names):
        if not path.is_file():
            raise FileNotFoundError(
                f"There is no file {path}; unpack cifar-10-binary.tar.gz from the page of Alex Krizhevsky, and give "
                "--data the folder with its content."
            )
        content = np.fromfile(path, np.uint8)
        if len(content) == 0 or len(content) % CIFAR10_BYTES:
            raise ValueError(
                f"{path} must hold images of {CIFAR10_BYTES:,} bytes, but has {len(content):,} bytes; it is not of the "
                "binary version of CIFAR-10, or truncated."
            )
        records.append(content.reshape(-1, CIFAR10_BYTES))
        if records[-1][:, 0].max() >= CIFAR10_CLASSES:
            raise ValueError(f"{path}: expected labels from 0 to 9, got {records[-1][:, 0].max()}.")
    content = torch.from_numpy(np.concatenate(records))
    return content[:, 1:].reshape(-1, *CIFAR10_IMAGE).float() / 255, content[:, 0].long()


class MovedImages(Dataset[tuple[Tensor, Tensor]]):
    """Images with their labels, moved by up to four pixels and mirrored, at random, anew on every access.

    Args:
        images: Shape (number, channels, height, width).
        labels: Shape (number,).
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        image = self.images[k]
        height, width = image.shape[-2:]
        top, left = torch.randint(2 * MARGIN + 1, (2,)).tolist()
        moved = nn.functional.pad(image, (MARGIN,) * 4)[:, top : top + height, left : left + width]
        return moved.flip(-1) if torch.rand(()) < 0.5 else moved, self.labels[k]


BENCHMARKS = {
    "shd": Benchmark(
        partial(_spike_trains, SHD, 20),
        DatasetSettings(epochs=60, learning_rate=1e-3, decay=0.97, out=Path("runs/shd")),
    ),
    "ssc": Benchmark(
        partial(_spike_trains, SSC, 35),
        DatasetSettings(epochs=30, batch_size=128, learning_rate=1e-3, decay=0.93, out=Path("runs/ssc")),
    ),
    # Stages of one convolution, the first 1.5 s.
    "dvs-gesture": Benchmark(
        partial(_recordings, DVSGesture, 11, 5, 75e-3),
        DatasetSettings(epochs=60, batch_size=16, learning_rate=1e-3, decay=0.96, steps=20, out=Path("runs/gesture")),
    ),
    "cifar10-dvs": Benchmark(
        partial(_recordings, CIFAR10DVS, 10, 4, 130e-3),
        DatasetSettings(
            epochs=60, batch_size=16, learning_rate=1e-3, decay=0.96, steps=10, out=Path("runs/cifar10dvs")
        ),
    ),
    "cifar10": Benchmark(
        _cifar10,
        DatasetSettings(epochs=100, learning_rate=1e-3, decay=0.97, steps=6, width=64, out=Path("runs/cifar10")),
    ),
}


def benchmark(name: str) -> Benchmark:
    """Look up a data set.

    Raises:
        ValueError: If there is none of this name.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"--dataset must be one of {', '.join(BENCHMARKS)}, got {name!r}.")
    return BENCHMARKS[name]


def run(data: Path | str, dataset: str = "shd", **settings: object) -> Result:
    """Train and evaluate; for `settings`, see `geir.tasks`.

    Args:
        data: The folder of the data set.
        dataset: Name of the data set, on which the defaults of the settings depend.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is invalid, recordings are missing, or a setting is invalid.
    """
    chosen = replace(benchmark(dataset).settings, dataset=dataset, **settings)
    network, samples = benchmark(dataset).setup(Path(data), chosen)
    return train("published_datasets", network, samples, chosen)


def command_line(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The command line, whose defaults are those of the data set that is among the arguments."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--dataset", default="shd")
    dataset = first.parse_known_args(arguments)[0].dataset
    # `run` refuses unknown names.
    defaults = BENCHMARKS.get(dataset, BENCHMARKS["shd"]).settings
    parser = build_parser("published_datasets", __doc__, defaults, data="folder of the data set")
    # An abbreviation of --dataset would not have been found above.
    parser.allow_abbrev = False
    return parser


if __name__ == "__main__":
    sys.exit(main(command_line(sys.argv[1:]), run, several_processes=True))
