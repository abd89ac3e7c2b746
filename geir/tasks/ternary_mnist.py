"""Train ternary weights with binary spikes on MNIST: `python -m geir.tasks.ternary_mnist --data FILE`.

A network that fits five cores of TrueNorth: four cores see windows of 16 x 16 pixels, 12 pixels apart, with 64 neurons
each, and a fifth has 25 output neurons for each digit. All weights are -1, 0 or 1 times one scale for each layer
(`geir.hardware.Ternary`), neurons integrate without leak (`IAF`), inputs and outputs are spikes, and the digit is the
one whose output neurons spike most. Thresholds are learned too. Since all inputs of a neuron are multiples of the
scale, its threshold can be rounded to one without changing a spike: `deploy` returns the network with integers.
``--real`` trains real weights instead, for comparison.

Reference: S. Esser et al., *Backpropagation for energy-efficient neuromorphic computing*, 2015. There, probabilities of
spikes and of synapses are trained and sampled at deployment; here, spikes and ternary weights by surrogate derivatives.
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import nn, Tensor
from torch.nn import functional
from torch.nn.utils import parametrize
from torch.utils.data import TensorDataset

from ..containers import Lift, SequentialState
from ..core.parameters import learnable
from ..decode import rate
from ..hardware import Ternary
from ..neurons import IAF
from ..surrogates import ATan
from . import pixels
from .catalog import Published
from .command_line import build_parser, main, MNIST_FILES, Result
from .data import Data, recognized
from .settings import setting
from .training import Settings, train

PUBLISHED = Published(
    "test_accuracy",
    "92.7 %; ensemble of 64 larger networks 99.42 %",
    "S. Esser et al., 2015",
)
CLASSES, VOTERS = 10, 25
# Windows: cores in a row, pixels in a row, distance, neurons.
CORES, WINDOW, STRIDE, NEURONS = 2, 16, 12, 64
V_TH = 0.5
# Indices of the connections in the network; each is followed by its neurons.
CONNECTIONS = (0, 3)
# The rates of a class's output neurons are multiplied by this and used as logits.
GAIN = 20.0


@dataclass(frozen=True)
class TernarySettings(Settings):
    """Settings of a training run with ternary weights."""

    steps: int = setting(8, "time steps, the largest number of spikes of a pixel")
    real: bool = setting(False, "train real weights instead of ternary ones")


DEFAULTS = TernarySettings(epochs=10, batch_size=64, learning_rate=4e-3, decay=0.75, out=Path("runs/ternary_mnist"))


def network(real: bool = False) -> SequentialState:
    """Two layers of IAF neurons, and the share of spiking neurons of each class."""
    cores, hidden, outputs = CORES**2, CORES**2 * NEURONS, CLASSES * VOTERS
    # A convolution over one pixel with groups: each core has its own inputs and weights.
    windows = nn.Conv2d(cores * WINDOW**2, hidden, 1, groups=cores, bias=False)
    last = nn.Linear(hidden, outputs, bias=False)
    if not real:
        for layer in (windows, last):
            parametrize.register_parametrization(layer, "weight", Ternary())
    return SequentialState(
        Lift(windows),
        IAF(v_th=learnable(torch.full((hidden, 1, 1), V_TH)), surrogate=ATan()),
        Lift(nn.Flatten()),
        Lift(last),
        IAF(v_th=learnable(torch.full((outputs,), V_TH)), surrogate=ATan()),
        Lift(nn.AvgPool1d(VOTERS)),
    )


def deploy(model: SequentialState) -> SequentialState:
    """A trained network with weights -1, 0 and 1 and integer thresholds; it gives the same spikes.

    Raises:
        ValueError: If the weights are not ternary.
    """
    deployed = network(real=True)
    state = deployed.state_dict()
    for k in CONNECTIONS:
        weight = cast(nn.Linear | nn.Conv2d, cast(Lift, model[k]).module).weight.detach()
        thresholds = cast(Tensor, cast(IAF, model[k + 1]).v_th).detach()
        scale = weight.abs().max()
        integers = weight / scale
        if not torch.equal(integers, integers.round()):
            raise ValueError("deploy expected ternary weights, got real ones; train without --real.")
        state[f"{k}.module.weight"] = integers
        # A multiple of the scale exceeds the threshold where its factor exceeds the integer below.
        state[f"{k + 1}.v_th"] = (thresholds / scale).floor()
    deployed.load_state_dict(state)
    return deployed


def load(path: Path) -> Data[TensorDataset]:
    """Load MNIST with pixels in [0, 1].

    Args:
        path: See `geir.tasks.mnist.read`.

    Raises:
        FileNotFoundError: If `path`, or a file in that folder, does not exist.
        ValueError: If a file does not hold MNIST.
    """
    images = pixels.load(path)
    count = partial(recognized, decode=rate)
    return Data(images.train, images.test, encode=encode, loss=vote_loss, count_answers=count)


def encode(x: Tensor, steps: int) -> Tensor:
    """Evenly spaced spikes of the pixels of all windows, shape (steps, batch, 1024, 1, 1), from (batch, 784)."""
    windows = x.unflatten(1, (28, 28)).unfold(1, WINDOW, STRIDE).unfold(2, WINDOW, STRIDE)
    return pixels.encode(windows.flatten(1), steps)[..., None, None]


def vote_loss(shares: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the rates, shape (time, batch, classes)."""
    return functional.cross_entropy(GAIN * rate(shares), labels)


def run(data: Path | str, **settings: object) -> Result:
    """Train and evaluate on MNIST; for `data`, see `geir.tasks.mnist.read`, for `settings` `geir.tasks`."""
    given = replace(DEFAULTS, **settings)
    return train("ternary_mnist", partial(network, given.real), load(Path(data)), given)


if __name__ == "__main__":
    parser = build_parser("ternary_mnist", __doc__, DEFAULTS, data=MNIST_FILES)
    sys.exit(main(parser, run, several_processes=True))
