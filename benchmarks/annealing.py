"""Training steps with a surrogate that is new at every step, compared with a fixed one."""

import itertools
from collections.abc import Callable

import torch
from torch import nn

import geir
from geir.surrogates import SuperSpike

from .report import format_table
from .timing import Bench, Job

STEPS, BATCH = 20, 32


CASES: dict[str, Callable[[], nn.Module]] = {
    "LIF, 256 neurons": lambda: geir.SequentialState(geir.LIF(tau_mem=geir.learnable(10e-3))),
    "LIFRecurrent, 256 neurons": lambda: geir.SequentialState(geir.LIFRecurrent(256, 256)),
    "two layers of 100 LIF": lambda: geir.SequentialState(
        nn.Linear(256, 100), geir.LIF(), nn.Linear(100, 100), geir.LIF(), nn.Linear(100, 10)
    ),
}


def training_job(bench: Bench, build: Callable[[], nn.Module], anneal: bool) -> Job:
    """A training step; with `anneal` every layer gets a surrogate of another slope first."""
    torch.manual_seed(0)
    network = build().to(bench.device)
    layers = [layer for layer in network.modules() if isinstance(layer, geir.LIF)]
    optimizer = torch.optim.Adam(network.parameters())
    xs = torch.rand(STEPS, BATCH, 256, device=bench.device)
    slopes = itertools.count(10)

    def job() -> None:
        if anneal:
            surrogate = SuperSpike(float(next(slopes)))
            for layer in layers:
                layer.surrogate = surrogate
        optimizer.zero_grad()
        network(xs)[0].mean().backward()
        optimizer.step()

    return job


def against_fixed_surrogate(bench: Bench) -> str:
    """A surrogate annealed at every training step, compared with a fixed one."""
    jobs = {
        (name, anneal): training_job(bench, build, anneal) for name, build in CASES.items() for anneal in (False, True)
    }
    times = bench.time_jobs(jobs)
    rows = [[name, times[name, False], times[name, True], times[name, True] / times[name, False]] for name in CASES]
    return format_table(["", "fixed, ms", "annealed, ms", "ratio"], rows)
