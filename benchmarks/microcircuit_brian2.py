"""The scaled-down network of `microcircuit.py` in Brian2, as a C++ program, with its own random numbers.

python -m benchmarks.microcircuit_brian2 --scale 0.1 --indegree 0.1 --seconds 3
"""

import argparse
import tempfile

import numpy as np

from . import microcircuit as circuit
from .report import format_table

WARM_UP = 0.5


def simulate(scale: float, indegree: float, seconds: float, folder: str) -> list[float]:
    """The rate of each population in Hz."""
    import brian2  # pyright: ignore[reportMissingImports]  (optional)
    from brian2 import Hz, mV, second  # pyright: ignore[reportMissingImports]

    brian2.set_device("cpp_standalone", directory=folder)
    brian2.defaultclock.dt = circuit.DT * second
    sizes = [max(1, round(float(size) * scale)) for size in circuit.SIZES]
    first = np.cumsum([0, *sizes])
    neurons = brian2.NeuronGroup(
        sum(sizes),
        """
        dv/dt = (rest - v + current) / (10 * ms) : volt (unless refractory)
        dcurrent/dt = -current / (0.5 * ms) : volt
        rest : volt (constant)
        """,
        threshold="v > -50 * mV",
        reset="v = -65 * mV",
        refractory=circuit.REFRACTORY * second,
        method="exact",
    )
    random, root = np.random.default_rng(0), indegree**0.5
    noise = random.standard_normal(sum(sizes))
    spread = np.repeat(circuit.START_SPREAD.numpy(), sizes)
    neurons.v = (np.repeat(circuit.START.numpy(), sizes) + spread * noise) * mV
    neurons.rest = np.repeat(circuit.resting_potentials(indegree).numpy(), sizes) * mV
    means, counts = circuit.mean_weights().numpy(), circuit.synapse_counts().numpy()
    ends, weights, delays = [], [], []
    for source, target in np.ndindex(8, 8):
        count = round(float(counts[target, source]) * scale * indegree)
        pairs = [first[k] + random.integers(sizes[k], size=count) for k in (source, target)]
        mean, delay = means[target, source] / root, circuit.DELAYS[source % 2]
        ends.append(pairs)
        magnitudes = np.clip(1 + circuit.WEIGHT_SPREAD * random.standard_normal(count), 0, None)
        weights.append(mean * magnitudes)
        delays.append(np.clip(delay + delay / 2 * random.standard_normal(count), circuit.DT, None))
    synapses = brian2.Synapses(neurons, neurons, "w : volt", on_pre="current += w")
    sources, targets = np.concatenate(ends, axis=1)
    synapses.connect(i=sources, j=targets)
    synapses.w = np.concatenate(weights) * mV
    synapses.delay = np.concatenate(delays) * second
    inputs = [
        brian2.PoissonInput(
            neurons[first[k] : first[k + 1]],
            "current",
            max(1, round(circuit.EXTERNAL[k].item() * indegree)),
            circuit.EXTERNAL_RATE * Hz,
            weight=circuit.WEIGHT / root * mV,
        )
        for k in range(8)
    ]
    monitor = brian2.SpikeMonitor(neurons)
    brian2.Network(neurons, synapses, inputs, monitor).run((WARM_UP + seconds) * second)
    spikes = np.bincount(np.asarray(monitor.i)[np.asarray(monitor.t) > WARM_UP], minlength=sum(sizes))
    return [spikes[first[k] : first[k + 1]].mean() / seconds for k in range(8)]


def main() -> None:
    """Simulate from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1, help="fraction of the neurons")
    parser.add_argument("--indegree", type=float, default=0.1, help="fraction of the synapses of each neuron")
    parser.add_argument("--seconds", type=float, default=3.0, help="simulated time, after half a second")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rates = simulate(arguments.scale, arguments.indegree, arguments.seconds, folder)
    rows = [
        (name, f"{rate:.2f}", f"{published.item():.2f}")
        for name, rate, published in zip(circuit.NAMES, rates, circuit.RATES, strict=True)
    ]
    print(format_table(("population", "rate in Hz", "full network"), rows))


if __name__ == "__main__":
    main()
