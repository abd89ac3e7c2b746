"""Segment an electrocardiogram with an adaptive recurrent network: `python -m geir.tasks.ecg --data FILE`.

At every step, the network tells which of six parts of the heartbeat it is in: P, PQ, QR, RS, ST or TP. The input is
spikes: level crossings, up and down, of two leads. The neurons of the recurrent layer have an adaptive threshold. Their
time constants of membrane and adaptation differ at first, and are learned like the weights. The accuracy is the share
of the steps that have a label. `--validate` tests on a fifth of the training records instead.

Reference: B. Yin, F. Corradi & S. Bohté, *Accurate and efficient time-domain classification with adaptive spiking
recurrent neural networks*, 2021, whose encoding of the QT database this is. Data: P. Laguna et al., *A database for
evaluation of algorithms for measurement of QT and other waveform intervals in the ECG*, 1997.
"""

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn, Tensor
from torch.nn import functional
from torch.utils.data import TensorDataset

from ..containers import Lift, SequentialState
from ..core import learnable
from ..neurons import ALIFRecurrent, LI
from ..surrogates import SuperSpike
from .catalog import Published
from .command_line import build_parser, main, Result
from .data import Data, time_first
from .files import read_arrays
from .settings import setting
from .training import Settings, train

PUBLISHED = Published("test_accuracy", "85.9 %", "B. Yin, F. Corradi & S. Bohté, 2021")
CHANNELS, CLASSES = 4, 6
# The records have 250 samples per second.
DT = 4e-3
# The class of a step that does not count.
UNKNOWN = -1


@dataclass(frozen=True)
class ECGSettings(Settings):
    """Settings of a training run on electrocardiograms."""

    steps: int = setting(1301, "number of 4 ms steps; the rest of a record is dropped")
    hidden: int = setting(64, "number of recurrent neurons")
    validate: bool = setting(False, "test on a fifth of the training records instead")


DEFAULTS = ECGSettings(
    epochs=60, batch_size=16, learning_rate=2e-2, decay=0.96, max_gradient_norm=1.0, out=Path("runs/ecg")
)


def _log_spaced(low: float, high: float, number: int) -> Tensor:
    """Values whose logarithms are equally spaced, in random order."""
    return torch.logspace(math.log10(low), math.log10(high), number)[torch.randperm(number)]


def network(hidden: int) -> SequentialState:
    """A recurrent layer of adaptive neurons, whose time constants are learned, and a leaky readout."""
    tau_mem, tau_adapt = _log_spaced(8e-3, 0.8, hidden), _log_spaced(0.05, 1.5, hidden)
    layer = ALIFRecurrent(
        hidden,
        hidden,
        input_weights=nn.Identity(),
        dt=DT,
        tau_mem=learnable(tau_mem),
        tau_syn=20e-3,
        tau_adapt=learnable(tau_adapt),
        beta=0.2,
        surrogate=SuperSpike(alpha=20),
    )
    inputs = nn.Linear(CHANNELS, hidden)
    # One event must suffice for a spike of neurons with a short time constant.
    nn.init.normal_(inputs.weight, std=3.0)
    return SequentialState(Lift(inputs), layer, Lift(nn.Linear(hidden, CLASSES)), LI(dt=DT, tau_mem=20e-3, tau_syn=DT))


def step_loss(vs: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy at the steps with a label, averaged over the steps of a record, then over records."""
    losses = functional.cross_entropy(vs.permute(1, 2, 0), labels[:, : len(vs)], reduction="none", ignore_index=UNKNOWN)
    return (losses.sum(1) / (labels[:, : len(vs)] != UNKNOWN).sum(1).clamp(min=1)).mean()


def count_answers(vs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Right answers and answers of each record: one for each step with a label."""
    labels = labels[:, : len(vs)]
    return (labels == vs.argmax(-1).T).sum(1), (labels != UNKNOWN).sum(1)


def load(path: Path, validate: bool = False) -> Data[TensorDataset]:
    """Load the records, which are split into training and test records.

    Args:
        path: An ``.npz`` file with the arrays ``train_x`` and ``test_x``, -1, 0 or 1, shape (records, steps, 4);
            ``train_y`` and ``test_y``, the class of every step; ``train_mask`` and ``test_mask``, whether it counts.
        validate: Whether to split the training records, and leave out those for testing.

    Raises:
        FileNotFoundError: If `path` does not exist.
        ValueError: If it does not hold these records.
    """
    names = tuple(f"{split}_{part}" for split in ("train", "test") for part in ("x", "y", "mask"))
    arrays = read_arrays(path, names, "electrocardiograms")
    train_set, test_set = _records(path, *arrays[:3]), _records(path, *arrays[3:])
    if validate:
        chosen, held_out = train_test_split(np.arange(len(train_set)), test_size=0.2, random_state=0)
        train_set, test_set = (TensorDataset(*train_set[part]) for part in (chosen, held_out))
    return Data(
        train_set,
        test_set,
        encode=time_first,
        loss=step_loss,
        count_answers=count_answers,
        sample_noun="records",
    )


def _records(path: Path, xs: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> TensorDataset:
    if xs.ndim != 3 or xs.shape[2] != CHANNELS or not labels.shape == counts.shape == xs.shape[:2]:
        raise ValueError(
            f"{path}: expected inputs of shape (records, steps, {CHANNELS}) and labels and mask of shape (records, "
            f"steps), got {xs.shape}, {labels.shape} and {counts.shape}."
        )
    if labels.size and (labels.min() < 0 or labels.max() >= CLASSES):
        raise ValueError(f"{path}: expected labels from 0 to {CLASSES - 1}, got {labels.min()} to {labels.max()}.")
    if not counts.any():
        raise ValueError(f"{path}: expected steps with a label, but the mask is set for none of {counts.size:,} steps.")
    targets = np.where(counts.astype(bool), labels.astype(np.int64), UNKNOWN)
    return TensorDataset(torch.from_numpy(xs.astype(np.float32)), torch.from_numpy(targets))


def run(data: Path | str, **settings: object) -> Result:
    """Train and evaluate on the records of `load`; for `settings`, see `geir.tasks`."""
    chosen = replace(DEFAULTS, **settings)
    return train("ecg", lambda: network(chosen.hidden), load(Path(data), chosen.validate), chosen)


if __name__ == "__main__":
    sys.exit(main(build_parser("ecg", __doc__, DEFAULTS, data=".npz file of the records"), run, several_processes=True))
