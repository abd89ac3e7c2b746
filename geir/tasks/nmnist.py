"""Train a spiking convolutional network on N-MNIST: `python -m geir.tasks.nmnist --data PATH`.

N-MNIST (G. Orchard et al., *Converting static image datasets to spiking neuromorphic datasets using
saccades*, 2015) are the digits of MNIST, recorded by a moving event camera.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn, Tensor

from ..containers import Lift, SequentialState
from ..events import Events
from ..events.dataset import collate, EventDataset
from ..events.transforms import count_frames, CountFrames, DropEvents, RandomAffine
from ..neurons import LI, LIF
from ..surrogates import SuperSpike
from .command_line import build_parser, main, Result
from .data import Data
from .settings import setting
from .training import Settings, train

SENSOR_SIZE = (34, 34)
DT = 20e-3  # duration of a frame in seconds
FRAME_US = round(DT * 1e6)
# What `--data` is.
FILES = "folder with Train and Test, or .npz file"


@dataclass(frozen=True)
class EventSettings(Settings):
    """Settings of a training run on recordings."""

    steps: int = setting(16, "number of 20 ms frames for which a recording is shown")
    augment: int = setting(1, "1 to augment the training recordings, 0 to use them unchanged", allowed="not negative")


DEFAULTS = EventSettings(epochs=30, batch_size=32, learning_rate=5e-3, decay=0.92, out=Path("runs/nmnist"))

# Names of the arrays in an `.npz` file.
ARRAYS = ("t", "x", "y", "p", "offsets", "labels")


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
    """Random small rotations, scalings and shifts, and random removal of a tenth of the events."""
    return nn.Sequential(RandomAffine(angle=0.2, scale=(0.85, 1.15), shift=(3.0, 3.0)), DropEvents(0.1))


def load(path: Path, steps: int, augment: bool = True) -> Data[EventDataset]:
    """Load N-MNIST as frames.

    Args:
        path: The original data: a folder with `Train` and `Test`, each with one folder per digit. Or a folder with
            `nmnist_train.npz` and `nmnist_test.npz`, or the path of one of these two files, with the other beside it.
        steps: Number of frames per recording; later events are dropped.
        augment: Whether to augment the training recordings.

    Raises:
        FileNotFoundError: If `path` or a part of the data does not exist.
        ValueError: If a file does not hold N-MNIST.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"There is no N-MNIST at {path}; pass a folder with Train and Test, or an .npz file, to --data."
        )
    frames = CountFrames(dt=DT, start=0, stop=steps * FRAME_US)
    return Data(
        train=_load_split(path, "Train", nn.Sequential(*augmentation(), frames) if augment else frames),
        test=_load_split(path, "Test", frames),
        collate=collate,
        encode=_take_frames,
        sample_noun="recordings",
    )


def _take_frames(xs: Tensor, steps: int) -> Tensor:
    # Frames already are input over time; `load` cut them to `steps`.
    return xs


def _load_split(path: Path, split: str, transform: nn.Module) -> EventDataset:
    if path.is_dir() and (path / split).is_dir():
        return EventDataset(path / split, transform=transform)
    file = (path if path.is_dir() else path.parent) / f"nmnist_{split.lower()}.npz"
    if not file.exists():
        raise FileNotFoundError(f"{path} has neither a folder {split} nor a file {file.name}.")
    recordings, labels = _read_npz(file)
    return EventDataset(recordings, labels, transform=transform)


def _read_npz(path: Path) -> tuple[list[Events], Tensor]:
    try:
        # NumPy does not close the file if it is broken, so it is opened and closed here.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            t, x, y, p, offsets, labels = (file[name] for name in ARRAYS)
            events = Events(t, x, y, p, sensor_size=SENSOR_SIZE)
    except Exception as error:
        raise ValueError(f"{path} is not a readable .npz file with {', '.join(ARRAYS)}: {error}") from error
    if (
        len(labels) + 1 != len(offsets)
        or offsets[0] != 0
        or offsets[-1] != len(events)
        or (np.diff(offsets) < 0).any()
        or not (labels < 10).all()
    ):
        raise ValueError(
            f"{path}: expected labels from 0 to 9 and one more offset than labels, rising from 0 to {len(events)}; "
            f"got {len(labels)} labels and {len(offsets)} offsets."
        )
    recordings = [events[start:stop] for start, stop in pairwise(offsets.tolist())]
    return recordings, torch.from_numpy(labels.astype(np.int64))


@torch.inference_mode()
def stream(model: SequentialState, chunks: Iterable[Events]) -> Iterator[Tensor]:
    """Run a trained network on a recording as it arrives, carrying the state from frame to frame.

    Args:
        model: The network.
        chunks: Consecutive chunks of a recording, of any size, with times that start at 0.

    Yields:
        The potentials after each frame of `DT`, shape (classes,). A frame is yielded once it is complete: when a later
        event arrives, or at the end of the recording.
    """
    state = None
    pending = Events.empty(SENSOR_SIZE)  # events of the frames not yet run
    start = 0

    def run_until(stop: int) -> Iterator[Tensor]:
        nonlocal state, pending, start
        if stop > start:
            vs, state = model(count_frames(pending, dt=DT, start=start, stop=stop)[:, None], state)
            pending = pending.slice_time(stop)
            start = stop
            yield from vs[:, 0]

    for chunk in chunks:
        pending = Events.cat([pending, chunk])
        if len(pending):
            complete_frames = int(pending.t[-1]) // FRAME_US
            yield from run_until(complete_frames * FRAME_US)
    if len(pending):
        last_frame = int(pending.t[-1]) // FRAME_US
        yield from run_until((last_frame + 1) * FRAME_US)


def run(data: Path | str, **settings: object) -> Result:
    """Train and evaluate on the recordings of `load`; for `settings`, see `geir.tasks`."""
    chosen = replace(DEFAULTS, **settings)
    return train("nmnist", network, load(Path(data), chosen.steps, bool(chosen.augment)), chosen)


if __name__ == "__main__":
    sys.exit(main(build_parser("nmnist", __doc__, DEFAULTS, data=FILES), run, several_processes=True))
