"""Measurements that need a new process: peak memory, and the time of the first call.

`python -m benchmarks.probes DEVICE PROBE ARGUMENTS` runs one probe and prints its result as JSON.
"""

import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils._pytree import tree_leaves

import geir
from geir.learning import EProp, Online, OnlineRule, OSTL, OTTT

from . import convolutions, spike_times
from .contestants import LIFS, QUADRATIC, select_installed
from .online import build_network, make_inputs, run_all
from .report import format_table
from .timing import Bench, show_progress

NEURONS, STEPS = 65536, 1000

# A probe that takes longer has failed.
TIMEOUT_SECONDS = 3600

# Makes glibc map each large tensor separately. Otherwise its heap fragments under the loops over time, and their peak
# varies threefold from run to run; this shows the least memory that a contestant needs.
MAP_EACH_TENSOR = {"MALLOC_MMAP_THRESHOLD_": "65536"}

# Online learning of a recurrent layer, small enough for the traces of `OSTL`.
ONLINE_SIZE, ONLINE_STEPS, WARM_UP = 32, (100, 10_000, 100_000), 2000
ONLINE_RULES: dict[str, OnlineRule] = {type(rule).__name__: rule for rule in (EProp(), OTTT(), OSTL())}
CONVOLUTION_TURNS = 3
BACKPROPAGATION, BACKPROPAGATION_STEPS = "backpropagation", (100, 1000)


class Memory(NamedTuple):
    """Memory of this process on a device, in bytes."""

    used: int
    peak: int


def read_memory(device: torch.device) -> Memory:
    """Read how much memory is used, and the peak so far."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return Memory(torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device))
    # Not getrusage, which counts the memory of the parent process from before `exec`.
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    used, peak = (int(status[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return Memory(used, peak)


def probe_peak(device: torch.device, name: str, steps: str) -> dict[str, float]:
    """Bytes that forward and backward of a contestant use in addition to the input and the output's gradient."""
    module = LIFS[name]().to(device)
    shape = (int(steps), 1, NEURONS)
    module(torch.rand(50, 1, 64, requires_grad=True, device=device)).sum().backward()
    xs = torch.rand(shape, requires_grad=True, device=device)
    grad_out = torch.rand(shape, device=device)
    before = read_memory(device).used
    module(xs).backward(grad_out)
    return {"added": read_memory(device).peak - before}


def probe_first_call(device: torch.device) -> dict[str, float]:
    """Seconds of the first forward and backward pass of LIF. Autograd itself has run before."""
    xs = torch.rand(50, 100, requires_grad=True, device=device)
    torch.rand(3, requires_grad=True, device=device).sum().backward()
    start = time.perf_counter()
    geir.LIF()(xs)[0].sum().backward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return {"seconds": time.perf_counter() - start}


def probe_job(device: torch.device, name: str, strength: str) -> dict[str, float]:
    """Bytes that a job of `spike_times` uses in addition to its input."""
    torch.rand(3, requires_grad=True, device=device).sum().backward()
    job = spike_times.JOBS[name](float(strength))
    before = read_memory(device).used
    job()
    return {"added": read_memory(device).peak - before}


