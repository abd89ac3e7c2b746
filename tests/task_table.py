"""All tasks with settings and data so small that a run takes a moment."""

import atexit
import importlib
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import numpy as np
import torch

from geir.events import Events


def write_mnist(path, train=40, test=20):
    """Digits that are two bright rows at the height of their class, on a noisy background."""
    random = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", train), ("test", test)):
        labels = np.arange(count) % 10
        images = random.integers(0, 40, (count, 28, 28))
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 3 : 2 * label + 5] = random.integers(200, 256, (2, 28))
        arrays |= {f"{part}_images": images.astype(np.uint8), f"{part}_labels": labels.astype(np.uint8)}
    np.savez(path, **arrays)
    return path


def write_halves(path):
    """Images of two digits, one bright in the upper half and one in the lower."""
    random = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 80), ("test", 20)):
        labels = np.arange(count) % 2
        images = random.integers(0, 60, (count, 28, 28))
        images[labels == 0, :14] += 150
        images[labels == 1, 14:] += 150
        arrays |= {f"{part}_images": images.astype(np.uint8), f"{part}_labels": labels.astype(np.uint8)}
    np.savez(path, **arrays)
    return path


def write_nmnist(folder, number=20):
    """Recordings whose class is the column in which events arrive."""
    generator = torch.Generator().manual_seed(0)
    recordings = []
    for k in range(number):
        t = torch.randint(80_000, (200,), generator=generator).sort().values
        y = torch.randint(34, (200,), generator=generator)
        p = torch.randint(2, (200,), generator=generator)
        recordings.append(Events(t, torch.full((200,), 3 * (k % 10)), y, p, sensor_size=(34, 34)))
    whole = Events.cat(recordings)
    columns = {name: column.numpy() for name, column in zip("txyp", whole.columns(), strict=True)}
    labels = (np.arange(number) % 10).astype(np.uint8)
    for split in ("train", "test"):
        np.savez(folder / f"nmnist_{split}.npz", **columns, offsets=200 * np.arange(number + 1), labels=labels)
    return folder


def write_omniglot(path):
    """Characters with a bar each, shifted a little in each drawing."""
    random = np.random.default_rng(0)
    images = np.zeros((40, 6, 105, 105), np.uint8)
    for k in range(40):
        for n in range(6):
            row, column = 2 * k + random.integers(0, 2), 10 * (k % 7) + random.integers(0, 3)
            images[k, n, row : row + 15, column : column + 30] = 1
    np.savez(path, images=images.reshape(-1, 105, 105), characters=np.repeat(np.arange(40), 6))
    return path


def write_braille(path):
    random = np.random.default_rng(0)
    np.savez(path, taxels=random.integers(0, 256, (30, 20, 12), np.uint8), labels=np.arange(30, dtype=np.uint8) % 3)
    return path


def write_ecg(path):
    random = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "test"):
        arrays[f"{part}_x"] = random.integers(-1, 2, (12, 20, 4)).astype(np.int8)
        arrays[f"{part}_y"] = random.integers(0, 6, (12, 20), np.uint8)
        arrays[f"{part}_mask"] = np.ones((12, 20), bool)
    np.savez(path, **arrays)
    return path


def write_spoken_digits(path):
    random = np.random.default_rng(0)
    speakers, digits, index = (part.ravel() for part in np.indices((2, 2, 8)))
    audio = random.integers(-3000, 3000, 32 * 800).astype(np.int16)
    offsets, names = 800 * np.arange(33), np.array(["ann", "bob"])
    np.savez(path, audio=audio, offsets=offsets, labels=digits, speakers=speakers, index=index, speaker_names=names)
    return path


MNIST, OMNIGLOT = (write_mnist, "mnist.npz"), (write_omniglot, "omniglot.npz")
NMNIST = write_nmnist, ""


