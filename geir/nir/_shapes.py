"""The shapes of the values of nodes, from the shapes of the inputs."""

import math
from typing import Any

import numpy as np

from ._graph import Block, FlatGraph
from .errors import NIRError

Shape = tuple[int, ...]
# Numbers in the output of one node; more than any network has, but too few to fill the memory.
_MAX_SIZE = 1 << 28
# Parameters that have the shape of the node.
_PARAMETERS = ("scale", "threshold", "delay", "r", "tau", "tau_mem", "tau_syn", "v_leak", "v_threshold", "v_reset")
_PARAMETERS += ("w_in",)


def infer_shapes(graph: FlatGraph, blocks: list[Block]) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """The shapes of the input and of the output of every node, without time and batch.

    Raises:
        NIRError: If the edges that lead to a node have different shapes, or one does not fit the node.
    """
    given: dict[str, Shape] = {}
    made: dict[str, Shape] = {}
    for name in (name for block in blocks for name in block.names):
        node, kind = graph.nodes[name], graph.kind(name)
        known = {source: made[source] for source in graph.before[name] if source in made}
        if known:
            given[name] = next(iter(known.values()))
        else:
            given[name] = _stated_shape(node, kind, name)
        made[name] = output_shape(node, kind, given[name], name)
        if any(side < 1 for side in made[name]) or math.prod(made[name]) > _MAX_SIZE:
            raise NIRError(
                f"its output has the shape {made[name]}, which is empty or has over {_MAX_SIZE:,} values", node=name
            )
    for source, target in graph.edges:
        if made[source] != given[target]:
            raise NIRError(f"{source!r} gives it values of shape {made[source]}, expected {given[target]}", node=target)
    return given, made


def _stated_shape(node: Any, kind: str, name: str) -> Shape:
    """The input shape of a node without known inputs: what it states, or that of its parameters."""
    if kind in ("Input", "Flatten", "Output"):
        stated = node.input_type.get("input") if node.input_type else None
        if kind == "Input" and stated is None and node.input_type:
            stated = next(iter(node.input_type.values()))
    elif kind in ("Affine", "Linear"):
        weight = np.shape(node.weight)
        stated = (*weight[:-2], *weight[-1:])
    elif kind in ("Conv1d", "Conv2d"):
        stated = node.input_shape
        if stated is not None:
            stated = (np.shape(node.weight)[1] * int(node.groups), *np.atleast_1d(stated).tolist())
    else:
        shapes = [np.shape(getattr(node, key)) for key in _PARAMETERS if hasattr(node, key)]
        stated = max(shapes, key=len) if shapes else None
    if stated is None:
        raise NIRError(f"{kind} does not state the shape of its input; put an Input node before it", node=name)
    try:
        return tuple(int(side) for side in np.atleast_1d(stated)) if np.ndim(stated) < 2 else ()
    except (TypeError, ValueError, OverflowError):
        raise NIRError(f"{kind} states an invalid shape: {stated!r}"[:200], node=name) from None


def output_shape(node: Any, kind: str, shape: Shape, name: str) -> Shape:
    """The shape that a node makes of this one."""
    if kind in ("Affine", "Linear"):
        weight = np.shape(node.weight)
        expected = (*weight[:-2], *weight[-1:])
        if len(weight) < 2 or shape != expected:
            raise _misfit(kind, name, shape, f"weights of shape {weight}")
        return (*weight[:-2], weight[-2])
    if kind in ("Conv1d", "Conv2d"):
        return _convolved(node, kind, shape, name)
    if kind in ("SumPool2d", "AvgPool2d"):
        if len(shape) != 3:
            raise _misfit(kind, name, shape, "an image of shape (channels, height, width)")
        kernel, stride, padding = (pair(getattr(node, key), key, name) for key in ("kernel_size", "stride", "padding"))
        if any(2 * p > k for k, p in zip(kernel, padding, strict=True)):
            raise NIRError(f"its padding {padding} is over half of its kernel {kernel}", node=name)
        return (shape[0], *_sliding(shape[1:], kernel, stride, padding, (1, 1), name))
    if kind == "Flatten":
        stated = node.input_type.get("input") if node.input_type else None
        if stated is not None and tuple(np.atleast_1d(stated).tolist()) != shape:
            raise _misfit(kind, name, shape, f"its input_type {tuple(np.atleast_1d(stated).tolist())}")
        first, last = (dim + len(shape) if dim < 0 else dim for dim in (node.start_dim, node.end_dim))
        if not 0 <= first <= last < len(shape):
            raise NIRError(
                f"it flattens dimensions {node.start_dim} to {node.end_dim} of an input of shape {shape}", node=name
            )
        return (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])
    if kind in ("Input", "Output"):
        stated = node.input_type.get("input") if node.input_type else None
        if stated is not None and tuple(np.atleast_1d(stated).tolist()) != shape:
            raise _misfit(kind, name, shape, f"its shape {tuple(np.atleast_1d(stated).tolist())}")
        return shape
    for key in _PARAMETERS:
        value = getattr(node, key, None)
        if value is not None and not _broadcasts(np.shape(value), shape):
            raise _misfit(kind, name, shape, f"{key} of shape {np.shape(value)}")
    return shape


