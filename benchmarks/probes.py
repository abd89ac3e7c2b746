"""What only a new process can tell: peak memory, and how long the first call takes. Run as a module, it is that process."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import geir

from .contestants import LIFS, QUADRATIC, installed
from .report import table
from .timing import Bench, progress

NEURONS, STEPS = 65536, 1000

# The least memory that a contestant can do with: without it, the peak of the loops changes threefold from run to run.
EXACT = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def memory(device: torch.device) -> tuple[int, int]:
    """Bytes that are used now, and the most that ever were. (getrusage would count the parent's.)"""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    now, most = (int(status[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def peak(device: torch.device, name: str, steps: str) -> dict[str, float]:
    """What forward and backward add to input and output's gradient, in bytes."""
    run, shape = LIFS[name]().to(device), (int(steps), 1, NEURONS)
    run(torch.rand(50, 1, 64, requires_grad=True, device=device)).sum().backward()
    xs, dzs = torch.rand(shape, requires_grad=True, device=device), torch.rand(shape, device=device)
    before = memory(device)[0]
    run(xs).backward(dzs)
    return {"added": memory(device)[1] - before}


def first(device: torch.device) -> dict[str, float]:
    """Seconds of the first forward and backward, autograd itself having run before."""
    xs = torch.rand(50, 100, requires_grad=True, device=device)
    torch.rand(3, requires_grad=True, device=device).sum().backward()
    start = time.perf_counter()
    geir.LIF()(xs)[0].sum().backward()
    memory(device)  # waits for the device
    return {"seconds": time.perf_counter() - start}


def ask(bench: Bench, *arguments: str, **environment: str) -> dict[str, float]:
    """Run a probe in a new process."""
    command = [sys.executable, "-m", "benchmarks.probes", str(bench.device), *arguments]
    # Both packages where they are now, wherever this runs.
    paths = [str(Path(__file__).parents[1]), str(Path(geir.__file__).parents[1])]
    settings = os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | environment
    return json.loads(
        subprocess.run(command, env=settings, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    )


def peaks(bench: Bench) -> str:
    """Peak memory of one LIF layer"""
    rows: list[list[object]] = []
    for name in installed(LIFS):
        # Their time grows with the square of T: at 1000 it is minutes.
        steps = STEPS // 4 if name in QUADRATIC else STEPS
        progress(f"{name} ", end="")
        added, one = ask(bench, "peak", name, str(steps), **EXACT)["added"], 4 * steps * NEURONS
        # Output and the input's gradient are two of what is added.
        beyond = added / one - 2
        rows.append([name, steps, (4 + beyond) * one / 2**20, beyond, f"{100 * beyond / 4:.1f} %"])
    source = "max_memory_allocated" if bench.device.type == "cuda" else "VmHWM"
    head = ["", "T", "peak, MiB", "beyond, in sizes of the input", "beyond, in percent of those four"]
    return (
        f"{NEURONS:,} neurons, forward + backward, a new process each ({source}). *Beyond*: what is used besides input, output and their gradients. "
        "Where time is quadratic in T a smaller one is run; the shares hardly depend on it. "
        "glibc maps each tensor on its own here (`MALLOC_MMAP_THRESHOLD_`); by default its heap fragments under the loops, by luck up to several "
        "times as much.\n\n" + table(head, rows)
    )


def first_calls(bench: Bench) -> str:
    """First call"""
    with tempfile.TemporaryDirectory() as cache:

        def call() -> float:
            return ask(bench, "first", XDG_CACHE_HOME=cache, TRITON_CACHE_DIR=cache)["seconds"]

        cold, warm = call(), statistics.median(call() for _ in range(3))
    rows: list[list[object]] = [
        ["cold: nothing in the disk cache, the compiler runs", cold],
        ["warm: kernels from the disk cache, median of 3", warm],
    ]
    return f"The first forward and backward of `geir.LIF()` in a new process.\n\n{table(['', 'seconds'], rows)}"


if __name__ == "__main__":
    where, kind, *arguments = sys.argv[1:]
    print(json.dumps({"first": first, "peak": peak}[kind](torch.device(where), *arguments)))
