"""Layers of neurons: against the peers, against `copy_`, against each other, and how they grow."""

import os
import tempfile
import time
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .contestants import COMPILED, GEIR, LIFS, LOOP, MODELS, iterates_over_time, made
from .report import extent, number, table
from .timing import Bench, Job, both_ways, forward_only, progress

# How often forward, and backward, read or write all of an input, an output or a gradient; states kept between them come on top.
PASSES_FORWARD, PASSES_BACKWARD = 2, 3


class Layer(NamedTuple):
    """A contestant's milliseconds."""

    forward: float
    both: float
    spikes: float


def data(bench: Bench, *shape: int) -> tuple[Tensor, Tensor]:
    """Input and the gradient of the output."""
    torch.manual_seed(0)
    return torch.rand(shape, device=bench.device, requires_grad=True), torch.randn(shape, device=bench.device)


def measure(
    bench: Bench, contestants: dict[str, nn.Module], *shape: int, forward: bool = True
) -> tuple[float, dict[str, Layer]]:
    """Time layers, and `copy_` of their input for scale."""
    xs, dzs = data(bench, *shape)
    other = torch.empty_like(dzs)
    jobs: dict[Any, Job] = {("copy_", ""): lambda: other.copy_(xs.detach())}
    spikes: dict[str, float] = {}
    for name, run in contestants.items():
        spikes[name] = run(xs).detach().mean().item() if name != "geir LI" else float("nan")
        jobs[name, "both"] = both_ways(run, xs, dzs)
        if forward and name != COMPILED:  # which would compile anew
            jobs[name, "forward"] = forward_only(run, xs)
    times = bench.medians(jobs)
    nan = float("nan")
    return times["copy_", ""], {
        name: Layer(times.get((name, "forward"), nan), times[name, "both"], spikes[name]) for name in contestants
    }


def compiled(bench: Bench, shape: tuple[int, ...]) -> tuple[nn.Module, float]:
    """`torch.compile` of the reference loop for one shape, and the seconds that it took."""
    run: Any = torch.compile(LIFS[LOOP]().to(bench.device), fullgraph=True, dynamic=False)
    xs, dzs = data(bench, *shape)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        start = time.perf_counter()
        bench.timed(both_ways(run, xs, dzs))
        return run, time.perf_counter() - start


def same(run: nn.Module, other: nn.Module, xs: Tensor) -> None:
    """What is said to compute the same must.

    Raises:
        RuntimeError: If it does not.
    """
    first, second = run(xs), other(xs)
    a, b = (torch.autograd.grad(zs.sum(), xs)[0] for zs in (first, second))
    if (first != second).float().mean() > 1e-4 or (a - b).abs().mean() > 1e-3 * b.abs().mean():
        raise RuntimeError("Two contestants that should compute the same LIF do not.")


def against_peers(bench: Bench) -> str:
    """LIF against the peers"""
    shape, runs = (64, 64, 1024), made(LIFS, (12, 2, 5), bench.device)
    note = ""
    xs = torch.rand(shape, device=bench.device, requires_grad=True)
    same(runs[GEIR], runs[LOOP], xs)
    if bench.compile:
        progress("compiling ", end="")
        runs[COMPILED], seconds = compiled(bench, shape)
        same(runs[GEIR], runs[COMPILED], xs)
        if not iterates_over_time(runs[COMPILED], xs.detach(), 32):
            raise RuntimeError(f"{COMPILED} does not iterate over time.")
        note = f"`torch.compile` (fullgraph, the {shape[0]} steps unrolled) took {seconds:.0f} s for this one shape; geir's kernels take any.\n\n"
    copy, layers = measure(bench, runs, *shape)
    bench.bars = {name: layer.both for name, layer in layers.items()}
    base = layers[GEIR]
    rows = [
        [name, it.forward, it.forward / base.forward, it.both, it.both / base.both, it.spikes]
        for name, it in layers.items()
    ]
    rows.sort(key=lambda row: row[3])
    head = ["", "forward, ms", "times geir", "forward + backward, ms", "times geir", "spikes"]
    return f"B=64, N=1024. {extent(bench.device, 64, 65536)}. `copy_` of the input: {number(copy)} ms.\n\n{note}{table(head, rows)}"


