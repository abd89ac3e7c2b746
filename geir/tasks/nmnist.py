"""Train a spiking convolutional network on N-MNIST, digits seen by an event camera: `python -m geir.tasks.nmnist --data PATH`."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..containers.sequential import Lift, SequentialState
from ..events import Events
from ..events.dataset import EventDataset, collate
from ..events.transforms import CountFrames, DropEvents, RandomAffine, count_frames
from ..neurons import LI, LIF
from ..surrogates import SuperSpike
from .training import Data, Settings, main, parser, train

SENSOR, DT = (34, 34), 20e-3


@dataclass(frozen=True)
class EventSettings(Settings):
    """What a training run on recordings can be told."""

    steps: int = field(default=16, metadata={"help": "frames of 20 ms that the network sees of a recording"})
    augment: int = field(default=1, metadata={"help": "0 to leave the recordings to train on as they are"})


DEFAULTS = EventSettings(epochs=30, batch_size=32, learning_rate=5e-3, decay=0.92, out=Path("runs/nmnist"))

# The names of what an .npz has for each split, and those of the folders of the original.
COLUMNS, SPLITS = ("t", "x", "y", "p", "offsets", "labels"), ("Train", "Test")


def network() -> SequentialState:
    """Two spiking convolutional layers and a leaky readout, for frames of `DT`."""
    neuron = {"dt": DT, "tau_mem": 40e-3, "tau_syn": 20e-3, "v_th": 0.2, "surrogate": SuperSpike(alpha=25)}
    return SequentialState(
        Lift(nn.Conv2d(2, 16, 5)),
        LIF(**neuron),
        Lift(nn.MaxPool2d(2)),
        Lift(nn.Conv2d(16, 32, 5)),
        LIF(**neuron),
        Lift(nn.MaxPool2d(2)),
        Lift(nn.Flatten()),
        Lift(nn.Linear(800, 10)),
        LI(dt=DT, tau_mem=80e-3, tau_syn=20e-3),
    )


def augmentation() -> nn.Sequential:
    """What makes of one recording many: turned, sized and shifted a little, and without some of its events."""
    return nn.Sequential(RandomAffine(angle=0.2, scale=(0.85, 1.15), shift=(3.0, 3.0)), DropEvents(0.1))


def load(path: Path, steps: int, augment: bool = True) -> Data:
    """N-MNIST as frames.

    Args:
        path: The folder of the original, with `Train` and `Test` and in each a folder for each digit; or a folder with `nmnist_train.npz` and
            `nmnist_test.npz`; or one of these, with the other one beside it.
        steps: Frames of a recording; events after them are left out.
        augment: Whether the recordings to train on are augmented.

    Raises:
        FileNotFoundError: If there is nothing at `path`, or a part is missing.
        ValueError: If a file is not what it should be.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no N-MNIST at {path}; give --data a folder with Train and Test, or an .npz.")
    frames = CountFrames(dt=DT, start=0, stop=round(steps * DT * 1e6))
    train, test = (
        _split(path, name, transform)
        for name, transform in zip(
            SPLITS, (nn.Sequential(*augmentation(), frames) if augment else frames, frames), strict=True
        )
    )
    return Data(train, test, collate=collate, present=lambda xs, steps: xs, things="recordings")


def _split(path: Path, name: str, transform: nn.Module) -> EventDataset:
    if path.is_dir() and (path / name).is_dir():
        return EventDataset(path / name, transform=transform)
    file = (path if path.is_dir() else path.parent) / f"nmnist_{name.lower()}.npz"
    if not file.exists():
        raise FileNotFoundError(f"{path} has neither a folder {name} nor a file {file.name}.")
    recordings, labels = _read_npz(file)
    return EventDataset(recordings, labels, transform=transform)


def _read_npz(path: Path) -> tuple[list[Events], Tensor]:
    try:
        # Opened here, because numpy leaves a broken file open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            t, x, y, p, offsets, labels = (file[name] for name in COLUMNS)
            whole = Events(t, x, y, p, sensor_size=SENSOR)
    except Exception as error:
        raise ValueError(f"{path} is not a readable .npz file with {', '.join(COLUMNS)}: {error}") from error
    if (
        len(labels) + 1 != len(offsets)
        or offsets[0] != 0
        or offsets[-1] != len(whole)
        or (np.diff(offsets) < 0).any()
        or not (labels < 10).all()
    ):
        raise ValueError(
            f"{path}: expected offsets from 0 to {len(whole)}, one more than labels, and labels from 0 to 9."
        )
    return [whole[a:b] for a, b in pairwise(offsets.tolist())], torch.from_numpy(labels.astype(np.int64))


@torch.inference_mode()
def stream(model: SequentialState, chunks: Iterable[Events]) -> Iterator[Tensor]:
    """Run a trained network on a recording as it comes, its state carried from frame to frame.

    Args:
        model: The network.
        chunks: Consecutive parts of a recording, cut anywhere, whose times start at 0.

    Yields:
        The potentials (classes,) after every frame of `DT`, as soon as a later event, or the end, shows that it is complete.
    """
    state, held, start, frame = None, Events.empty(SENSOR), 0, round(DT * 1e6)

    def run(stop: int) -> Iterator[Tensor]:
        """The frames before a time."""
        nonlocal state, held, start
        if stop > start:
            vs, state = model(count_frames(held, dt=DT, start=start, stop=stop)[:, None], state)
            held, start = held.slice_time(stop), stop
            yield from vs[:, 0]

    for chunk in chunks:
        held = Events.cat([held, chunk])
        if len(held):
            yield from run(int(held.t[-1]) // frame * frame)
    if len(held):
        yield from run((int(held.t[-1]) // frame + 1) * frame)


def run(data: Path | str, **settings: Any) -> dict[str, Any]:
    """Train and evaluate; settings as on the command line, with underscores. Returns the figures of the run."""
    chosen = EventSettings(**{**vars(DEFAULTS), **settings})
    return train("nmnist", network, load(Path(data), chosen.steps, bool(chosen.augment)), chosen)


if __name__ == "__main__":
    description = (
        "Train a spiking convolutional network on N-MNIST. The last line printed is a JSON object with the result."
    )
    arguments = parser("nmnist", description, DEFAULTS)
    arguments.add_argument(
        "--data", type=Path, required=True, metavar="PATH", help="folder with Train and Test, or .npz"
    )
    sys.exit(main(arguments, run, None))
