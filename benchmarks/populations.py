"""Networks of an excitatory and an inhibitory population, beside Brian2's C++ programs of the same networks.

python -m benchmarks.populations --neurons 4000 --seconds 1 --rounds 5
"""

import argparse
import importlib.util
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn, Tensor

import geir
from geir.connections import Groups, Projection

from .report import format_table
from .timing import Bench, show_progress

DT = 1e-4
# The weight of inhibitory synapses. A neuron has one input, and these have two kinds of synapses, so that spikes are
# counted: the excitatory ones that arrive in a step in multiples of 1, the inhibitory ones in multiples of this. Both
# counts are exact in float32.
INHIBITORY = 4096.0
# Numbers of the output of a call: a second of 4,000 neurons, as Brian2 runs it.
OUTPUTS = 40_000_000


class Counts(NamedTuple):
    """Spikes that arrive at a neuron."""

    excitatory: Tensor
    inhibitory: Tensor


def counts(x: Tensor) -> Counts:
    """How many excitatory and inhibitory spikes arrive, from the input."""
    inhibitory = torch.floor(x * (1 / INHIBITORY))
    return Counts(x - INHIBITORY * inhibitory, inhibitory)


class State(NamedTuple):
    """State of both neurons."""

    v: Tensor  # membrane potential in mV
    g_exc: Tensor
    g_inh: Tensor


class Cuba(geir.IntegrateAndFire[State], affine=True):
    """Leaky integrate-and-fire neuron with synaptic currents, as in Vogels & Abbott (2005)."""

    w_exc: geir.Parameter = geir.parameter(default=1.62, unit="mV", doc="excitatory weight")
    w_inh: geir.Parameter = geir.parameter(default=-9.0, unit="mV", doc="inhibitory weight")
    v_th: geir.Parameter = geir.parameter(default=-50.0, unit="mV", doc="threshold")
    v_reset: geir.Parameter = geir.parameter(default=-60.0, unit="mV", doc="potential after a spike")

    def rest(self) -> State:
        return State(self.v_reset, torch.zeros(()), torch.zeros(()))

    def receive(self, x: Tensor, state: State) -> State:
        arriving = counts(x)
        return state._replace(
            g_exc=state.g_exc + self.w_exc * arriving.excitatory, g_inh=state.g_inh + self.w_inh * arriving.inhibitory
        )

    def derivative(self, x: Tensor, state: State) -> State:
        current = state.g_exc + state.g_inh
        return State((current - 49.0 - state.v) / 20e-3, -state.g_exc / 5e-3, -state.g_inh / 10e-3)

    def threshold(self, before: State, after: State) -> Tensor:
        return after.v - self.v_th


class Coba(geir.Neuron[State]):
    """The same with synaptic conductances; exponential Euler steps, as Brian2 takes them."""

    w_exc: geir.Parameter = geir.parameter(default=0.6, doc="excitatory weight")
    w_inh: geir.Parameter = geir.parameter(default=6.7, doc="inhibitory weight")

    def rest(self) -> State:
        return State(torch.tensor(-60.0), torch.zeros(()), torch.zeros(()))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        arriving = counts(x)
        g_exc, g_inh = state.g_exc + self.w_exc * arriving.excitatory, state.g_inh + self.w_inh * arriving.inhibitory
        g = 1 + g_exc + g_inh
        v_inf = (-60.0 - 80.0 * g_inh) / g  # excitation reverses at 0 mV
        v = v_inf + (state.v - v_inf) * torch.exp(-self.dt / 20e-3 * g)
        z = self.surrogate(v + 50.0)
        v = v + z * (-60.0 - v)
        return z, State(v, g_exc * math.exp(-self.dt / 5e-3), g_inh * math.exp(-self.dt / 10e-3))


