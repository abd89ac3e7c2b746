"""Learn the features of handwritten digits without labels, by STDP: `python -m geir.tasks.stdp --data mnist.npz`.

The network of P. Diehl & M. Cook, *Unsupervised learning of digit recognition using spike-timing-dependent plasticity*, 2015. Pixels are
Poisson spike trains; neurons inhibit one another, so that one wins; what it saw just before it fired is added to its weights; and
its threshold rises, so that others win next. Labels are used once, when nothing is learned any more, to name what each neuron stands for.

What differs from the paper, so that it takes minutes: images are shown in batches, side by side, and for 150 ms with up to 127.5 Hz instead
of 350 ms with 63.75 Hz; weights and thresholds move between presentations instead of within; neurons are driven by currents, not by
conductances, and inhibit one another directly; between presentations the network returns to rest at once instead of in 150 ms; potentiation
depends on the trace of the input alone, and what depresses is the normalisation; thresholds rise and fall about ten times faster, because
there is one pass instead of three; an image is given up at four times its brightness; the images that name the neurons are, by default, a
sixth of the training set.
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Settings:
    """What a run can be told. Each field is a flag of the command line."""

    neurons: int = field(default=400, metadata={"help": "neurons, each with one field of weights"})
    passes: int = field(default=1, metadata={"help": "times through the training images"})
    images: int = field(default=0, metadata={"help": "how many of the training images to take, the first; 0 takes all"})
    label_images: int = field(
        default=10_000, metadata={"help": "how many of them, at most, name the neurons after learning"}
    )
    batch_size: int = field(default=16, metadata={"help": "images shown side by side, between changes of the weights"})
    duration: float = field(default=0.15, metadata={"help": "seconds that an image is shown"})
    dt: float = field(default=1e-3, metadata={"help": "time step in seconds"})
    seed: int = field(
        default=0, metadata={"help": "seed of weights, spikes and order of images; the same seed gives the same run"}
    )
    out: Path = field(default=Path("runs/stdp"), metadata={"help": "folder for weights and picture, made if missing"})

    def __post_init__(self) -> None:
        for name in ("neurons", "passes", "label_images", "batch_size", "duration", "dt"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--{name.replace('_', '-')} must be positive, got {getattr(self, name)}.")
        if self.images < 0:
            raise ValueError(f"--images must be a number of images, or 0 for all, got {self.images}.")
        # At most one spike in a step.
        longest = min(self.duration, 1 / (RATE * MOST))
        if self.dt > longest:
            raise ValueError(f"--dt must be at most {longest:.3g} s, got {self.dt}.")


# Rate of a white pixel in Hz; what is added to it, in parts of itself, for an image that caused too few spikes; and how far that goes.
RATE, MORE, MOST, ENOUGH = 127.5, 0.5, 4.0, 5

DEFAULTS = Settings()


class DiehlCook(nn.Module):
    """Neurons that compete for what they see, and learn it.

    Weights lie between 0 and 1; those of a neuron sum to a tenth of the number of inputs.

    Args:
        inputs: Number of inputs.
        neurons: Number of neurons.
        dt: Step size in seconds.
        generator: Source of the initial weights.
    """

    tau_syn, tau_trace, tau_threshold = 1e-3, 20e-3, 1e3  # seconds
    eta = 0.01  # learning rate
    lowest = 2.5  # Hz: a neuron whose field fires at this mean rate just reaches its threshold at rest
    rise = 0.05  # of the threshold by a spike, in parts of that at rest
    inhibition = 5.0  # by which a spike lowers the others' potentials, in the same unit

    def __init__(self, inputs: int, neurons: int, dt: float, generator: torch.Generator):
        super().__init__()
        self.sum = 0.1 * inputs
        self.v_th = self.lowest * self.tau_syn * self.sum
        tau_mem = 100e-3
        self.cells = LIFRefracRecurrent(
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
        self.requires_grad_(False)  # nothing here learns by gradients
        self.normalise()

    @property
    def weights(self) -> Tensor:
        """The field of each neuron, shape (neurons, inputs)."""
        weights: Any = self.cells.input_weights
        return weights

    def forward(self, xs: Tensor) -> Tensor:
        """Input spikes (time, batch, inputs) to spikes (time, batch, neurons), from rest."""
        return self.cells(xs)[0]

    def learn(self, xs: Tensor, zs: Tensor) -> None:
        r"""Change weights and thresholds by what was seen, `xs`, and what was answered, `zs`.

        At every spike of a neuron its weights grow by :math:`\eta` times the trace of the inputs, to which a spike adds one and which decays
        with `tau_trace`; then they are clipped and normalised. Its threshold rises with every spike, and falls back over `tau_threshold`.
        """
        step, sample, neuron = zs.nonzero(as_tuple=True)
        # A leaky integrator of input held over a step moves by this much of it.
        gain = -math.expm1(-self.trace.dt / self.tau_trace)
        traces = self.trace(xs)[0][step, sample] / gain
        self.weights.index_add_(0, neuron, self.eta * traces).clamp_(0, 1)
        self.normalise()
        seconds = xs.shape[0] * xs.shape[1] * self.trace.dt
        raised = (self.cells.v_th - self.v_th) * math.exp(-seconds / self.tau_threshold)
        self.cells.v_th.copy_(self.v_th + raised + self.rise * self.v_th * zs.sum((0, 1)))

    def normalise(self) -> None:
        """Scale the weights of each neuron to their sum."""
        self.weights.mul_(self.sum / self.weights.sum(1, keepdim=True))


@torch.inference_mode()
def show(
    model: DiehlCook,
    images: Tensor,
    settings: Settings,
    title: str,
    stopped: Callable[[], bool],
    generator: torch.Generator,
    learn: bool = False,
) -> Tensor:
    """Show images, those that cause fewer than five spikes again and brighter.

    Args:
        model: The network, which learns from every presentation if `learn` is set.
        images: Intensities in [0, 1], shape (number, inputs).
        settings: How.
        title: What the progress bar says.
        stopped: Whether to stop early.
        generator: Source of the spikes.
        learn: Whether the model learns.

    Returns:
        Spikes of each neuron for each image, shape (number, neurons); for an image shown several times, those of the last.
    """
    steps, taken, spikes = round(settings.duration / settings.dt), 0, 0.0
    counts = torch.zeros(len(images), settings.neurons)
    shown, brightness = torch.zeros(0, dtype=torch.long), torch.zeros(0)
    with tqdm(total=len(images), desc=title, unit="image", disable=None) as bar:
        while (taken < len(images) or len(shown)) and not stopped():
            fresh = torch.arange(taken, min(len(images), taken + settings.batch_size - len(shown)))
            taken += len(fresh)
            shown, brightness = torch.cat([shown, fresh]), torch.cat([brightness, torch.ones(len(fresh))])
            x = images[shown] * brightness[:, None] / MOST
            xs = poisson(x, steps, f_max=RATE * MOST, dt=settings.dt, generator=generator)
            zs = model(xs)
            if learn:
                model.learn(xs, zs)
            counts[shown] = zs.sum(0)
            again = (counts[shown].sum(1) < ENOUGH) & (brightness < MOST)
            bar.update(int((~again).sum()))
            spikes += zs.sum().item()
            bar.set_postfix(spikes_per_image=f"{spikes / max(1, bar.n):.1f}", refresh=False)
            shown, brightness = shown[again], brightness[again] + MORE
    return counts


def name_neurons(counts: Tensor, labels: Tensor, classes: int = 10) -> Tensor:
    """The class for which each neuron fires most on average; -1 for one that does not fire.

    Args:
        counts: Spikes, shape (images, neurons).
        labels: Classes of the images, shape (images,).
        classes: Number of classes.
    """
    return torch.where(counts.sum(0) > 0, _mean_over(counts.t(), labels, classes).argmax(1), -1)


def classify(counts: Tensor, names: Tensor, classes: int = 10) -> Tensor:
    """The class whose neurons fire most on average, for each image."""
    named = names >= 0
    return _mean_over(counts[:, named], names[named], classes).argmax(1)


def _mean_over(values: Tensor, groups: Tensor, number: int) -> Tensor:
    """The mean of the columns of each group; 0 for a group without any."""
    members = functional.one_hot(groups, number).to(values.dtype)
    return values @ members / members.sum(0).clamp(min=1)


def run(data: Path | str | None = None, **settings: Any) -> dict[str, Any]:
    """Learn, name the neurons, and test; settings as on the command line, with underscores. Returns the figures of the run."""
    chosen = Settings(**{**vars(DEFAULTS), **settings})
    (images, labels), test = load(data)
    if chosen.images > len(images):
        raise ValueError(f"--images must be at most {len(images)}, the number of training images, got {chosen.images}.")
    images, labels = images[: chosen.images or None], labels[: chosen.images or None]
    started, worked = time.perf_counter(), time.process_time()
    generator = torch.Generator().manual_seed(chosen.seed)
    model = DiehlCook(images.shape[1], chosen.neurons, chosen.dt, generator)
    result: dict[str, Any] = {
        "task": "stdp",
        "train_images": len(images),
        "test_images": len(test[0]),
        "neurons": chosen.neurons,
    }
    out = Path(chosen.out)
    out.mkdir(parents=True, exist_ok=True)
    with stop_on_interrupt() as stopped:
        for k in range(chosen.passes):
            order = torch.randperm(len(images), generator=generator)
            show(
                model, images[order], chosen, f"learning, pass {k + 1}/{chosen.passes}", stopped, generator, learn=True
            )
        naming = slice(-chosen.label_images, None)
        names = name_neurons(show(model, images[naming], chosen, "naming neurons", stopped, generator), labels[naming])
        answers = classify(show(model, test[0], chosen, "testing", stopped, generator), names)
        result["interrupted"] = stopped()
    if not result["interrupted"]:
        result["test_accuracy"] = (answers == test[1]).double().mean().item()
        result["silent_neurons"] = int((names < 0).sum())
    result |= {
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - worked, 1),
    }
    weights, figure = out / "weights.pt", out / "stdp.png"
    write_atomically(weights, lambda file: torch.save(model.state_dict(), file))
    side = math.isqrt(images.shape[1])
    draw_fields(model.weights.reshape(-1, side, side), figure)
    return result | {"weights": str(weights), "figure": str(figure)}


def load(data: Path | str | None) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Images, as intensities (number, pixels), and labels, to train on and to test: MNIST, or scikit-learn's digits."""
    if data is None:
        parts: Any = load_digits()
        pairs = parts.train.tensors, parts.test.tensors
    else:
        train_images, train_labels, test_images, test_labels = (torch.from_numpy(array) for array in read(Path(data)))
        pairs = (train_images / 255, train_labels), (test_images / 255, test_labels)
    train, test = ((images.flatten(1), labels.long()) for images, labels in pairs)
    return train, test


if __name__ == "__main__":
    description = "Learn the features of handwritten digits without labels, by STDP. The last line printed is a JSON object with the result."
    arguments = build_parser("stdp", description, DEFAULTS)
    arguments.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="MNIST as for geir.tasks.mnist (default: the 8x8 digits of scikit-learn)",
    )
    sys.exit(main(arguments, run, None))
