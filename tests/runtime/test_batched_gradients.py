"""Batched gradients through kernels equal those taken one by one, to the bit."""

import copy

import pytest
import torch
from model_table import MODELS
from seeding import seeded
from torch import Tensor
from torch._vmap_internals import _vmap

import geir
from geir._runtime.compiler import find_compiler
from geir._runtime.kernels import direct
from geir._util.state import leaves
from geir.testing import learnable_copy, smooth_copy

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")
SIZE = 4
# Those that run on kernels. The others use PyTorch's matrix products, whose batches are rounded in another way.
ON_KERNELS = seeded(
    lambda: [
        *(model for model in MODELS if model.elementwise),
        geir.LIFRecurrent(SIZE, SIZE),
        geir.Recurrent(geir.ALIF(), SIZE, SIZE, recurrent_weights=torch.randn(SIZE, SIZE)),
    ]
)


def function_of(model, record=False):
    """All outputs in one row, as a function of the input and all parameters; on kernels, where they exist."""
    model = learnable_copy(smooth_copy(copy.deepcopy(model).double()), (SIZE,))
    if record:
        model.record_states = True
    parameters = dict(model.named_parameters())

    def function(xs: Tensor, *values: Tensor) -> Tensor:
        zs, state = torch.func.functional_call(model, dict(zip(parameters, values, strict=True)), (xs,))
        return torch.cat([zs.flatten(), *(part.flatten() for _, part in leaves(state))])

    xs = torch.linspace(0.1, 2, 3 * SIZE, dtype=torch.float64).view(3, SIZE).requires_grad_()
    return function, (xs, *(p.detach().clone().requires_grad_() for p in parameters.values()))


def assert_batch_equals_loop(y, arguments):
    rows = torch.randn(3, len(y), dtype=y.dtype, generator=torch.Generator().manual_seed(0))
    options = {"retain_graph": True, "allow_unused": True}
    batch = torch.autograd.grad(y, arguments, rows, is_grads_batched=True, **options)
    loop = [torch.autograd.grad(y, arguments, row, **options) for row in rows]
    for actual, *expected in zip(batch, *loop, strict=True):
        assert (actual is None) == (expected[0] is None)
        if actual is not None:
            torch.testing.assert_close(actual, torch.stack(expected), rtol=0, atol=0)
    assert any(g is not None and g.count_nonzero() for g in batch), "without gradients the test sees nothing"


@pytest.mark.parametrize("record", [False, True])
@pytest.mark.parametrize("model", ON_KERNELS, ids=repr)
def test_a_batch_of_gradients_equals_one_by_one(model, record):
    function, arguments = function_of(model, record)
    assert_batch_equals_loop(function(*arguments), arguments)


@pytest.mark.parametrize("model", ON_KERNELS, ids=repr)
def test_vectorized_jacobians_equal_one_row_at_a_time(model):
    function, arguments = function_of(model)
    expected = torch.autograd.functional.jacobian(function, arguments)
    actual = torch.autograd.functional.jacobian(function, arguments, vectorize=True)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.parametrize("model", ON_KERNELS, ids=repr)
def test_vmap_over_vjp_equals_one_by_one(model):
    function, arguments = function_of(model)
    result = torch.func.vjp(function, *arguments)
    y, vjp = result[0], result[1]
    rows = torch.randn(3, len(y), dtype=y.dtype)
    batch = torch.func.vmap(vjp)(rows)
    for actual, *expected in zip(batch, *map(vjp, rows), strict=True):
        torch.testing.assert_close(actual, torch.stack(expected), rtol=0, atol=0)


@pytest.mark.parametrize("model", ON_KERNELS, ids=repr)
def test_gradcheck_passes_with_batched_gradients_and_forward_mode(model):
    function, arguments = function_of(model)
    assert torch.autograd.gradcheck(
        function, arguments, atol=1e-6, rtol=1e-4, check_batched_grad=True, check_forward_ad=True, fast_mode=True
    )


def test_nested_batches_equal_one_by_one():
    function, arguments = function_of(geir.ALIF())
    y = function(*arguments)
    rows = torch.randn(2, 3, len(y), dtype=y.dtype)

    def gradient(row):
        return torch.autograd.grad(y, arguments[0], row, retain_graph=True)[0]

    actual = _vmap(_vmap(gradient))(rows)
    expected = torch.stack([torch.stack(list(map(gradient, part))) for part in rows])
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_a_direct_call_takes_a_batch_of_gradients():
    model, xs = geir.LIF(), torch.rand(5, SIZE)
    for _ in range(3):
        model(xs)
    assert direct.run_directly(model, xs, None) is not None, "it is not a direct call"
    xs.requires_grad_()
    zs, state = model(xs)
    assert_batch_equals_loop(torch.cat([zs.flatten(), state.v, state.i]), (xs,))


def spikes(*shape, share):
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(shape, generator=generator) < share).float().requires_grad_()


@pytest.mark.parametrize(
    ("layer", "x"),
    seeded(
        lambda: [
            (geir.connections.SparseInputLinear(32, 8), spikes(6, 32, share=0.1)),
            (geir.connections.SparseInputConv2d(3, 64, 3), spikes(2, 3, 12, 12, share=0.02)),
            (geir.connections.SparseLinear(32, 8, connection_probability=0.2, bias=False), spikes(6, 32, share=0.5)),
        ]
    ),
    ids=lambda part: type(part).__name__,
)
def test_sparse_products_take_a_batch_of_gradients(layer, x):
    y = layer(x)
    graph = [y.grad_fn, *(function for function, _ in y.grad_fn.next_functions)]
    assert any(f.name().startswith(("_Linear", "_Conv2d", "_Connect")) for f in graph), "it runs on another product"
    assert_batch_equals_loop(y.flatten(), (x, *layer.parameters()))
