"""Train a spiking network on the integers of a chip: `python -m geir.tasks.quantization --target loihi2`.

One hidden layer and a leaky readout. A pixel is a number of evenly spaced spikes. The network is trained in float; from
there training goes on twice, in float and on the integers of the chip (`geir.hardware.quantize`). The second network is
compared with its integer model (`geir.hardware.to_integer`) on all test images. Only the arithmetic of the chip counts
here: the network may have more inputs than the chip.
"""

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn, Tensor
from torch.utils.data import TensorDataset
from tqdm import tqdm

from ..containers import SequentialState
from ..core.neuron import Dynamics
from ..core.resets import ResetBySubtraction, ResetToValue
from ..decode import max_potential, max_potential_loss
from ..hardware import LOIHI2, quantize, Target, to_integer, XYLO_AUDIO_2, XYLO_AUDIO_3, XYLO_IMU
from ..neurons import LI, LIF
from ..surrogates import MultiSpike, SuperSpike
from .command_line import build_parser, main, MNIST_FILES, Result
from .data import Data
from .epochs import descend
from .pixels import encode, load
from .settings import out_setting, seed_setting, setting, TaskSettings
from .short_training import restore_or_train, train_briefly

# The chips whose integer arithmetic is known.
TARGETS = {"loihi2": LOIHI2, "xylo-audio-2": XYLO_AUDIO_2, "xylo-audio-3": XYLO_AUDIO_3, "xylo-imu": XYLO_IMU}
# Images in a batch of the test.
TEST_BATCH = 500


@dataclass(frozen=True)
class Settings(TaskSettings):
    """Settings of a run. Each field is a flag of the command line."""

    target: str = setting("loihi2", f"chip: {', '.join(TARGETS)}", choices=tuple(TARGETS))
    epochs: int = setting(10, "number of passes over the training images in float")
    more_epochs: int = setting(3, "further passes, in float and on integers")
    batch_size: int = setting(32, "images per training step")
    learning_rate: float = setting(5e-3, "learning rate of Adam in the first passes")
    more_learning_rate: float = setting(1e-3, "learning rate in the further passes")
    hidden: int = setting(128, "hidden neurons")
    steps: int = setting(12, "time steps of 1 ms, the largest number of spikes of a pixel")
    seed: int = seed_setting("weights and image order")
    out: Path = out_setting("quantization", "weights")
    resume: bool = setting(False, "go on from the network in the folder, trained in float")


def network(pixels: int, hidden: int, target: Target) -> SequentialState:
    """The network, with the reset and the decays of the chip: time constants that lose 1/4, 1/8 or 1/16 a step."""
    subtraction = "subtraction" in target.reset.value
    quarter, eighth, sixteenth = (-1e-3 / math.log(1 - 2.0**-k) for k in (2, 3, 4))
    return SequentialState(
        nn.Linear(pixels, hidden),
        LIF(
            tau_mem=eighth,
            tau_syn=quarter,
            v_th=0.3,
            reset_mechanism=ResetBySubtraction() if subtraction else ResetToValue(),
            surrogate=MultiSpike() if subtraction else SuperSpike(),
        ),
        nn.Linear(hidden, 10),
        LI(tau_mem=sixteenth, tau_syn=quarter),
        lift=True,
    )


def run(data: Path | None = None, **settings: object) -> Result:
    """Train in float and on the integers of a chip, and compare; for `settings`, see `geir.tasks`.

    Args:
        data: See `geir.tasks.pixels.load`.

    Returns:
        The result: `test_accuracy` in float; `rounded_accuracy` on integers without training on them;
        `quantized_accuracy` with; `integer_accuracy` of the integer model; the number of hidden `spikes` on all test
        images; and the numbers of `different_spikes` and `different_predictions` between the last two networks.

    Raises:
        FileNotFoundError: If the data does not exist, or `resume` is set and there is no network.
    """
    given = replace(Settings(), **settings)
    started = time.perf_counter()
    images = load(None if data is None else Path(data))
    target = TARGETS[given.target]
    torch.manual_seed(given.seed)
    model = network(images.train.tensors[0].shape[1], given.hidden, target)
    weights = given.out / f"{given.target}.pt"
    finished = restore_or_train(
        model,
        weights,
        given.resume,
        lambda: train(model, images.train, given, given.epochs, given.learning_rate, "float"),
    )
    further = train_further(model, images, target, given) if finished else None
    result: Result = {
        "task": "quantization",
        "target": given.target,
        "test_accuracy": None,
        "interrupted": further is None,
        "weights": str(weights),
    }
    return result | (further or {}) | {"seconds": round(time.perf_counter() - started, 1)}


