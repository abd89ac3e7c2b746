"""Products with spikes."""

import pytest
import torch
from torch import nn, Tensor

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


@pytest.mark.parametrize("bias", [None, torch.zeros(130, dtype=torch.float64)], ids=["without bias", "bias"])
def test_gradients_that_are_sparse_equal_pytorchs_and_are_multiplied_sparsely(bias):
    torch.manual_seed(0)
    x = (torch.rand(7, 50, 140, dtype=torch.float64) < 0.1).double()
    # Where the gradient is zero, the product does not read the weights.
    grad = torch.randn(7, 50, 130, dtype=torch.float64) * (torch.rand(7, 50, 130) < 0.1)
    grad[..., 3] = 0
    weights = torch.randn(130, 140, dtype=torch.float64)
    outcomes = []
    for linear, at_three in ((sparse.linear, torch.nan), (nn.functional.linear, 0.0)):
        weights[3] = at_three
        inputs = [x.clone().requires_grad_(), weights.clone().requires_grad_()]
        outcomes.append(torch.autograd.grad(linear(*inputs, bias), inputs, grad))
    close(*outcomes, 1e-12)


LAYOUTS = {
    "rows": lambda z: z,
    "columns": lambda z: z.t().contiguous().t(),
    "every other column": lambda z: z.repeat_interleave(2, 1)[:, ::2],
    "every other row, transposed": lambda z: z.t().repeat_interleave(2, 1)[:, ::2].t(),
    "one row repeated": lambda z: z[:1].expand_as(z),
    "one column repeated": lambda z: z[:, :1].expand_as(z),
    "one number repeated": lambda z: z[z != 0][0].expand_as(z),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 130, 70), (40, 57, 40), (600, 300, 513)], ids=str)
def test_a_matrix_in_any_layout_is_multiplied(monkeypatch, layout, dtype, shape):
    monkeypatch.setattr(sparse._gate, "MAX_DENSITY", 1.0)
    torch.manual_seed(0)
    rows, inner, width = shape
    z = torch.randn(rows, inner, dtype=dtype) * (torch.rand(rows, inner) < 0.1)
    z[0, 0] = 1.5
    weights, start = torch.randn(inner, width, dtype=dtype), torch.randn(rows, width, dtype=dtype)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-4
    expected = layout(z) @ weights
    close(sparse.product(layout(z), weights), expected, tolerance)
    close(sparse.product(layout(z), weights, start[0]), start[0] + expected, tolerance)
    start_and_product = start + expected
    close(sparse.product(layout(z), weights, start), start_and_product, tolerance)
    close(sparse.product(layout(z), weights.t().contiguous().t(), start, start), start_and_product, tolerance)


@pytest.mark.parametrize("layout", [Tensor.contiguous, lambda w: w.t().contiguous().t()], ids=["rows", "columns"])
def test_the_gradient_of_large_weights_has_their_layout(layout):
    x = (torch.rand(300, 140) < 0.1).float()
    weights = layout(torch.randn(130, 140)).requires_grad_()
    (gradient,) = torch.autograd.grad(sparse.linear(x, weights).sum(), weights)
    assert gradient.stride() == weights.stride()


@pytest.mark.parametrize("size", [20, 140])
def test_second_derivatives_equal_pytorchs(size):
    torch.manual_seed(0)
    x = ((torch.rand(300, size) < 0.1) * torch.rand(300, size)).double()
    weights = torch.randn(size, size, dtype=torch.float64)
    outcomes = []
    for linear in (sparse.linear, nn.functional.linear):
        inputs = [x.clone().requires_grad_(), weights.clone().requires_grad_()]
        gradients = torch.autograd.grad(linear(*inputs).pow(3).sum(), inputs, create_graph=True)
        outcomes.append(torch.autograd.grad([gradient.square().sum() for gradient in gradients], inputs))
    close(*outcomes, 1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (130, 127), (33, 700), (512, 512)], ids=str)
def test_a_transpose_is_contiguous(dtype, shape):
    matrix = torch.arange(shape[0] * shape[1]).reshape(shape).to(dtype)
    for each in (matrix, matrix.t(), matrix[::2], matrix[:, ::2]):
        transpose = sparse.transposed(each)
        assert transpose.is_contiguous()
        assert transpose.equal(each.t())


@pytest.mark.parametrize("rows", [0, 3])
def test_a_product_without_numbers_is_its_start(rows):
    start = torch.randn(rows, 5)
    close(sparse.product(torch.empty(rows, 0), torch.empty(0, 5)), torch.zeros(rows, 5))
    close(sparse.product(torch.empty(rows, 0), torch.empty(0, 5), start), start)


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