def make_network(name: str, size: int, seed: int, dtype: torch.dtype) -> geir.Recurrent:
    """The network of 80 % excitatory and 20 % inhibitory neurons, each connected to 80 on average."""
    groups = Groups(excitatory=4 * size // 5, inhibitory=size // 5)
    pairs = [(source, target) for source in ("excitatory", "inhibitory") for target in ("excitatory", "inhibitory")]
    weights = {"excitatory": 1.0, "inhibitory": INHIBITORY}
    synapses = groups.connect(
        *(Projection(source, target, weights[source], probability=0.02 * 4000 / size) for source, target in pairs),
        dt=DT,
        generator=torch.Generator().manual_seed(seed),
    )
    neuron = Cuba(dt=DT) if name == "cuba" else Coba(dt=DT)
    layer = geir.Recurrent(
        # Brian2 counts the period of 5 ms from the step of the spike.
        geir.Refractory(neuron, period=5e-3 - DT),
        size,
        size,
        input_weights=nn.Identity(),
        recurrent_weights=synapses,
    )
    return layer.to(dtype)


class Run(NamedTuple):
    """A simulated network."""

    cpu_seconds: float
    rate: float  # Hz
    cv: float  # of interspike intervals, the mean over neurons


@torch.no_grad()
def simulate(name: str, size: int, seconds: float, seed: int, dtype: torch.dtype = torch.float32) -> Run:
    """Simulate a network in geir."""
    network = make_network(name, size, seed, dtype)
    steps = max(200, OUTPUTS // size)
    xs = torch.zeros((), dtype=dtype).expand(steps, 1, size)  # no external input
    state = geir.initial_state(network, xs)
    noise = torch.randn(3, 1, size, generator=torch.Generator().manual_seed(seed + 1000))
    if name == "cuba":
        state = geir.replace_parts(state, v=-60 + 10 * torch.special.ndtr(noise[0]))
    else:
        state = geir.replace_parts(state, v=-65 + 5 * noise[0], g_exc=4 + 1.5 * noise[1], g_inh=20 + 12 * noise[2])
    network(xs[:2], state)  # compiles
    spikes, elapsed = list[Tensor](), 0.0
    for first in range(0, round(seconds / DT), steps):
        started = time.process_time()
        zs, state = network(xs[: round(seconds / DT) - first], state)
        elapsed += time.process_time() - started
        found = zs[:, 0].nonzero()
        found[:, 0] += first
        spikes.append(found)
    times, neurons = torch.cat(spikes).numpy().T
    return Run(elapsed, *rate_and_cv(times * DT, neurons, size, seconds))


def rate_and_cv(times: np.ndarray, neurons: np.ndarray, size: int, seconds: float) -> tuple[float, float]:
    """Mean rate, and the mean coefficient of variation of the intervals of neurons with at least three spikes."""
    order = np.lexsort((times, neurons))
    times, neurons = times[order], neurons[order]
    same = neurons[1:] == neurons[:-1]
    intervals, of = np.diff(times)[same], neurons[1:][same]
    count = np.bincount(of, minlength=size)
    mean = np.bincount(of, intervals, size) / np.maximum(count, 1)
    square = np.bincount(of, (intervals - mean[of]) ** 2, size) / np.maximum(count, 1)
    enough = count >= 2
    return len(times) / size / seconds, float(np.mean(np.sqrt(square[enough]) / mean[enough]))


def build_brian2(name: str, size: int, seconds: float, dtype: torch.dtype, folder: Path) -> Callable[[], Run]:
    """Compile a network of Brian2, and return a function that runs it with another seed each time."""
    arguments = [name, str(size), str(seconds), str(dtype).removeprefix("torch."), str(folder)]
    subprocess.run([sys.executable, "-m", "benchmarks.populations_brian2", *arguments], check=True, capture_output=True)

    def run() -> Run:
        subprocess.run([folder / "main"], cwd=folder, check=True, capture_output=True)
        (folder / "results").mkdir(exist_ok=True)
        cpu_seconds = float((folder / "results" / "last_run_info.txt").read_text().split()[0])
        (neurons,) = (np.fromfile(f, np.int32) for f in (folder / "results").glob("_dynamic_array_spikemonitor_i*"))
        (times,) = (np.fromfile(f, np.float64) for f in (folder / "results").glob("_dynamic_array_spikemonitor_t*"))
        return Run(cpu_seconds, *rate_and_cv(times, neurons, size, seconds))

    return run


def measure(name: str, size: int, seconds: float, rounds: int) -> list[list[object]]:
    """A row for each contestant: processor time of the loop over time for a simulated second, rate and CV."""
    precisions = (torch.float32, torch.float64)
    with tempfile.TemporaryDirectory() as folder:
        jobs: dict[str, Callable[[int], Run]] = {
            f"geir, {dtype}": lambda seed, dtype=dtype: simulate(name, size, seconds, seed, dtype)
            for dtype in precisions
        }
        if importlib.util.find_spec("brian2"):
            for dtype in precisions:
                run = build_brian2(name, size, seconds, dtype, Path(folder) / str(dtype))
                jobs[f"Brian2 standalone, {dtype}"] = lambda _, run=run: run()
        runs: dict[str, list[Run]] = {job: [] for job in jobs}
        for seed in range(rounds):
            for job, start in jobs.items():
                runs[job].append(start(seed))
                show_progress(".", end="")
    rows = list[list[object]]()
    for job, results in runs.items():
        rates, cvs = [r.rate for r in results], [r.cv for r in results]
        spread = (statistics.stdev(rates), statistics.stdev(cvs)) if rounds > 1 else (math.nan, math.nan)
        cost = statistics.median(r.cpu_seconds for r in results) / seconds
        rows.append(
            [
                f"{name.upper()}, {size:,} neurons, {job.replace('torch.', '')}",
                cost,
                f"{statistics.mean(rates):.2f} ± {spread[0]:.2f}",
                f"{statistics.mean(cvs):.3f} ± {spread[1]:.3f}",
            ]
        )
    return rows


HEADER = ("", "seconds of processor time for a simulated second", "rate in Hz, ± between seeds", "CV of intervals")


def against_brian2(bench: Bench) -> str:
    """Two populations without external input, beside Brian2.

    Measured on one thread. Brian2 runs as a program of its own in C++ ("standalone"); the time is that of its loop over
    time, without its start.
    """
    rows = [row for name in ("cuba", "coba") for row in measure(name, 4000, 1.0, min(5, bench.rounds))]
    return (
        "The CUBA and COBA networks of Brette et al. (2007) with the parameters of Brian2's examples: 80 % excitatory "
        "and 20 % inhibitory neurons, 80 synapses each, steps of 0.1 ms. One thread; processor time of the loop over "
        "time.\n\n" + format_table(HEADER, rows)
    )


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("cuba", "coba"), action="append", help="default: both")
    parser.add_argument("--neurons", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5, help="number of seeds")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        row
        for name in arguments.network or ("cuba", "coba")
        for row in measure(name, arguments.neurons, arguments.seconds, arguments.rounds)
    ]
    print(format_table(HEADER, rows))


if __name__ == "__main__":
    main()
