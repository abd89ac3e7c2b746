r"""Affine differential equations, :math:`\dot s = A s + B x + c`: their structure, found by probing, and their terms.

A term is addressed by the index of the part of the state that changes and of its source: another part, an input or a
constant. Indices of inputs are negative, -1 for the last one, and that of the constant is the lowest.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from ..._util.inputs import AnyInput
from ..._util.state import map_state
from .base import Flow, input_names, make_input, parameter_device, parameter_shape

Terms = dict[tuple[int, int], Tensor]
Structure = frozenset[tuple[int, int]]


class LinearSystem(NamedTuple):
    """The terms of an affine equation, times `dt`, in float64."""

    rates: Terms  # the matrix A
    drives: Terms  # input weights B and constants c


class _DeclaredFlow(Flow, Protocol):
    def with_values(self, values: dict[str, Tensor]) -> Flow: ...
    def other_tensors(self) -> dict[str, Tensor]: ...


def find_structure(flow: _DeclaredFlow) -> Structure:
    """The terms of an affine derivative that are not always zero.

    Found by evaluating it with NaN in one place at a time. Parameters and buffers are replaced by arbitrary
    numbers, so that a dependence is found even if the present values hide it; masks and integers once by ones
    and once by zeros.
    """
    # Of real numbers, also where models are built without: on the meta device or in `FakeTensorMode`.
    with _disable_current_modes(), torch.device("cpu"):
        names = list(flow.declared_parameters())
        values = {name: torch.tensor(0.3 + 0.4 * k / len(names), dtype=torch.float64) for k, name in enumerate(names)}
        others = flow.other_tensors()
        found: set[tuple[int, int]] = set()
        for flag in (1, 0) if others else (1,):
            stand_ins = {name: _stand_in(tensor, flag) for name, tensor in others.items()}
            found |= _probe(flow.with_values(values | stand_ins))
    return frozenset(found)


def _stand_in(tensor: Tensor, flag: int) -> Tensor:
    if tensor.is_floating_point():
        return torch.full(tensor.shape, 0.3, dtype=torch.float64)
    return torch.full(tensor.shape, flag, dtype=tensor.dtype)


def _probe(probe: Flow) -> set[tuple[int, int]]:
    """The terms that are not zero for the present values."""
    zero = torch.zeros((), dtype=torch.float64)
    nan = torch.full((), torch.nan, dtype=torch.float64)
    rest = probe.rest()
    silent = map_state(lambda _: zero, rest)
    count = len(input_names(probe))
    no_input = make_input(probe, [zero] * count)
    found = {(k, -count - 1) for k, f in enumerate(probe.derivative(no_input, silent)) if (f != 0).any()}
    for j in range(-count, 0):
        derivative = probe.derivative(_unit_input(probe, j, zero, nan), silent)
        found |= {(k, j) for k, f in enumerate(derivative) if f.isnan().any()}
    for j, name in enumerate(rest._fields):
        derivative = probe.derivative(no_input, silent._replace(**{name: nan}))
        found |= {(k, j) for k, f in enumerate(derivative) if f.isnan().any()}
    return found


def _unit_input(flow: Flow, index: int, zero: Tensor, value: Tensor) -> AnyInput:
    """Input that is zero except for one."""
    values = [zero] * len(input_names(flow))
    values[index] = value
    return make_input(flow, values)


def linear_system(flow: Flow) -> LinearSystem:
    """The terms of an affine derivative in its structure, by evaluating it at zero and at unit vectors."""
    parameters = flow.declared_parameters().values()
    device = parameter_device(parameters)
    # MPS has no float64.
    dtype = torch.float32 if device is not None and device.type == "mps" else torch.float64
    zero = torch.zeros(parameter_shape(parameters), dtype=dtype, device=device)
    one = torch.ones_like(zero)
    rest = flow.rest()
    silent = type(rest)(*(zero for _ in rest))
    inputs = range(-len(input_names(flow)), 0)
    no_input = make_input(flow, [zero] * len(inputs))
    constant = flow.derivative(no_input, silent)
    columns = {j: flow.derivative(no_input, silent._replace(**{name: one})) for j, name in enumerate(rest._fields)} | {
        j: flow.derivative(_unit_input(flow, j, zero, one), silent) for j in inputs
    }
    rates: Terms = {}
    drives: Terms = {}
    for k, source in sorted(flow.structure):
        if source in columns:
            terms = rates if source >= 0 else drives
            terms[k, source] = flow.dt * (columns[source][k] - constant[k])
        else:
            drives[k, source] = flow.dt * constant[k]
    for k in range(len(rest)):
        rates.setdefault((k, k), zero)
    return LinearSystem(rates, drives)


def connected_groups(structure: Structure, parts: int) -> list[list[int]]:
    """The parts of the state grouped so that parts of different groups do not influence each other."""
    group = list(range(parts))
    for k, j in structure:
        if j >= 0 and group[k] != group[j]:
            group = [group[j] if g == group[k] else g for g in group]
    return [[k for k in range(parts) if group[k] == g] for g in sorted(set(group))]


def influences(rates: Terms, group: list[int]) -> set[tuple[int, int]]:
    """The pairs of parts of a group of which the second influences the first, directly, through others, or as itself.

    All other terms of the matrix exponential are zero.
    """
    found = {(k, j) for k in group for j in group if k == j or (k, j) in rates}
    for between in group:
        found |= {(k, j) for k in group for j in group if (k, between) in found and (between, j) in found}
    return found
