"""The report of a check, as a table."""

from collections.abc import Sequence
from dataclasses import dataclass

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
        text = _table(("layer", "neurons", "fan-in", "synapses", "weights"), sizes)
        if self.ok:
            return f"{text}\n\nNo limit of {self.target.name} in this table is exceeded."
        rows = [(f.module, f.limit, f.value, f.advice, f.source) for f in self.findings]
        found = _table(("module", f"limit of {self.target.name}", "value", "change", "source"), rows)
        return f"{text}\n\n{found}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    padded = ("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)
