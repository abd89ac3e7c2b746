"""The page: its template filled with a model."""

import html
import json
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from ..._runtime.kernels.javascript import mathematics
from ..._runtime.template import render_template
from ...core.neuron import Dynamics
from .description import describe, summarize
from .model import make_explorable, Ranges

# In the order in which they build on each other.
_SCRIPTS = ("numbers", "model", "inputs", "drawing", "traces", "plane", "curve", "controls", "main")
_FRAME_HEIGHT = 900


@dataclass(frozen=True)
class Page:
    """An interactive page of a neuron. As the last expression of a cell of a notebook, it is shown there.

    Args:
        name: Name of the model.
        html: The page, which needs no other file and no network.
    """

    name: str
    html: str = field(repr=False)

    def write(self, path: str | Path) -> None:
        """Write the page to a file."""
        Path(path).write_text(self.html, encoding="utf-8")

    def _repr_html_(self) -> str:
        # In a frame, so that neither its style nor its scripts meet those of the notebook.
        return (
            f'<iframe class="geir-explore" title="{html.escape(self.name)}" srcdoc="{html.escape(self.html)}" '
            f'sandbox="allow-scripts" style="width: 100%; height: {_FRAME_HEIGHT}px; border: 0"></iframe>'
        )


def explore(neuron: Dynamics, path: str | Path | None = None, *, ranges: Ranges | None = None) -> Page:
    """Make an interactive page of a neuron, as one HTML file that needs neither a server nor a network.

    The page has a slider for every parameter and for the step size, a choice of inputs, the traces of all states with
    the spikes, the phase plane, the response to constant input, and the equations. Its numbers are computed in the
    browser, in float64, by the step of the model itself, printed in JavaScript; this works for models of your own.
    Scripts of the page can call ``geir.run(xs, {tau_mem: 0.02})``, which returns outputs and states.

    Args:
        neuron: A neuron, a synapse or a wrapped neuron, with the settings that the page starts from. Its neurons
            must not influence each other, and it has one number for each parameter.
        path: File to write. Default: none.
        ranges: From where to where the sliders of some parameters go, by name. Default: a decade around the value of a
            parameter that must be positive, otherwise 1.5 times the value around it, always within the declared range.

    Returns:
        The page; in a notebook it is shown in place.

    Raises:
        TypeError: If `neuron` is not a neuron.
        ValueError: If the step of the neuron cannot be translated, it is not a single neuron, or `ranges` does not fit
            its parameters.

    >>> import geir
    >>> import geir.plot
    >>> page = geir.plot.explore(geir.LIF(), ranges={"tau_mem": (1e-3, 50e-3)})
    >>> page
    Page(name='LIF')
    >>> len(page.html) < 300_000
    True
    """
    script, facts = make_explorable(neuron, ranges or {})
    folder = files("geir.plot.explore")
    scripts = [mathematics(), script, *((folder / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS)]
    name = type(neuron).__name__
    regions = {
        "name": html.escape(name),
        "summary": summarize(type(neuron)),
        "description": describe(neuron),
        "style": (folder / "page.css").read_text(encoding="utf-8"),
        # `</` would end the element.
        "model": json.dumps(facts, ensure_ascii=False).replace("</", "<\\/"),
        "script": "\n".join(scripts),
    }
    page = Page(name, render_template((folder / "page.html").read_text(encoding="utf-8"), regions))
    if path is not None:
        page.write(path)
    return page
