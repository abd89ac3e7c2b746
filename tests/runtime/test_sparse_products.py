"""Products with spikes."""

import pytest
import torch
from torch import nn

import geir
from geir._runtime import sparse
from geir.testing import close


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("share", [0.05, 0.6])
def test_products_with_spikes_equal_pytorch(dtype, share):
    torch.manual_seed(0)
    x = (torch.rand(7, 150, 140, dtype=dtype) < share) * torch.rand(7, 150, 140, dtype=dtype)
    outcomes = []
    for linear in (sparse.linear, nn.functional.linear):
        a, weights = (
            x.clone().requires_grad_(),
            torch.linspace(-1, 1, 130 * 140, dtype=dtype).view(130, 140).requires_grad_(),
        )
        y = linear(a, weights)
        y.square().sum().backward()
        outcomes.append((y, a.grad, weights.grad))
    close(*outcomes, 1e-9 if dtype == torch.float64 else 2e-3)


def test_products_of_fake_tensors_do_not_read_data():
    net = geir.LIFRecurrent(5, 6)
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        assert net.transform_input(torch.rand(7, 3, 5), over_time=True).shape == (7, 3, 6)


def test_a_product_with_spikes_has_a_second_derivative():
    x, weights = (
        (torch.rand(6, 4, dtype=torch.float64) < 0.2).double().requires_grad_(),
        torch.rand(3, 4, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradgradcheck(sparse.linear, (x, weights))
