"""Interleaved timing.

The contestants take turns in random order, so that all of them see the same changes of the
machine's load and clock. Before each timed run a contestant runs once without being timed, so that
the caches hold its own data.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import nn, Tensor

Job = Callable[[], object]
Name = TypeVar("Name", bound=Hashable)

# A job that takes longer than this is slow: it is not run untimed before each timed run, and takes few turns.
SLOW_MS = 700.0
SLOW_TURNS = 2


def show_progress(text: str, end: str = "\n") -> None:
    """Print to stderr."""
    print(text, file=sys.stderr, end=end, flush=True)


@dataclass
class Bench:
    """Device and settings of a benchmark, and the results that the figure shows.

    Args:
        device: Where to measure.
        rounds: Number of turns of each contestant.
        compile: Whether to measure `torch.compile` too.
        bandwidth: Bytes per second that `copy_` of a large tensor reads and writes.
        bars: Filled by `layers.against_peers`: milliseconds of forward + backward by contestant.
        lines: Filled by `layers.by_length`: milliseconds of forward + backward by contestant and number of steps.
    """

    device: torch.device
    rounds: int = 7
    compile: bool = False
    bandwidth: float = 0.0
    bars: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[int, float]] = field(default_factory=dict)

    def time_once(self, job: Job) -> float:
        """Milliseconds of one run."""
        if self.device.type == "cuda":
            start = torch.cuda.Event(enable_timing=True)
            end = torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize(self.device)
            start.record()
            job()
            end.record()
            torch.cuda.synchronize(self.device)
            return start.elapsed_time(end)
        started = time.perf_counter()
        job()
        return (time.perf_counter() - started) * 1e3

    def time_jobs(self, jobs: Mapping[Name, Job]) -> dict[Name, float]:
        """Median milliseconds of each job; the jobs take turns in random order."""
        for job in jobs.values():  # the first run compiles
            job()
        first = {name: self.time_once(job) for name, job in jobs.items()}
        slow = {name for name, ms in first.items() if ms > SLOW_MS}
        times: dict[Name, list[float]] = {name: [first[name]] if name in slow else [] for name in jobs}
        order = list(jobs)
        shuffle = random.Random(0).shuffle
        for turn in range(self.rounds):
            show_progress(".", end="")
            shuffle(order)
            for name in order:
                if name in slow and turn >= SLOW_TURNS - 1:
                    continue
                if name not in slow:
                    jobs[name]()
                times[name].append(self.time_once(jobs[name]))
        return {name: statistics.median(values) for name, values in times.items()}


def forward_backward_job(module: nn.Module, xs: Tensor, grad_out: Tensor) -> Job:
    """A forward and backward pass, with gradients of all parameters, and of `xs` if it requires them."""

    def job() -> None:
        xs.grad = None
        module.zero_grad()
        module(xs).backward(grad_out)

    return job


def forward_job(module: nn.Module, xs: Tensor) -> Job:
    """A forward pass without gradients."""
    return torch.no_grad()(lambda: module(xs))
