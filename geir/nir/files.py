"""Read and write NIR files."""

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._hdf5 import read_tree, Tree
from .errors import errors_of, import_nir, NIRError

# A NIR graph or node: the package has no types.
Node = Any
Graph = Any

_MAX_DEPTH = 32
# The fields of each type of node: those that must be there, and those that may be.
FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "Input": ({"shape"}, set()),
    "Output": ({"shape"}, set()),
    "Affine": ({"weight", "bias"}, set()),
    "Linear": ({"weight"}, set()),
    "Scale": ({"scale"}, set()),
    "Conv1d": ({"weight", "bias", "stride", "padding", "dilation", "groups"}, {"input_shape"}),
    "Conv2d": ({"weight", "bias", "stride", "padding", "dilation", "groups"}, {"input_shape"}),
    "SumPool2d": ({"kernel_size", "stride", "padding"}, set()),
    "AvgPool2d": ({"kernel_size", "stride", "padding"}, set()),
    "Flatten": (set(), {"input_type", "start_dim", "end_dim"}),
    "Delay": ({"delay"}, set()),
    "Threshold": ({"threshold"}, set()),
    "I": ({"r"}, set()),
    "IF": ({"r", "v_threshold"}, {"v_reset"}),
    "LI": ({"tau", "r", "v_leak"}, set()),
    "LIF": ({"tau", "r", "v_leak", "v_threshold"}, {"v_reset"}),
    "CubaLI": ({"tau_mem", "tau_syn", "r", "v_leak"}, {"w_in"}),
    "CubaLIF": ({"tau_mem", "tau_syn", "r", "v_leak", "v_threshold"}, {"v_reset", "w_in"}),
}
# Fields that are arrays in the classes of `nir`; a file may hold a number.
_NEURON = {"r", "tau", "tau_mem", "tau_syn", "v_leak", "v_reset", "v_threshold"}
_ARRAYS = {"weight", "bias", "scale", "delay", "threshold", "w_in", *_NEURON}


def read(path: str | os.PathLike[str], max_bytes: int = 1 << 31) -> Graph:
    """Read a NIR file, also a damaged or a hostile one.

    Files of all versions are read; in old ones, `v_reset` and `w_in` may be absent and are 0 and 1.
    Types of nodes, fields, numbers and edges are checked; shapes are when the graph is run (`from_nir`).

    Args:
        path: The file.
        max_bytes: Bytes that the content may have when it is decompressed.

    Returns:
        A `nir.NIRGraph`, without the `Input` and `Output` nodes that `nir.read` would add.

    Raises:
        NIRError: If the file is damaged or is not a NIR graph; it names the file and the node.
        ImportError: If the `nir` package is not installed.
        OSError: If the file cannot be opened.
    """
    import_nir()
    name = os.fspath(path)
    tree = read_tree(name, max_bytes)
    with errors_of(file=name):
        node = tree.get("node")
        if not isinstance(node, dict):
            raise NIRError("it has no group /node; it is not a NIR file")
        graph = _make_node(node, "", 0)
        nir = import_nir()
        if not isinstance(graph, nir.NIRGraph):
            graph = nir.NIRGraph({"node": graph}, [], type_check=False)
        return graph


def _make_node(tree: Tree, name: str, depth: int) -> Node:
    """The node described by a group of the file."""
    kind = tree.get("type")
    if kind == "NIRGraph":
        return _make_graph(tree, name, depth)
    if not isinstance(kind, str) or kind not in FIELDS:
        raise NIRError(f"unknown type of node {kind!r}; there are {', '.join(FIELDS)} and NIRGraph", node=name)
    required, optional = FIELDS[kind]
    given = tree.keys() - {"type", "metadata"}
    if missing := sorted(required - given):
        raise NIRError(f"{kind} has no {' and no '.join(missing)}", node=name)
    if unknown := sorted(given - required - optional):
        raise NIRError(f"{kind} has an unknown field {unknown[0]!r}", node=name)
    fields = {key: tree[key] for key in given}
    for key, value in fields.items():
        if isinstance(value, dict):
            raise NIRError(f"{kind}.{key} must be a number or an array, but is a group", node=name)
        if key in _ARRAYS:
            fields[key] = np.asarray(value)
            check_numbers(kind, key, fields[key], name)
    shapes = {key: fields[key].shape for key in FIELDS[kind][0] | FIELDS[kind][1] if key in _NEURON and key in fields}
    if len(set(shapes.values())) > 1:
        raise NIRError(f"the parameters of {kind} have different shapes: {shapes}", node=name)
    with errors_of(node=name, kind=Exception):
        return _construct(kind, fields, _metadata(tree, name))


