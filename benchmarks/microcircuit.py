"""The cortical microcircuit of Potjans & Diesmann (2014): a square millimeter of cortex, in eight populations.

    python -m benchmarks.microcircuit --scale 0.1 --seconds 5

Scaled down, it has this fraction of the neurons and of the synapses of each; weights and a constant current make up for
the missing synapses, as in the reference implementation. At a tenth (3 s, seed 0) rates are 9 to 28 % below those
of the full network, and that of L23E, the lowest, is 43 % below.

Reference: T. Potjans & M. Diesmann, *The cell-type specific cortical microcircuit: relating structure and activity in a
full-scale spiking network model*, 2014. Parameters and rates are those of its implementation for NEST.
"""

import argparse
import time

import torch
from torch import nn, Tensor

import geir
from geir.connections import Groups, NearestStep, Projection

from .report import format_table

DT = 1e-4
NAMES = ("L23E", "L23I", "L4E", "L4I", "L5E", "L5I", "L6E", "L6I")
SIZES = torch.tensor([20683, 5834, 21915, 5479, 4850, 1065, 14395, 2948])
# Mean rates of the full network in Hz.
RATES = torch.tensor([0.903, 2.965, 4.414, 5.876, 7.569, 8.633, 1.105, 7.829])
# Probability that a pair of neurons has a synapse; rows are postsynaptic.
PROBABILITIES = torch.tensor(
    [
        [0.1009, 0.1689, 0.0437, 0.0818, 0.0323, 0.0, 0.0076, 0.0],
        [0.1346, 0.1371, 0.0316, 0.0515, 0.0755, 0.0, 0.0042, 0.0],
        [0.0077, 0.0059, 0.0497, 0.135, 0.0067, 0.0003, 0.0453, 0.0],
        [0.0691, 0.0029, 0.0794, 0.1597, 0.0033, 0.0, 0.1057, 0.0],
        [0.1004, 0.0622, 0.0505, 0.0057, 0.0831, 0.3726, 0.0204, 0.0],
        [0.0548, 0.0269, 0.0257, 0.0022, 0.06, 0.3158, 0.0086, 0.0],
        [0.0156, 0.0066, 0.0211, 0.0166, 0.0572, 0.0197, 0.0396, 0.2252],
        [0.0364, 0.001, 0.0034, 0.0005, 0.0277, 0.008, 0.0658, 0.1443],
    ],
    dtype=torch.float64,
)
# Synapses of a neuron from outside, which fire at 8 Hz each.
EXTERNAL = torch.tensor([1600, 1500, 2100, 1900, 2000, 1900, 2900, 2100])
EXTERNAL_RATE = 8.0
# Potentials at the start in mV: mean and standard deviation of each population.
START = torch.tensor([-68.28, -63.16, -63.33, -63.45, -63.11, -61.66, -66.72, -61.43])
START_SPREAD = torch.tensor([5.36, 4.57, 4.74, 4.94, 4.94, 4.55, 5.46, 4.48])
TAU_MEM, TAU_SYN, REFRACTORY = 10e-3, 0.5e-3, 2e-3
# Mean weight: a synaptic current of 87.8 pA, times the resistance of a membrane of 250 pF and 10 ms, in mV.
WEIGHT = 87.8e-12 * TAU_MEM / 250e-12 * 1e3
INHIBITION = -4.0  # relative weight of inhibitory synapses
WEIGHT_SPREAD = 0.1
# Delays in seconds, excitatory and inhibitory; the standard deviation is half the mean.
DELAYS = (1.5e-3, 0.75e-3)


def mean_weights() -> Tensor:
    """The mean weight of each connection in the full network, in mV."""
    weights = torch.full((8, 8), WEIGHT, dtype=torch.float64)
    weights[:, 1::2] *= INHIBITION
    weights[NAMES.index("L23E"), NAMES.index("L4E")] *= 2
    return weights


def synapse_counts() -> Tensor:
    """The number of synapses of each connection in the full network, drawn with replacement."""
    pairs = SIZES[:, None].double() * SIZES
    return torch.log1p(-PROBABILITIES) / torch.log1p(-1 / pairs)


