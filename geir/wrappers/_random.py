r"""Pseudo-random numbers as part of the state, so that a run that is repeated, split or recomputed going
backward draws the same ones.

Every neuron has a generator of B. Wichmann & I. Hill (*Algorithm AS 183: an efficient and portable
pseudo-random number generator*, 1982): three congruential generators, whose products stay below
:math:`2^{24}` and are exact in float32. Its period is :math:`7 \cdot 10^{12}`.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .._util.state import state_type

_FACTORS = (171, 172, 170)
_MODULI = (30269, 30307, 30323)
# A uniform number can be rounded to 0 in float32, and its logarithm is infinite.
_SMALLEST = 2.0**-24


@state_type
class WichmannHill(NamedTuple):
    """A generator for every element of a tensor."""

    a: Tensor  # first congruential generator
    b: Tensor  # second congruential generator
    c: Tensor  # third congruential generator

    @staticmethod
    def seed(seed: int | None, x: Tensor, dtype: torch.dtype) -> "WichmannHill":
        """The generators of all elements of `x`, hashed from the seed and the index of the element.

        Args:
            seed: An integer from 0 to 2^33 - 1; None draws one from PyTorch's generator.
            x: A tensor that determines shape and device.
            dtype: Dtype of the generators.
        """
        indices = _hash(torch.arange(x.numel(), device=x.device).view(x.shape))
        # Not `torch.tensor`, which on the meta device ignores `FakeTensorMode`.
        key = torch.randint(2**32, (), device=x.device) if seed is None else torch.full((), seed, device=x.device)
        # A congruential generator must not start at 0, where it would stay.
        parts = (1 + _hash(indices ^ _hash(3 * key + k)) % (modulus - 1) for k, modulus in enumerate(_MODULI))
        return WichmannHill(*(part.to(dtype) for part in parts))

    def uniform(self) -> tuple[Tensor, "WichmannHill"]:
        """Numbers uniform in (0, 1), and the generators after drawing them. No gradient passes."""
        after = WichmannHill(*map(_advance, self, _FACTORS, _MODULI))
        a, b, c = (part * (1 / modulus) for part, modulus in zip(after, _MODULI, strict=True))
        total = a + b + c
        return (total - torch.floor(total)).clamp(min=_SMALLEST), after

    def normal(self) -> tuple[Tensor, "WichmannHill"]:
        """Standard normal numbers, by the Box-Muller method, and the generators after drawing them."""
        radius, after_first = self.uniform()
        angle, after = after_first.uniform()
        return torch.sqrt(-2 * torch.log(radius)) * torch.cos(2 * math.pi * angle), after


def _advance(part: Tensor, factor: int, modulus: int) -> Tensor:
    product = factor * part.detach()
    # Multiplying by the inverse is faster than dividing, and safe: no product is a multiple of the modulus,
    # nor close enough to one for rounding to cross it.
    return product - modulus * torch.floor(product * (1 / modulus))


def _hash(h: Tensor) -> Tensor:
    """A bijective hash of integers below 2^32."""
    for _ in range(2):
        h = ((h >> 16) ^ h) * 0x45D9F3B & 0xFFFFFFFF
    return (h >> 16) ^ h
