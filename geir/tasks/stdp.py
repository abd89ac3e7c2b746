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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from ..encode import poisson
from . import pixels
from .command_line import build_parser, main, MNIST_FILES, Result, stop_on_interrupt
from .diehl_cook import DiehlCook
from .figure import draw_fields
from .files import write_atomically
from .neuron_classes import assign_classes, classify
from .settings import out_setting, seed_setting, setting, TaskSettings

# Rate of a white pixel at the initial brightness.
MAX_RATE_HZ = 127.5
# An image that causes fewer than MIN_SPIKES is presented again, brighter by BRIGHTNESS_STEP, up to MAX_BRIGHTNESS.
MIN_SPIKES = 5
BRIGHTNESS_STEP = 0.5
MAX_BRIGHTNESS = 4.0


@dataclass(frozen=True)
class Settings(TaskSettings):
    """Settings of a run. Each field is a flag of the command line."""

    neurons: int = setting(400, "number of neurons, each with one field of weights")
    passes: int = setting(1, "number of passes through the training images")
    images: int = setting(0, "number of training images to use, from the first; 0 for all", allowed="not negative")
    label_images: int = setting(10_000, "largest number of training images used to assign classes to neurons")
    batch_size: int = setting(16, "number of images presented in parallel, between changes of the weights")
    duration: float = setting(0.15, "presentation time of an image in seconds")
    dt: float = setting(1e-3, "time step in seconds")
    seed: int = seed_setting("weights, spikes and order of images")
    out: Path = out_setting("stdp", "weights and figure")

    def __post_init__(self) -> None:
        super().__post_init__()
        # At most one spike in each step.
        longest = min(self.duration, 1 / (MAX_RATE_HZ * MAX_BRIGHTNESS))
        if self.dt > longest:
            raise ValueError(f"--dt must be at most {longest:.3g} s, got {self.dt}.")


DEFAULTS = Settings()


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
) -> Result:
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


def run(data: Path | str | None = None, **settings: object) -> Result:
    """Learn, assign classes to neurons, and test; for `data`, see `load`, for `settings` `geir.tasks`.

    Raises:
        ValueError: If a setting is out of range.
        FileNotFoundError: If there is no MNIST at `data`.
    """
    chosen = replace(DEFAULTS, **settings)
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
    result: Result = {
        "task": "stdp",
        "train_images": len(images),
        "test_images": len(test.images),
        "neurons": chosen.neurons,
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    with stop_on_interrupt() as stopped:
        result |= _learn_and_test(model, Images(images, labels), test, chosen, stopped, generator)
    result["seconds"] = round(time.perf_counter() - started, 1)
    result["cpu_seconds"] = round(time.process_time() - cpu_started, 1)
    weights, figure = chosen.out / "weights.pt", chosen.out / "stdp.png"
    write_atomically(weights, lambda file: torch.save(model.state_dict(), file))
    side = math.isqrt(images.shape[1])
    draw_fields(model.weights.reshape(-1, side, side), figure)
    return result | {"weights": str(weights), "figure": str(figure)}


def load(data: Path | str | None) -> tuple[Images, Images]:
    """The training and the test images of MNIST, or of scikit-learn's digits if no path is given."""
    samples = pixels.load(None if data is None else Path(data))
    return Images(*samples.train.tensors), Images(*samples.test.tensors)


if __name__ == "__main__":
    parser = build_parser("stdp", __doc__, DEFAULTS, data=MNIST_FILES, data_default="scikit-learn's digits")
    sys.exit(main(parser, run))
