r"""Integrators, as values: how a flow :math:`\dot s = f(x, s)` is advanced by `dt`.

The input :math:`x` is held during a step. What depends on parameters only is prepared once per call, differentiably, and passed to every step.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Protocol

import torch
from torch import Tensor

from .._util.state import map_state


class Flow(Protocol):
    """What an integrator needs of a model: its derivative, its resting state, its step size and its parameters."""

    dt: float

    structure: frozenset[tuple[int, int]]

    def rest(self) -> Any: ...
    def derivative(self, x: Tensor, state: Any) -> Any: ...
    def declared_parameters(self) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Integrator:
    """Abstract: subclass it and write `advance`, and `prepare` if something depends on parameters only."""

    def prepare(self, flow: Flow) -> Any:
        """What depends on parameters only; nested tuples and dictionaries of tensors."""
        return ()

    def advance(self, flow: Flow, x: Tensor, state: Any, prepared: Any) -> Any:
        """The state after `dt`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Euler(Integrator):
    r""":math:`s + \Delta t f(x, s)`. Of order 1; stable only while :math:`\Delta t` is below twice the shortest time constant."""

    def advance(self, flow: Flow, x: Tensor, state: Any, prepared: Any) -> Any:
        return map_state(lambda s, f: s + flow.dt * f, state, flow.derivative(x, state))


@dataclass(frozen=True)
class RungeKutta4(Integrator):
    """The classical Runge-Kutta method. Of order 4; four derivatives a step."""

    def advance(self, flow: Flow, x: Tensor, state: Any, prepared: Any) -> Any:
        dt = flow.dt

        def slope(fraction: float, previous: Any) -> Any:
            return flow.derivative(x, map_state(lambda s, k: s + fraction * dt * k, state, previous))

        k1 = flow.derivative(x, state)
        k2 = slope(0.5, k1)
        k3 = slope(0.5, k2)
        k4 = slope(1.0, k3)
        return map_state(lambda s, a, b, c, d: s + dt / 6 * (a + 2 * b + 2 * c + d), state, k1, k2, k3, k4)


@dataclass(frozen=True)
class ExponentialEuler(Integrator):
    r""":math:`s_k + \Delta t\, \varphi_1(\Delta t\, \lambda_k) f_k(x, s)`, with :math:`\varphi_1(z) = (e^z - 1) / z`.

    Here :math:`\lambda_k = \partial f_k / \partial s_k` at rest.
    Each part's own decay at rest is exact, everything else of order 1; stable at any `dt` where the decay at rest dominates.
    S. Cox & P. Matthews, *Exponential time differencing for stiff systems*, 2002 (ETD1 with a diagonal linear part).
    """

    def prepare(self, flow: Flow) -> Any:
        def gain(name: str) -> Tensor:
            def own(part: Tensor) -> Tensor:
                return getattr(flow.derivative(torch.zeros_like(part), rest._replace(**{name: part})), name)

            part = getattr(rest, name)
            (decay,) = torch.func.vjp(own, part)[1](torch.ones_like(part))
            return flow.dt * phi1(flow.dt * decay)

        parameters = flow.declared_parameters()
        shape, dtype = _shape(parameters.values()), working_dtype(parameters.values())
        device = next((t.device for t in parameters.values()), None)
        rest = map_state(lambda part: part.to(device=device, dtype=dtype).expand(shape), flow.rest())
        return type(rest)(*(gain(name) for name in rest._fields))

    def advance(self, flow: Flow, x: Tensor, state: Any, prepared: Any) -> Any:
        return map_state(lambda s, gain, f: s + gain * f, state, prepared, flow.derivative(x, state))


@dataclass(frozen=True)
class RushLarsen(Integrator):
    r"""`ExponentialEuler` with the decay of the moment, :math:`\lambda_k = \min(0, \partial f_k / \partial s_k)` at the present state.

    A part whose derivative is linear in itself, such as a gate or a potential driven through conductances, is exact while the others are
    held; so a decay that the state makes fast, however fast, is stable at any `dt`. Of order 1.
    S. Rush & H. Larsen, *A practical algorithm for solving dynamic membrane equations*, 1978.
    """

    def advance(self, flow: Flow, x: Tensor, state: Any, prepared: Any) -> Any:
        def moved(name: str) -> Tensor:
            def own(part: Tensor) -> Tensor:
                return getattr(flow.derivative(x, state._replace(**{name: part})), name)

            part = getattr(state, name)
            slope, pull, *_ = torch.func.vjp(own, part)
            (growth,) = pull(torch.ones_like(part))
            return part + flow.dt * phi1(flow.dt * torch.clamp(growth, max=0)) * slope

        return type(state)(*(moved(name) for name in state._fields))