def restart_peak(device: torch.device) -> int:
    """Forget the peak so far, and return how much memory is used."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")
    return read_memory(device).used


def probe_online(device: torch.device, name: str, *steps: str) -> dict[str, float]:
    """Bytes that online learning uses in addition to the network, up to each number of steps, and those of its state.

    With the name `backpropagation`, one forward and backward pass over that number of steps, without the input.
    """
    torch.set_num_threads(1)
    # A smaller network of the same kind loads the code and fills Python's free lists.
    small, model = (build_network(size, device, recurrent=True) for size in (4, ONLINE_SIZE))
    if name == BACKPROPAGATION:
        xs = make_inputs(int(steps[0]), 1, ONLINE_SIZE, device)
        run_all(small, make_inputs(WARM_UP, 1, 4, device)).sum().backward()
        before = restart_peak(device)
        run_all(model, xs).sum().backward()
        return {steps[0]: read_memory(device).peak - before}
    learn_online(small, name, WARM_UP, device, ())
    before = restart_peak(device)
    lengths = [int(length) for length in steps]
    peaks, state = learn_online(model, name, max(lengths), device, lengths)
    added: dict[str, float] = {str(length): peak - before for length, peak in peaks.items()}
    return added | {"state": sum(tensor.nbytes for tensor in tree_leaves(state))}


def learn_online(
    model: geir.SequentialState, name: str, steps: int, device: torch.device, marks: Sequence[int]
) -> tuple[dict[int, int], object]:
    """Learn from a stream of random spikes.

    Args:
        model: The network.
        name: Name of the rule.
        steps: Number of steps, each of a forward and a backward pass.
        device: Where the input is made.
        marks: Numbers of steps after which the peak is read.

    Returns:
        The peak so far after each of `marks`, and the last state.
    """
    learner, state, peaks = Online(model, ONLINE_RULES[name]), None, {}
    inputs = model[0].input_size
    for step in range(1, steps + 1):
        y, state = learner(make_inputs(1, 1, inputs, device)[0], state)
        y.sum().backward()
        if step in marks:
            peaks[step] = read_memory(device).peak
    return peaks, state


def probe_convolutions(device: torch.device, keep: str, threads: str) -> dict[str, float]:
    """Milliseconds of the training steps of `convolutions`, with or without `geir.keep_freed_memory`."""
    torch.set_num_threads(int(threads))
    if keep == "keep":
        geir.keep_freed_memory()
    return Bench(device, rounds=CONVOLUTION_TURNS).time_jobs(convolutions.training_steps())


PROBES: dict[str, Callable[..., dict[str, float]]] = {
    "peak": probe_peak,
    "first": probe_first_call,
    "job": probe_job,
    "online": probe_online,
    "convolutions": probe_convolutions,
}


def run_probe(bench: Bench, *arguments: str, **environment: str) -> dict[str, float]:
    """Run a probe in a new process.

    Args:
        bench: Where to run it.
        *arguments: Name of the probe, and its arguments.
        **environment: Environment variables to add.
    """
    command = [sys.executable, "-m", "benchmarks.probes", str(bench.device), *arguments]
    # The new process imports the same two packages as this one, whatever its working directory.
    paths = [str(Path(__file__).parents[1]), str(Path(geir.__file__).parents[1])]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | environment
    result = subprocess.run(command, env=variables, capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS)
    return json.loads(result.stdout.splitlines()[-1])


def peak_memory(bench: Bench) -> str:
    """Peak memory of one LIF layer."""
    rows: list[list[object]] = []
    for name in select_installed(LIFS):
        # With T=1000, those whose time is quadratic in T would take minutes.
        steps = STEPS // 4 if name in QUADRATIC else STEPS
        show_progress(f"{name} ", end="")
        added = run_probe(bench, "peak", name, str(steps), **MAP_EACH_TENSOR)["added"]
        input_bytes = 4 * steps * NEURONS
        # The added memory includes the output and the gradient of the input.
        extra = added / input_bytes - 2
        rows.append([name, steps, (4 + extra) * input_bytes / 2**20, extra, f"{100 * extra / 4:.1f} %"])
    source = "max_memory_allocated" if bench.device.type == "cuda" else "VmHWM"
    header = ["", "T", "peak, MiB", "extra, relative to the input", "extra, relative to all four"]
    return (
        f"{NEURONS:,} neurons, forward + backward, each in a new process ({source}). *Extra*: memory in addition to "
        "input, output and their gradients. Where the time is quadratic in T, T is smaller; the relative memory hardly "
        "depends on it. Here glibc maps each tensor separately (`MALLOC_MMAP_THRESHOLD_`); by default its heap "
        "fragments under the loops over time, and the peak may be several times these values.\n\n"
        + format_table(header, rows)
    )


def online_memory(bench: Bench) -> str:
    """Memory of online learning."""
    rows: list[list[object]] = []
    for name, rule in ONLINE_RULES.items():
        show_progress(f"{name} ", end="")
        added = run_probe(bench, "online", name, *map(str, ONLINE_STEPS), **MAP_EACH_TENSOR)
        peaks = [added[str(length)] / 2**20 for length in ONLINE_STEPS]
        rows.append([f"`{rule!r}`", added["state"] / 2**20, peaks[0], "–", *peaks[1:]])
    peaks = []
    for length in BACKPROPAGATION_STEPS:
        added = run_probe(bench, "online", BACKPROPAGATION, str(length), **MAP_EACH_TENSOR)
        peaks.append(added[str(length)] / 2**20)
    rows.append(["backpropagation through time", "–", *peaks, "–", "–"])
    lengths = sorted({*ONLINE_STEPS, *BACKPROPAGATION_STEPS})
    source = "max_memory_allocated" if bench.device.type == "cuda" else "VmHWM"
    return (
        f"`LIFRecurrent` of {ONLINE_SIZE} neurons with as many inputs and a leaky readout, one sample, forward and "
        f"backward at every step, each rule in a new process. Peak memory ({source}) up to that step, in addition to "
        "what the process used before the first one; that of backpropagation without its input.\n\n"
        + format_table(["", "state and traces, MiB", *(f"T={length:,}, MiB" for length in lengths)], rows)
    )


def freed_memory(bench: Bench) -> str:
    """Convolutions over time, and `geir.keep_freed_memory`."""
    threads = str(torch.get_num_threads())
    turns = [
        [run_probe(bench, "convolutions", keep, threads) for keep in ("release", "keep")]
        for _ in range(CONVOLUTION_TURNS)
    ]
    rows: list[list[object]] = []
    for name in turns[0][0]:
        released, kept = (statistics.median(turn[k][name] for turn in turns) for k in range(2))
        rows.append([name, released, kept, released / kept])
    header = ["forward + backward", "as installed, ms", "freed memory kept, ms", "ratio"]
    return (
        f"The network of snnTorch's tutorial 6 (T={convolutions.STEPS}, B={convolutions.BATCH}, `Leaky`), and that of "
        f"`geir.tasks.nmnist` (T={convolutions.NMNIST_STEPS}, B={convolutions.NMNIST_BATCH}). The C library returns "
        "large freed memory to the system, and the next step waits for fresh memory. `geir.keep_freed_memory()` "
        "changes that for the whole process, so both cases are measured in new processes, by turns.\n\n"
        + format_table(header, rows)
    )


def first_calls(bench: Bench) -> str:
    """First call."""
    with tempfile.TemporaryDirectory() as cache:

        def call() -> float:
            return run_probe(bench, "first", XDG_CACHE_HOME=cache, TRITON_CACHE_DIR=cache)["seconds"]

        cold = call()
        warm = statistics.median(call() for _ in range(3))
    rows: list[list[object]] = [
        ["cold: the disk cache is empty, the compiler runs", cold],
        ["warm: kernels from the disk cache, median of 3", warm],
    ]
    return f"The first forward and backward of `geir.LIF()` in a new process.\n\n{format_table(['', 'seconds'], rows)}"


if __name__ == "__main__":
    device_name, probe_name, *probe_arguments = sys.argv[1:]
    print(json.dumps(PROBES[probe_name](torch.device(device_name), *probe_arguments)))
