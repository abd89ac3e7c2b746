"""Measure memory and time of a training step of whole networks: `python -m benchmarks.training_memory`.

Writes the page `benchmarks/results/training_memory.md`. SpikingJelly and snnTorch are measured if they are installed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor

import geir

from .contestants import select_installed
from .network import FoldTime
from .peers import SnnTorch, snntorch_settings, SpikingJelly, spikingjelly_node
from .probes import MAP_EACH_TENSOR, read_memory, restart_peak
from .recurrent import geir_layer, snntorch_layer, spikingjelly_layer
from .report import describe_machine, format_table
from .timing import show_progress

# Channels of the convolutions of VGG11; M is a pooling layer.
VGG11 = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
IMAGES, SIZE, CLASSES = 16, 32, 10
# Standard deviation of the weights, times the square root of their fan-in, with which all layers spike.
GAIN = 4.0

RECURRENT_BATCH, RECURRENT_SIZE = 64, 512
TURNS = 3


def vgg_layers(neuron: Callable[[], nn.Module], over_time: Callable[[nn.Module], nn.Module]) -> list[nn.Module]:
    """VGG11 for images of 32 x 32."""
    torch.manual_seed(0)
    layers, channels = list[nn.Module](), 3
    for entry in VGG11:
        if entry == "M":
            layers.append(over_time(nn.MaxPool2d(2)))
            continue
        convolution = nn.Conv2d(channels, int(entry), 3, padding=1, bias=False)
        nn.init.normal_(convolution.weight, std=GAIN * convolution.weight[0].numel() ** -0.5)
        layers += [over_time(convolution), neuron()]
        channels = int(entry)
    return [*layers, over_time(nn.Flatten()), over_time(nn.Linear(channels, CLASSES))]


def geir_vgg(**settings: Any) -> nn.Module:
    """The network of geir, with its kernels or with PyTorch's operators and gradients."""
    return geir.SequentialState(*vgg_layers(lambda: geir.LIF(**settings), geir.Lift))


def compressed(model: nn.Module, xs: Tensor) -> Tensor:
    """With spikes kept as bits."""
    with geir.compress_spikes():
        return model(xs)[0]


def checkpointed(model: nn.Module, xs: Tensor, steps: int, compress: bool = False) -> Tensor:
    """In chunks of some steps, with or without spikes kept as bits."""
    with geir.compress_spikes() if compress else nullcontext():
        return geir.checkpoint(model, xs, steps=steps)[0]


def spikingjelly_vgg() -> nn.Module:
    """As in SpikingJelly's documentation: multi-step modules; layers without state run on all steps at once."""
    from spikingjelly.activation_based import layer

    return SpikingJelly(*vgg_layers(spikingjelly_node, layer.SeqToANNContainer))


def spikingjelly_optimized() -> nn.Module:
    """The first level of SpikingJelly's memory optimization: it runs neurons again, and compresses their input."""
    from spikingjelly.activation_based import memopt, neuron

    model = spikingjelly_vgg()
    xs = make_images(2)[:, :1]
    memopt.optimize_memory(model, neuron.LIFNode, lambda network: network(xs), level=1)
    return model


def snntorch_vgg() -> nn.Module:
    """snnTorch's cells in loops over time; layers without state run on all steps at once."""
    import snntorch

    return nn.Sequential(*vgg_layers(lambda: SnnTorch(snntorch.Synaptic(**snntorch_settings())), FoldTime))


def make_images(steps: int) -> Tensor:
    """Make images that are shown for some steps."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(IMAGES, 3, SIZE, SIZE, generator=generator).expand(steps, -1, -1, -1, -1)


def make_spikes(steps: int) -> Tensor:
    """Make input spikes of the recurrent layer."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(steps, RECURRENT_BATCH, RECURRENT_SIZE, generator=generator) < 0.05).float()


def plain(model: Any, xs: Tensor) -> Tensor:
    """One pass over all steps."""
    ys = model(xs)
    return ys[0] if isinstance(ys, tuple) else ys


class Contestant(NamedTuple):
    """Builds a network, and runs it."""

    build: Callable[[], nn.Module]
    run: Callable[[Any, Tensor], Tensor] = plain


class Case(NamedTuple):
    """A network in several variants."""

    title: str
    make_input: Callable[[int], Tensor]
    steps: tuple[int, ...]
    contestants: dict[str, Contestant]


