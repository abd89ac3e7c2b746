"""NIR graphs without nesting, checked, and the order in which their nodes are evaluated."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import import_nir, NIRError
from .files import FIELDS

Node = Any
Edge = tuple[str, str]

_MAX_DEPTH = 32
_MAX_NODES = 100_000
# Nodes with a state. Every cycle must have one, or its values would be defined by themselves.
STATEFUL = ("I", "IF", "LI", "LIF", "CubaLI", "CubaLIF")


@dataclass
class FlatGraph:
    """A graph whose nodes are primitive; `Input` and `Output` nodes of inner graphs pass their input on."""

    nodes: dict[str, Node]
    edges: list[Edge]
    inputs: list[str]
    outputs: list[str]
    before: dict[str, list[str]] = field(default_factory=dict)
    after: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.before = {name: [] for name in self.nodes}
        self.after = {name: [] for name in self.nodes}
        for source, target in sorted(self.edges):
            self.before[target].append(source)
            self.after[source].append(target)

    def kind(self, name: str) -> str:
        return type(self.nodes[name]).__name__


@dataclass
class Block:
    """Nodes that are evaluated together: one node, or a cycle, in the order of evaluation within a step.

    The value of an edge in `back` is that of the step before.
    """

    names: list[str]
    back: set[Edge]
    is_cycle: bool


def flatten_graph(graph: Node) -> FlatGraph:
    """The graph without nesting; the node `b` in the graph `a` is called `a.b`.

    A graph without `Input` nodes has its roots as inputs, one without `Output` nodes its leaves as outputs, as in files
    of old versions.

    Raises:
        TypeError: If it is not a `nir.NIRGraph`.
        NIRError: If an edge begins or ends nowhere or occurs twice, or a node is unknown or has no input.
    """
    nir = import_nir()
    if not isinstance(graph, nir.NIRGraph):
        raise TypeError(f"expected a nir.NIRGraph, got {type(graph).__name__}.")
    nodes: dict[str, Node] = {}
    edges: list[Edge] = []
    _collect(graph, "", 0, nodes, edges)
    targets, sources = {b for _, b in edges}, {a for a, _ in edges}
    outer = {name for name, node in graph.nodes.items() if not isinstance(node, nir.NIRGraph)}
    inputs = [name for name in nodes if name in outer and isinstance(nodes[name], nir.Input)]
    outputs = [name for name in nodes if name in outer and isinstance(nodes[name], nir.Output)]
    inputs = inputs or [name for name in nodes if name not in targets]
    outputs = outputs or [name for name in nodes if name not in sources]
    for name in nodes:
        if name in inputs and name in targets:
            raise NIRError("the Input node has an incoming edge", node=name)
        if name not in inputs and name not in targets:
            raise NIRError("the node has no input: no edge leads to it", node=name)
    if not inputs:
        raise NIRError("the graph has no input: there is no Input node, and every node is part of a cycle")
    if not outputs:
        raise NIRError("the graph has no output: there is no Output node, and every node is part of a cycle")
    return FlatGraph(nodes, edges, inputs, outputs)


def _collect(graph: Node, prefix: str, depth: int, nodes: dict[str, Node], edges: list[Edge]) -> None:
    """Add the nodes and edges of a graph and of the graphs in it."""
    nir = import_nir()
    if depth > _MAX_DEPTH:
        raise NIRError(f"graphs are nested over {_MAX_DEPTH} deep", node=prefix.rstrip("."))
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            _collect(node, f"{prefix}{name}.", depth + 1, nodes, edges)
        elif type(node).__name__ not in FIELDS:
            raise NIRError(f"unknown type of node {type(node).__name__!r}", node=prefix + name)
        elif prefix + name in nodes or len(nodes) >= _MAX_NODES:
            reason = "two nodes have this name" if prefix + name in nodes else f"it has over {_MAX_NODES:,} nodes"
            raise NIRError(reason, node=prefix + name)
        else:
            nodes[prefix + name] = node
    seen: set[Edge] = set()
    for source, target in graph.edges:
        if (source, target) in seen:
            raise NIRError(
                f"the edge {source!r} -> {target!r} occurs twice, and it is not defined whether it counts twice; "
                "use a Scale node",
                node=prefix + target,
            )
        seen.add((source, target))
        edge = (_find_end(graph, source, prefix, "Output"), _find_end(graph, target, prefix, "Input"))
        if edge in edges[-1:]:
            raise NIRError("two edges lead here from the same node", node=edge[1])
        edges.append(edge)


def _is_graph(node: Node) -> bool:
    return isinstance(node, import_nir().NIRGraph)


def _find_end(graph: Node, name: str, prefix: str, kind: str) -> str:
    """The primitive node at which an edge begins or ends: of an inner graph, its only output or input."""
    path = name
    inner: Any = graph.nodes.get(name)
    if inner is None and "." in name:  # a node of an inner graph
        outer, _, rest = name.partition(".")
        inside: Any = graph.nodes.get(outer)
        if _is_graph(inside):
            return _find_end(inside, rest, f"{prefix}{outer}.", kind)
    if inner is None:
        close = ", ".join(sorted(map(repr, graph.nodes))[:10])
        raise NIRError(f"an edge {'ends' if kind == 'Input' else 'begins'} here, but there is no such node; "
                       f"there are {close}", node=prefix + name)  # fmt: skip
    while _is_graph(inner):
        ends = [key for key, node in inner.nodes.items() if type(node).__name__ == kind]
        if len(ends) != 1:
            raise NIRError(
                f"an edge leads {'to' if kind == 'Input' else 'from'} the graph, which has {len(ends)} {kind} nodes; "
                f"name one of them, such as {path}.{ends[0] if ends else kind.lower()}",
                node=prefix + path,
            )
        path, inner = f"{path}.{ends[0]}", inner.nodes[ends[0]]
    return prefix + path


def holding_delays(graph: FlatGraph, dt: float = 0.0) -> set[str]:
    """The delays of at least one step of `dt`, rounded; of any length if it is 0."""
    found = set()
    for name in graph.nodes:
        if graph.kind(name) == "Delay":
            delay = np.asarray(graph.nodes[name].delay)
            if delay.dtype.kind in "iuf" and bool((delay > 0.5 * dt).all()):
                found.add(name)
    return found


def order_blocks(graph: FlatGraph, holding: set[str]) -> list[Block]:
    """The nodes in the order of evaluation, cycles as one block each.

    Args:
        graph: The graph.
        holding: Delays of at least one step: what they return does not depend on their present input, so that a cycle
            through one needs no further delay.

    Raises:
        NIRError: If a cycle has neither a neuron nor a delay, or a node cannot be reached from an input.
    """
    distance = _distances(graph)
    rank = {name: (distance[name], name) for name in graph.nodes}
    blocks = []
    for component in _components(graph, rank):
        members = set(component)
        if len(component) == 1 and component[0] not in graph.after[component[0]]:
            blocks.append(Block(component, set(), False))
        else:
            blocks.append(_order_cycle(graph, members, holding & members, rank))
    return blocks


def _distances(graph: FlatGraph) -> dict[str, int]:
    """The number of edges from the nearest input to every node."""
    distance = dict.fromkeys(graph.inputs, 0)
    waiting = deque(graph.inputs)
    while waiting:
        name = waiting.popleft()
        for target in graph.after[name]:
            if target not in distance:
                distance[target] = distance[name] + 1
                waiting.append(target)
    if unreached := sorted(graph.nodes.keys() - distance.keys()):
        raise NIRError("the node cannot be reached from an input", node=unreached[0])
    return distance


Rank = dict[str, tuple[int, str]]


def _depth_first(starts: list[str], after: dict[str, list[str]]) -> tuple[list[str], set[Edge]]:
    """Nodes so that edges lead forward, and the edges that lead back because of cycles."""
    finished: list[str] = []
    back: set[Edge] = set()
    state: dict[str, bool] = {}  # whether the node is finished
    for start in starts:
        if start in state:
            continue
        state[start] = False
        stack = [(start, iter(after[start]))]
        while stack:
            name, targets = stack[-1]
            for target in targets:
                if target not in state:
                    state[target] = False
                    stack.append((target, iter(after[target])))
                    break
                if not state[target]:
                    back.add((name, target))
            else:
                state[name] = True
                finished.append(name)
                stack.pop()
    return finished[::-1], back


def _components(graph: FlatGraph, rank: Rank) -> list[list[str]]:
    """The strongly connected components, in topological order (Kosaraju's algorithm)."""
    order, _ = _depth_first(sorted(graph.nodes, key=rank.__getitem__), graph.after)
    component: dict[str, int] = {}
    components: list[list[str]] = []
    for root in order:
        if root in component:
            continue
        component[root] = len(components)
        components.append([root])
        waiting = [root]
        while waiting:
            for source in graph.before[waiting.pop()]:
                if source not in component:
                    component[source] = component[root]
                    components[-1].append(source)
                    waiting.append(source)
    return components


def _order_cycle(graph: FlatGraph, members: set[str], holding: set[str], rank: Rank) -> Block:
    """The nodes of a cycle, beginning where input enters it."""
    inner = {name: sorted(members & set(graph.after[name]), key=rank.__getitem__) for name in members}
    stateless = {name for name in members if graph.kind(name) not in STATEFUL and name not in holding}
    _, loops = _depth_first(
        sorted(stateless, key=rank.__getitem__),
        {name: [target for target in inner[name] if target in stateless] for name in stateless},
    )
    if loops:
        raise NIRError(
            "the node is in a cycle without a neuron and without a delay of at least one step, "
            "whose values would depend on themselves",
            node=min(loops)[0],
        )
    entered = {name for name in members if set(graph.before[name]) - members}
    starts = sorted(members, key=lambda name: (name not in entered, name not in holding, rank[name]))
    forward = {name: [target for target in inner[name] if target not in holding] for name in members}
    names, back = _depth_first(starts, forward)
    return Block(names, back, True)