@dataclass(frozen=True)
class Task:
    name: str
    quick: dict  # settings
    data: tuple | None = None  # a function that writes the data, and the name of the file in a folder
    variant: dict = field(default_factory=dict)  # further settings

    @property
    def module(self):
        return importlib.import_module(f"geir.tasks.{self.name}")

    @property
    def defaults(self):
        return getattr(self.module, "DEFAULTS", None) or self.module.Settings()

    @property
    def resumes(self):
        """Whether the task continues from a checkpoint."""
        return self.name not in ("conversion", "quantization", "permuted_mnist", "stdp")

    def arguments(self):
        """The arguments of `run`, without `out`."""
        return self.quick | self.variant | ({"data": written(*self.data)} if self.data else {})

    def flags(self):
        return [f"--{name.replace('_', '-')}={value}" for name, value in self.arguments().items()]

    def __str__(self):
        return "-".join([self.name, *map(str, self.variant.values())])


@cache
def written(write, name):
    folder = Path(mkdtemp(prefix="geir-task-"))
    atexit.register(rmtree, folder, ignore_errors=True)
    return write(folder / name)


def _variants(name, quick, setting, values, data=None):
    return [Task(name, quick, data, {setting: value}) for value in values]


ADDING = {"steps": 20, "chunk": 7, "iterations": 4, "batch_size": 4, "hidden": 5, "test_sequences": 10}
FEW_SHOT = {"iterations": 4, "batch_size": 2, "channels": 4, "steps": 3, "test_episodes": 4}
CONTROL = {"updates": 4, "environments": 2, "rollout": 24, "neurons": 8, "steps": 2, "test_episodes": 3}
PERMUTED = {"tasks": 2, "images": 20, "test_images": 20, "batch_size": 10, "hidden": 5, "steps": 4}
LAYERS = {"epochs": 2, "batch_size": 10, "device": "cpu"}

TASKS = [
    *_variants("adding", ADDING, "method", ("fptt", "bptt")),
    Task("braille", LAYERS | {"steps": 20}, (write_braille, "braille.npz")),
    *_variants("control", CONTROL, "method", ("ppo", "e-prop")),
    Task("conversion", {"epochs": 1, "batch_size": 10, "steps": 2, "calibration": 20}, MNIST),
    Task("digits", LAYERS | {"batch_size": 720, "steps": 3}),
    Task("ecg", LAYERS | {"hidden": 5, "batch_size": 6, "steps": 20}, (write_ecg, "ecg.npz")),
    Task("evidence_accumulation", {"iterations": 4, "batch_size": 4, "neurons": 20, "test_trials": 20}),
    Task("memory", LAYERS | {"steps": 80, "hidden": 6, "sequences": 20, "test_sequences": 10}),
    Task("mnist", LAYERS | {"steps": 3}, MNIST),
    Task("mnist_latency", {"epochs": 2, "hidden": 15, "batch_size": 20}, MNIST),
    Task("nmnist", LAYERS | {"steps": 3}, NMNIST),
    *_variants("nmnist_online", {"hidden": 5, "steps": 3, "batch_size": 5}, "rule", ("ottt", "eprop"), NMNIST),
    *_variants("omniglot", FEW_SHOT, "method", ("maml", "plasticity"), OMNIGLOT),
    *_variants("permuted_mnist", PERMUTED, "method", ("plain", "elastic", "metaplastic"), MNIST),
    Task("quantization", {"epochs": 1, "more_epochs": 1, "batch_size": 200, "hidden": 10, "steps": 4}),
    Task("regression", {"epochs": 2, "hidden": 16, "steps": 20, "batch_size": 8, "test_curves": 50}),
    Task("sequential_mnist", LAYERS | {"steps": 28, "hidden": 4}, MNIST),
    Task("sinusoids", {"iterations": 4, "batch_size": 4, "neurons": 20, "test_episodes": 20}),
    Task("spoken_digits", LAYERS | {"steps": 10, "hidden": 5, "batch_size": 6}, (write_spoken_digits, "fsdd.npz")),
    Task("stdp", {"neurons": 10, "images": 40, "label_images": 20, "duration": 0.03}),
    Task("ternary_mnist", LAYERS | {"steps": 3}, MNIST),
    Task("yin_yang", {"epochs": 2, "hidden": 5, "points": 40, "test_points": 30, "batch_size": 20}),
]
# Each once.
COMMANDS = [next(group) for _, group in groupby(TASKS, lambda task: task.name)]
