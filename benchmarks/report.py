"""The text of a page: tables, and a description of the machine."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from .timing import Bench, SLOW_MS, SLOW_TURNS

LIBRARIES = ("geir", "torch", "norse", "snntorch", "spikingjelly", "sinabs", "jax", "spyx")


def format_number(value: object) -> str:
    """Format a float with three digits, None and NaN as a dash, and anything else with `str`."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    if value != value:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 1:
        return f"{value:.2f}"
    return f"{value:.3g}"


def format_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a Markdown table; all columns but the first are right-aligned."""
    rule = ["---", *["--:"] * (len(header) - 1)]
    lines = [header, rule, *([format_number(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cache_bytes(device: torch.device) -> int:
    """Size of the last-level cache in bytes; 0 if unknown."""
    if device.type == "cuda":
        return getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0)
    try:
        sizes = [path.read_text().strip() for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    except OSError:
        sizes = []
    return max((int(size.removesuffix("K")) * 1024 for size in sizes if size.endswith("K")), default=0)


def describe_size(device: torch.device, steps: int, neurons: int) -> str:
    """Describe how much memory input, output and their gradients take, and whether that fits into the cache."""
    total = 4 * 4 * steps * neurons
    cache = cache_bytes(device)
    if not cache:
        place = ""
    elif total < cache / 2:
        place = ", in cache"
    elif total < 4 * cache:
        place = ", partly in cache"
    else:
        place = ", out of cache"
    return f"T={steps}, {neurons:,} neurons: input, output and their gradients take {total / 2**20:,.0f} MiB{place}"


def describe_machine(device: torch.device) -> str:
    """Describe processor, threads, cache and C compiler."""
    cache = f", last-level cache {cache_bytes(device) / 2**20:.0f} MiB" if cache_bytes(device) else ""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}{cache}, host processor {_processor_name()}"
    return (
        f"{_processor_name()} ({platform.machine()}), {torch.get_num_threads()} threads{cache}, {_compiler_version()}"
    )


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def _compiler_version() -> str:
    try:
        result = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "no C compiler"
    return result.stdout.splitlines()[0]


def _describe_versions() -> str:
    versions = []
    for library in LIBRARIES:
        try:
            versions.append(f"{library} {importlib.metadata.version(library)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{library} not installed")
    return ", ".join([*versions, f"Python {platform.python_version()}"])


def page_header(bench: Bench) -> str:
    """The top of the page: machine, versions, and how the contestants are measured and compared."""
    spikingjelly_kernel = (
        "it selects its kernel itself on CUDA"
        if bench.device.type == "cuda"
        else "a PyTorch loop on the CPU, where it has no kernels"
    )
    return f"""# Benchmarks

{describe_machine(bench.device)}; {_describe_versions()}.

All contestants run in one process and take turns in random order. Each timed run follows an untimed
run of the same contestant. Times are medians of {bench.rounds} turns; contestants that take more
than {SLOW_MS / 1e3} s take {SLOW_TURNS} turns, without the untimed run. The input is random, in
float32. Before it is timed, each contestant must show that it iterates over time: a change of its
input at one step changes its output at later steps and never at earlier ones.

*Forward* is without gradients. *Forward + backward* computes the gradient of the input and, for a
recurrent layer or a network, of the weights. *Spikes* is the fraction of neurons that spike in a
step.

The equations of the other libraries are as close as each library allows to those of geir's LIF: a
synaptic current, a membrane, and a reset to a fixed value that passes no gradient.

- Norse and sinabs: the same equations; Norse integrates them with Euler steps.
- snnTorch's Synaptic: the same equations, but with its default reset by subtraction, which is
  faster there. Its Leaky is the same without the synaptic current, like geir's LIFBox.
- SpikingJelly's LIFNode, multi-step ({spikingjelly_kernel}): no synaptic current, like geir's
  LIFBox. Its FlexSN runs geir's equations, written as a user-defined neuron.
- JAX: the same equations, integrated exactly as by geir, in `jax.lax.scan` under `jax.jit`. Spyx's
  CuBaLIF: as snnTorch's Synaptic, but its reset passes a gradient.
- The surrogate derivative is SuperSpike or one of the same cost. Thresholds are scaled so that all
  contestants spike at about the same rate.
- The layers of Norse and sinabs, and FlexSN on the CPU, index `xs[t]`, whose backward pass is
  quadratic in T. For comparison, Norse's cell is also run in a loop that avoids this.
"""
