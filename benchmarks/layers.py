"""Layers of neurons, compared with other libraries, with `copy_` and with each other, and their growth with size."""

import os
import tempfile
import time
from typing import NamedTuple

import torch
from torch import nn, Tensor

from .contestants import (
    build_installed,
    COMPILED,
    CPU_ONLY,
    GEIR,
    iterates_over_time,
    JAX,
    LI,
    LIFS,
    LOOP,
    MODELS,
    QUADRATIC,
)
from .report import describe_size, format_number, format_table
from .timing import Bench, forward_backward_job, forward_job, Job, show_progress

# How often a forward, and a backward pass, read or write a whole input, output or gradient. States come on top.
PASSES_FORWARD, PASSES_BACKWARD = 2, 3

# Shape of the input with which contestants show that they iterate over time.
TRIAL_SHAPE = (12, 2, 5)

NAN = float("nan")


class LayerTimes(NamedTuple):
    """Milliseconds of a contestant, and the fraction of its neurons that spike in a step."""

    forward: float
    both: float  # forward + backward
    spikes: float


class Times(NamedTuple):
    """Milliseconds of `copy_` of the input, and of the contestants."""

    copy: float
    layers: dict[str, LayerTimes]


def make_data(bench: Bench, *shape: int) -> tuple[Tensor, Tensor]:
    """Make the input and the gradient of the output."""
    torch.manual_seed(0)
    return torch.rand(shape, device=bench.device, requires_grad=True), torch.randn(shape, device=bench.device)


def time_layers(bench: Bench, contestants: dict[str, nn.Module], *shape: int, forward: bool = True) -> Times:
    """Time layers, and `copy_` of their input as a reference.

    Args:
        bench: Where to measure.
        contestants: Modules by name.
        *shape: Shape of the input, (time, batch, neurons).
        forward: Whether to time the forward pass alone, too.
    """
    xs, grad_out = make_data(bench, *shape)
    target = torch.empty_like(grad_out)
    jobs: dict[tuple[str, str], Job] = {("copy_", ""): lambda: target.copy_(xs.detach())}
    spikes: dict[str, float] = {}
    for name, module in contestants.items():
        spikes[name] = NAN if name == LI else module(xs).detach().mean().item()
        jobs[name, "both"] = forward_backward_job(module, xs, grad_out)
        if forward and name != COMPILED:  # without gradients it would be compiled once more
            jobs[name, "forward"] = forward_job(module, xs)
    times = bench.time_jobs(jobs)
    layers = {
        name: LayerTimes(times.get((name, "forward"), NAN), times[name, "both"], spikes[name]) for name in contestants
    }
    return Times(times["copy_", ""], layers)


def compile_reference_loop(bench: Bench, shape: tuple[int, ...]) -> tuple[nn.Module, float]:
    """Compile the reference loop of LIF for one shape; returns the module and the seconds of the first call."""
    module = torch.compile(LIFS[LOOP]().to(bench.device), fullgraph=True, dynamic=False)
    assert isinstance(module, nn.Module)
    xs, grad_out = make_data(bench, *shape)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        start = time.perf_counter()
        bench.time_once(forward_backward_job(module, xs, grad_out))
        return module, time.perf_counter() - start


def check_equal(module: nn.Module, other: nn.Module, xs: Tensor) -> None:
    """Check that two modules compute the same spikes and the same gradient of the input.

    Raises:
        RuntimeError: If they do not.
    """
    zs, other_zs = module(xs), other(xs)
    (grad,) = torch.autograd.grad(zs.sum(), xs)
    (other_grad,) = torch.autograd.grad(other_zs.sum(), xs)
    different_spikes = (zs != other_zs).float().mean()
    if different_spikes > 1e-4 or (grad - other_grad).abs().mean() > 1e-3 * other_grad.abs().mean():
        raise RuntimeError("Two contestants that should compute the same LIF do not.")


def against_peers(bench: Bench) -> str:
    """LIF compared with other libraries."""
    shape = (64, 64, 1024)
    on_cpu = bench.device.type == "cpu"
    modules = build_installed(LIFS | CPU_ONLY if on_cpu else LIFS, TRIAL_SHAPE, bench.device)
    xs = torch.rand(shape, device=bench.device, requires_grad=True)
    check_equal(modules[GEIR], modules[LOOP], xs)
    note = ""
    if JAX in modules:
        check_equal(modules[GEIR], modules[JAX], xs)
        note = (
            "JAX uses all processors that it finds, whatever the number of threads. Its times include the handover of "
            "tensors, which are not copied.\n\n"
        )
    if bench.compile:
        show_progress("compiling ", end="")
        modules[COMPILED], seconds = compile_reference_loop(bench, shape)
        check_equal(modules[GEIR], modules[COMPILED], xs)
        if not iterates_over_time(modules[COMPILED], xs.detach(), step=32):
            raise RuntimeError(f"{COMPILED} does not iterate over time.")
        note += (
            f"Compiling the reference loop with `torch.compile` (fullgraph, {shape[0]} unrolled steps) took "
            f"{seconds:.0f} s for this shape alone; geir's kernels run any shape.\n\n"
        )
    copy, layers = time_layers(bench, modules, *shape)
    bench.bars = {name: layer.both for name, layer in layers.items()}
    geir = layers[GEIR]
    rows = [
        [name, layer.forward, layer.forward / geir.forward, layer.both, layer.both / geir.both, layer.spikes]
        for name, layer in sorted(layers.items(), key=lambda item: item[1].both)
    ]
    header = ["", "forward, ms", "ratio to geir", "forward + backward, ms", "ratio to geir", "spikes"]
    size = describe_size(bench.device, 64, 65536)
    return (
        f"B=64, N=1024. {size}. `copy_` of the input: {format_number(copy)} ms.\n\n{note}{format_table(header, rows)}"
    )


