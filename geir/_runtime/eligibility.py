"""Eligibility traces: one number for each part of the state, sample, neuron and input.

They are large, so each is read and written once in a step, and read once for the gradient.
"""

import functools
from importlib.resources import files
from typing import NamedTuple

import torch
from torch import einsum, Tensor

from . import compiler, memory, threads
from .sparse import _gate
from .template import render_template

# Bytes of traces that a thread takes at a time.
_BLOCK = 1 << 17


class Parts(NamedTuple):
    """Numbers of the parts of the state."""

    own: list[int]  # parts that have a trace for every neuron and input
    shared: list[int]  # parts whose traces are the same for all neurons, and depend on such parts only


def advance(parts: Parts, traces: Tensor, shared: Tensor, x: Tensor, J: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    r"""The traces :math:`J \varepsilon + b x` after a step.

    Args:
        parts: Which parts have separate traces.
        traces: Shape (own parts, batch, neurons, inputs).
        shared: Shape (shared parts, batch, inputs).
        x: Shape (batch, inputs).
        J: Derivatives of the parts after the step by those before it, (parts, parts, batch, neurons).
        b: Derivatives of the parts by the input of a neuron, (parts, batch, neurons).
    """
    if not _is_compiled(traces, shared, x, J, b):
        return _advance(parts, traces, shared, x, J, b)
    after, shared_after = memory.empty(traces.shape, traces), torch.empty_like(shared)
    _call("advance", parts, [traces, shared, x, J, b, after, shared_after], J)
    return after, shared_after


def gradient(parts: Parts, traces: Tensor, shared: Tensor, x: Tensor, h: Tensor, d: Tensor) -> Tensor:
    r"""The gradient :math:`\sum_b (h \varepsilon + d x)` of the weights, (neurons, inputs).

    Args:
        parts: Which parts have separate traces.
        traces: Shape (own parts, batch, neurons, inputs).
        shared: Shape (shared parts, batch, inputs).
        x: Shape (batch, inputs).
        h: Derivatives of the loss by the parts, (parts, batch, neurons).
        d: Derivatives of the loss by the input of a neuron, (batch, neurons).
    """
    # Without separate traces it is a matrix product.
    if not parts.own or not _is_compiled(traces, shared, x, h, d):
        return _gradient(parts, traces, shared, x, h, d)
    total = memory.empty([d.shape[-1], x.shape[-1]], traces)
    _call("gradient", parts, [traces, shared, x, h, d, total], h)
    return total


def _advance(parts: Parts, traces: Tensor, shared: Tensor, x: Tensor, J: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """`advance` in PyTorch."""
    own, common = parts
    to_own, to_shared = J[own], J[common][:, common, :, 0]
    after = einsum("klbn,lbni->kbni", to_own[:, own], traces) + einsum("kbn,bi->kbni", b[own], x)
    shared_after = einsum("klb,lbi->kbi", to_shared, shared) + b[common][..., :1] * x
    return after + einsum("klbn,lbi->kbni", to_own[:, common], shared), shared_after


def _gradient(parts: Parts, traces: Tensor, shared: Tensor, x: Tensor, h: Tensor, d: Tensor) -> Tensor:
    """`gradient` in PyTorch."""
    factors, given = torch.cat([d[None], h[parts.shared]]), torch.cat([x[None], shared])
    direct = einsum("gbn,gbi->ni", factors, given)
    return direct + einsum("kbn,kbni->ni", h[parts.own], traces) if parts.own else direct


def _is_compiled(traces: Tensor, *others: Tensor) -> bool:
    x = others[1]
    plain = x.is_cpu and x.dtype in _DOUBLE and all(_gate.is_concrete(x, other) for other in (traces, *others))
    return plain and _library(x.dtype) is not None


def _call(name: str, parts: Parts, tensors: list[Tensor], slopes: Tensor) -> None:
    traces, _, x, *_ = tensors
    batch, inputs = x.shape
    neurons = slopes.shape[-1]
    numbers = [len(slopes), len(parts.own), len(parts.shared), batch, neurons, inputs, *parts.own, *parts.shared]
    row = inputs * x.itemsize * max(1, len(parts.own))
    count = 1 if traces.numel() * x.itemsize <= _BLOCK else torch.get_num_threads()
    function = getattr(_library(x.dtype), name)
    # Traces and results are contiguous; the others are small.
    threads.call(function, [t.contiguous() for t in tensors], numbers, max(1, _BLOCK // row), count)


_DOUBLE = {torch.float32: "0", torch.float64: "1"}


@functools.cache
def _library(dtype: torch.dtype):
    """The compiled source; None without a compiler."""
    template = files("geir._runtime").joinpath("eligibility.c").read_text()
    try:
        return compiler.load(render_template(template, {"double": _DOUBLE[dtype]}))
    except compiler.NoCompilerError:
        return None