CASES = {
    "vgg": Case(
        f"VGG11 for images of {SIZE} x {SIZE}, {IMAGES} images",
        make_images,
        (50,),
        {
            "geir": Contestant(geir_vgg),
            "geir, reference loop": Contestant(partial(geir_vgg, unroll=geir.reference)),
            "geir, `compress_spikes`": Contestant(geir_vgg, compressed),
            "geir, `checkpoint` of 13 steps": Contestant(geir_vgg, partial(checkpointed, steps=13)),
            "geir, both, 13 steps": Contestant(geir_vgg, partial(checkpointed, steps=13, compress=True)),
            "geir, both, 7 steps": Contestant(geir_vgg, partial(checkpointed, steps=7, compress=True)),
            "SpikingJelly": Contestant(spikingjelly_vgg),
            "SpikingJelly, `optimize_memory`": Contestant(spikingjelly_optimized),
            "snnTorch": Contestant(snntorch_vgg),
        },
    ),
    "recurrent": Case(
        f"A recurrent layer of {RECURRENT_SIZE} neurons with as many inputs, {RECURRENT_BATCH} samples",
        make_spikes,
        (50, 500),
        {
            "geir": Contestant(partial(geir_layer, RECURRENT_SIZE)),
            "geir, `checkpoint` of 25 steps": Contestant(
                partial(geir_layer, RECURRENT_SIZE), partial(checkpointed, steps=25)
            ),
            "SpikingJelly": Contestant(partial(spikingjelly_layer, RECURRENT_SIZE)),
            "snnTorch": Contestant(partial(snntorch_layer, RECURRENT_SIZE)),
        },
    ),
}


def probe(case: str, name: str, steps: int) -> dict[str, float]:
    """Bytes that forward and backward add to the network and its input, and seconds, the median of some turns."""
    contestant = CASES[case].contestants[name]
    model = contestant.build()
    xs = CASES[case].make_input(steps)

    def train() -> None:
        model.zero_grad()
        contestant.run(model, xs).sum().backward()

    train()
    model.zero_grad()
    geir.empty_cache()  # what geir keeps for later results counts as well
    before, seconds = restart_peak(xs.device), list[float]()
    for _ in range(TURNS):
        start = time.perf_counter()
        train()
        seconds.append(time.perf_counter() - start)
    return {"added": read_memory(xs.device).peak - before, "seconds": statistics.median(seconds)}


def measure(case: str) -> str:
    """Measure one case, each contestant in a new process."""
    title, _, lengths, contestants = CASES[case]
    parts = []
    for steps in lengths:
        results = {}
        for name in select_installed(contestants):
            show_progress(f"{name} ", end="")
            command = [sys.executable, "-m", "benchmarks.training_memory", "--probe", case, name, str(steps)]
            environment = os.environ | MAP_EACH_TENSOR
            text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            results[name] = json.loads(text.splitlines()[-1])
        reference = results["geir"]
        rows: list[list[object]] = [
            [
                name,
                result["added"] / 2**20,
                result["added"] / reference["added"],
                result["seconds"],
                result["seconds"] / reference["seconds"],
            ]
            for name, result in results.items()
        ]
        header = ["", "memory, MiB", "ratio to geir", "seconds", "ratio to geir"]
        parts.append(f"## {title}, T={steps}\n\n{format_table(header, rows)}\n")
    return "\n".join(parts)


def main() -> None:
    """Measure all cases, print them, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_memory", description=__doc__)
    parser.add_argument("--only", choices=CASES, help="measure one network and print it, without writing the page")
    parser.add_argument("--probe", nargs=3, metavar=("CASE", "NAME", "STEPS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe:
        case, name, steps = options.probe
        print(json.dumps(probe(case, name, int(steps))))
        return
    text = (
        f"# Memory of training whole networks\n\n{describe_machine(torch.device('cpu'))}.\n\n"
        "Forward and backward, each in a new process, where glibc maps each large tensor separately "
        "(`MALLOC_MMAP_THRESHOLD_`). *Memory* is the peak (VmHWM) in addition to what the process used before, with "
        f"the gradients of the weights. Times are medians of {TURNS} turns.\n\n"
    )
    text += "\n".join(map(measure, [options.only] if options.only else CASES))
    print(text)
    if not options.only:
        (Path(__file__).parent / "results" / "training_memory.md").write_text(text)


if __name__ == "__main__":
    main()
