"""The chips, as data: every limit with its source."""

from dataclasses import dataclass, fields
from typing import Any

from .._util.columns import align_columns


@dataclass(frozen=True)
class Limit:
    """A limit of a chip.

    Args:
        value: The largest allowed number, or the tuple of all allowed values.
        source: Where it is published.
    """

    value: Any  # a number, or a tuple of numbers or names
    source: str


@dataclass(frozen=True, repr=False)
class Target:
    """A neuromorphic chip and its limits; None where it has none, or where none is published.

    `print` shows the limits with their sources.

    Args:
        name: Name of the chip.
        neurons: Names of the neurons it has.
        reset: `"value"` or `"subtraction"`, or both.
        weight_bits: Bits of a signed weight.
        state_bits: Bits of a state.
        decay_bits: Bits of a decay.
        threshold_bits: Bits of a threshold.
        connections: Connections.
        pooling: Sizes of sum pooling.
        recurrence: Recurrent layers (1: yes, 0: no).
        bias: Which neurons may have a bias: `"hidden"`, `"output"`; a bias is an input that spikes in every step.
        inputs: Input channels.
        input_size: Height and width of the input.
        input_events: Spikes of one input in one step.
        spikes: Spikes of one hidden neuron in one step.
        neurons_total: Neurons.
        hidden: Hidden neurons.
        outputs: Output neurons.
        fan_in: Synapses of one neuron.
        synapses: Synapses.
        layers: Layers.
        kernel: Height and width of a kernel.
        stride: Strides.
        padding: Padding.
        channels: Channels.
        map_size: Height and width of a layer.
        kernel_memory: Words of kernels, of each core.
        neuron_memory: Words of states, of each core.
    """

    name: str
    neurons: Limit
    reset: Limit
    weight_bits: Limit | None = None
    state_bits: Limit | None = None
    decay_bits: Limit | None = None
    threshold_bits: Limit | None = None
    connections: Limit | None = None
    pooling: Limit | None = None
    recurrence: Limit | None = None
    bias: Limit | None = None
    inputs: Limit | None = None
    input_size: Limit | None = None
    input_events: Limit | None = None
    spikes: Limit | None = None
    neurons_total: Limit | None = None
    hidden: Limit | None = None
    outputs: Limit | None = None
    fan_in: Limit | None = None
    synapses: Limit | None = None
    layers: Limit | None = None
    kernel: Limit | None = None
    stride: Limit | None = None
    padding: Limit | None = None
    channels: Limit | None = None
    map_size: Limit | None = None
    kernel_memory: Limit | None = None
    neuron_memory: Limit | None = None

    def __str__(self) -> str:
        limits = [(field.name.replace("_", " "), getattr(self, field.name)) for field in fields(self)[1:]]
        rows = [(name, _describe(limit.value), limit.source) for name, limit in limits if limit is not None]
        return "\n".join(align_columns([(self.name, "limit", "source"), *rows], rule=True))

    def __repr__(self) -> str:
        return f"<Target {self.name}>"


def _describe(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_describe, value)) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)


_LIF = ("LIF", "LI", "LIFBox", "LIBox", "IAF", "ParametricLIF")
_LAVA = "Lava, bit-accurate model lava.proc.lif"
_LOIHI2 = "Intel, Loihi 2 technology brief, 2021"

LOIHI2 = Target(
    "Loihi 2",
    neurons=Limit(_LIF, f"{_LAVA}; other neurons need microcode"),
    reset=Limit(("value",), _LAVA),
    weight_bits=Limit(8, "Davies et al., Loihi, 2018"),
    state_bits=Limit(24, _LAVA),
    decay_bits=Limit(12, _LAVA),
    threshold_bits=Limit(17, _LAVA),
    connections=Limit(("Linear", "Conv1d", "Conv2d"), "Lava, lava.proc"),
    neurons_total=Limit(1_048_576, _LOIHI2),
    synapses=Limit(120_000_000, _LOIHI2),
)


def _xylo(name: str, mapper: str, hidden: int, outputs: int) -> Target:
    source = f"Rockpool 3.1, {mapper}"
    rockpool = "Rockpool, Xylo overview"
    return Target(
        name,
        neurons=Limit(("LIF", "LI"), f"{rockpool}: every neuron has a current"),
        reset=Limit(("subtraction",), rockpool),
        weight_bits=Limit(8, "Rockpool, quantize_methods.py"),
        state_bits=Limit(16, "XyloSim saturates there"),
        decay_bits=Limit(4, rockpool),
        threshold_bits=Limit(16, "Rockpool, quantize_methods.py; signed"),
        connections=Limit(("Linear",), rockpool),
        bias=Limit(("hidden",), f"{rockpool}: inputs reach hidden neurons only"),
        inputs=Limit(16, source),
        input_events=Limit(15, "XyloSim drops the rest"),
        spikes=Limit(31, "XyloSim"),
        hidden=Limit(hidden, source),
        outputs=Limit(outputs, source),
    )


