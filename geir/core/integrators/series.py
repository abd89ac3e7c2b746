"""The exact solution of affine models, in elementwise operations only."""

from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor

from ._affine import Terms
from .exact import Exact

# A matrix of tensors; None is an entry that is always zero.
_Matrix = list[list[Tensor | None]]
# exp(A) = exp(A / 2^HALVINGS)^(2^HALVINGS); the series has an error of the size of (|A| / 2^HALVINGS)^TERMS / TERMS!.
_HALVINGS = 10
_TERMS = 13


@dataclass(frozen=True)
class SeriesExact(Exact):
    r"""`Exact`, whose matrix exponential is a power series and repeated squaring, entry by entry.

    Other than `torch.matrix_exp`, it can be printed in other languages. Accurate to 10 digits as long as no rate of a
    group of more than two parts exceeds :math:`1000 / \Delta t`.
    """

    def _solve_many(self, group: list[int], rates: Terms, driven: set[int]) -> tuple[Terms, Terms]:
        one = torch.ones_like(next(iter(rates.values())))
        matrix = _scale([[rates.get((k, j)) for j in group] for k in group], 2.0**-_HALVINGS)
        phi: _Matrix = _add_identity([[None for _ in group] for _ in group], one)
        for k in range(_TERMS, 1, -1):
            phi = _add_identity(_scale(_multiply(matrix, phi), 1 / k), one)
        # Of the exponential minus the identity, because squaring would lose the digits of small entries.
        growth = _multiply(matrix, phi)
        for _ in range(_HALVINGS):
            # phi1(2 A) = (exp(A) + 1) phi1(A) / 2, and exp(2 A) - 1 = (exp(A) - 1)^2 + 2 (exp(A) - 1).
            phi = _sum(_scale(_multiply(growth, phi), 0.5), phi)
            growth = _sum(_multiply(growth, growth), _scale(growth, 2.0))
        propagator = _terms(group, _add_identity(growth, one))
        integral = {(k, j): term for (k, j), term in _terms(group, phi).items() if j in driven}
        return propagator, integral


def _terms(group: list[int], matrix: _Matrix) -> Terms:
    return {
        (k, j): entry
        for k, row in zip(group, matrix, strict=True)
        for j, entry in zip(group, row, strict=True)
        if entry is not None
    }


def _multiply(a: _Matrix, b: _Matrix) -> _Matrix:
    def entry(row: list[Tensor | None], column: tuple[Tensor | None, ...]) -> Tensor | None:
        products = [p * q for p, q in zip(row, column, strict=True) if p is not None and q is not None]
        return reduce(add, products) if products else None

    columns = list(zip(*b, strict=True))
    return [[entry(row, column) for column in columns] for row in a]


def _sum(a: _Matrix, b: _Matrix) -> _Matrix:
    def entry(p: Tensor | None, q: Tensor | None) -> Tensor | None:
        return q if p is None else p if q is None else p + q

    return [[entry(p, q) for p, q in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]


def _scale(a: _Matrix, factor: float) -> _Matrix:
    return [[None if entry is None else entry * factor for entry in row] for row in a]


def _add_identity(a: _Matrix, one: Tensor) -> _Matrix:
    diagonal = [[one if k == j else None for j in range(len(a))] for k in range(len(a))]
    return _sum(a, diagonal)
