"""Measure layers and networks on the CPU and write a page: `python -m benchmarks`.

Other libraries are measured if they are installed: `pip install geir[bench]`.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from . import (
    annealing,
    calls,
    figure,
    gradients,
    layers,
    network,
    online,
    populations,
    probes,
    recurrent,
    sparse_inputs,
    spike_times,
)
from .report import page_header
from .timing import Bench, show_progress

RESULTS = Path(__file__).parent / "results"

# Measures, and returns the text of its section. The first line of its docstring is the title.
Section = Callable[[Bench], str]

SECTIONS: dict[str, Section] = {
    "peers": layers.against_peers,
    "length": layers.by_length,
    "models": layers.against_copy,
    "silence": layers.in_silence,
    "recurrent": recurrent.against_matrix_products,
    "sparse-inputs": sparse_inputs.against_dense_layers,
    "network": network.training_steps,
    "freed-memory": probes.freed_memory,
    "cells": calls.cell_calls,
    "streaming": calls.streaming,
    "deep": calls.deep_networks,
    "annealing": annealing.against_fixed_surrogate,
    "online": online.against_backpropagation,
    "online-memory": probes.online_memory,
    "gradients": gradients.compared,
    "spike-times": spike_times.against_steps,
    "populations": populations.against_brian2,
    "growth": layers.growth,
    "memory": probes.peak_memory,
    "first-call": probes.first_calls,
}


def write_page(bench: Bench, sections: dict[str, Section]) -> str:
    """Run sections, print each as it is done, and return the page."""
    # A model that runs on the reference loop must not be measured as if it had a kernel.
    warnings.filterwarnings("error", message=".*runs on the reference loop")
    parts = [page_header(bench)]
    for name, section in sections.items():
        show_progress(f"{name} ", end="")
        start = time.perf_counter()
        title = (section.__doc__ or name).splitlines()[0].removesuffix(".")
        parts.append(f"## {title}\n\n{section(bench)}\n")
        show_progress(f" {time.perf_counter() - start:.0f} s")
        print(parts[-1], flush=True)
    return "\n".join(parts)


def measure_bandwidth(bench: Bench) -> float:
    """Bytes per second that `copy_` of 1 GiB reads and writes."""
    source = torch.zeros(2**28, device=bench.device)
    target = torch.zeros_like(source)
    milliseconds = bench.time_jobs({"copy_": lambda: target.copy_(source)})["copy_"]
    return 2 * source.nbytes / milliseconds * 1e3


def build_parser(device: str) -> argparse.ArgumentParser:
    """Build the command line."""
    module, page = ("benchmarks", "cpu") if device == "cpu" else ("benchmarks.gpu", "gpu")
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description="Measure layers and networks of geir, PyTorch and the other libraries that are installed. "
        f"Prints the sections, and writes them to benchmarks/results/{page}.md with a figure, {page}.png.",
    )
    parser.add_argument("--rounds", type=int, default=7, help="number of turns of each contestant (default: 7)")
    parser.add_argument("--only", choices=SECTIONS, help="measure one section and print it, without writing the page")
    parser.add_argument(
        "--no-compile", action="store_true", help="skip torch.compile, which takes half a minute to compile"
    )
    return parser


def main(device: str, arguments: list[str] | None = None) -> None:
    """Measure on a device.

    Args:
        device: `cpu` or `cuda`.
        arguments: Command-line arguments. Default: those of the process.
    """
    options = build_parser(device).parse_args(arguments)
    bench = Bench(torch.device(device), options.rounds, compile=not options.no_compile)
    sections = {options.only: SECTIONS[options.only]} if options.only else SECTIONS
    bench.bandwidth = measure_bandwidth(bench)
    page = write_page(bench, sections)
    if not options.only:
        path = RESULTS / ("cpu.md" if device == "cpu" else "gpu.md")
        RESULTS.mkdir(exist_ok=True)
        path.write_text(page)
        figure.draw(bench, path.with_suffix(".png"))
        show_progress(f"written: {path} and {path.with_suffix('.png').name}")


if __name__ == "__main__":
    main("cpu")