def against_copy(bench: Bench) -> str:
    """Models against `copy_` and LIF"""
    parts = []
    for steps, neurons in ((64, 4096), (64, 65536), (1024, 65536)):
        progress(f"T={steps}, {neurons} ", end="")
        copy, layers = measure(bench, made(MODELS, (12, 2, 5), bench.device), steps, 1, neurons)
        base = layers[GEIR].both
        passes = PASSES_FORWARD + PASSES_BACKWARD
        least = passes * 4 * steps * neurons / bench.bandwidth * 1e3
        rows = [
            [name, it.forward, it.forward / copy, it.both, it.both / copy, least / it.both, it.both / base, it.spikes]
            for name, it in layers.items()
        ]
        head = [
            "",
            "forward, ms",
            "times `copy_`",
            "forward + backward, ms",
            "times `copy_`",
            "share of bandwidth",
            "times LIF",
            "spikes",
        ]
        parts.append(
            f"{extent(bench.device, steps, neurons)}. `copy_` of the input: {number(copy)} ms.\n\n{table(head, rows)}"
        )
    note = (
        f"Share of bandwidth: of the {bench.bandwidth / 1e9:.0f} GB/s that `copy_` of 1 GiB reads and writes, by {PASSES_FORWARD} passes over (T, N) "
        f"forward (read x, write z) and {PASSES_BACKWARD} backward (read x and dz, write dx); the states kept between them are not counted."
    )
    return "\n\n".join([note, *parts])


def by_length(bench: Bench) -> str:
    """Growth with T against the peers"""
    lengths, runs = (16, 64, 256, 1024), made(LIFS, (12, 2, 5), bench.device)
    found: dict[str, dict[int, float]] = {name: {} for name in runs}
    for steps in lengths:
        progress(f"T={steps} ", end="")
        for name, layer in measure(bench, runs, steps, 4, 1024, forward=False)[1].items():
            found[name][steps] = layer.both
    bench.lines = found
    head = ["", *(f"T={steps}" for steps in lengths)]
    times = table(head, [[name, *ms.values()] for name, ms in found.items()])
    ratios = table(head, [[name, *(ms[t] / found[GEIR][t] for t in lengths)] for name, ms in found.items()])
    title = "B=4, N=1024, 4,096 neurons: so few that the peers mostly pay for calling operators."
    return f"{title} Forward + backward, ms:\n\n{times}\n\nTimes geir:\n\n{ratios}"


def growth(bench: Bench) -> str:
    """Growth of geir's LIF with T, B and N"""
    run = made({GEIR: LIFS[GEIR]}, (12, 2, 5), bench.device)
    shapes = {
        "T": [(steps, 1, 4096) for steps in (16, 64, 256, 1024, 4096)],
        "B": [(64, batch, 1024) for batch in (1, 4, 16, 64, 256)],
        "N": [(64, 16, size) for size in (64, 256, 1024, 4096, 16384)],
    }
    parts = []
    for name, varied in shapes.items():
        rows: list[list[object]] = []
        for shape in varied:
            ms, (steps, batch, size) = measure(bench, run, *shape, forward=False)[1][GEIR].both, shape
            rows.append(
                [
                    f"{steps} × {batch} × {size:,}",
                    ms,
                    1e3 * ms / steps,
                    1e6 * ms / (steps * batch * size),
                    16 * steps * batch * size / 2**20,
                ]
            )
        parts.append(
            f"With {name}:\n\n" + table(["T × B × N", "ms", "µs a step", "ns a neuron and step", "MiB in all"], rows)
        )
    return "Forward + backward. *In all*: input, output and their gradients.\n\n" + "\n\n".join(parts)