def _construct(kind: str, fields: dict[str, Any], metadata: Tree) -> Node:
    nir = import_nir()
    if kind == "Input":
        return nir.Input(input_type={"input": _shape(fields["shape"])}, metadata=metadata)
    if kind == "Output":
        return nir.Output(output_type={"output": _shape(fields["shape"])}, metadata=metadata)
    if kind == "Flatten":
        # The class computes its output from the input, which `from_nir` infers.
        node = nir.Flatten(input_type={"input": None}, metadata=metadata)
        node.start_dim, node.end_dim = _integer(fields.get("start_dim", 1)), _integer(fields.get("end_dim", -1))
        if "input_type" in fields:
            node.input_type = {"input": _shape(fields["input_type"])}
        return node
    if kind in ("Conv1d", "Conv2d"):
        # Without a shape the class does not infer types, in which it ignores groups and the width of the kernel.
        shape = fields.pop("input_shape", None)
        node = getattr(nir, kind)(input_shape=None, **fields, metadata=metadata)
        node.input_shape = shape if shape is None or kind == "Conv1d" else tuple(_shape(shape).tolist())
        return node
    if "v_threshold" in fields and "v_reset" not in fields:
        fields["v_reset"] = np.zeros_like(fields["v_threshold"])
    return getattr(nir, kind)(**fields, metadata=metadata)


def _make_graph(tree: Tree, name: str, depth: int) -> Graph:
    nir = import_nir()
    if depth > _MAX_DEPTH:
        raise NIRError(f"graphs are nested over {_MAX_DEPTH} deep", node=name)
    nodes, edges = tree.get("nodes"), tree.get("edges")
    if not isinstance(nodes, dict) or not all(isinstance(node, dict) for node in nodes.values()):
        raise NIRError("the graph has no group of nodes", node=name or None)
    if not isinstance(edges, np.ndarray) or not (edges.size == 0 or (edges.ndim == 2 and edges.shape[1] == 2)):
        raise NIRError("the graph has no list of edges, which are pairs of names", node=name or None)
    if edges.size and not all(isinstance(end, str) for end in edges.flat):
        raise NIRError("edges must be pairs of names", node=name or None)
    prefix = f"{name}." if name else ""
    made = {key: _make_node(node, prefix + key, depth + 1) for key, node in nodes.items()}
    pairs = [(str(a), str(b)) for a, b in edges] if edges.size else []
    return nir.NIRGraph(made, pairs, metadata=_metadata(tree, name), type_check=False)


def _metadata(tree: Tree, name: str) -> Tree:
    metadata = tree.get("metadata", {})
    if not isinstance(metadata, dict):
        raise NIRError("metadata must be a group", node=name or None)
    return metadata


def check_numbers(kind: str, field: str, value: Any, name: str | None) -> None:
    """Check that a field is an array of finite numbers.

    Raises:
        NIRError: If it is not.
    """
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iufb":
        raise NIRError(f"{kind}.{field} must be an array of numbers, got {type(value).__name__}", node=name)
    if not np.isfinite(value).all():
        bad = int((~np.isfinite(value)).sum())
        raise NIRError(f"{kind}.{field} has {bad:,} values that are not finite numbers (of {value.size:,})", node=name)


def to_tensor(value: np.ndarray[Any, Any], dtype: torch.dtype, what: str, name: str | None) -> Tensor:
    """Finite numbers as a tensor, also those of types that PyTorch lacks: extended precision, other byte orders.

    Raises:
        NIRError: If a number is too large for the type of the tensor.
    """
    with np.errstate(over="ignore"):
        converted = torch.from_numpy(np.array(value, dtype=np.float64)).to(dtype)
    if not bool(converted.isfinite().all()):
        raise NIRError(f"{what} has values too large for {dtype}", node=name)
    return converted


def _integer(value: Any) -> int:
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "iu":
        raise NIRError(f"expected an integer, got {value!r}")
    return int(array.item())


def _shape(value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or array.ndim > 1 or array.size > _MAX_DEPTH or (array != np.floor(array)).any():
        raise NIRError(f"a shape must be a list of at most {_MAX_DEPTH} integers, got {value!r}"[:200])
    return np.atleast_1d(array).astype(np.int64)


def write(path: str | os.PathLike[str], graph: Graph) -> None:
    """Write a graph to a file, as `nir.write` does.

    Args:
        path: The file; one that exists is replaced once all is written.
        graph: A `nir.NIRGraph`.

    Raises:
        ImportError: If the `nir` package is not installed.
        OSError: If the file cannot be written.
    """
    name = os.fspath(path)
    part = f"{name}.part"
    try:
        import_nir().write(part, graph)
        os.replace(part, name)
    finally:
        if os.path.exists(part):
            os.remove(part)
