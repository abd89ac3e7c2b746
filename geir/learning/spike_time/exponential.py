"""The matrix exponential, to full precision."""

import torch
from torch import Tensor

_DEGREE = 12
_SMALL = 0.25


def matrix_exponential(A: Tensor) -> Tensor:
    """The exponential of a square matrix, differentiable: a Taylor series of a small part of it, squared.

    `torch.linalg.matrix_exp` is off by up to 1e-12 where the matrix is small.
    """
    one = torch.eye(len(A), dtype=A.dtype)
    squarings, size = 0, A.detach().abs().sum(-1).max().item()
    while size > _SMALL:
        size, squarings = size / 2, squarings + 1
    part = A / 2**squarings
    total = one
    for n in range(_DEGREE, 0, -1):
        total = one + part @ total / n
    for _ in range(squarings):
        total = total @ total
    return total
