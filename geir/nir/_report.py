"""Graphs as text: a table of nodes, a picture in the language of Graphviz, and what differs between two graphs."""

from collections.abc import Iterator

import numpy as np

from .._util.columns import align_columns
from ._graph import FlatGraph, flatten_graph, holding_delays, order_blocks
from ._layers import PARAMETERS
from ._shapes import infer_shapes, Shape
from .files import FIELDS, Graph, Node

_WEIGHTS = ("weight", "bias", "scale", "threshold", "delay")
_COLUMNS = ("node", "type", "input", "output", "from", "parameters")


def _fields(node: Node) -> dict[str, np.ndarray]:
    """The fields of a node by name."""
    required, optional = FIELDS[type(node).__name__]
    names = [name for name in (*sorted(required), *sorted(optional)) if name not in ("shape", "input_type")]
    found = {name: getattr(node, name, None) for name in names}
    return {name: np.asarray(value) for name, value in found.items() if value is not None}


def _describe_field(name: str, value: np.ndarray) -> str:
    """Small fields as they are, larger ones as their range, weights with their shape."""
    if value.dtype.kind not in "iufb" or (value.size < 3 and name not in PARAMETERS and name not in _WEIGHTS):
        return f"{name}={value.tolist()}"
    low, high = value.min(), value.max()
    shape = f"[{_describe_shape(value.shape)}]" if name in _WEIGHTS else ""
    return f"{name}{shape}={low:.4g}" + ("" if low == high else f"..{high:.4g}")


def _describe_shape(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "()"


def node_table(graph: Graph) -> str:
    """One line for each node, in the order of evaluation: type, shapes, sources and ranges of parameters.

    A source whose output is used one step later is marked with ``(t-1)``.
    """
    flat = flatten_graph(graph)
    blocks = order_blocks(flat, holding_delays(flat))
    given, made = infer_shapes(flat, blocks)
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for block in blocks:
        for name in block.names:
            late = {source for source in flat.before[name] if (source, name) in block.back}
            sources = ", ".join(f"{source} (t-1)" if source in late else source for source in flat.before[name])
            described = ", ".join(_describe_field(key, value) for key, value in _fields(flat.nodes[name]).items())
            shapes = (_describe_shape(given[name]), _describe_shape(made[name]))
            rows.append((name, flat.kind(name), *shapes, sources, described))
    return "\n".join(align_columns(rows))


def graph_picture(graph: Graph) -> str:
    """The graph in the language of Graphviz; edges that take a step are dashed."""
    flat = flatten_graph(graph)
    back = {edge for block in order_blocks(flat, holding_delays(flat)) for edge in block.back}

    def quote(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    lines = [f"  {quote(name)} [label={quote(f'{name}: {flat.kind(name)}')}];" for name in flat.nodes]
    for source, target in flat.edges:
        style = " [style=dashed]" if (source, target) in back else ""
        lines.append(f"  {quote(source)} -> {quote(target)}{style};")
    return "\n".join(["digraph NIR {", "  rankdir=LR; node [shape=box];", *lines, "}"])


def differences(first: Graph, second: Graph) -> list[str]:
    """Differences between two graphs: nodes, edges, types and fields. Metadata are not compared."""
    a, b = flatten_graph(first), flatten_graph(second)
    found = [f"{name!r} is only in the first" for name in a.nodes if name not in b.nodes]
    found += [f"{name!r} is only in the second" for name in b.nodes if name not in a.nodes]
    for edges, others, where in ((a.edges, b.edges, "first"), (b.edges, a.edges, "second")):
        found += [f"{source!r} -> {target!r} is only in the {where}" for source, target in sorted({*edges} - {*others})]
    for name in a.nodes:
        if name in b.nodes:
            found += [f"{name!r}: {text}" for text in _node_differences(a, b, name)]
    return found


def _node_differences(a: FlatGraph, b: FlatGraph, name: str) -> Iterator[str]:
    if a.kind(name) != b.kind(name):
        yield f"type {a.kind(name)} and {b.kind(name)}"
        return
    first, second = _fields(a.nodes[name]), _fields(b.nodes[name])
    for key in sorted(first.keys() | second.keys()):
        if key not in first or key not in second:
            yield f"{key} is only in the {'first' if key in first else 'second'}"
        elif first[key].shape != second[key].shape:
            yield f"{key} has shape {first[key].shape} and {second[key].shape}"
        elif not np.array_equal(first[key], second[key]):
            numbers = first[key].dtype.kind in "iufb" and second[key].dtype.kind in "iufb"
            if numbers:
                distance = np.abs(first[key].astype(float) - second[key].astype(float)).max()
                yield f"{key} differs by up to {distance:.4g}"
            else:
                yield f"{key} is {first[key]} and {second[key]}"