@dataclass(frozen=True)
class Exact(Integrator):
    r"""The exact solution for models whose derivative is affine, :math:`\dot s = A s + B x + c`, at any `dt`:

    .. math:: s(t + \Delta t) = e^{A \Delta t} s(t) + \int_0^{\Delta t} e^{A \tau} d\tau \, (B x + c).

    Parts that do not influence one another are solved apart: one alone and two of which one drives the other in closed form (equal and
    vanishing time constants included), larger groups by the matrix exponential.
    S. Rotter & M. Diesmann, *Exact digital simulation of time-invariant linear systems with applications to neuronal modeling*, 1999.
    """

    def prepare(self, flow: Flow) -> Any:
        rates, drives = _affine(flow)
        propagator: Terms = {}
        integral: Terms = {}
        for group in _groups(flow.structure, len(flow.rest())):
            solve = _solve_pair if len(group) == 2 else _solve_one if len(group) == 1 else _solve_many
            if solve is _solve_pair and all((k, j) in rates for k in group for j in group if k != j):
                solve = _solve_many
            moved, summed = solve(group, rates, {part for part, _ in drives})
            propagator |= moved
            integral |= summed
        forcing: Terms = {}
        for (k, j), weight in integral.items():
            for part, source in drives:
                if part == j:
                    forcing[k, source] = forcing.get((k, source), 0) + weight * drives[part, source]
        dtype = working_dtype(flow.declared_parameters().values())
        return tuple({key: term.to(dtype) for key, term in terms.items()} for terms in (propagator, forcing))

    def advance(self, flow: Flow, x: Tensor, state: Any, prepared: Any) -> Any:
        propagator, forcing = prepared
        terms: list[list[Tensor]] = [[] for _ in state]
        for (k, j), weight in propagator.items():
            terms[k].append(weight * state[j])
        for (k, source), weight in forcing.items():
            terms[k].append(weight * x if source == _X else weight)
        return type(state)(*(reduce(add, part) for part in terms))


# Tensors by the indices of the part that changes and of the part (or the input, or nothing) that changes it.
Terms = dict[tuple[int, int], Tensor]
_X, _CONSTANT = -1, -2


def working_dtype(parameters: Iterable[Tensor]) -> torch.dtype:
    """Dtype of states and coefficients: float64 if a parameter is, else float32."""
    return torch.float64 if any(t.dtype == torch.float64 for t in parameters) else torch.float32


def _shape(parameters: Iterable[Tensor]) -> torch.Size:
    """The shape to which parameters broadcast."""
    # Not `torch.broadcast_shapes`: its first call imports half a second of symbolic mathematics.
    return torch.broadcast_tensors(torch.zeros(()), *parameters)[0].shape


def structure(flow: Any) -> frozenset[tuple[int, int]]:
    """Which part of the derivative depends on which part of the state, on the input, or is not zero at zero.

    Found by calling it with NaN in one place at a time; parameters are set to arbitrary numbers, so that their values cannot hide a dependence.
    """
    with torch.device("cpu"):
        probe = copy.copy(flow)
        names = list(flow.declared_parameters())
        numbers = {name: torch.tensor(0.3 + 0.4 * k / len(names), dtype=torch.float64) for k, name in enumerate(names)}
        probe.__dict__ |= {"_parameters": {}, "_buffers": numbers}
        zero, nan = torch.zeros((), dtype=torch.float64), torch.full((), torch.nan, dtype=torch.float64)
        rest = probe.rest()
        silent = map_state(lambda _: zero, rest)
        found = {(k, _CONSTANT) for k, f in enumerate(probe.derivative(zero, silent)) if f != 0}
        found |= {(k, _X) for k, f in enumerate(probe.derivative(nan, silent)) if f.isnan()}
        for j, name in enumerate(rest._fields):
            found |= {(k, j) for k, f in enumerate(probe.derivative(zero, silent._replace(**{name: nan}))) if f.isnan()}
    return frozenset(found)


