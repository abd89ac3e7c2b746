"""From NIR to geir."""

import os
from dataclasses import replace

import numpy as np
import torch

from .._util.validation import is_positive_finite
from ..core.integrators import Integrator
from ._graph import FlatGraph, flatten_graph, holding_delays, order_blocks
from ._layers import make_layer, NEURONS
from ._models import restore
from ._shapes import infer_shapes
from .discretizations import Discretization
from .errors import errors_of, import_nir
from .files import Graph, read
from .network import NIRNetwork

_DEFAULT_DT = 1e-4
_WEIGHTS = ("Affine", "Linear", "Conv1d", "Conv2d")


def from_nir(
    source: str | os.PathLike[str] | Graph,
    dt: float | None = None,
    integrator: Integrator | Discretization | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> NIRNetwork:
    """Make a module over time of a NIR graph: ``ys, state = module(xs, state)``, time first.

    Weights are learnable; parameters of neurons are fixed. Every value of the graph is used: weights and biases,
    resistances, `v_leak`, `v_reset` and `w_in`, for every neuron its own. What cannot be run is refused.

    Args:
        source: Path of a NIR file, or a `nir.NIRGraph`.
        dt: Step size in seconds. Default: that of the geir model that was written, else 1e-4.
        integrator: Numerical method, such as `geir.Exact()`; spikes then reset to `v_reset`. Or the discretization of
            another framework, such as `Norse()`. Default: that of the geir model that was written, else
            `SequentialEuler()`, with which most frameworks agree.
        dtype: Dtype of weights and parameters. Default: `torch.get_default_dtype()`.

    Raises:
        NIRError: If the file or the graph is damaged or cannot be run; it names file and node.
        TypeError: If an argument is of another type.
        ValueError: If `dt` is not positive and finite.
        ImportError: If the `nir` package is not installed.
        OSError: If the file cannot be opened.
    """
    if dt is not None and not (isinstance(dt, int | float) and is_positive_finite(dt)):
        raise ValueError(f"from_nir: dt must be a positive number of seconds, got {dt!r}.")
    if not isinstance(integrator, Integrator | Discretization | None):
        raise TypeError(
            "from_nir: integrator must be an integrator such as geir.Exact(), or a discretization such as "
            f"geir.nir.Norse(), got {integrator!r}."
        )
    file = os.fspath(source) if isinstance(source, str | os.PathLike) else None
    graph = source if file is None else read(file)
    with errors_of(file=file):
        return _make_network(graph, dt, integrator, dtype or torch.get_default_dtype())


def _make_network(
    graph: Graph, dt: float | None, integrator: Integrator | Discretization | None, dtype: torch.dtype
) -> NIRNetwork:
    discretization = integrator if isinstance(integrator, Discretization) else Discretization()
    if isinstance(integrator, Integrator):
        discretization = replace(discretization, integrator=integrator)
    metadata = graph.metadata if isinstance(getattr(graph, "metadata", None), dict) else {}
    if integrator is None and metadata.get("geir_initial_feedback", 1) == 0:
        discretization = replace(discretization, initial_feedback=False)
    step = _DEFAULT_DT if dt is None else float(dt)
    written = metadata.get("geir_dt")
    if dt is None and integrator is None and isinstance(written, int | float) and is_positive_finite(written):
        step = float(written)
    flat = flatten_graph(graph)
    if discretization.late_weights:
        flat = _with_late_weights(flat, step)
    blocks = order_blocks(flat, holding_delays(flat, step))
    shapes = infer_shapes(flat, blocks)
    layers = {}
    for name, node in flat.nodes.items():
        layer = None
        if integrator is None and flat.kind(name) in NEURONS:
            with errors_of(node=name, kind=Exception):
                layer = restore(node, flat.kind(name), shapes[0][name], dt, dtype)
        layers[name] = layer or make_layer(node, name, shapes[0][name], step, discretization, dtype)
    return NIRNetwork(flat, blocks, layers, shapes, step, discretization)


def _with_late_weights(graph: FlatGraph, dt: float) -> FlatGraph:
    """The graph with a delay of one step behind every connection."""
    nir = import_nir()
    late = {name: f"{name}.late" for name in graph.nodes if graph.kind(name) in _WEIGHTS}
    nodes = graph.nodes | {delay: nir.Delay(np.array(dt)) for delay in late.values()}
    edges = [(late.get(source, source), target) for source, target in graph.edges] + list(late.items())
    outputs = [late.get(name, name) for name in graph.outputs]
    return FlatGraph(nodes, edges, graph.inputs, outputs)
