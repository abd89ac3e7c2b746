"""Gradients from event to event compared with backpropagation through the steps of a grid."""

from collections.abc import Callable

import torch

import geir

from .report import format_table
from .timing import Bench, Job

BATCH, INPUTS, NEURONS, STEPS, DT = 32, 100, 200, 1000, 1e-4
# Of the weights: about one spike a neuron, and several.
STRENGTHS = (0.25, 0.4)


def _input() -> geir.learning.SpikeTimes:
    """One spike of each input unit within the first 50 ms."""
    g = torch.Generator().manual_seed(0)
    times, units = (50e-3 * torch.rand(BATCH, INPUTS, generator=g)).sort(1)
    return geir.learning.SpikeTimes(times, units)


def _weight(strength: float) -> torch.Tensor:
    return strength * torch.rand(NEURONS, INPUTS, generator=torch.Generator().manual_seed(1))


def events_job(strength: float) -> Job:
    """Forward and backward through a `SpikeTimeLayer`."""
    layer = geir.learning.SpikeTimeLayer(INPUTS, NEURONS, geir.LIF(), max_spikes=4096, duration=STEPS * DT)
    layer.weight.data = _weight(strength)
    spikes = _input()

    def job() -> None:
        layer.zero_grad()
        times = layer(*spikes).times
        times[times.isfinite()].sum().backward()

    return job


def steps_job(strength: float) -> Job:
    """Forward and backward through the same network on a grid."""
    linear = torch.nn.Linear(INPUTS, NEURONS, bias=False)
    linear.weight.data = _weight(strength)
    model = geir.SequentialState(geir.Lift(linear), geir.LIF(dt=DT))
    xs = geir.learning.times_to_spikes(*_input(), steps=STEPS, size=INPUTS, dt=DT)

    def job() -> None:
        model.zero_grad()
        model(xs)[0].sum().backward()

    return job


JOBS: dict[str, Callable[[float], Job]] = {"events": events_job, "steps": steps_job}


def against_steps(bench: Bench) -> str:
    """Exact gradients of spike times, and backpropagation through time."""
    # Not at the top: that module runs this one's jobs in a new process.
    from .probes import MAP_EACH_TENSOR, run_probe

    rows: list[list[object]] = []
    for strength in STRENGTHS:
        layer = geir.learning.SpikeTimeLayer(INPUTS, NEURONS, geir.LIF(), max_spikes=4096, duration=STEPS * DT)
        layer.weight.data = _weight(strength)
        count = float(layer.run(*_input()).totals.double().mean()) / NEURONS
        times = bench.time_jobs({name: make(strength) for name, make in JOBS.items()})
        memory = {
            name: run_probe(bench, "job", name, str(strength), **MAP_EACH_TENSOR)["added"] / 2**20 for name in JOBS
        }
        ratios = times["steps"] / times["events"], memory["steps"] / memory["events"]
        rows.append([count, times["events"], times["steps"], ratios[0], memory["events"], memory["steps"], ratios[1]])
    header = ["spikes a neuron", "events, ms", "steps, ms", "ratio", "events, MiB", "steps, MiB", "ratio"]
    return (
        f"{INPUTS} inputs to {NEURONS} `LIF`, B={BATCH}, {INPUTS} input spikes a sample, forward and backward with the "
        f"gradient of the weights. *Events*: `SpikeTimeLayer`. *Steps*: `Lift(Linear)` and `LIF`, T={STEPS} steps of "
        f"{DT * 1e3:g} ms. Memory: peak in addition to the input, in a new process.\n\n{format_table(header, rows)}"
    )