def train_further(
    model: SequentialState, images: Data[TensorDataset], target: Target, settings: Settings
) -> Result | None:
    """Go on from the same weights in float and on integers, and compare the results; None after Ctrl-C."""
    quantized = quantize(model, target)
    rounded = accuracy(quantized, images.test, settings.steps)
    for candidate, kind in ((model, "float"), (quantized, settings.target)):
        if not train(candidate, images.train, settings, settings.more_epochs, settings.more_learning_rate, kind):
            return None
    return {
        "test_accuracy": accuracy(model, images.test, settings.steps),
        "rounded_accuracy": rounded,
        **compare(quantized, to_integer(quantized, target), images.test, settings.steps),
    }


def train(
    model: nn.Module, images: TensorDataset, settings: Settings, epochs: int, learning_rate: float, kind: str
) -> bool:
    """Train the largest potential of each readout neuron, until the end (True) or Ctrl-C (False)."""
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)

    def update(pixels: Tensor, labels: Tensor) -> float:
        potentials, _ = model(encode(pixels, settings.steps))
        return descend(optimizer, max_potential_loss(potentials, labels))

    return train_briefly(
        model,
        images,
        update,
        epochs=epochs,
        batch_size=settings.batch_size,
        seed=settings.seed,
        title=f"{kind}, ",
    )


@torch.no_grad()
def accuracy(model: nn.Module, images: TensorDataset, steps: int) -> float:
    """Share of test images whose label has the largest potential."""
    model.eval()
    hits = 0
    for x, y in _batches(images):
        hits += int((_predict(model(encode(x, steps))[0]) == y).sum())
    return hits / len(images)


@torch.no_grad()
def compare(quantized: SequentialState, integer: SequentialState, images: TensorDataset, steps: int) -> Result:
    """Accuracy of the quantized network and of its integer model, and how many hidden spikes differ."""
    quantized.eval()
    hits, integer_hits, spikes, different_spikes, different_predictions = 0, 0, 0, 0, 0
    for x, y in _batches(images):
        xs = encode(x, steps)
        (hidden, potentials), (integer_hidden, integer_potentials) = (_outputs(m, xs) for m in (quantized, integer))
        predicted, integer_predicted = _predict(potentials), _predict(integer_potentials)
        hits += int((predicted == y).sum())
        integer_hits += int((integer_predicted == y).sum())
        spikes += int(hidden.sum())
        different_spikes += int((hidden != integer_hidden).sum())
        different_predictions += int((predicted != integer_predicted).sum())
    return {
        "quantized_accuracy": hits / len(images),
        "integer_accuracy": integer_hits / len(images),
        "spikes": spikes,
        "different_spikes": different_spikes,
        "different_predictions": different_predictions,
    }


def _outputs(model: SequentialState, xs: Tensor) -> list[Tensor]:
    """Outputs of all layers of neurons."""
    outputs, _ = SequentialState(*model, lift=True, return_hidden=True)(xs)
    return [ys for module, ys in zip(model, outputs, strict=True) if isinstance(module, Dynamics)]


def _predict(potentials: Tensor) -> Tensor:
    return max_potential(potentials).argmax(-1)


def _batches(images: TensorDataset) -> Iterator[tuple[Tensor, Tensor]]:
    pixels, labels = images.tensors
    batches = zip(pixels.split(TEST_BATCH), labels.split(TEST_BATCH), strict=True)
    return iter(tqdm(list(batches), desc="test", leave=False, disable=None))


if __name__ == "__main__":
    parser = build_parser("quantization", __doc__, Settings(), data=MNIST_FILES, data_default="scikit-learn's digits")
    sys.exit(main(parser, run))
