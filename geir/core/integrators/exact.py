"""The exact solution of affine models."""

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import NamedTuple

import torch
from torch import Tensor

from ..._util.inputs import AnyInput
from ..._util.state import AnyState, working_dtype
from ._affine import connected_groups, influences, linear_system, Terms
from ._phi import divided_difference, phi1, second_divided_difference
from .base import Flow, input_names, Integrator

NamedTerms = dict[tuple[str, str], Tensor]


class ExactCoefficients(NamedTuple):
    """The terms of one step of `dt`, by the names of the part of the state that they change and of their source."""

    propagator: NamedTerms  # from the state
    forcing: NamedTerms  # from the input, and constants


@dataclass(frozen=True)
class Exact(Integrator):
    r"""The exact solution for models whose derivative is affine, :math:`\dot s = A s + B x + c`, at any `dt`:

    .. math:: s(t + \Delta t) = e^{A \Delta t} s(t) + \int_0^{\Delta t} e^{A \tau} d\tau \, (B x + c).

    Parts that do not influence each other are solved separately: a single part, and a pair of which one
    drives the other, in closed form (equal and vanishing time constants included), larger groups by the
    matrix exponential.

    Reference: S. Rotter & M. Diesmann, *Exact digital simulation of time-invariant linear systems with
    applications to neuronal modeling*, 1999.
    """

    def prepare(self, flow: Flow) -> ExactCoefficients:
        rates, drives = linear_system(flow)
        driven = {part for part, _ in drives}
        propagator: Terms = {}
        integral: Terms = {}
        for group in connected_groups(flow.structure, len(flow.rest())):
            group_propagator, group_integral = self._solve(group, rates, driven)
            propagator |= group_propagator
            integral |= group_integral
        forcing: Terms = {}
        for (k, j), weight in integral.items():
            for (part, source), drive in drives.items():
                if part == j:
                    forcing[k, source] = forcing.get((k, source), 0) + weight * drive
        dtype = working_dtype(flow.declared_parameters().values())
        # Negative indices: inputs and the constant.
        names = (*flow.rest()._fields, "constant", *input_names(flow))

        def named(terms: Terms) -> NamedTerms:
            return {(names[k], names[source]): term.to(dtype) for (k, source), term in terms.items()}

        return ExactCoefficients(named(propagator), named(forcing))

    def advance(self, flow: Flow, x: AnyInput, state: AnyState, coefficients: ExactCoefficients) -> AnyState:
        inputs = {"input": x} if isinstance(x, Tensor) else dict(zip(input_names(flow), x, strict=True))
        terms: dict[str, list[Tensor]] = {name: [] for name in state._fields}
        for (part, source), weight in coefficients.propagator.items():
            terms[part].append(weight * getattr(state, source))
        for (part, source), weight in coefficients.forcing.items():
            terms[part].append(weight * inputs[source] if source in inputs else weight)
        return type(state)(*(reduce(add, part) for part in terms.values()))

    def _solve(self, group: list[int], rates: Terms, driven: set[int]) -> tuple[Terms, Terms]:
        r"""The terms of :math:`e^A` and of :math:`\varphi_1(A)` for a group of parts.

        Of the latter only the columns of driven parts.
        """
        if len(group) == 1:
            return _solve_one(group, rates, driven)
        mutual = all((k, j) in rates for k in group for j in group if k != j)
        if len(group) == 2 and not mutual:
            return _solve_pair(group, rates, driven)
        return self._solve_many(group, rates, driven)

    def _solve_many(self, group: list[int], rates: Terms, driven: set[int]) -> tuple[Terms, Terms]:
        """Any number of parts: the exponential of [[A, 1], [0, 0]] is [[exp A, phi1 A], [0, 1]]."""
        size = len(group)
        zero = torch.zeros_like(torch.broadcast_tensors(*rates.values())[0])
        rows = [[rates.get((k, j), zero).expand_as(zero) for j in group] for k in group]
        matrix = torch.stack([torch.stack(row, -1) for row in rows], -2)
        identity = torch.eye(size, dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
        upper = torch.cat([matrix, identity], -1)
        solved = torch.matrix_exp(torch.cat([upper, torch.zeros_like(upper)], -2))
        # A zero would cost the kernels a product and a sum.
        related = influences(rates, group)
        pairs = [(m, n) for m in range(size) for n in range(size) if (group[m], group[n]) in related]
        propagator = {(group[m], group[n]): solved[..., m, n] for m, n in pairs}
        integral = {(group[m], group[n]): solved[..., m, size + n] for m, n in pairs if group[n] in driven}
        return propagator, integral


def _solve_one(group: list[int], rates: Terms, driven: set[int]) -> tuple[Terms, Terms]:
    (k,) = group
    return {(k, k): torch.exp(rates[k, k])}, {(k, k): phi1(rates[k, k])} if k in driven else {}


def _solve_pair(group: list[int], rates: Terms, driven: set[int]) -> tuple[Terms, Terms]:
    """Two parts, the first of which drives the second: exponentials and their divided differences."""
    j, k = group if (group[1], group[0]) in rates else group[::-1]
    a, b, coupling = rates[j, j], rates[k, k], rates[k, j]
    propagator = {(j, j): torch.exp(a), (k, k): torch.exp(b), (k, j): coupling * divided_difference(a, b)}
    integral = {(part, part): phi1(rates[part, part]) for part in group if part in driven}
    if j in driven:
        integral[k, j] = coupling * second_divided_difference(torch.zeros_like(a), a, b)
    return propagator, integral
