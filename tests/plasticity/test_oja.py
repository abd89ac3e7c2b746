"""Oja's rule, against the principal component of its input."""

import torch
from plasticity_cases import DOUBLE, double

from geir.plasticity import Oja


def test_oja_finds_the_first_principal_component():
    axes, _ = torch.linalg.qr(torch.randn(5, 5, dtype=DOUBLE))
    deviations = torch.tensor([2.0, 1.0, 0.7, 0.5, 0.1], dtype=DOUBLE)
    rule, weight = double(Oja(eta=10.0)), 0.1 * torch.randn(2, 5, dtype=DOUBLE)
    for _ in range(500):
        x = torch.randn(256, 5, dtype=DOUBLE) * deviations @ axes.t()
        weight, _ = rule(x, x @ weight.t(), weight)
    expected = torch.tensor([[1.0, 0, 0, 0, 0]] * 2, dtype=DOUBLE)
    torch.testing.assert_close((weight @ axes).abs(), expected, rtol=0, atol=0.03)
