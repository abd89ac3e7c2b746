"""The gradients of direct calls are those of ordinary ones."""

import copy

import pytest
import torch
from direct_helpers import assert_same, CHANGES, warm_up
from model_table import MODELS
from torch.utils.checkpoint import checkpoint

import geir
from geir._runtime.compiler import find_compiler
from geir._runtime.kernels import direct
from geir._util.state import leaves, map_state

pytestmark = [
    pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler"),
    pytest.mark.usefixtures("no_gradients"),
]
# Versions of PyTorch that do not tell whether there are hooks of saved tensors have no direct calls with gradients.
differentiable = pytest.mark.skipif(direct.has_saved_tensor_hooks(), reason="needs a newer PyTorch")


def gradients_of(model, x, state, weights):
    """Output, final state and all gradients of a run, the input and the state made leaves first."""
    x = x.detach().clone().requires_grad_()
    start = None if state is None else map_state(lambda part: part.detach().clone().requires_grad_(), state)
    inputs = [x, *(part for _, part in leaves(start))] if start else [x]
    with torch.enable_grad():
        zs, after = model(x, start)
        results = [zs, *(part for _, part in leaves(after))]
        loss = sum((w * part).sum() for w, part in zip(weights, results, strict=False) if part.requires_grad)
        grads = torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)
    return [part.detach() for part in results], grads


FIXED = [model for model in MODELS if not any(True for _ in model.parameters())]


@pytest.mark.parametrize("model", FIXED, ids=str)
@pytest.mark.parametrize("given", [True, False], ids=["state", "no state"])
def test_the_gradients_of_a_direct_run_equal_ordinary_ones(model, given, uses):
    model = copy.deepcopy(model)
    xs = torch.rand(70, 3, 4)  # several checkpoints
    weights = [torch.rand(()) for _ in range(9)]
    state = model(xs)[1] if given else None
    with torch.enable_grad():
        for _ in range(4):
            model(xs, state)
    uses.clear()
    assert_same(gradients_of(model, xs, state, weights), gradients_of(copy.deepcopy(model), xs, state, weights))
    assert (
        uses
        or not given
        or not model.elementwise
        or isinstance(model, geir.Compartments)
        or direct.has_saved_tensor_hooks()
    )


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.filterwarnings("ignore:ParametrizedLIF runs on the reference loop")
def test_gradients_of_a_direct_run_follow_every_change_of_the_model(name):
    model, x = geir.LIF(), torch.rand(5, 8) * torch.logspace(-1, 1, 8)
    weights = [torch.rand(()) for _ in range(3)]
    for _ in range(4):
        gradients_of(model, x, None, weights)
    CHANGES[name](model)
    for _ in range(3):
        assert_same(gradients_of(model, x, None, weights), gradients_of(copy.deepcopy(model), x, None, weights))


@pytest.mark.parametrize("part", ["output", "state"])
def test_a_direct_run_may_be_used_in_part(part):
    model, x = geir.LIF(), torch.rand(5, 8)
    for _ in range(4):
        model(x)

    def gradient(model):
        leaf = x.clone().requires_grad_()
        with torch.enable_grad():
            zs, state = model(leaf)
            return torch.autograd.grad((zs if part == "output" else state.v).sum(), leaf)

    assert_same(gradient(model), gradient(copy.deepcopy(model)))


def test_tensors_that_hooks_return_with_other_strides_or_dtypes_are_read_right():
    model, x = geir.LIF(), torch.rand(70, 3, 8)
    for _ in range(4):
        model(x)

    def gradient(model, unpack):
        leaf = x.clone().requires_grad_()
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(lambda t: t, unpack):
            zs, _ = model(leaf)
            return torch.autograd.grad(zs.sum(), leaf)[0]

    expected = gradient(copy.deepcopy(model), lambda t: t)
    assert_same(gradient(model, lambda t: t.transpose(0, -1).contiguous().transpose(0, -1)), expected)


@pytest.mark.parametrize("calls", range(5))
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_run_is_repeated_in_the_same_way(calls, reentrant):
    model, xs = geir.LIF(), 5 * torch.rand(40, 8, 16)
    for _ in range(calls):
        model(xs)
    with torch.enable_grad():
        inputs = [xs.clone().requires_grad_() for _ in range(2)]
        checkpoint(model, inputs[0], use_reentrant=reentrant)[0].sum().backward()
        geir.LIF()(inputs[1])[0].sum().backward()
    assert_same(inputs[0].grad, inputs[1].grad)


def test_a_direct_run_has_no_second_derivative_in_silence():
    model, x = geir.LIF(), torch.rand(5, 8)
    for _ in range(4):
        model(x)
    leaf = x.clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(model(leaf)[0].sum(), leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="no second derivative"):
            torch.autograd.grad(gradient.sum(), leaf)


def test_gradients_are_recorded_whenever_something_needs_one(uses):
    model, x = geir.LIF(tau_mem=geir.learnable(0.02)), 10 * torch.rand(20, 4)
    state = warm_up(model, x)
    assert uses
    uses.clear()
    with torch.enable_grad():
        assert model(x, state)[0].requires_grad
        assert not uses  # a parameter needs a gradient
        plain, cell = geir.LIF(), geir.LIFCell()
        for _ in range(4):
            plain(x)
            cell(x[0])
        assert len(uses) == 4
        assert not plain(x)[0].requires_grad
        learned = type(state)(*(part.clone().requires_grad_() for part in state))
        for module, values in ((plain, x), (cell, x[0])):
            assert module(values.clone().requires_grad_())[0].requires_grad
            z, after = module(values, learned)
            assert z.requires_grad
            assert after.v.requires_grad


@differentiable
@pytest.mark.parametrize("adjacent", [True, False], ids=["as returned", "cloned"])
def test_truncated_backpropagation_equals_the_ordinary_way(adjacent, uses):
    model, inputs = geir.LIF(), torch.rand(6, 5, 8)

    def gradients(models):
        state, found = None, []
        for x, module in zip(inputs, models, strict=True):
            leaf = x.clone().requires_grad_()
            with torch.enable_grad():
                zs, state = module(leaf, state)
                found.append(torch.autograd.grad(zs.sum() + state.v.sum(), leaf)[0])
            state = map_state(lambda part: part.detach() if adjacent else part.detach().clone(), state)
        return found

    expected = gradients([copy.deepcopy(model) for _ in inputs])
    assert not uses
    assert_same(gradients([model] * len(inputs)), expected)
    assert uses
