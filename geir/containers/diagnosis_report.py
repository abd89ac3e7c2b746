"""The result of `diagnose`: a table of layers, and problems with their cures."""

import textwrap
from dataclasses import dataclass, field

from .._util.columns import align_columns


@dataclass(frozen=True)
class LayerActivity:
    """Activity of one layer during the run.

    Args:
        name: Name of the layer in the model.
        kind: Name of its class.
        dt: Step size in seconds.
        steps: Number of steps that it ran.
        rate: Mean firing rate in Hz; None if it does not spike.
        silent: Share of neurons without a spike; None if it does not spike.
        saturated: Share of neurons that spike in at least half of all steps; None if it does not spike.
        gradient: Root mean square of the gradient of the output with respect to the layer's input; None if there is
            none.
    """

    name: str
    kind: str
    dt: float
    steps: int
    rate: float | None
    silent: float | None
    saturated: float | None
    gradient: float | None


@dataclass(frozen=True)
class Finding:
    """A problem and its cure.

    Args:
        layer: Name of the module; empty for the whole model.
        problem: What is wrong.
        cure: What to do.
    """

    layer: str
    problem: str
    cure: str


@dataclass(frozen=True)
class Diagnosis:
    """The result of `diagnose`: printed, a table of the layers and a list of problems, each with its cure.

    Args:
        layers: What each layer did, in the order of the calls.
        findings: The problems.
    """

    layers: list[LayerActivity] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __str__(self) -> str:
        rows = [("layer", "module", "steps", "rate (Hz)", "silent", "saturated", "gradient")]
        rows += [
            (
                layer.name or "(model)",
                layer.kind,
                str(layer.steps),
                _format(layer.rate, "{:.1f}"),
                _format(layer.silent, "{:.0%}"),
                _format(layer.saturated, "{:.0%}"),
                _format(layer.gradient, "{:.1e}"),
            )
            for layer in self.layers
        ]
        lines = align_columns(rows, right=range(2, len(rows[0])))
        if self.healthy:
            lines.append("No problem was found.")
        for finding in self.findings:
            place = f"{finding.layer}: " if finding.layer else ""
            lines += textwrap.wrap(f"! {place}{finding.problem}", 100, subsequent_indent="  ")
            lines += textwrap.wrap(f"  -> {finding.cure}", 100, subsequent_indent="     ")
        return "\n".join(lines)

    __repr__ = __str__


def _format(value: float | None, template: str) -> str:
    return "" if value is None else template.format(value)