def _affine(flow: Flow) -> tuple[Terms, Terms]:
    """The matrix A and the drives B and c, times `dt`: only the terms that are in the model's structure, in float64."""
    parameters = flow.declared_parameters()
    device = next((t.device for t in parameters.values()), None)
    dtype = torch.float32 if device is not None and device.type == "mps" else torch.float64
    zero = torch.zeros(_shape(parameters.values()), dtype=dtype, device=device)
    one = torch.ones_like(zero)
    rest = flow.rest()
    silent = type(rest)(*(zero for _ in rest))
    constant = flow.derivative(zero, silent)
    columns = [flow.derivative(zero, silent._replace(**{name: one})) for name in rest._fields]
    drive = flow.derivative(one, silent)
    rates: Terms = {}
    drives: Terms = {}
    for k, j in sorted(flow.structure):
        if j == _CONSTANT:
            drives[k, j] = flow.dt * constant[k]
        elif j == _X:
            drives[k, j] = flow.dt * (drive[k] - constant[k])
        else:
            rates[k, j] = flow.dt * (columns[j][k] - constant[k])
    for k in range(len(rest)):
        rates.setdefault((k, k), zero)
    return rates, drives


def _groups(edges: frozenset[tuple[int, int]], size: int) -> list[list[int]]:
    """Parts that influence one another, directly or not."""
    group = list(range(size))
    for k, j in edges:
        if j >= 0 and group[k] != group[j]:
            group = [group[j] if g == group[k] else g for g in group]
    return [[k for k in range(size) if group[k] == g] for g in sorted(set(group))]


def _solve_one(group: list[int], rates: Terms, driven: set[int]) -> tuple[Terms, Terms]:
    (k,) = group
    return {(k, k): torch.exp(rates[k, k])}, {(k, k): phi1(rates[k, k])} if k in driven else {}


def _solve_pair(group: list[int], rates: Terms, driven: set[int]) -> tuple[Terms, Terms]:
    """Two parts, the first of which drives the second: exponentials and their divided differences."""
    j, k = group if (group[1], group[0]) in rates else group[::-1]
    a, b, coupling = rates[j, j], rates[k, k], rates[k, j]
    propagator = {(j, j): torch.exp(a), (k, k): torch.exp(b), (k, j): coupling * _divided_difference(a, b)}
    integral = {(part, part): phi1(rates[part, part]) for part in group if part in driven}
    if j in driven:
        integral[k, j] = coupling * _second_divided_difference(torch.zeros_like(a), a, b)
    return propagator, integral


def _solve_many(group: list[int], rates: Terms, driven: set[int]) -> tuple[Terms, Terms]:
    """Any number of parts: exp of [[A, 1], [0, 0]] is [[exp A, phi1 A], [0, 1]]."""
    size = len(group)
    zero = torch.zeros_like(torch.broadcast_tensors(*rates.values())[0])
    rows = [[rates.get((k, j), zero).expand_as(zero) for j in group] for k in group]
    matrix = torch.stack([torch.stack(row, -1) for row in rows], -2)
    identity = torch.eye(size, dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    upper = torch.cat([matrix, identity], -1)
    solved = torch.matrix_exp(torch.cat([upper, torch.zeros_like(upper)], -2))
    pairs = [(m, n) for m in range(size) for n in range(size)]
    propagator = {(group[m], group[n]): solved[..., m, n] for m, n in pairs}
    return propagator, {(group[m], group[n]): solved[..., m, size + n] for m, n in pairs if group[n] in driven}


def phi1(z: Tensor) -> Tensor:
    r""":math:`(e^z - 1) / z`, and 1 at 0; accurate everywhere, its derivatives too."""
    small = z.abs() < _SMALL
    series = one = torch.ones_like(z)
    for k in range(8, 1, -1):
        series = torch.addcmul(one, z, series, value=1 / k)
    safe = torch.where(small, one, z)
    return torch.where(small, series, torch.expm1(safe) / safe)


# Below this, power series; above it, no more than two digits are lost to cancellation.
_SMALL = 0.05


def _divided_difference(a: Tensor, b: Tensor) -> Tensor:
    r""":math:`(e^a - e^b) / (a - b)`."""
    high = torch.maximum(a, b)
    return torch.exp(high) * phi1(torch.minimum(a, b) - high)


def _second_divided_difference(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The second divided difference of the exponential at three points, in any order."""
    low, high = torch.minimum(torch.minimum(a, b), c), torch.maximum(torch.maximum(a, b), c)
    middle = a + b + c - low - high
    spread = high - low
    small = spread < _SMALL
    # exp(high) * sum over n of h_n(p, q) / (n + 2)!, with the complete symmetric polynomials h_n of the distances.
    p, q = middle - high, low - high
    h = power = torch.ones_like(spread)
    series, factorial = h / 2, 2.0
    for n in range(1, 8):
        power = power * q
        h = p * h + power
        factorial *= n + 2
        series = series + h / factorial
    safe = torch.where(small, torch.ones_like(spread), spread)
    direct = (_divided_difference(high, middle) - _divided_difference(middle, low)) / safe
    return torch.where(small, torch.exp(high) * series, direct)
