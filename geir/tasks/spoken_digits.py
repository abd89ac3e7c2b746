"""Recognize spoken digits with a recurrent network: `python -m geir.tasks.spoken_digits --data FILE`.

The input is recordings of speakers who say the digits from zero to nine. The logarithm of the power in bands of the mel
scale, relative to its mean over the recording, is the input current of a layer of LIF neurons, with one step for each
frame of 10 ms. A recurrent layer and a leaky readout follow; membrane time constants are learned like the weights.
Training recordings are randomly shifted and stretched, in time and in frequency.

The first five recordings of each speaker and digit are for testing, as usual for these data. With `--unseen-speaker`,
all recordings of one speaker are, and the network is trained on those of the others. `--validate` tests on a part of
the training recordings instead: the next five of each speaker and digit, or one more speaker.

Data: Z. Jackson et al., *Free Spoken Digit Dataset*, 2018.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn, Tensor
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from ..containers import Lift, SequentialState
from ..core import learnable
from ..neurons import LI, LIF, LIFRecurrent
from ..surrogates import SuperSpike
from .command_line import build_parser, main, Result
from .data import Data, time_first
from .files import read_arrays
from .settings import setting
from .spectrogram import log_mel, mel_filters
from .training import Settings, train

DIGITS = 10
# Samples per second, of a Fourier transform, and between two of them, which are the steps of the network.
RATE, WINDOW, HOP = 8000, 256, 80
DT = HOP / RATE
BANDS = 40
# Recordings of each speaker and digit for testing.
TEST_RECORDINGS = 5


@dataclass(frozen=True)
class SpokenDigitsSettings(Settings):
    """Settings of a training run on spoken digits."""

    steps: int = setting(100, "number of 10 ms steps; the rest of a recording is dropped")
    hidden: int = setting(256, "number of neurons in each of the two layers")
    augment: int = setting(1, "1 to augment the training recordings, 0 to use them unchanged", allowed="not negative")
    unseen_speaker: str = setting("", "name of a speaker to test on and not to train on")
    validate: bool = setting(False, "test on a part of the training recordings instead")


DEFAULTS = SpokenDigitsSettings(
    epochs=40, batch_size=32, learning_rate=5e-3, decay=0.93, max_gradient_norm=1.0, out=Path("runs/spoken_digits")
)


def network(hidden: int) -> SequentialState:
    """A layer of LIF neurons, a recurrent one, and a leaky readout. Time constants of membranes are learned."""
    tau_mem = learnable(torch.full((hidden,), 50e-3))
    surrogate = SuperSpike(alpha=10)
    return SequentialState(
        Lift(nn.Linear(BANDS, hidden)),
        LIF(dt=DT, tau_mem=tau_mem, tau_syn=10e-3, surrogate=surrogate),
        LIFRecurrent(hidden, hidden, dt=DT, tau_mem=tau_mem, tau_syn=10e-3, surrogate=surrogate),
        Lift(nn.Linear(hidden, DIGITS)),
        LI(dt=DT, tau_mem=100e-3, tau_syn=10e-3),
    )


class Augmented(Dataset[tuple[Tensor, ...]]):
    """Spectrograms with their labels, moved and stretched at random, anew on every access.

    Args:
        xs: Shape (recordings, steps, bands).
        labels: Shape (recordings,).
        stretch: Largest relative change of the duration.
        delay: Largest delay in steps.
        shift: Largest shift in bands, up or down.
    """

    def __init__(
        self, xs: Tensor, labels: Tensor, stretch: float = 0.15, delay: float = 10.0, shift: float = 2.0
    ) -> None:
        self.xs = xs
        self.labels = labels
        self.stretch = stretch
        self.delay = delay
        self.shift = shift

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        x = self.xs[k]
        steps, bands = x.shape
        stretch, delay, shift = torch.rand(3).tolist()
        speed = 1 + (2 * stretch - 1) * self.stretch
        # In the coordinates of `affine_grid`, the spectrogram extends from -1 to 1.
        begin = speed - 1 - 2 * speed * delay * self.delay / steps
        frequency = 2 * (2 * shift - 1) * self.shift / bands
        transform = torch.tensor([[[1.0, 0.0, frequency], [0.0, speed, begin]]])
        grid = functional.affine_grid(transform, [1, 1, steps, bands], align_corners=False)
        return functional.grid_sample(x[None, None], grid, align_corners=False)[0, 0], self.labels[k]


def load(
    path: Path, steps: int, augment: bool = True, unseen_speaker: str = "", validate: bool = False
) -> Data[Dataset[tuple[Tensor, ...]]]:
    """Load the recordings as spectrograms, and split them into training and test recordings.

    Args:
        path: An ``.npz`` file with the arrays ``audio``, 16-bit samples at 8 kHz of all recordings; ``offsets``, the
            beginning of each recording, and the end of the last; ``labels``; ``speakers``, indices of
            ``speaker_names``; and ``index``, the number of the recording among those of its speaker and digit.
        steps: Number of steps; later frames of a recording are dropped.
        augment: Whether to augment the training recordings.
        unseen_speaker: Name of the speaker for testing. Default: the first recordings of every speaker are for testing.
        validate: Whether to split the training recordings, and leave out those for testing.

    Raises:
        FileNotFoundError: If `path` does not exist.
        ValueError: If it does not hold these recordings, or the speaker is not among them.
    """
    names = ("audio", "offsets", "labels", "speakers", "index", "speaker_names")
    audio, offsets, labels, speakers, index, speaker_names = read_arrays(path, names, "spoken digits")
    _check(path, audio, offsets, labels, speakers, index, speaker_names)
    train_part, test_part = _split(speakers, index, list(speaker_names), unseen_speaker, validate)
    if not train_part.any() or not test_part.any():
        raise ValueError(f"{path} has no {'test' if train_part.any() else 'training'} recordings.")
    filters = mel_filters(BANDS, WINDOW, RATE)
    xs = torch.zeros(len(labels), steps, BANDS)
    for x, begin, end in zip(xs, offsets[:-1], offsets[1:], strict=True):
        # Recordings differ in loudness and in their average spectrum, so the loudest sample of each is 1, and the mean
        # of each band over the recording is 0, like the steps after its end.
        samples = torch.from_numpy(audio[begin:end].astype(np.float32))
        frames = log_mel(samples / samples.abs().max().clamp(min=1), filters, HOP, floor=1e-2)
        x[: len(frames)] = (frames - frames.mean(0))[:steps]
    targets = torch.from_numpy(labels.astype(np.int64))
    train_arrays, test_arrays = ((xs[part], targets[part]) for part in (train_part, test_part))
    return Data[Dataset[tuple[Tensor, ...]]](
        Augmented(*train_arrays) if augment else TensorDataset(*train_arrays),
        TensorDataset(*test_arrays),
        encode=time_first,
        sample_noun="recordings",
    )


def _check(
    path: Path,
    audio: np.ndarray,
    offsets: np.ndarray,
    labels: np.ndarray,
    speakers: np.ndarray,
    index: np.ndarray,
    speaker_names: np.ndarray,
) -> None:
    if audio.ndim != 1 or audio.dtype != np.int16:
        raise ValueError(f"{path}: expected 16-bit audio of shape (samples,), got {audio.dtype} of {audio.shape}.")
    recordings = labels.shape
    if len(recordings) != 1 or not speakers.shape == index.shape == recordings or offsets.shape != (len(labels) + 1,):
        raise ValueError(
            f"{path}: expected labels, speakers and index of shape (recordings,) and offsets of shape (recordings + "
            f"1,), got {labels.shape}, {speakers.shape}, {index.shape} and {offsets.shape}."
        )
    if offsets[0] < 0 or offsets[-1] > len(audio) or (np.diff(offsets.astype(np.int64)) <= 0).any():
        raise ValueError(f"{path}: expected increasing offsets from 0 to {len(audio)}, the number of samples.")
    for what, values, count in (("labels", labels, DIGITS), ("speakers", speakers, len(speaker_names))):
        if len(values) and (values.min() < 0 or values.max() >= count):
            raise ValueError(f"{path}: expected {what} from 0 to {count - 1}, got {values.min()} to {values.max()}.")


def _split(
    speakers: np.ndarray, index: np.ndarray, names: list[str], unseen_speaker: str, validate: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Which recordings are for training, and which for testing."""
    if not unseen_speaker:
        first = TEST_RECORDINGS * validate
        return index >= first + TEST_RECORDINGS, (index >= first) & (index < first + TEST_RECORDINGS)
    if unseen_speaker not in names:
        raise ValueError(f"--unseen-speaker must be one of {', '.join(names)}, got {unseen_speaker!r}.")
    tested = names.index(unseen_speaker)
    rest = speakers != tested
    if not validate:
        return rest, ~rest
    # Also of a speaker whom the test leaves out.
    next_speaker = (tested + 1) % len(names)
    return rest & (speakers != next_speaker), speakers == next_speaker


def run(data: Path | str, **settings: object) -> Result:
    """Train and evaluate on the recordings of `load`; for `settings`, see `geir.tasks`."""
    chosen = replace(DEFAULTS, **settings)
    recordings = load(Path(data), chosen.steps, bool(chosen.augment), chosen.unseen_speaker, chosen.validate)
    return train("spoken_digits", lambda: network(chosen.hidden), recordings, chosen)


if __name__ == "__main__":
    parser = build_parser("spoken_digits", __doc__, DEFAULTS, data=".npz file of the recordings")
    sys.exit(main(parser, run, several_processes=True))
