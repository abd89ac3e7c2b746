"""Measure, and write a page: `python -m benchmarks`. Peers are measured where they are installed: `pip install geir[bench]`."""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import geir

from .contestants import Run, iterates_over_time, of_geir, of_peers, recurrent

RESULTS = Path(__file__).parent / "results"


def medians(jobs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each job, the jobs taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(rounds + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if turn:  # the first is to warm up
                taken[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(times) for name, times in taken.items()}


def both_ways(run: Run, xs: torch.Tensor, dzs: torch.Tensor) -> Callable[[], object]:
    """Forward and backward."""

    def job() -> None:
        xs.grad = None
        run(xs).backward(dzs)

    return job


def forward_only(run: Run, xs: torch.Tensor) -> Callable[[], object]:
    """Forward, without gradients."""

    def job() -> None:
        with torch.no_grad():
            run(xs)

    return job


def table(times: dict[str, float], scale: str) -> str:
    """Milliseconds and ratios as Markdown."""
    rows = [f"| {name} | {ms:.2f} | {ms / times[scale]:.2f} |" for name, ms in times.items()]
    return "\n".join([f"| | ms | times {scale} |", "|---|---|---|", *rows])


def layer(steps: int, batch: int, size: int, contestants: dict[str, Run], rounds: int) -> dict[str, float]:
    """Time layers of neurons, and `copy_` and `clone` of their input for scale."""
    torch.manual_seed(0)
    xs = torch.rand(steps, batch, size, requires_grad=True)
    dzs, other = torch.randn(steps, batch, size), torch.empty(steps, batch, size)
    jobs: dict[str, Callable[[], object]] = {"copy_": lambda: other.copy_(xs.detach()), "clone": lambda: xs.detach().clone()}
    for name, run in contestants.items():
        jobs[f"{name}, forward"] = forward_only(run, xs)
        jobs[f"{name}, forward + backward"] = both_ways(run, xs, dzs)
    return medians(jobs, rounds)


def connected(steps: int, batch: int, size: int, rounds: int) -> dict[str, float]:
    """Time recurrent layers, and the bare matrix products that one needs."""
    torch.manual_seed(0)
    xs = (torch.rand(steps, batch, size) < 0.05).float()
    dzs, weights = torch.randn(steps, batch, size), torch.randn(size, size)
    flat, many = xs.view(-1, size), dzs.view(-1, size)

    def products() -> None:
        flat @ weights.t()  # what arrives
        for d in dzs:
            d @ weights  # what goes back from each step
        many.t() @ flat  # the gradient of the input weights
        many.t() @ flat  # and of the recurrent weights

    jobs: dict[str, Callable[[], object]] = {"matrix products": products}
    for name, run in recurrent(size, size).items():

        def job(run: Run = run) -> None:
            run(xs).backward(dzs)

        jobs[name] = job
    return medians(jobs, rounds)


def training_step(rounds: int) -> dict[str, float]:
    """Time a training step of a small convolutional network with neurons, and with ReLU in their place."""
    torch.manual_seed(0)
    xs, goal = torch.rand(20, 32, 1, 28, 28), torch.randint(10, (32,))

    def network(neuron: Callable[[], nn.Module]) -> Callable[[], object]:
        first, second = nn.Conv2d(1, 16, 5), nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(16, 32, 5))
        last = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 128))
        layers = [geir.Lift(first), neuron(), geir.Lift(second), neuron(), geir.Lift(last), neuron(), nn.Linear(128, 10)]
        model = geir.SequentialState(*layers)
        optimizer = torch.optim.Adam(model.parameters())

        def step() -> None:
            optimizer.zero_grad()
            out = model(xs)
            nn.functional.cross_entropy(out[0].mean(0), goal).backward()
            optimizer.step()

        return step

    jobs = {"ReLU": nn.ReLU, "geir LIF": geir.LIF, "geir LIF, reference loop": lambda: geir.LIF(unroll=geir.reference)}
    return medians({name: network(neuron) for name, neuron in jobs.items()}, rounds)


