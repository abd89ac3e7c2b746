"""Direct calls give what the ordinary way gives, and are made where they should be."""

import contextlib
import copy
import threading

import pytest
import torch
from direct_helpers import assert_same, ordinary, warm_up
from model_table import MODELS
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

import geir
from geir._runtime.compiler import find_compiler
from geir._runtime.kernels import direct, direct_preparation
from geir._util.state import map_state

pytestmark = [
    pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler"),
    pytest.mark.usefixtures("no_gradients"),
]
# Versions of PyTorch that do not tell whether there are hooks of saved tensors have no direct calls with gradients.
differentiable = pytest.mark.skipif(direct.has_saved_tensor_hooks(), reason="needs a newer PyTorch")


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_a_direct_call_equals_an_ordinary_one(model, uses):
    model = copy.deepcopy(model)
    xs = torch.rand(5, 3, 4)
    state = None
    for _ in range(5):
        expected = ordinary(model, xs, state)
        actual = model(xs, state)
        assert_same(actual, expected)
        state = actual[1]
    if not isinstance(model, geir.Recurrent | geir.Compartments) and "MC" not in type(model).__name__:
        assert uses or not model.elementwise


INPUTS = {
    "transposed": lambda x: x.t().contiguous().t(),
    "negative view": lambda x: torch._neg_view(x),
    "other dtype": lambda x: x.bfloat16(),
    "other shape": lambda x: x[:, :2],
    "no step": lambda x: x[:0],
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("form", [geir.LIF, geir.LIFCell], ids=lambda form: form.__name__)
def test_inputs_of_other_kinds(form, kind):
    model, x = form(), torch.rand(5, 4)
    for _ in range(4):
        model(x)
    other = INPUTS[kind](x)
    for _ in range(4):
        assert_same(model(other), ordinary(model, other, None))


def test_states_of_other_kinds():
    model, x = geir.LIF(), torch.rand(5, 3, 4)
    state = warm_up(model, x)
    separate = type(state)(*(part.clone() for part in state))
    transposed = type(state)(*(part.t().contiguous().t() for part in state))
    swapped = type(state)(v=state.i, i=state.v)
    negative = type(state)(*map(torch._neg_view, state))
    for other in (separate, transposed, swapped, negative):
        assert_same(model(x, other), ordinary(model, x, other))
    with pytest.raises(TypeError, match="expected a LIFState"):
        model(x, tuple(state))
    with pytest.raises(ValueError, match="has shape"):
        model(x, type(state)(*(part[:1] for part in state)))
    with pytest.raises(ValueError, match="has dtype"):
        model(x, type(state)(*(part.double() for part in state)))


def test_results_do_not_share_memory_with_later_ones():
    model, x = geir.LIFCell(), torch.rand(4)
    state = warm_up(model, x)
    z, next_state = model(x, state)
    kept = z.clone(), next_state.v.clone(), state.v.clone()
    for _ in range(3):
        model(2 * x, next_state)
    assert_same((z, next_state.v, state.v), kept)


@pytest.mark.parametrize("form", [geir.Noisy, geir.wrappers.NoisyCell], ids=lambda form: form.__name__)
@pytest.mark.parametrize("way", ["as before", "other value", "hooks", "gradient"])
def test_the_ordinary_way_draws_no_random_numbers_twice(form, way, uses):
    model, x = form(geir.LIF()), torch.rand(5, 4)
    for _ in range(4):
        model(x)
    if way == "other value":
        model.neuron.tau_mem.data.fill_(0.03)
    leaf = x.clone().requires_grad_(way in ("hooks", "gradient"))
    hooks = saved_tensors_hooks(lambda t: t, lambda t: t) if way == "hooks" else contextlib.nullcontext()
    results = []
    for module in (model, copy.deepcopy(model)):
        torch.manual_seed(7)
        uses.clear()
        with hooks, torch.set_grad_enabled(leaf.requires_grad):
            results.append(module(leaf))
        assert way != "as before" or bool(uses) == (module is model)
    # Kernels round functions such as the logarithm differently from the step of a cell.
    torch.testing.assert_close(*results)


def test_transforms_and_modes_take_the_ordinary_way(uses):
    model, x = geir.LIF(), torch.rand(5, 3, 4)
    warm_up(model, x)
    uses.clear()
    mapped = torch.vmap(lambda x: model(x)[0], in_dims=1, out_dims=1)(x)
    assert_same(mapped, model(x)[0])
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        assert torch.autograd.forward_ad.unpack_dual(model(dual)[0]).tangent is not None
    with torch.inference_mode():
        z, _ = model(x)
        assert z.is_inference()


def test_threads_may_share_a_model():
    model, errors = geir.LIF(), []
    inputs = [torch.rand(5, 4) for _ in range(4)]
    expected = [model(x)[0] for x in inputs]

    def work(k):
        with torch.no_grad():
            for _ in range(300):
                if not torch.equal(model(inputs[k])[0], expected[k]):
                    errors.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


@differentiable
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("model", [geir.LIF(), geir.ALIF(tau_mem=torch.linspace(0.01, 1, 1500)), geir.AdEx()], ids=repr)
def test_large_runs_are_direct_too(model, threads, uses):
    model, xs = copy.deepcopy(model), 5 * torch.rand(20, 3, 1500)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for _ in range(4):
            model(xs)
        assert uses
        uses.clear()
        results = []
        for module in (model, copy.deepcopy(model)):
            leaf = xs.clone().requires_grad_()
            with torch.enable_grad():
                zs, state = module(leaf)
                weights = torch.linspace(0, 1, zs.numel()).view_as(zs)
                (gradient,) = torch.autograd.grad((zs * weights).sum() + state.v.sum(), leaf)
            results.append((zs, state, gradient))
        assert uses == [model]
        assert_same(*results)
        assert results[0][2].any()
    finally:
        torch.set_num_threads(before)


def test_nothing_is_prepared_for_shapes_that_do_not_come_again():
    model = geir.LIF()
    for steps in range(1, 30):
        model(torch.rand(steps, 4))
    assert not model._memo.direct.calls


def test_large_states_are_not_kept():
    model, xs = geir.LIF(), torch.rand(2, 1 << 18)
    warm_up(model, xs)
    assert not model._memo.direct or not model._memo.direct.calls


def test_the_number_of_prepared_calls_is_bounded():
    model = geir.LIF()
    for size in range(1, 30):
        for _ in range(3):
            model(torch.rand(5, size))
    assert len(model._memo.direct.calls) <= direct_preparation.MAX_CALLS


def test_tensors_without_memory_are_refused():
    model, x = geir.LIF(), torch.rand(5, 8)
    state = warm_up(model, x)
    empty_input, empty_state = x.clone(), map_state(torch.clone, state)
    empty_input.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match="storage of input is empty"):
        model(empty_input, state)
    empty_state.v.untyped_storage().resize_(0)
    assert direct.run_directly(model, x, empty_state) is None


def test_sparse_tensors_take_the_ordinary_way():
    model, x = geir.LIF(), torch.rand(5, 8)
    state = warm_up(model, x)
    assert direct.run_directly(model, x.to_sparse(), state) is None
    assert direct.run_directly(model, x, map_state(torch.Tensor.to_sparse, state)) is None


class Around(geir.Neuron):
    """A step that calls a cell."""

    inner: nn.Module = geir.setting(default=None, accepts=nn.Module, expected="a module")

    def rest(self):
        return geir.neurons.IAFState(torch.zeros(()))

    def step(self, x, state):
        return self.inner(x, state)


@pytest.mark.filterwarnings("error:.*runs on the reference loop")
@pytest.mark.parametrize("calls", [0, 1, 4])
def test_a_cell_that_was_called_directly_is_traced_inside_another_step(calls):
    cell, xs = geir.IAFCell(), torch.rand(6, 2, 3)
    with torch.no_grad():
        for _ in range(calls):
            cell(xs[0])
        zs, _ = Around(inner=cell)(xs)
    assert torch.equal(zs, geir.IAF()(xs)[0])
    assert zs.any()
