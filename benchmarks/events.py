"""Layers that skip silent inputs against the dense ones, over the share of inputs that are not silent."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

import geir

from .connected import gathering_below
from .report import number, table
from .timing import Bench, Job, both_ways, forward_only

SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
WAYS = ("forward", "with gradients of the weights", "and of the input")
# By title: the event-driven layer, the dense one, and the shape of the input.
LAYERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, ...]]] = {
    "EventLinear, 1024 to 1024, B=64": (
        lambda: geir.connections.EventLinear(1024, 1024),
        lambda: nn.Linear(1024, 1024),
        (64, 1024),
    ),
    "EventConv2d, 16 to 32 channels, 3x3, 28x28, B=64": (
        lambda: geir.connections.EventConv2d(16, 32, 3, padding=1),
        lambda: nn.Conv2d(16, 32, 3, padding=1),
        (64, 16, 28, 28),
    ),
    "EventConv2d, 64 to 64 channels, 3x3, 16x16, B=32": (
        lambda: geir.connections.EventConv2d(64, 64, 3, padding=1),
        lambda: nn.Conv2d(64, 64, 3, padding=1),
        (32, 64, 16, 16),
    ),
}


def always(job: Job) -> Job:
    """The job with the event-driven way taken, however many inputs are not zero."""

    def run() -> None:
        with gathering_below(1.0):
            job()

    return run


def jobs_of(layer: nn.Module, x: Tensor) -> dict[str, Job]:
    """Forward alone, and with gradients."""
    d, learned = torch.randn_like(layer(x)), x.clone().requires_grad_()
    return dict(zip(WAYS, (forward_only(layer, x), both_ways(layer, x, d), both_ways(layer, learned, d)), strict=True))


def crossover(ratios: list[float]) -> float | None:
    """The share at which dense and event-driven take as long, interpolated between those measured."""
    points = list(zip(SHARES, ratios, strict=True))
    return next((a + (b - a) * (r - 1) / (r - s) for (a, r), (b, s) in pairwise(points) if r >= 1 > s), None)


def section(bench: Bench) -> str:
    """Event-driven layers against dense ones"""
    torch.manual_seed(0)
    texts = [
        "The event-driven way taken at every share of inputs that are not zero, to see where the dense one becomes faster; in use, the layers "
        f"take the dense one above {100 * geir._runtime.sparse._gate.MAX_DENSITY:.0f} % (linear) and {100 * geir._runtime.sparse._gate.MAX_DENSITY_CONV2D:.0f} % (convolution). "
        "Each cell: ms, and how many times faster than dense."
    ]
    for title, (make, make_dense, shape) in LAYERS.items():
        layer, dense = make().to(bench.device), make_dense().to(bench.device)
        dense.load_state_dict(layer.state_dict())
        rows, ratios = [], {way: [] for way in WAYS}
        for share in SHARES:
            x = (torch.rand(shape, device=bench.device) < share).float()
            with gathering_below(1.0):
                torch.testing.assert_close(layer(x), dense(x), rtol=1e-3, atol=1e-3)
            jobs = {("dense", way): job for way, job in jobs_of(dense, x).items()} | {
                ("events", way): always(job) for way, job in jobs_of(layer, x).items()
            }
            times = bench.medians(jobs)
            for way in WAYS:
                ratios[way].append(times["dense", way] / times["events", way])
            rows.append(
                [
                    f"{100 * share:g} %",
                    *(f"{number(times['events', way])} ({number(ratios[way][-1])}x)" for way in WAYS),
                ]
            )
        found = {way: crossover(ratios[way]) for way in WAYS}
        crossed = ", ".join(
            f"{way} {100 * share:.0f} %" if share else f"{way} none below {100 * SHARES[-1]:.0f} %"
            for way, share in found.items()
        )
        texts.append(f"{title}\n\n{table(['not zero', *WAYS], rows)}\n\nCrossover: {crossed}.")
    return "\n\n".join(texts)
