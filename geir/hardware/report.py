"""The report of a check, as a table."""

from dataclasses import dataclass

from .._util.columns import align_columns
from .targets import Target


@dataclass(frozen=True)
class Finding:
    """One limit that a network exceeds.

    Args:
        module: Name of the module in the network; empty for the network as a whole.
        limit: What is limited, and to what.
        value: What the network has.
        source: Where the limit is published.
        advice: What to change.
    """

    module: str
    limit: str
    value: str
    source: str
    advice: str


@dataclass(frozen=True)
class LayerSize:
    """Numbers of a layer.

    Args:
        name: Name of its neurons.
        neurons: Number of neurons.
        fan_in: Most synapses of one neuron, recurrent ones and the bias included; those from a pooled input count once
            for each neuron of its window.
        synapses: Number of neurons times `fan_in`.
        weights: Number of different weights and biases.
    """

    name: str
    neurons: int
    fan_in: int
    synapses: int
    weights: int


@dataclass(frozen=True)
class Report:
    """The result of `check`. `print` shows it as a table.

    Args:
        target: The chip.
        layers: The size of each layer.
        findings: The limits that the network exceeds.
    """

    target: Target
    layers: tuple[LayerSize, ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether the network exceeds no limit."""
        return not self.findings

    def __str__(self) -> str:
        sizes = [
            (layer.name, f"{layer.neurons:,}", f"{layer.fan_in:,}", f"{layer.synapses:,}", f"{layer.weights:,}")
            for layer in self.layers
        ]
        lines = align_columns([("layer", "neurons", "fan-in", "synapses", "weights"), *sizes], rule=True)
        if self.ok:
            return "\n".join([*lines, "", f"No limit of {self.target.name} in this table is exceeded."])
        header = ("module", f"limit of {self.target.name}", "value", "change", "source")
        rows = [(f.module, f.limit, f.value, f.advice, f.source) for f in self.findings]
        return "\n".join([*lines, "", *align_columns([header, *rows], rule=True)])
