"""The functions of exponential integrators, accurate where their textbook formulas cancel."""

import torch
from torch import Tensor

# Below this, power series; above it, at most two digits are lost to cancellation.
_SMALL = 0.05


def phi1(z: Tensor) -> Tensor:
    r""":math:`(e^z - 1) / z`, and 1 at 0; accurate everywhere, its derivatives too."""
    small = z.abs() < _SMALL
    series = one = torch.ones_like(z)
    for k in range(8, 1, -1):
        series = torch.addcmul(one, z, series, value=1 / k)
    safe = torch.where(small, one, z)
    return torch.where(small, series, torch.expm1(safe) / safe)


def divided_difference(a: Tensor, b: Tensor) -> Tensor:
    r"""The divided difference of the exponential, :math:`(e^a - e^b) / (a - b)`."""
    high = torch.maximum(a, b)
    return torch.exp(high) * phi1(torch.minimum(a, b) - high)


def second_divided_difference(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The second divided difference of the exponential at three points, in any order."""
    low = torch.minimum(torch.minimum(a, b), c)
    high = torch.maximum(torch.maximum(a, b), c)
    middle = a + b + c - low - high
    width = high - low
    small = width < _SMALL
    # exp(high) * sum over n of h_n(p, q) / (n + 2)!, with the complete symmetric polynomials h_n of the distances.
    p, q = middle - high, low - high
    h = power = torch.ones_like(width)
    series, factorial = h / 2, 2.0
    for n in range(1, 8):
        power = power * q
        h = p * h + power
        factorial *= n + 2
        series = series + h / factorial
    safe = torch.where(small, torch.ones_like(width), width)
    direct = (divided_difference(high, middle) - divided_difference(middle, low)) / safe
    return torch.where(small, torch.exp(high) * series, direct)