def against_copy(bench: Bench) -> str:
    """Models compared with `copy_` and LIF."""
    passes = PASSES_FORWARD + PASSES_BACKWARD
    header = ["", "forward, ms", "ratio to `copy_`", "forward + backward, ms", "ratio to `copy_`"]
    header += ["share of bandwidth", "ratio to LIF", "spikes"]
    parts = [
        f"*Share of bandwidth*: relative to the {bench.bandwidth / 1e9:.0f} GB/s that `copy_` of 1 GiB reads and "
        f"writes. Counted are {PASSES_FORWARD} passes over (T, N) forward (read x, write z) and {PASSES_BACKWARD} "
        "backward (read x and dz, write dx), but not the states that are saved for the backward pass."
    ]
    for steps, neurons in ((64, 4096), (64, 65536), (1024, 65536)):
        show_progress(f"T={steps}, {neurons} ", end="")
        modules = build_installed(MODELS, TRIAL_SHAPE, bench.device)
        copy, layers = time_layers(bench, modules, steps, 1, neurons)
        lif = layers[GEIR].both
        least = passes * 4 * steps * neurons / bench.bandwidth * 1e3
        rows = [
            [
                name,
                layer.forward,
                layer.forward / copy,
                layer.both,
                layer.both / copy,
                least / layer.both,
                layer.both / lif,
                layer.spikes,
            ]
            for name, layer in layers.items()
        ]
        size = describe_size(bench.device, steps, neurons)
        parts.append(f"{size}. `copy_` of the input: {format_number(copy)} ms.\n\n{format_table(header, rows)}")
    return "\n\n".join(parts)


def by_length(bench: Bench) -> str:
    """Growth with T compared with other libraries."""
    lengths = (16, 64, 256, 1024)
    modules = build_installed(LIFS, TRIAL_SHAPE, bench.device)
    lines: dict[str, dict[int, float]] = {name: {} for name in modules}
    for steps in lengths:
        show_progress(f"T={steps} ", end="")
        for name, layer in time_layers(bench, modules, steps, 4, 1024, forward=False).layers.items():
            lines[name][steps] = layer.both
    bench.lines = lines
    header = ["", *(f"T={steps}" for steps in lengths)]
    times = format_table(header, [[name, *line.values()] for name, line in lines.items()])
    ratios = format_table(
        header, [[name, *(line[steps] / lines[GEIR][steps] for steps in lengths)] for name, line in lines.items()]
    )
    return (
        "B=4, N=1024. With only 4,096 neurons, the other libraries mostly pay for calling operators. "
        f"Forward + backward, ms:\n\n{times}\n\nRatio to geir:\n\n{ratios}"
    )


def in_silence(bench: Bench) -> str:
    """Silent neurons compared with active ones."""
    steps = 2000
    builders = {name: build for name, build in LIFS.items() if name not in QUADRATIC}
    modules = build_installed(builders, TRIAL_SHAPE, bench.device)
    torch.manual_seed(0)
    active = torch.rand(steps, 1, 4096, device=bench.device)
    silent = torch.zeros_like(active)
    silent[:10] = active[:10]
    jobs = {
        (name, xs is silent): forward_job(module, xs) for name, module in modules.items() for xs in (active, silent)
    }
    times = bench.time_jobs(jobs)
    rows = [[name, times[name, False], times[name, True], times[name, True] / times[name, False]] for name in modules]
    return (
        f"T={steps}, 4,096 neurons, forward. The active ones receive input in every step, the others only in the first "
        "ten. Their states decay to subnormal numbers, for which some processors need much longer; geir's kernels take "
        "them for zeros.\n\n" + format_table(["", "active, ms", "silent, ms", "ratio"], rows)
    )


def growth(bench: Bench) -> str:
    """Growth of geir's LIF with T, B and N."""
    modules = build_installed({GEIR: LIFS[GEIR]}, TRIAL_SHAPE, bench.device)
    shapes = {
        "T": [(steps, 1, 4096) for steps in (16, 64, 256, 1024, 4096)],
        "B": [(64, batch, 1024) for batch in (1, 4, 16, 64, 256)],
        "N": [(64, 16, size) for size in (64, 256, 1024, 4096, 16384)],
    }
    header = ["T × B × N", "ms", "µs per step", "ns per neuron and step", "MiB in total"]
    parts = ["Forward + backward. *In total*: input, output and their gradients."]
    for varied, shapes_of_dimension in shapes.items():
        rows: list[list[object]] = []
        for steps, batch, size in shapes_of_dimension:
            ms = time_layers(bench, modules, steps, batch, size, forward=False).layers[GEIR].both
            updates = steps * batch * size
            row = [f"{steps} × {batch} × {size:,}", ms, 1e3 * ms / steps, 1e6 * ms / updates, 16 * updates / 2**20]
            rows.append(row)
        parts.append(f"With {varied}:\n\n{format_table(header, rows)}")
    return "\n\n".join(parts)
