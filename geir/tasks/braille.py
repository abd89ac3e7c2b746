"""Recognize Braille letters by touch with a recurrent network: `python -m geir.tasks.braille --data FILE`.

A fingertip of tactile sensors slides over Braille letters, and a spiking network with a recurrent layer tells the 27
letters (space included) apart. Of the 12 sensors, four are used, as in the tutorial: 1, 2, 6 and 10, counted from 0.
Their pressures are standardized by the training recordings and presented as currents, each sample for two steps. A
fifth of the recordings of each letter is for testing; `--validate` tests on a part of the training recordings instead.

References: S. Müller-Cleve et al., *Braille letter reading: A benchmark for spatio-temporal pattern recognition on
neuromorphic hardware*, 2022, whose data these are; tutorial 5 of SpyTorch (F. Zenke), with the same four sensors.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import TensorDataset

from ..containers import Lift, SequentialState
from ..neurons import LI, LIF, LIFRecurrent
from .catalog import Published
from .command_line import build_parser, main, Result
from .data import Data, time_first
from .files import read_arrays
from .settings import setting
from .training import Settings, train

PUBLISHED = Published("test_accuracy", "96.7 %", "SpyTorch, tutorial 5 (F. Zenke)")
LETTERS = 27
SENSORS = (1, 2, 6, 10)
# Steps for which a sample is presented.
REPEAT = 2
DT = 2e-3
HIDDEN = 128
# In seconds, longer than those of single neurons: a letter takes 0.3 s.
TAU_MEM, TAU_SYN = 100e-3, 40e-3


@dataclass(frozen=True)
class BrailleSettings(Settings):
    """Settings of a training run on recordings of touch."""

    steps: int = setting(152, "number of 2 ms steps; later samples are dropped")
    validate: bool = setting(False, "test on a fifth of the training recordings instead")


DEFAULTS = BrailleSettings(epochs=60, batch_size=64, learning_rate=5e-3, decay=0.97, out=Path("runs/braille"))


def network() -> SequentialState:
    """A layer of LIF neurons, a recurrent one, and a leaky readout."""
    return SequentialState(
        Lift(nn.Linear(len(SENSORS), HIDDEN)),
        LIF(dt=DT, tau_mem=TAU_MEM, tau_syn=TAU_SYN),
        LIFRecurrent(HIDDEN, HIDDEN, dt=DT, tau_mem=TAU_MEM, tau_syn=TAU_SYN),
        Lift(nn.Linear(HIDDEN, LETTERS)),
        LI(dt=DT, tau_mem=TAU_MEM, tau_syn=TAU_SYN),
    )


def load(path: Path, validate: bool = False) -> Data[TensorDataset]:
    """Load the recordings; the split into training and test recordings is always the same.

    Args:
        path: An ``.npz`` file with the arrays ``taxels``, bytes of shape (recordings, samples, 12), where 255 is no
            pressure, and ``labels``.
        validate: Whether to split the training recordings, and leave out those for testing.

    Raises:
        FileNotFoundError: If `path` does not exist.
        ValueError: If it does not hold these recordings.
    """
    taxels, labels = read_arrays(path, ("taxels", "labels"), "Braille recordings")
    if taxels.ndim != 3 or taxels.shape[2] <= max(SENSORS) or labels.shape != taxels.shape[:1]:
        raise ValueError(
            f"{path}: expected taxels of shape (recordings, samples, 12) and labels of shape (recordings,), "
            f"got {taxels.shape} and {labels.shape}."
        )
    if labels.min() < 0 or labels.max() >= LETTERS:
        raise ValueError(f"{path}: expected labels from 0 to {LETTERS - 1}, got {labels.min()} to {labels.max()}.")
    chosen, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    if validate:
        chosen, test = train_test_split(chosen, test_size=0.2, stratify=labels[chosen], random_state=0)
    pressures = 1 - taxels[..., list(SENSORS)].astype(np.float32) / 255
    mean, std = (function(pressures[chosen], (0, 1)) for function in (np.mean, np.std))
    xs = torch.from_numpy((pressures - mean) / np.maximum(std, 1e-6)).repeat_interleave(REPEAT, 1)
    targets = torch.from_numpy(labels.astype(np.int64))
    train_set, test_set = (TensorDataset(xs[part], targets[part]) for part in (chosen, test))
    return Data(train_set, test_set, encode=time_first, sample_noun="recordings")


def run(data: Path | str, **settings: object) -> Result:
    """Train and evaluate on the recordings of `load`; for `settings`, see `geir.tasks`."""
    chosen = replace(DEFAULTS, **settings)
    return train("braille", network, load(Path(data), chosen.validate), chosen)


if __name__ == "__main__":
    parser = build_parser("braille", __doc__, DEFAULTS, data=".npz file of the recordings")
    sys.exit(main(parser, run, several_processes=True))
