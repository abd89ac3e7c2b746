"""Learn features of handwritten digits without labels, by STDP: `python -m geir.tasks.stdp --data mnist.npz`.

The network of P. Diehl & M. Cook, *Unsupervised learning of digit recognition using
spike-timing-dependent plasticity*, 2015. Pixels are Poisson spike trains. Neurons inhibit one another,
so that one of them wins; the input just before its spike is added to its weights; and its threshold
rises, so that other neurons win next. Labels are used only once, after learning, to assign a class to
each neuron.

Differences from the paper, which reduce the run to minutes:

- Images are presented in parallel batches, for 150 ms instead of 350 ms, with rates up to 127.5 Hz
  instead of 63.75 Hz.
- Weights and thresholds change between presentations instead of during them.
- Neurons are driven by currents instead of conductances, and inhibit one another directly.
- Between presentations, the network is reset to rest at once instead of within 150 ms.
- Potentiation depends only on the trace of the input; depression is due to the normalization.
- Thresholds rise and fall about ten times faster, because there is one pass instead of three.
- An image is skipped at four times its brightness.
- By default, only a sixth of the training set is used to assign classes.
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, NamedTuple

import torch
from torch import nn, Tensor
from torch.nn import functional
from tqdm import tqdm

from ..encode import poisson
from ..neurons import LIBox, LIFRefracRecurrent
from .command_line import build_parser, main, stop_on_interrupt
from .digits import load as load_digits
from .figure import draw_fields
from .files import write_atomically
from .mnist import read

# Rate of a white pixel at the initial brightness.
MAX_RATE_HZ = 127.5
# An image that causes fewer than MIN_SPIKES is presented again, brighter by BRIGHTNESS_STEP, up to MAX_BRIGHTNESS.
MIN_SPIKES = 5
BRIGHTNESS_STEP = 0.5
MAX_BRIGHTNESS = 4.0


@dataclass(frozen=True)
class Settings:
    """Settings of a run. Each field is a flag of the command line."""

    neurons: int = field(default=400, metadata={"help": "number of neurons, each with one field of weights"})
    passes: int = field(default=1, metadata={"help": "number of passes through the training images"})
    images: int = field(default=0, metadata={"help": "number of training images to use, from the first; 0 for all"})
    label_images: int = field(
        default=10_000, metadata={"help": "largest number of training images used to assign classes to neurons"}
    )
    batch_size: int = field(
        default=16, metadata={"help": "number of images presented in parallel, between changes of the weights"}
    )
    duration: float = field(default=0.15, metadata={"help": "presentation time of an image in seconds"})
    dt: float = field(default=1e-3, metadata={"help": "time step in seconds"})
    seed: int = field(
        default=0, metadata={"help": "seed of weights, spikes and order of images; the same seed gives the same run"}
    )
    out: Path = field(default=Path("runs/stdp"), metadata={"help": "folder for weights and figure, created if missing"})

    def __post_init__(self) -> None:
        for name in ("neurons", "passes", "label_images", "batch_size", "duration", "dt"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--{name.replace('_', '-')} must be positive, got {getattr(self, name)}.")
        if self.images < 0:
            raise ValueError(f"--images must be a number of images, or 0 for all, got {self.images}.")
        # At most one spike in each step.
        longest = min(self.duration, 1 / (MAX_RATE_HZ * MAX_BRIGHTNESS))
        if self.dt > longest:
            raise ValueError(f"--dt must be at most {longest:.3g} s, got {self.dt}.")


DEFAULTS = Settings()


class DiehlCook(nn.Module):
    """Neurons that compete for their inputs and learn them.

    Weights are between 0 and 1; the weights of each neuron sum to a tenth of the number of inputs.

    Args:
        inputs: Number of inputs.
        neurons: Number of neurons.
        dt: Step size in seconds.
        generator: Random generator of the initial weights.
    """

    tau_syn = 1e-3  # seconds
    tau_trace = 20e-3  # seconds
    tau_threshold = 1e3  # seconds
    eta = 0.01  # learning rate
    # Mean rate of a neuron's field, in Hz, at which the neuron just reaches its threshold at rest.
    threshold_rate = 2.5
    # Rise of the threshold by a spike, relative to the threshold at rest.
    threshold_rise = 0.05
    # Decrease of the other neurons' potentials by a spike, relative to the threshold at rest.
    inhibition = 5.0

    def __init__(self, inputs: int, neurons: int, dt: float, generator: torch.Generator):
        super().__init__()
        self.weight_sum = 0.1 * inputs
        self.v_th = self.threshold_rate * self.tau_syn * self.weight_sum
        tau_mem = 100e-3
        # Type checkers do not know the signatures of named variants.
        self.cells = cast(Any, LIFRefracRecurrent)(
            inputs,
            neurons,
            tau_mem=tau_mem,
            tau_syn=self.tau_syn,
            period=5e-3,
            v_th=torch.full((neurons,), self.v_th),
            input_weights=0.3 * torch.rand(neurons, inputs, generator=generator),
            recurrent_weights=torch.full((neurons, neurons), -self.inhibition * self.v_th * tau_mem / self.tau_syn),
            dt=dt,
        )
        self.trace = LIBox(tau_mem=self.tau_trace, dt=dt)
        # Learning does not use gradients.
        self.requires_grad_(False)
        self.normalize()

    @property
    def weights(self) -> Tensor:
        """The field of each neuron, shape (neurons, inputs)."""
        return cast(Tensor, self.cells.input_weights)

    @property
    def thresholds(self) -> Tensor:
        """The threshold of each neuron, shape (neurons,)."""
        return cast(Tensor, self.cells.v_th)

    def forward(self, xs: Tensor) -> Tensor:
        """Run from rest: input spikes (time, batch, inputs) to spikes (time, batch, neurons)."""
        zs, _ = self.cells(xs)
        return zs

    def learn(self, xs: Tensor, zs: Tensor) -> None:
        r"""Update weights and thresholds from the inputs and spikes of a presentation.

        For each spike of a neuron, its weights grow by :math:`\eta` times the trace of the inputs, to
        which a spike adds one and which decays with `tau_trace`. The weights are then clipped and
        normalized. Each spike raises the threshold, which decays with `tau_threshold`.

        Args:
            xs: Input spikes, shape (time, batch, inputs).
            zs: Spikes of the neurons, shape (time, batch, neurons).
        """
        step, sample, neuron = zs.nonzero(as_tuple=True)
        # In one step, a leaky integrator moves by this fraction of an input that is held during the step.
        gain = -math.expm1(-self.trace.dt / self.tau_trace)
        traces = self.trace(xs)[0][step, sample] / gain
        self.weights.index_add_(0, neuron, self.eta * traces).clamp_(0, 1)
        self.normalize()
        steps, batch, _ = xs.shape
        seconds = steps * batch * self.trace.dt
        excess = (self.thresholds - self.v_th) * math.exp(-seconds / self.tau_threshold)
        self.thresholds.copy_(self.v_th + excess + self.threshold_rise * self.v_th * zs.sum((0, 1)))

    def normalize(self) -> None:
        """Scale the weights of each neuron to their fixed sum."""
        self.weights.mul_(self.weight_sum / self.weights.sum(1, keepdim=True))


@torch.inference_mode()
def present(
    model: DiehlCook,
    images: Tensor,
    settings: Settings,
    title: str,
    stopped: Callable[[], bool],
    generator: torch.Generator,
    learn: bool = False,
) -> Tensor:
    """Present images; those that cause fewer than five spikes are presented again, brighter.

    Args:
        model: The network, which learns from each presentation if `learn` is set.
        images: Intensities in [0, 1], shape (images, inputs).
        settings: Settings of the run.
        title: Title of the progress bar.
        stopped: Whether to stop early, called before each presentation.
        generator: Random generator of the spikes.
        learn: Whether the model learns.

    Returns:
        Spikes of each neuron for each image, in its last presentation; shape (images, neurons).
    """
    steps = round(settings.duration / settings.dt)
    counts = torch.zeros(len(images), settings.neurons)
    # Indices and brightness of the images of the current batch.
    batch = torch.zeros(0, dtype=torch.long)
    brightness = torch.zeros(0)
    next_image = 0
    spikes = 0.0
    with tqdm(total=len(images), desc=title, unit="image", disable=None) as bar:
        while (next_image < len(images) or len(batch)) and not stopped():
            added = torch.arange(next_image, min(len(images), next_image + settings.batch_size - len(batch)))
            next_image += len(added)
            batch = torch.cat([batch, added])
            brightness = torch.cat([brightness, torch.ones(len(added))])
            x = images[batch] * brightness[:, None] / MAX_BRIGHTNESS
            xs = poisson(x, steps, f_max=MAX_RATE_HZ * MAX_BRIGHTNESS, dt=settings.dt, generator=generator)
            zs = model(xs)
            if learn:
                model.learn(xs, zs)
            counts[batch] = zs.sum(0)
            repeat = (counts[batch].sum(1) < MIN_SPIKES) & (brightness < MAX_BRIGHTNESS)
            bar.update(int((~repeat).sum()))
            spikes += zs.sum().item()
            bar.set_postfix(spikes_per_image=f"{spikes / max(1, bar.n):.1f}", refresh=False)
            batch = batch[repeat]
            brightness = brightness[repeat] + BRIGHTNESS_STEP
    return counts


def assign_classes(counts: Tensor, labels: Tensor, classes: int = 10) -> Tensor:
    """The class for which each neuron has the highest mean number of spikes; -1 for a silent neuron.

    Args:
        counts: Numbers of spikes, shape (images, neurons).
        labels: Classes of the images, shape (images,).
        classes: Number of classes.
    """
    return torch.where(counts.sum(0) > 0, _group_means(counts.t(), labels, classes).argmax(1), -1)


def classify(counts: Tensor, neuron_classes: Tensor, classes: int = 10) -> Tensor:
    """The class whose neurons have the highest mean number of spikes, for each image.

    Args:
        counts: Numbers of spikes, shape (images, neurons).
        neuron_classes: Classes of the neurons, -1 for none, shape (neurons,).
        classes: Number of classes.
    """
    assigned = neuron_classes >= 0
    return _group_means(counts[:, assigned], neuron_classes[assigned], classes).argmax(1)


def _group_means(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """The mean of the columns of each group; 0 for an empty group."""
    members = functional.one_hot(groups, count).to(values.dtype)
    return values @ members / members.sum(0).clamp(min=1)


class Images(NamedTuple):
    """Labeled images."""

    images: Tensor  # intensities in [0, 1], shape (images, pixels)
    labels: Tensor  # shape (images,)


def _learn_and_test(
    model: DiehlCook,
    train: Images,
    test: Images,
    settings: Settings,
    stopped: Callable[[], bool],
    generator: torch.Generator,
) -> dict[str, Any]:
    """Whether the run was interrupted; if not, the test accuracy and the number of silent neurons too."""
    for k in range(settings.passes):
        order = torch.randperm(len(train.images), generator=generator)
        title = f"learning, pass {k + 1}/{settings.passes}"
        present(model, train.images[order], settings, title, stopped, generator, learn=True)
    labeled = slice(-settings.label_images, None)
    counts = present(model, train.images[labeled], settings, "assigning classes", stopped, generator)
    neuron_classes = assign_classes(counts, train.labels[labeled])
    test_counts = present(model, test.images, settings, "testing", stopped, generator)
    if stopped():
        return {"interrupted": True}
    correct = classify(test_counts, neuron_classes) == test.labels
    return {
        "interrupted": False,
        "test_accuracy": correct.double().mean().item(),
        "silent_neurons": int((neuron_classes < 0).sum()),
    }


def run(data: Path | str | None = None, **settings: Any) -> dict[str, Any]:
    """Learn, assign classes to neurons, and test.

    Args:
        data: Path of MNIST. Default: the 8x8 digits of scikit-learn.
        **settings: Fields of `Settings`.

    Returns:
        The results of the run, as values that JSON can hold.

    Raises:
        ValueError: If a setting is out of range.
        FileNotFoundError: If there is no MNIST at `data`.
    """
    chosen = Settings(**{**vars(DEFAULTS), **settings})
    train, test = load(data)
    if chosen.images > len(train.images):
        raise ValueError(
            f"--images must be at most {len(train.images)}, the number of training images, got {chosen.images}."
        )
    images = train.images[: chosen.images or None]
    labels = train.labels[: chosen.images or None]
    started = time.perf_counter()
    cpu_started = time.process_time()
    generator = torch.Generator().manual_seed(chosen.seed)
    model = DiehlCook(images.shape[1], chosen.neurons, chosen.dt, generator)
    result: dict[str, Any] = {
        "task": "stdp",
        "train_images": len(images),
        "test_images": len(test.images),
        "neurons": chosen.neurons,
    }
    out = Path(chosen.out)
    out.mkdir(parents=True, exist_ok=True)
    with stop_on_interrupt() as stopped:
        result |= _learn_and_test(model, Images(images, labels), test, chosen, stopped, generator)
    result["seconds"] = round(time.perf_counter() - started, 1)
    result["cpu_seconds"] = round(time.process_time() - cpu_started, 1)
    weights = out / "weights.pt"
    figure = out / "stdp.png"
    write_atomically(weights, lambda file: torch.save(model.state_dict(), file))
    side = math.isqrt(images.shape[1])
    draw_fields(model.weights.reshape(-1, side, side), figure)
    return result | {"weights": str(weights), "figure": str(figure)}


def load(data: Path | str | None) -> tuple[Images, Images]:
    """The training and the test images of MNIST, or of scikit-learn's digits if no path is given."""
    if data is None:
        parts: Any = load_digits()
        pairs = parts.train.tensors, parts.test.tensors
    else:
        train_images, train_labels, test_images, test_labels = (torch.from_numpy(array) for array in read(Path(data)))
        pairs = (train_images / 255, train_labels), (test_images / 255, test_labels)
    train, test = (Images(images.flatten(1), labels.long()) for images, labels in pairs)
    return train, test


if __name__ == "__main__":
    description = (
        "Learn features of handwritten digits without labels, by STDP. "
        "The last line of the output is a JSON object with the result."
    )
    arguments = build_parser("stdp", description, DEFAULTS)
    arguments.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="MNIST, as for geir.tasks.mnist (default: the 8x8 digits of scikit-learn)",
    )
    sys.exit(main(arguments, run, None))