def _misfit(kind: str, name: str, shape: Shape, expected: str) -> NIRError:
    return NIRError(f"{kind} gets values of shape {shape}, which do not fit {expected}", node=name)


def _broadcasts(shape: Shape, target: Shape) -> bool:
    """Whether a parameter has the shape of the node, or is one number for all of it."""
    return shape == target or math.prod(shape) == 1


def pair(value: Any, key: str, name: str, dims: int = 2) -> Shape:
    """A kernel, stride, padding or dilation in every dimension, from one number or as many."""
    array = np.atleast_1d(value)
    lowest = 0 if key == "padding" else 1
    valid = array.dtype.kind in "iuf" and array.ndim == 1 and array.size in (1, dims) and np.isfinite(array).all()
    if not valid or (array != np.floor(array)).any() or (array < lowest).any() or (array > 1 << 31).any():
        raise NIRError(f"{key} must be {dims} integers >= {lowest}, got {value!r}"[:200], node=name)
    numbers = [int(number) for number in array]
    return tuple(numbers * dims if len(numbers) == 1 else numbers)


def padding_of(node: Any, name: str, dims: int) -> str | Shape:
    """The padding of a convolution: "same", "valid" or numbers."""
    value = node.padding.decode("latin-1") if isinstance(node.padding, bytes) else node.padding
    if not isinstance(value, str):
        return pair(value, "padding", name, dims)
    if value not in ("same", "valid"):
        raise NIRError(f"padding must be numbers, 'same' or 'valid', got {value!r}", node=name)
    if value == "same" and any(step != 1 for step in pair(node.stride, "stride", name, dims)):
        raise NIRError(
            "padding 'same' with a stride is not defined: frameworks differ; state the padding in numbers", node=name
        )
    return value


def _convolved(node: Any, kind: str, shape: Shape, name: str) -> Shape:
    dims = 1 if kind == "Conv1d" else 2
    weight = np.shape(node.weight)
    groups = np.asarray(node.groups)
    if groups.size != 1 or groups.dtype.kind not in "iu" or int(groups.item()) < 1:
        raise NIRError(f"groups must be a positive integer, got {node.groups!r}"[:200], node=name)
    groups = int(groups.item())
    if len(weight) != dims + 2 or 0 in weight:
        raise NIRError(f"{kind} has weights of shape {weight}, expected {dims + 2} dimensions", node=name)
    if weight[0] % groups:
        raise NIRError(f"{kind} has {weight[0]} output channels, which do not divide into {groups} groups", node=name)
    if len(shape) != dims + 1 or shape[0] != weight[1] * groups:
        groups_text = f" and {groups} groups" if groups > 1 else ""
        raise _misfit(kind, name, shape, f"weights of shape {weight}{groups_text}")
    if node.bias is not None and np.shape(node.bias) != (weight[0],):
        raise NIRError(f"bias has shape {np.shape(node.bias)}, expected ({weight[0]},)", node=name)
    stride, dilation = (pair(getattr(node, key), key, name, dims) for key in ("stride", "dilation"))
    padding = padding_of(node, name, dims)
    if padding == "same":
        return (weight[0], *shape[1:])
    numbers = (0,) * dims if isinstance(padding, str) else padding
    return (weight[0], *_sliding(shape[1:], weight[2:], stride, numbers, dilation, name))


def _sliding(shape: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, name: str) -> Shape:
    """The number of places of a sliding window in every dimension."""
    sides = tuple(
        (side + 2 * p - d * (k - 1) - 1) // s + 1
        for side, k, s, p, d in zip(shape, kernel, stride, padding, dilation, strict=True)
    )
    if any(side < 1 for side in sides):
        raise NIRError(f"its kernel {kernel} is larger than its input {shape}", node=name)
    return sides
