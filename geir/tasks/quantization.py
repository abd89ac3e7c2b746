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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

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
from . import digits, mnist
from .command_line import add_mnist_argument, build_parser, check_positive_settings, main, Result, stop_on_interrupt
from .files import write_atomically
from .training import Data

# The chips whose integer arithmetic is known.
TARGETS = {"loihi2": LOIHI2, "xylo-audio-2": XYLO_AUDIO_2, "xylo-audio-3": XYLO_AUDIO_3, "xylo-imu": XYLO_IMU}
# Images in a batch of the test.
TEST_BATCH = 500


@dataclass(frozen=True)
class Settings:
    """Settings of a run. Each field is a flag of the command line."""

    target: str = field(default="loihi2", metadata={"help": f"chip: {', '.join(TARGETS)}"})
    epochs: int = field(default=10, metadata={"help": "number of passes over the training images in float"})
    more_epochs: int = field(default=3, metadata={"help": "further passes, in float and on integers"})
    batch_size: int = field(default=32, metadata={"help": "images per training step"})
    learning_rate: float = field(default=5e-3, metadata={"help": "learning rate of Adam in the first passes"})
    more_learning_rate: float = field(default=1e-3, metadata={"help": "learning rate in the further passes"})
    hidden: int = field(default=128, metadata={"help": "hidden neurons"})
    steps: int = field(default=12, metadata={"help": "time steps of 1 ms, the largest number of spikes of a pixel"})
    seed: int = field(default=0, metadata={"help": "seed of weights and image order; runs are reproducible"})
    out: Path = field(default=Path("runs/quantization"), metadata={"help": "folder for weights, created if missing"})
    resume: bool = field(default=False, metadata={"help": "go on from the network in the folder, trained in float"})

    def __post_init__(self) -> None:
        check_positive_settings(
            self, ("epochs", "more_epochs", "batch_size", "learning_rate", "more_learning_rate", "hidden", "steps")
        )
        if self.target not in TARGETS:
            raise ValueError(f"--target must be one of {', '.join(TARGETS)}, got {self.target!r}.")


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


def load(path: Path | None) -> Data[TensorDataset]:
    """Pixels in [0, 1], of MNIST if there is a path, else of scikit-learn's digits."""
    if path is None:
        data = digits.load()
        train, test = (TensorDataset(part.tensors[0].flatten(1), part.tensors[1]) for part in (data.train, data.test))
        return Data(train=train, test=test)
    arrays = mnist.read(path)
    return Data(
        train=_pixels(arrays.train_images, arrays.train_labels), test=_pixels(arrays.test_images, arrays.test_labels)
    )


def _pixels(images: Any, labels: Any) -> TensorDataset:
    return TensorDataset(torch.from_numpy(images).flatten(1).float() / 255, torch.from_numpy(labels).long())


def encode(pixels: Tensor, steps: int) -> Tensor:
    """Pixels in [0, 1] as evenly spaced spikes, shape (steps, ...)."""
    counts = torch.floor(torch.arange(steps + 1, device=pixels.device).view(-1, 1, 1) * pixels + 1e-6)
    return counts.diff(dim=0)


def run(data: Path | None = None, **settings: object) -> Result:
    """Train in float and on the integers of a chip, and compare.

    Args:
        data: MNIST, see `geir.tasks.mnist.read`; `None` for scikit-learn's digits.
        **settings: Settings by name, as on the command line, with underscores.

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
    finished = True
    if given.resume:
        if not weights.exists():
            raise FileNotFoundError(f"There is no trained network at {weights}; run without --resume first.")
        model.load_state_dict(torch.load(weights))
    else:
        finished = train(model, images.train, given, given.epochs, given.learning_rate, "float")
        given.out.mkdir(parents=True, exist_ok=True)
        write_atomically(weights, lambda file: torch.save(model.state_dict(), file))
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
    pixels, labels = images.tensors
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    order = torch.Generator().manual_seed(settings.seed)
    model.train()
    with stop_on_interrupt() as stopped:
        for epoch in range(epochs):
            shuffled = torch.randperm(len(labels), generator=order).split(settings.batch_size)
            total = 0.0
            for indices in tqdm(shuffled, desc=f"{kind}, epoch {epoch + 1}/{epochs}", leave=False, disable=None):
                potentials, _ = model(encode(pixels[indices], settings.steps))
                loss = max_potential_loss(potentials, labels[indices])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(indices)
                if stopped():
                    return False
            tqdm.write(f"{kind}, epoch {epoch + 1}/{epochs}  loss {total / len(labels):.4f}", file=sys.stderr)
    return True


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
    description = (
        "Train a spiking network in float and on the integers of a chip, and compare it with the integer model of the "
        "chip. Prints the result as a JSON object on the last line."
    )
    parser = build_parser("quantization", description, Settings())
    add_mnist_argument(parser, default="scikit-learn's digits")
    sys.exit(main(parser, run))