def make_network(scale: float, generator: torch.Generator) -> tuple[geir.Recurrent, Groups]:
    """The recurrent network."""
    groups = Groups(**{name: max(1, round(float(size) * scale)) for name, size in zip(NAMES, SIZES, strict=True)})
    counts, means = synapse_counts(), mean_weights()

    def draw(count: int, mean: float, spread: float) -> Tensor:
        return mean + spread * torch.randn(count, generator=generator)

    def project(source: int, target: int) -> Projection:
        mean = means[target, source].item() / scale**0.5
        inhibitory = source % 2
        sign, delay = (-1 if inhibitory else 1), DELAYS[inhibitory]
        return Projection(
            NAMES[source],
            NAMES[target],
            lambda count: sign * draw(count, abs(mean), WEIGHT_SPREAD * abs(mean)).clamp(min=0),
            number=round(counts[target, source].item() * scale**2),
            delay=lambda count: draw(count, delay, delay / 2).clamp(min=DT),
        )

    synapses = groups.connect(
        *(project(source, target) for source in range(8) for target in range(8) if counts[target, source] > 0),
        dt=DT,
        interpolation=NearestStep(),
        generator=generator,
    )
    # A constant current in place of the missing synapses, which shifts the resting potential.
    missing = (means * counts / SIZES[:, None] * RATES).sum(1) + WEIGHT * EXTERNAL * EXTERNAL_RATE
    shift = TAU_SYN * (1 - scale**0.5) * missing
    neuron = geir.LIF(
        dt=DT,
        tau_mem=TAU_MEM,
        tau_syn=TAU_SYN,
        v_rest=groups.values(**{name: -65.0 + shift[k].item() for k, name in enumerate(NAMES)}),
        v_th=-50.0,
        v_reset=-65.0,
    )
    size = groups.size
    refractory = geir.Refractory(neuron, period=REFRACTORY)
    return geir.Recurrent(refractory, size, size, input_weights=nn.Identity(), recurrent_weights=synapses), groups


@torch.no_grad()
def simulate(scale: float, seconds: float, seed: int, warm_up: float = 0.5) -> str:
    """The rates of the populations beside the published ones, and the time that a simulated second takes."""
    generator = torch.Generator().manual_seed(seed)
    started = time.perf_counter()
    network, groups = make_network(scale, generator)
    made = time.perf_counter() - started

    def values(of_population: Tensor) -> Tensor:
        return groups.values(**{name: value.item() for name, value in zip(NAMES, of_population, strict=True)})

    expected = values(EXTERNAL * scale * EXTERNAL_RATE * DT)
    steps = max(20, 4_000_000 // groups.size)
    state = geir.initial_state(network, torch.zeros(1, 1, groups.size))
    noise = torch.randn(groups.size, generator=generator)
    state = geir.replace_parts(state, v=values(START) + values(START_SPREAD) * noise)
    spikes, elapsed = torch.zeros(groups.size), 0.0
    for first in range(-round(warm_up / DT), round(seconds / DT), steps):
        xs = WEIGHT / scale**0.5 * torch.poisson(expected.expand(steps, 1, -1), generator=generator)
        started = time.process_time()
        zs, state = network(xs, state)
        elapsed += time.process_time() - started
        spikes += zs[max(0, -first) :].sum((0, 1))
    total = -(-round((seconds + warm_up) / DT) // steps) * steps * DT
    rows = [
        (name, spikes[groups[name]].mean().item() / (total - warm_up), RATES[k].item()) for k, name in enumerate(NAMES)
    ]
    connection = network.recurrent_weights
    assert isinstance(connection, geir.connections.DelayedSparseLinear)
    return (
        f"{groups.size:,} neurons, {len(connection.connection.weight):,} synapses, made in {made:.1f} s; a simulated "
        f"second takes {elapsed / total:.2f} s of processor time\n\n"
        + format_table(("population", "rate in Hz", "full network"), rows)
    )


def main() -> None:
    """Simulate from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1, help="fraction of neurons and of synapses of each")
    parser.add_argument("--seconds", type=float, default=5.0, help="simulated time, after half a second")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(simulate(arguments.scale, arguments.seconds, arguments.seed))


if __name__ == "__main__":
    main()
