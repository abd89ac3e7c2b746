"""What is on a page: tables, and what measured them."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from .timing import FEW, LONG, Bench

PACKAGES = ("geir", "torch", "norse", "snntorch", "spikingjelly", "sinabs")


def number(value: object) -> str:
    """Three digits; None and NaN as a dash."""
    if not isinstance(value, float):
        return "–" if value is None else str(value)
    if value != value:
        return "–"
    return (
        f"{value:,.0f}"
        if abs(value) >= 100
        else f"{value:.3g}"
        if abs(value) < 1
        else f"{value:.{1 if abs(value) >= 10 else 2}f}"
    )


def table(head: list[str], rows: Iterable[Sequence[object]]) -> str:
    """Markdown, numbers to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *([number(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cache_bytes(device: torch.device) -> int:
    """The last-level cache; 0 if the system does not tell."""
    if device.type == "cuda":
        return getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0)
    try:
        sizes = [path.read_text().strip() for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    except OSError:
        sizes = []
    return max((int(size.removesuffix("K")) * 1024 for size in sizes if size.endswith("K")), default=0)


def extent(device: torch.device, steps: int, neurons: int) -> str:
    """How much memory input, output and their gradients take, and whether a cache holds that."""
    total, cache = 4 * 4 * steps * neurons, cache_bytes(device)
    where = (
        ""
        if not cache
        else "in cache"
        if total < cache / 2
        else "partly in cache"
        if total < 4 * cache
        else "out of cache"
    )
    return f"T={steps}, {neurons:,} neurons: input, output and their gradients take {total / 2**20:,.0f} MiB" + (
        f", {where}" if where else ""
    )


def machine(device: torch.device) -> str:
    """Processor, threads, caches, compiler."""
    try:
        name = next(
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        )
    except (OSError, StopIteration):
        name = platform.processor()
    cache = f", last-level cache {cache_bytes(device) / 2**20:.0f} MiB" if cache_bytes(device) else ""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}{cache}, beside {name}"
    try:
        compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[
            0
        ]
    except (OSError, subprocess.CalledProcessError):
        compiler = "no cc"
    return f"{name} ({platform.machine()}), {torch.get_num_threads()} threads{cache}, {compiler}"


def head(bench: Bench) -> str:
    """The top of a page."""
    versions = []
    for library in PACKAGES:
        try:
            versions.append(f"{library} {importlib.metadata.version(library)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{library} not installed")
    cuda = (
        "on CUDA it chooses its kernel itself"
        if bench.device.type == "cuda"
        else "on a CPU a PyTorch loop, for it has no kernels there"
    )
    return f"""# Benchmarks

{machine(bench.device)}; {", ".join(versions)}, Python {platform.python_version()}.

All in one process, taking turns in random order, each right after a run of its own that is not counted; medians of {bench.rounds} turns
({FEW} for those that take more than {LONG / 1e3} s, which also run but once a turn). Random numbers as input, float32. Before it is timed, each
contestant must show that it iterates over time: a change of its input at one time changes its output later, and never before.

*Forward* is without gradients, *forward + backward* gives the gradient of the input (of a recurrent layer or a network: of the weights).
*Spikes* are the share of neurons that fire in a step.

The peers' equations are as near to geir's LIF (synaptic current, membrane, reset to a value whose gradient is detached) as each allows.

- Norse and sinabs: the same equations, Norse by Euler steps.
- snnTorch's Synaptic: the same, with reset by subtraction, its default, which is quicker there.
- SpikingJelly's LIFNode, multi-step ({cuda}): no synaptic current: what geir's LIFBox does. Its FlexSN runs geir's equations, as a user's neuron.
- Surrogate derivatives are SuperSpike's or as cheap. Thresholds are scaled so that all spike about alike.
- Norse's and sinabs' layers and FlexSN on a CPU read `xs[t]`, whose backward pass is quadratic in T. Beside Norse's layer stands its cell in a loop
  that avoids this.
"""
