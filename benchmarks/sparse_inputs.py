"""Layers that skip zeros of their input compared with dense layers, by the share of inputs that are not zero."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn, Tensor

import geir
from geir._runtime import sparse

from .recurrent import sparse_products_below
from .report import format_number, format_table
from .timing import Bench, forward_backward_job, forward_job, Job

SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
PASSES = ("forward", "forward + weight gradients", "forward + all gradients")


class Comparison(NamedTuple):
    """A sparse and a dense layer that compute the same."""

    title: str
    sparse: Callable[[], nn.Module]
    dense: Callable[[], nn.Module]
    input_shape: tuple[int, ...]


COMPARISONS = (
    Comparison(
        "SparseInputLinear, 1024 to 1024, B=64",
        lambda: geir.connections.SparseInputLinear(1024, 1024),
        lambda: nn.Linear(1024, 1024),
        (64, 1024),
    ),
    Comparison(
        "SparseInputConv2d, 16 to 32 channels, 3x3, 28x28, B=64",
        lambda: geir.connections.SparseInputConv2d(16, 32, 3, padding=1),
        lambda: nn.Conv2d(16, 32, 3, padding=1),
        (64, 16, 28, 28),
    ),
    Comparison(
        "SparseInputConv2d, 64 to 64 channels, 3x3, 16x16, B=32",
        lambda: geir.connections.SparseInputConv2d(64, 64, 3, padding=1),
        lambda: nn.Conv2d(64, 64, 3, padding=1),
        (32, 64, 16, 16),
    ),
)


def always_sparse(job: Job) -> Job:
    """The job, forced to use the sparse product for any share of inputs."""

    def run() -> None:
        with sparse_products_below(1.0):
            job()

    return run


def make_jobs(layer: nn.Module, x: Tensor) -> dict[str, Job]:
    """The jobs of a layer, by the names in `PASSES`."""
    grad_out = torch.randn_like(layer(x))
    x_with_grad = x.clone().requires_grad_()
    jobs = (
        forward_job(layer, x),
        forward_backward_job(layer, x, grad_out),
        forward_backward_job(layer, x_with_grad, grad_out),
    )
    return dict(zip(PASSES, jobs, strict=True))


def find_crossover(speedups: list[float]) -> float | None:
    """The share at which the sparse layer stops being faster, interpolated linearly; None if it always is."""
    points = list(zip(SHARES, speedups, strict=True))
    for (share, speedup), (next_share, next_speedup) in pairwise(points):
        if speedup >= 1 > next_speedup:
            return share + (next_share - share) * (speedup - 1) / (speedup - next_speedup)
    return None


def against_dense_layers(bench: Bench) -> str:
    """Layers for sparse inputs compared with dense layers."""
    torch.manual_seed(0)
    parts = [
        "The sparse product is used for every share of nonzero inputs, to find where the dense layer becomes faster. "
        f"In normal use, the layers multiply densely above {100 * sparse._gate.MAX_DENSITY:.0f} % (linear) and "
        f"{100 * sparse._gate.MAX_DENSITY_CONV2D:.0f} % (convolution). Each cell: ms, and speedup over the dense layer."
    ]
    parts += [compare(bench, comparison) for comparison in COMPARISONS]
    return "\n\n".join(parts)


def compare(bench: Bench, comparison: Comparison) -> str:
    """Compare a sparse with a dense layer for all shares; returns a table and the crossovers."""
    layer = comparison.sparse().to(bench.device)
    dense = comparison.dense().to(bench.device)
    dense.load_state_dict(layer.state_dict())
    rows: list[list[str]] = []
    speedups: dict[str, list[float]] = {name: [] for name in PASSES}
    for share in SHARES:
        x = (torch.rand(comparison.input_shape, device=bench.device) < share).float()
        with sparse_products_below(1.0):
            torch.testing.assert_close(layer(x), dense(x), rtol=1e-3, atol=1e-3)
        jobs = {("dense", name): job for name, job in make_jobs(dense, x).items()}
        jobs |= {("sparse", name): always_sparse(job) for name, job in make_jobs(layer, x).items()}
        times = bench.time_jobs(jobs)
        row = [f"{100 * share:g} %"]
        for name in PASSES:
            speedup = times["dense", name] / times["sparse", name]
            speedups[name].append(speedup)
            row.append(f"{format_number(times['sparse', name])} ({format_number(speedup)}x)")
        rows.append(row)
    crossovers = []
    for name in PASSES:
        share = find_crossover(speedups[name])
        crossovers.append(f"{name} {100 * share:.0f} %" if share else f"{name} none below {100 * SHARES[-1]:.0f} %")
    table = format_table(["nonzero inputs", *PASSES], rows)
    return f"{comparison.title}\n\n{table}\n\nCrossover: {', '.join(crossovers)}."