FIRST_CALL = """
import time, torch, geir
x = torch.rand(50, 100, requires_grad=True)
torch.rand(3, requires_grad=True).sum().backward()
start = time.perf_counter()
geir.LIF()(x)[0].sum().backward()
print(time.perf_counter() - start)
"""

PEAK = """
import torch, geir
def peak():  # in kB; not getrusage, which a new process inherits
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
x = torch.rand(1000, 65536, requires_grad=True)
d = torch.rand(1000, 65536)
geir.LIF()(torch.rand(50, 64, requires_grad=True))[0].sum().backward()
before = peak()
geir.LIF()(x)[0].backward(d)
after = peak()
print((after - before) * 1024 / (1000 * 65536 * 4))
"""


def first_call(cache: str) -> float:
    """Seconds of the first forward + backward in a new process."""
    environment = {"XDG_CACHE_HOME": cache, "PATH": os.environ["PATH"], "PYTHONPATH": str(Path(geir.__file__).parents[1])}
    return float(subprocess.run([sys.executable, "-c", FIRST_CALL], env=environment, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Measure all and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="how often each contestant takes its turn")
    rounds = parser.parse_args().rounds
    geirs, peers = of_geir(), of_peers()
    lifs = {"geir LIF": geirs["geir LIF"], "geir LIF, reference loop": geirs["geir LIF, reference loop"]} | peers
    models = {name: run for name, run in geirs.items() if "loop" not in name}
    probe = torch.rand(12, 2, 5) + 0.2
    for name, run in (lifs | models | recurrent(5, 5)).items():
        if not iterates_over_time(run, probe, 6):
            sys.exit(f"{name} does not iterate over time: what it does is not comparable.")
    sections = []

    def say(title: str, body: str) -> None:
        sections.append(f"## {title}\n\n{body}\n")
        print(sections[-1], flush=True)

    say("LIF against the peers, T=64, B=64, N=1024", table(against := layer(64, 64, 1024, lifs, rounds), "geir LIF, forward + backward"))
    say("Models, in cache: T=64, 65,000 neurons", table(layer(64, 1, 65_000, models, rounds), "copy_"))
    say("Models, in memory: T=1024, 65,536 neurons", table(layer(1024, 1, 65_536, models, max(3, rounds // 2)), "copy_"))
    say("Recurrent, 512 to 512, T=100, B=64, 5 % input activity", table(connected(100, 64, 512, rounds), "matrix products"))
    say("Training step of a convolutional network, T=20, B=32, 28 x 28", table(training_step(rounds), "ReLU"))
    lif = {"geir LIF": geirs["geir LIF"]}
    growth = {steps: layer(steps, 1, 4096, lif, rounds)["geir LIF, forward + backward"] for steps in (16, 64, 256, 1024, 4096)}
    rows = [f"| {steps} | {ms:.2f} | {1e3 * ms / steps:.1f} |" for steps, ms in growth.items()]
    say("Growth with T, 4096 neurons", "\n".join(["| T | ms | us a step |", "|---|---|---|", *rows]))
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = first_call(cache), statistics.median(first_call(cache) for _ in range(3))
    peak = float(subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True).stdout)
    body = f"First forward + backward in a new process: {cold:.2f} s cold, {warm:.3f} s from the disk cache.\n\n"
    body += (
        f"Memory that forward + backward at T=1000 of 65,536 neurons adds, in sizes of the input: {peak:.2f} (output and the input's gradient are 2)."
    )
    say("First call, memory", body)
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"
    head = f"# Benchmarks\n\n{machine}; medians of {rounds}.\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cpu.md").write_text("\n".join([head, *sections]))
    picture({name: ms for name, ms in against.items() if "backward" in name})


def picture(times: dict[str, float]) -> None:
    """Bars of milliseconds."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 0.5 * len(times) + 1.2), layout="constrained")
    names = [name.removesuffix(", forward + backward") for name in times]
    bars = axes.barh(names[::-1], list(times.values())[::-1], color=["#888"] * (len(names) - 1) + ["#c33"])
    axes.bar_label(bars, fmt="%.0f ms", padding=3)
    axes.set(xlabel="forward + backward, T=64, B=64, N=1024 (ms)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "cpu.png", dpi=120)


if __name__ == "__main__":
    main()
