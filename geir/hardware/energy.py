"""Energy per operation of hardware targets, as data."""

from dataclasses import dataclass
from typing import NamedTuple

PICOJOULE = 1e-12


class Energy(NamedTuple):
    """An estimate of the energy of one sample, in joules."""

    synapses: float  # accumulates and multiply-accumulates
    neurons: float  # updates of neurons
    spikes: float  # transport of spikes
    excluded: tuple[str, ...]  # connections that the target has no energy for: their input is not spikes

    @property
    def total(self) -> float:
        """The sum, without the excluded connections."""
        return self.synapses + self.neurons + self.spikes


@dataclass(frozen=True)
class EnergyModel:
    """Energies of single operations, in joules. Define one for a target of your own.

    Args:
        accumulate: A synaptic operation whose input is a spike.
        source: Where the numbers are from.
        multiply_accumulate: A synaptic operation whose input is a number; None if the target does not have it.
        active_update: Advancing a neuron by one step in which it spikes.
        inactive_update: Advancing a neuron by one step in which it does not spike.
        spike: Transport of one spike.
    """

    accumulate: float
    source: str
    multiply_accumulate: float | None = None
    active_update: float = 0.0
    inactive_update: float = 0.0
    spike: float = 0.0


ENERGY_MODELS: dict[str, EnergyModel] = {
    "cmos45-float32": EnergyModel(
        accumulate=0.9 * PICOJOULE,
        multiply_accumulate=4.6 * PICOJOULE,
        source=(
            "M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014: 45 nm, addition 0.9 pJ "
            "and multiplication 3.7 pJ in float32. Arithmetic only, without memory."
        ),
    ),
    "cmos45-int8": EnergyModel(
        accumulate=0.03 * PICOJOULE,
        multiply_accumulate=0.23 * PICOJOULE,
        source=(
            "M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014: 45 nm, addition "
            "0.03 pJ and multiplication 0.2 pJ of 8-bit integers. Arithmetic only, without memory."
        ),
    ),
    "loihi": EnergyModel(
        accumulate=23.6 * PICOJOULE,
        active_update=81 * PICOJOULE,
        inactive_update=52 * PICOJOULE,
        spike=1.7 * PICOJOULE,
        source=(
            "M. Davies et al., Loihi: a neuromorphic manycore processor with on-chip learning, IEEE Micro 2018: "
            "simulated at 0.75 V. The synaptic operation is the minimum; a spike is transport within a tile."
        ),
    ),
    "spinnaker2": EnergyModel(
        accumulate=10 * PICOJOULE,
        source=(
            "S. Höppner et al., The SpiNNaker 2 processing element architecture for hybrid digital neuromorphic "
            "computing, 2021, as quoted in G. Tang et al., SENECA, Frontiers in Neuroscience 2023, table 3. Synaptic "
            "operations only."
        ),
    ),
    "truenorth": EnergyModel(
        accumulate=26 * PICOJOULE,
        source=(
            "P. Merolla et al., A million spiking-neuron integrated circuit with a scalable communication network and "
            "interface, Science 2014: energy of the whole chip per synaptic event, so updates and transport are "
            "included."
        ),
    ),
}
