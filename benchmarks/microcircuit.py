"""The cortical microcircuit of Potjans & Diesmann (2014): a square millimeter of cortex, in eight populations.

    python -m benchmarks.microcircuit --scale 0.1 --indegree 1 --seconds 5

Scaled down, it has a fraction of the neurons, `--scale`, and a fraction of the synapses of each, `--indegree`. Larger
weights and a constant current make up for missing synapses, as in the reference implementation. They keep mean and
variance of a neuron's input, not its higher moments: the fewer the synapses, the more it deviates from a normal
distribution, towards inhibition, and rates fall: `--independent` shows it in single neurons. docs/populations.md has
figures.

Reference: T. Potjans & M. Diesmann, *The cell-type specific cortical microcircuit: relating structure and activity in a
full-scale spiking network model*, 2014. Parameters and rates are those of its implementation for NEST.
"""

import argparse
import resource
import time

import torch
from torch import nn, Tensor

import geir
from geir.connections import Groups, NearestStep, Projection

from .report import format_table
from .timing import show_progress

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


def resting_potentials(indegree: float) -> Tensor:
    """The resting potential of each population in mV, shifted by a constant current in place of missing synapses."""
    inputs = mean_weights() * synapse_counts() / SIZES[:, None]
    missing = (inputs * RATES).sum(1) + WEIGHT * EXTERNAL * EXTERNAL_RATE
    return -65.0 + TAU_SYN * (1 - indegree**0.5) * missing


def make_network(scale: float, indegree: float, generator: torch.Generator) -> tuple[geir.Recurrent, Groups]:
    """The recurrent network with a fraction of the neurons, and of the synapses of each."""
    groups = Groups(**{name: max(1, round(float(size) * scale)) for name, size in zip(NAMES, SIZES, strict=True)})
    counts, means = synapse_counts(), mean_weights()

    def draw(count: int, mean: float, spread: float) -> Tensor:
        return mean + spread * torch.randn(count, generator=generator)

    def project(source: int, target: int) -> Projection:
        mean = means[target, source].item() / indegree**0.5
        inhibitory = source % 2
        sign, delay = (-1 if inhibitory else 1), DELAYS[inhibitory]
        return Projection(
            NAMES[source],
            NAMES[target],
            lambda count: sign * draw(count, abs(mean), WEIGHT_SPREAD * abs(mean)).clamp(min=0),
            number=round(counts[target, source].item() * scale * indegree),
            delay=lambda count: draw(count, delay, delay / 2).clamp(min=DT),
        )

    synapses = groups.connect(
        *(project(source, target) for source in range(8) for target in range(8) if counts[target, source] > 0),
        dt=DT,
        interpolation=NearestStep(),
        generator=generator,
    )
    rest = resting_potentials(indegree)
    neuron = make_neuron(groups.values(**{name: rest[k].item() for k, name in enumerate(NAMES)}))
    size = groups.size
    return geir.Recurrent(neuron, size, size, input_weights=nn.Identity(), recurrent_weights=synapses), groups


def make_neuron(rest: Tensor) -> geir.Refractory:
    """Neurons with these resting potentials."""
    neuron = geir.LIF(dt=DT, tau_mem=TAU_MEM, tau_syn=TAU_SYN, v_rest=rest, v_th=-50.0, v_reset=-65.0)
    return geir.Refractory(neuron, period=REFRACTORY)


@torch.no_grad()
def independent_rates(indegree: float, seconds: float, seed: int, copies: int = 500, warm_up: float = 0.2) -> Tensor:
    """The rates of neurons that get independent Poisson spikes at the published rates, without a network."""
    generator = torch.Generator().manual_seed(seed)
    means, expected = mean_weights(), synapse_counts() / SIZES[:, None] * RATES * (indegree * DT)
    # The expected number of spikes of each weight in a step, for each population.
    of_weight = {weight: (expected * (means == weight)).sum(1) for weight in means.unique().tolist()}
    of_weight[WEIGHT] = of_weight[WEIGHT] + EXTERNAL * (EXTERNAL_RATE * indegree * DT)
    neuron = make_neuron(resting_potentials(indegree).float()[:, None])
    state, spikes, steps = None, torch.zeros(8), 500
    begin, end = -round(warm_up / DT), round(seconds / DT)
    for first in range(begin, end, steps):
        xs = torch.zeros(min(steps, end - first), 8, copies)
        for weight, number in of_weight.items():
            arriving = torch.poisson(number.float()[:, None].expand_as(xs), generator=generator)
            xs += arriving.mul_(weight / indegree**0.5)
        zs, state = neuron(xs, state)
        if first >= 0:
            spikes += zs.sum((0, 2))
    return spikes / copies / seconds


@torch.no_grad()
def simulate(scale: float, indegree: float, seconds: float, seed: int, warm_up: float = 0.5) -> str:
    """The rates of the populations beside the published ones, and the time that a simulated second takes."""
    generator = torch.Generator().manual_seed(seed)
    started = time.process_time()
    network, groups = make_network(scale, indegree, generator)
    made = time.process_time() - started
    connection = network.recurrent_weights
    assert isinstance(connection, geir.connections.DelayedSparseLinear)
    print(f"{groups.size:,} neurons, {len(connection.connection.weight):,} synapses", flush=True)

    def values(of_population: Tensor) -> Tensor:
        return groups.values(**{name: value.item() for name, value in zip(NAMES, of_population, strict=True)})

    expected = values(EXTERNAL * indegree * EXTERNAL_RATE * DT)
    # Every call rounds all delays to steps, and its input and output need memory.
    steps = max(1000, 4_000_000 // groups.size)
    state = geir.initial_state(network, torch.zeros(1, 1, groups.size))
    noise = torch.randn(groups.size, generator=generator)
    state = geir.replace_parts(state, v=values(START) + values(START_SPREAD) * noise)
    spikes, elapsed = torch.zeros(groups.size), 0.0
    begin, end = -round(warm_up / DT), round(seconds / DT)
    for first in range(begin, end, steps):
        count = min(steps, end - first)
        xs = torch.poisson(expected.expand(count, 1, -1), generator=generator).mul_(WEIGHT / indegree**0.5)
        started = time.process_time()
        zs, state = network(xs, state)
        elapsed += time.process_time() - started
        spikes += zs[max(0, -first) :].sum((0, 1))
        show_progress(".", end="")
    show_progress("")
    rows = [
        (name, f"{spikes[groups[name]].mean().item() / seconds:.2f}", f"{RATES[k].item():.2f}")
        for k, name in enumerate(NAMES)
    ]
    return (
        f"Made in {made:.0f} s; a simulated second takes {elapsed / (seconds + warm_up):.2f} s of processor time; "
        f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB of memory\n\n"
        + format_table(("population", "rate in Hz", "full network"), rows)
    )


def main() -> None:
    """Simulate from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1, help="fraction of the neurons")
    parser.add_argument("--indegree", type=float, default=1.0, help="fraction of the synapses of each neuron")
    parser.add_argument("--seconds", type=float, default=5.0, help="simulated time, after half a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--independent", action="store_true", help="single neurons with independent input instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.independent:
        rates = independent_rates(arguments.indegree, arguments.seconds, arguments.seed).tolist()
        rows = [
            (name, f"{rate:.2f}", f"{RATES[k].item():.2f}")
            for k, (name, rate) in enumerate(zip(NAMES, rates, strict=True))
        ]
        print(format_table(("population", "rate in Hz", "full network"), rows))
        return
    print(simulate(arguments.scale, arguments.indegree, arguments.seconds, arguments.seed))


if __name__ == "__main__":
    main()
