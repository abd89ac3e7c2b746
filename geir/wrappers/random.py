r"""Pseudo-random numbers as a part of the state, so that a run that is repeated, cut in two or recomputed backward draws the same ones.

A generator of B. Wichmann & I. Hill (*Algorithm AS 183: an efficient and portable pseudo-random number generator*, 1982) for every neuron:
three congruential generators, whose products stay below :math:`2^{24}` and are exact in float32. Its period is :math:`7 \cdot 10^{12}`.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

_FACTORS, _MODULI = (171, 172, 170), (30269, 30307, 30323)
# In float32 a uniform number can be rounded to 0, whose logarithm is infinite.
_LEAST = 2.0**-24


class Generator(NamedTuple):
    """A generator in every place of a state. At rest each part is its seed: a whole number, or None for one that PyTorch draws at every start."""

    a: Any  # first congruential generator
    b: Any  # second congruential generator
    c: Any  # third congruential generator

    def spread(self, x: Tensor, dtype: torch.dtype) -> "Generator":
        """The generators of all places of one step of input `x`: hashed from the seed and the number of the place."""
        places = _hash(torch.arange(x.numel(), device=x.device).view(x.shape))
        seed = torch.randint(2**32, (), device=x.device) if self.a is None else torch.tensor(self.a, device=x.device)
        # A congruential generator must not start at 0, where it would stay.
        parts = (1 + _hash(places ^ _hash(3 * seed + k)) % (modulus - 1) for k, modulus in enumerate(_MODULI))
        return Generator(*(part.to(dtype) for part in parts))

    def uniform(self) -> tuple[Tensor, "Generator"]:
        """Numbers uniform in (0, 1), and the generators after drawing them. No gradient passes."""
        moved = Generator(*map(_next, self, _FACTORS, _MODULI))
        a, b, c = (part * (1 / modulus) for part, modulus in zip(moved, _MODULI, strict=True))
        total = a + b + c
        return (total - torch.floor(total)).clamp(min=_LEAST), moved

    def normal(self) -> tuple[Tensor, "Generator"]:
        """Standard normal numbers, by the method of Box and Muller, and the generators after drawing them."""
        radius, middle = self.uniform()
        angle, moved = middle.uniform()
        return torch.sqrt(-2 * torch.log(radius)) * torch.cos(2 * math.pi * angle), moved


def _next(part: Tensor, factor: int, modulus: int) -> Tensor:
    product = factor * part.detach()
    # Times the inverse, which is faster than divided: no product is a multiple of the modulus, nor near enough to one to be rounded across it.
    return product - modulus * torch.floor(product * (1 / modulus))


def _hash(h: Tensor) -> Tensor:
    """A whole number below 2^32 that looks random, different for each whole number below 2^32."""
    for _ in range(2):
        h = ((h >> 16) ^ h) * 0x45D9F3B & 0xFFFFFFFF
    return (h >> 16) ^ h
