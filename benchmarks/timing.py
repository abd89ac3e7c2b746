"""Interleaved timing: contestants take turns in random order, each right after a run of its own that is not counted."""

import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Job = Callable[[], object]

# A job that takes longer, in milliseconds, runs but once a turn and takes few turns.
LONG = 700.0
FEW = 2


def progress(text: str, end: str = "\n") -> None:
    """Show on stderr that something happens."""
    print(text, file=sys.stderr, end=end, flush=True)


@dataclass
class Bench:
    """Where and how often is measured, and what several sections need of each other's results."""

    device: torch.device
    rounds: int = 7
    compile: bool = False
    bandwidth: float = 0.0  # bytes a second that `copy_` of a large tensor reads and writes
    bars: dict[str, float] = field(default_factory=dict)  # for the picture: milliseconds
    lines: dict[str, dict[int, float]] = field(default_factory=dict)  # for the picture: milliseconds by T

    def timed(self, job: Job) -> float:
        """Milliseconds of one run."""
        if self.device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize(self.device)
            start.record()
            job()
            end.record()
            torch.cuda.synchronize(self.device)
            return start.elapsed_time(end)
        start = time.perf_counter()
        job()
        return (time.perf_counter() - start) * 1e3

    def medians(self, jobs: dict[Any, Job]) -> dict[Any, float]:
        """Median milliseconds of each job, the jobs taking turns in random order."""
        for job in jobs.values():  # compiles
            job()
        first = {name: self.timed(job) for name, job in jobs.items()}
        taken: dict[Any, list[float]] = {name: [ms] if ms > LONG else [] for name, ms in first.items()}
        order, shuffle = list(jobs), random.Random(0).shuffle
        for turn in range(self.rounds):
            progress(".", end="")
            shuffle(order)
            for name in order:
                if first[name] > LONG and turn >= FEW - 1:
                    continue
                if first[name] <= LONG:
                    jobs[name]()  # so that caches and waiting threads are its own
                taken[name].append(self.timed(jobs[name]))
        return {name: statistics.median(times) for name, times in taken.items()}


def both_ways(run: nn.Module, xs: Tensor, dzs: Tensor) -> Job:
    """Forward and backward, with gradients of the input, if it wants them, and of all parameters."""

    def job() -> None:
        xs.grad = None
        run.zero_grad()
        run(xs).backward(dzs)

    return job


def forward_only(run: nn.Module, xs: Tensor) -> Job:
    """Forward, without gradients."""
    return torch.no_grad()(lambda: run(xs))
