"""Measure on the CPU and write a page, `python -m benchmarks`. Peers are measured where they are installed: `pip install geir[bench]`."""

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from . import connected, events, layers, network, picture, probes
from .report import head
from .timing import Bench, progress

RESULTS = Path(__file__).parent / "results"

Section = Callable[[Bench], str]

SECTIONS: dict[str, Section] = {
    "peers": layers.against_peers,
    "length": layers.by_length,
    "models": layers.against_copy,
    "recurrent": connected.section,
    "events": events.section,
    "network": network.section,
    "growth": layers.growth,
    "memory": probes.peaks,
    "first": probes.first_calls,
}


def measure(bench: Bench, sections: dict[str, Section]) -> str:
    """Run sections, whose titles are the first lines of their docstrings: the page."""
    # A kernel that cannot be made must not be measured as if it were one.
    warnings.filterwarnings("error", message=".*runs on the reference loop")
    parts = [head(bench)]
    for name, section in sections.items():
        progress(f"{name} ", end="")
        start = time.perf_counter()
        parts.append(f"## {section.__doc__}\n\n{section(bench)}\n")
        progress(f" {time.perf_counter() - start:.0f} s")
        print(parts[-1], flush=True)
    return "\n".join(parts)


def bandwidth(bench: Bench) -> float:
    """Bytes a second that `copy_` of 1 GiB reads and writes."""
    source = torch.zeros(2**28, device=bench.device)
    target = torch.zeros_like(source)
    return 2 * source.nbytes / bench.medians({"copy_": lambda: target.copy_(source)})["copy_"] * 1e3


def run(device: str, arguments: list[str] | None = None) -> None:
    """Measure all, or what was asked for; only the whole goes to the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks" if device == "cpu" else "python -m benchmarks.gpu")
    parser.add_argument("--rounds", type=int, default=7, help="how often each contestant takes its turn (default: 7)")
    parser.add_argument("--only", choices=SECTIONS, help="one section alone; it is printed, and no page written")
    parser.add_argument(
        "--no-compile", action="store_true", help="leave out torch.compile, which takes half a minute to compile"
    )
    options = parser.parse_args(arguments)
    bench = Bench(torch.device(device), options.rounds, compile=not options.no_compile)
    chosen = {options.only: SECTIONS[options.only]} if options.only else SECTIONS
    bench.bandwidth = bandwidth(bench)
    page, name = measure(bench, chosen), "cpu" if device == "cpu" else "gpu"
    if not options.only:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(page)
        picture.draw(bench, RESULTS / f"{name}.png")
        progress(f"written: {RESULTS / name}.md and .png")


if __name__ == "__main__":
    run("cpu")
