"""Compiled code gets only tensors that it can read: contiguous, on the CPU, with memory of their own."""

import pytest
import torch
from runtime_helpers import with_reference
from seeding import seeded
from torch import nn
from torch.testing._internal.two_tensor import TwoTensor

import geir
from geir._runtime import arguments
from geir._runtime.compiler import find_compiler

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")

# Several chunks, so that the backward pass reads several checkpoints.
UNROLL = geir.Fused(checkpoint_every=3)


def models():
    recurrent = geir.LIFRecurrent(4, 4, tau_mem=geir.learnable(0.02), unroll=UNROLL).double()
    # Enough for spikes, whatever the random numbers are.
    nn.init.ones_(recurrent.input_weights)
    return [
        geir.LIF(tau_mem=geir.learnable(0.02), unroll=UNROLL).double(),
        geir.ALIF(tau_mem=nn.Parameter(torch.full((4,), 0.02)), unroll=UNROLL).double(),
        recurrent,
    ]


@pytest.mark.parametrize("model", seeded(models), ids=lambda model: type(model).__name__)
def test_jacobians_by_function_transforms_equal_the_reference(model):
    xs = 4 * torch.rand(10, 2, 4, dtype=torch.float64)
    assert model(xs)[0].sum() > 3, "the input is too weak for this test to see spikes"
    parameters = dict(model.named_parameters())

    def outputs(model, xs, parameters):
        zs, _ = torch.func.functional_call(model, parameters, (xs,))
        return zs.sum((1, 2))

    for k in (0, 1):
        actual, expected = (
            torch.func.jacrev(lambda *arguments, twin=twin: outputs(twin, *arguments), argnums=k)(xs, parameters)
            for twin in (model, with_reference(model))
        )
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def test_vmap_of_a_vector_jacobian_product_equals_the_reference():
    model = models()[0]
    xs = 4 * torch.rand(10, 2, 4, dtype=torch.float64)
    cotangents = torch.rand(3, 10, 2, 4, dtype=torch.float64)
    actual, expected = (
        torch.vmap(torch.func.vjp(lambda xs, twin=twin: twin(xs)[0], xs)[1])(cotangents)
        for twin in (model, with_reference(model))
    )
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", seeded(models), ids=lambda model: type(model).__name__)
def test_saved_tensors_may_come_back_with_other_strides(model):
    xs = 4 * torch.rand(10, 2, 4, dtype=torch.float64)

    def gradients(model):
        x = xs.clone().requires_grad_()
        model.zero_grad()
        model(x)[0].sum().backward()
        return [x.grad, *(p.grad.clone() for p in model.parameters())]

    def other_strides(tensor):
        return tensor.transpose(0, -1).contiguous().transpose(0, -1) if tensor.dim() > 1 else tensor

    expected = gradients(model)
    with torch.autograd.graph.saved_tensors_hooks(other_strides, lambda tensor: tensor):
        actual = gradients(model)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_weights_of_a_tensor_subclass_do_not_reach_compiled_code():
    layer, xs = geir.LIFRecurrent(8, 8), torch.zeros(5, 2, 8)
    xs[0, 0, 0] = 1.0  # few spikes, which the sparse product would use
    weights = torch.rand(8, 8)
    expected = nn.functional.linear(xs, weights)
    actual = geir._runtime.sparse.linear(xs, TwoTensor(weights, weights.clone()))
    torch.testing.assert_close(actual.a if isinstance(actual, TwoTensor) else actual, expected)
    layer.input_weights = nn.Parameter(TwoTensor(weights, weights.clone()))
    zs, _ = layer(xs)
    assert zs.shape == (5, 2, 8)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(4, 4).t()[:, :2], "needs contiguous tensors; value has strides"),
        (torch.zeros(1).expand(4), "needs contiguous tensors; value has strides"),
        (torch.zeros(4, device="meta"), "needs plain tensors on the CPU; value is a Tensor on meta"),
        (TwoTensor(torch.zeros(4), torch.zeros(4)), "needs plain tensors on the CPU; value is a TwoTensor"),
    ],
    ids=["transposed", "expanded", "meta", "subclass"],
)
def test_a_tensor_that_compiled_code_cannot_read_raises(tensor, message):
    structure = arguments.ctypes_structure([arguments.Pointer("value", "float", "(n)")])
    with pytest.raises(ValueError, match=message):
        arguments.fill_structure(structure, {"value": tensor})