XYLO_AUDIO_2 = _xylo("Xylo Audio 2", "syns61201 mapper", hidden=1000, outputs=8)
XYLO_AUDIO_3 = _xylo("Xylo Audio 3", "syns65302 mapper", hidden=992, outputs=32)
XYLO_IMU = _xylo("Xylo IMU", "syns63300 mapper", hidden=496, outputs=16)

_SINABS = "sinabs 3.1, DYNAP-CNN documentation"
_SINABS_CODE = "sinabs 3.1, backend/dynapcnn"
_CORES = (16, 16, 16, 32, 32, 64, 64, 16, 16)
_CORE_NEURONS = (64, 64, 64, 32, 32, 16, 16, 16, 16)

SPECK = Target(
    "Speck (DYNAP-CNN)",
    neurons=Limit(("IAF",), f"{_SINABS}: no leak"),
    reset=Limit(("subtraction", "value"), _SINABS),
    weight_bits=Limit(8, _SINABS),
    state_bits=Limit(16, _SINABS),
    threshold_bits=Limit(16, _SINABS),
    connections=Limit(("Conv2d", "Linear"), f"{_SINABS}; Linear becomes a convolution"),
    pooling=Limit((1, 2, 4), _SINABS),
    recurrence=Limit(0, _SINABS),
    input_size=Limit(128, _SINABS),
    layers=Limit(len(_CORES), f"{_SINABS}: nine cores"),
    kernel=Limit(16, _SINABS),
    stride=Limit((1, 2, 4, 8), _SINABS),
    padding=Limit(7, _SINABS),
    channels=Limit(1024, _SINABS),
    map_size=Limit(64, _SINABS),
    kernel_memory=Limit(tuple(1024 * k for k in _CORES), f"{_SINABS_CODE}, get_constraints"),
    neuron_memory=Limit(tuple(1024 * k for k in _CORE_NEURONS), f"{_SINABS_CODE}, get_constraints"),
)

SPINNAKER2 = Target(
    "SpiNNaker2",
    neurons=Limit(_LIF, "py-spinnaker2, fixed-point LIF; other neurons need a program"),
    reset=Limit(("value", "subtraction"), "py-spinnaker2"),
    weight_bits=Limit(5, "py-spinnaker2: weights -15 to 15 (not verified)"),
    connections=Limit(("Linear", "Conv2d"), "py-spinnaker2"),
)

_BSS2 = "Pehle et al., The BrainScaleS-2 accelerated neuromorphic system with hybrid plasticity, 2022"

BRAINSCALES2 = Target(
    "BrainScaleS-2",
    neurons=Limit(("LIF", "LI", "AdEx"), _BSS2),
    reset=Limit(("value",), _BSS2),
    weight_bits=Limit(7, "hxtorch: 6 bits, and one row for each sign"),
    connections=Limit(("Linear", "Conv1d", "Conv2d"), "hxtorch"),
    bias=Limit((), "hxtorch.snn"),
    neurons_total=Limit(512, _BSS2),
    fan_in=Limit(128, f"{_BSS2}: 256 synapses; hxtorch uses two for a signed weight"),
)

_MEROLLA = (
    "Merolla et al., A million spiking-neuron integrated circuit with a scalable communication network and interface, "
    "2014"
)
_ESSER = "Esser et al., Convolutional networks for fast, energy-efficient neuromorphic computing, 2016"

TRUENORTH = Target(
    "TrueNorth",
    neurons=Limit(("IAF", "LIFBox"), f"{_MEROLLA}: no synaptic current"),
    reset=Limit(("value", "subtraction"), "Cassidy et al., Cognitive computing building block, 2013"),
    weight_bits=Limit(2, f"{_ESSER}: trained with -1, 0 and 1"),
    connections=Limit(("Linear", "Conv2d"), _ESSER),
    neurons_total=Limit(1_048_576, _MEROLLA),
    fan_in=Limit(256, f"{_MEROLLA}: 256 axons of a core"),
    synapses=Limit(268_435_456, _MEROLLA),
)

TARGETS = (LOIHI2, XYLO_AUDIO_2, XYLO_AUDIO_3, XYLO_IMU, SPECK, SPINNAKER2, BRAINSCALES2, TRUENORTH)


def check_target(caller: str, target: object) -> Target:
    """The target, if it is one.

    Raises:
        TypeError: If it is something else.
    """
    if not isinstance(target, Target):
        known = [name for name, value in globals().items() if isinstance(value, Target)]
        raise TypeError(
            f"{caller} expected a target such as geir.hardware.LOIHI2, got {target!r}; "
            f"geir.hardware has {', '.join(known)}."
        )
    return target
