"""All kinds of derivatives that PyTorch takes, through the loop that defines the result."""

import copy

import pytest
import torch
from model_table import MODELS
from torch import nn, Tensor

import geir
from geir._util.state import leaves
from geir.testing import learnable_copy, smooth_copy

SIZE = 4


def smooth_model(model):
    """In float64, with a smooth spike and nothing detached, so that finite differences are right."""
    model = learnable_copy(smooth_copy(copy.deepcopy(model).double()), (SIZE,))
    model.unroll = geir.reference
    return model


def function_of(model):
    """Outputs and state as a function of the input and all parameters.

    Without the random numbers, which have no derivative: `gradcheck` numbers the outputs that have one for one mode
    of differentiation, and all outputs for another, and compares those with equal numbers.
    """
    parameters = dict(model.named_parameters())

    def function(xs: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        zs, state = torch.func.functional_call(model, dict(zip(parameters, values, strict=True)), (xs,))
        return zs, *(part for name, part in leaves(state) if "generator" not in name)

    xs = torch.linspace(0.1, 2, 3 * SIZE, dtype=torch.float64).view(3, SIZE).requires_grad_()
    return function, (xs, *(p.detach().clone().requires_grad_() for p in parameters.values()))


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_forward_mode_and_batched_gradients_agree_with_finite_differences(model):
    function, arguments = function_of(smooth_model(model))
    assert torch.autograd.gradcheck(
        function,
        arguments,
        atol=1e-6,
        rtol=1e-4,
        check_forward_ad=True,
        check_batched_grad=True,
        fast_mode=True,
    )


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_jvp_equals_the_product_with_the_jacobian_of_reverse_mode(model):
    model = copy.deepcopy(model).double()
    model.unroll = geir.reference
    xs = 5 * torch.rand(4, SIZE, dtype=torch.float64)
    tangent = torch.randn_like(xs)
    _, forward = torch.func.jvp(lambda xs: model(xs)[1], (xs,), (tangent,))
    reverse = torch.func.jacrev(lambda xs: model(xs)[1])(xs)
    for (name, part), (_, jacobian) in zip(leaves(forward), leaves(reverse), strict=True):
        torch.testing.assert_close(part, torch.tensordot(jacobian, tangent, 2), msg=name)


@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_a_vectorized_jacobian_and_batched_gradients_equal_one_row_at_a_time(model, strategy, request):
    if strategy == "forward-mode" and not model.elementwise:
        reason = "PyTorch cannot vectorize the tangents of a matrix product: forward gradient of a different size"
        request.applymarker(pytest.mark.xfail(strict=True, reason=reason))
    function, arguments = function_of(smooth_model(model))

    def outputs(*arguments):
        return torch.cat([part.flatten() for part in function(*arguments)])

    expected = torch.autograd.functional.jacobian(outputs, arguments)
    actual = torch.autograd.functional.jacobian(outputs, arguments, vectorize=True, strategy=strategy)
    torch.testing.assert_close(actual, expected)
    y = outputs(*arguments)
    rows = torch.autograd.grad(y, arguments, torch.eye(len(y), dtype=y.dtype), is_grads_batched=True, allow_unused=True)
    for row, jacobian in zip(rows, expected, strict=True):
        torch.testing.assert_close(torch.zeros_like(jacobian) if row is None else row, jacobian)


def test_forward_mode_reaches_learnable_parameters():
    model = geir.LI(tau_mem=geir.learnable(0.02), unroll=geir.reference).double()
    xs = torch.ones(20, 1, dtype=torch.float64)

    def last(log_tau_mem):
        return torch.func.functional_call(model, {"log_tau_mem": log_tau_mem}, (xs,))[1].v

    start = torch.zeros((), dtype=torch.float64)
    _, slope = torch.func.jvp(last, (start,), (torch.ones_like(start),))
    step = 1e-6
    torch.testing.assert_close(slope, (last(start + step) - last(start - step)) / (2 * step), rtol=1e-8, atol=1e-8)


def test_forward_mode_differentiates_coefficients_that_were_cached_before():
    """With dual numbers, which look like plain tensors, the cache gave a derivative of zero."""
    model = geir.LI(tau_mem=nn.Parameter(torch.tensor(0.02, dtype=torch.float64)), unroll=geir.reference).double()
    xs = torch.ones(20, 1, dtype=torch.float64)

    def last(tau_mem):
        return torch.func.functional_call(model, {"tau_mem": tau_mem}, (xs,))[1].v

    tau = torch.tensor(0.02, dtype=torch.float64)
    with torch.no_grad():
        numerical = (last(tau + 1e-8) - last(tau - 1e-8)) / 2e-8
        last(tau)  # cached
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(tau, torch.ones_like(tau))
        slope = torch.autograd.forward_ad.unpack_dual(last(dual)).tangent
    torch.testing.assert_close(slope, numerical, rtol=1e-5, atol=1e-5)
    assert slope.abs() > 1
