"""Direct calls give what the ordinary way gives, gradients included, and notice every change of what they depend on."""

import contextlib
import copy
import io
import pickle
import threading
from typing import NamedTuple

import pytest
import torch
from model_table import MODELS
from torch import nn, Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

import geir
from geir._runtime.compiler import find_compiler
from geir._runtime.kernels import direct, direct_preparation
from geir._util.state import leaves, map_state
from geir.wrappers import CellMixin

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")
# Versions of PyTorch that do not tell whether there are hooks of saved tensors have no direct calls with gradients.
differentiable = pytest.mark.skipif(direct.has_saved_tensor_hooks(), reason="needs a newer PyTorch")


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture
def uses(monkeypatch):
    """The calls that were direct."""
    used = []
    run = direct.run_directly

    def counting(module, x, state):
        result = run(module, x, state)
        if result is not None:
            used.append(module)
        return result

    monkeypatch.setattr("geir.core.neuron.run_directly", counting)
    monkeypatch.setattr("geir.wrappers.cell.run_directly", counting)
    return used


def warm_up(model, x):
    """Call a model until it calls directly; the last state."""
    state = None
    for _ in range(4):
        _, state = model(x, state)
    return state


def ordinary(model, x, state):
    """The result of a copy, which remembers nothing."""
    fresh = copy.deepcopy(model)
    return fresh(x, state)


def assert_same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


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


def assign_data(model):
    model.tau_mem.data = torch.tensor(0.03)


def swap_and_spoil(model):
    """The parameter gets other memory with the same numbers; the old memory is overwritten."""
    old = model.tau_mem.data
    model.tau_mem.data = old.clone()
    old.fill_(0.5)


def write_through_numpy(model):
    model.tau_mem.numpy()[...] = 0.03


def share_storage(model):
    with torch.no_grad():
        model.tau_mem.set_(torch.tensor([0.03, 0.04])[0])


def set_class(model):
    class Other(type(model)):
        def threshold(self, before, after):
            return after.v - 0.1

    model.__class__ = Other


def halve_the_time_constant(model):
    class Half(nn.Module):
        def forward(self, x):
            return x / 2

    parametrize.register_parametrization(model, "tau_mem", Half())


CHANGES = {
    "in place": lambda model: model.tau_mem.fill_(0.03),
    "fill_ of .data": lambda model: model.tau_mem.data.fill_(0.03),
    "assignment of .data": assign_data,
    "other memory": swap_and_spoil,
    "NumPy": write_through_numpy,
    "set_": share_storage,
    "assignment": lambda model: setattr(model, "tau_mem", 0.03),
    "buffer": lambda model: model._buffers.update(tau_mem=torch.tensor(0.03)),
    "one value for each neuron": lambda model: setattr(model, "tau_mem", torch.linspace(0.02, 0.03, 8)),
    "load_state_dict": lambda model: model.load_state_dict(model.state_dict() | {"tau_mem": torch.tensor(0.03)}),
    "threshold": lambda model: model.v_th.fill_(0.1),
    "resting potential": lambda model: model.v_rest.fill_(0.3),
    "dt": lambda model: setattr(model, "dt", 2e-3),
    "another __dict__": lambda model: setattr(model, "__dict__", vars(model) | {"dt": 2e-3}),
    "shape of .data": lambda model: setattr(model.tau_mem, "data", torch.linspace(0.01, 0.03, 8)),
    "integrator": lambda model: setattr(model, "integrator", geir.Euler()),
    "reset": lambda model: setattr(model, "reset_mechanism", geir.ResetBySubtraction()),
    "method of the instance": lambda model: setattr(model, "threshold", lambda before, after: after.v - 0.1),
    "prepare of the instance": lambda model: setattr(model, "prepare", lambda: geir.LIF(tau_mem=0.05).prepare()),
    "class": set_class,
    "parametrization": halve_the_time_constant,
}


@pytest.mark.filterwarnings("ignore:ParametrizedLIF runs on the reference loop")
@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("form", [geir.LIF, geir.LIFCell], ids=lambda form: form.__name__)
def test_a_direct_call_notices_every_change_of_the_model(form, name, uses):
    # From no spikes to a spike in every step.
    model, x = form(), torch.rand(5, 8) * torch.logspace(-1, 1, 8)
    state = warm_up(model, x)
    assert uses
    before = model(x, state)
    CHANGES[name](model)
    for _ in range(4):  # also when the changed model is called directly
        after = model(x, state)
        assert_same(after, ordinary(model, x, state))
    if name != "other memory":
        assert not all(map(torch.equal, (before[0], before[1].v), (after[0], after[1].v)))


@pytest.mark.parametrize("form", [geir.LIF, geir.LIFCell], ids=lambda form: form.__name__)
def test_the_initial_state_follows_the_resting_potential(form):
    model, x = form(), torch.zeros(5, 4)
    for _ in range(4):
        model(x)
    model.v_rest.fill_(0.3)
    torch.testing.assert_close(model(x)[1].v, torch.full(x.shape[form is geir.LIF :], 0.3))


@pytest.mark.parametrize("form", [geir.LIF, geir.LIFCell], ids=lambda form: form.__name__)
def test_a_direct_call_notices_another_dtype_with_the_same_bytes(form):
    model, x = form(), torch.rand(5, 4)
    for _ in range(4):
        model(x)
    model.v_rest.data = torch.zeros((), dtype=torch.float64)
    assert model(x)[1].v.dtype == torch.float64


@pytest.mark.parametrize("form", [geir.LIF, geir.LIFCell], ids=lambda form: form.__name__)
def test_a_direct_call_notices_that_a_parameter_was_transposed_in_place(form, uses):
    model, x = form(tau_mem=torch.linspace(0.01, 0.03, 16).view(4, 4)), 5 * torch.rand(5, 4, 4)
    x = x[0] if form is geir.LIFCell else x
    state = warm_up(model, x)
    assert uses
    before = model(x, state)
    model.tau_mem.data = model.tau_mem.data.t()  # the same numbers in memory
    after = model(x, state)
    assert_same(after, ordinary(model, x, state))
    assert not torch.equal(before[1].v, after[1].v)


class SlopeState(NamedTuple):
    v: Tensor


SLOPE = 1.0


class Slope(geir.Dynamics[SlopeState]):
    """A step that reads an attribute, an object's attribute, an item and a global variable."""

    def __init__(self):
        super().__init__()
        self._slope = 1.0
        self._nested = {"a": [1.0]}

    def rest(self):
        return SlopeState(torch.zeros(()))

    def step(self, x, state):
        v = state.v + x * self._slope * self._nested["a"][0] * SLOPE * (2.0 if self.training else 1.0)
        return v, SlopeState(v)


class SlopeCell(CellMixin, Slope): ...


@pytest.mark.parametrize("form", [Slope, SlopeCell])
@pytest.mark.parametrize("what", ["attribute", "item", "global", "training", "step", "negative zero"])
def test_a_direct_call_notices_every_change_of_what_a_step_reads(form, what, monkeypatch, uses):
    model, x = form(), torch.ones(3, 4)
    state = warm_up(model, x)
    assert uses
    if what == "negative zero":
        model._slope = 0.0
        warm_up(model, x)
        model._slope = -0.0
        zero = SlopeState(-torch.zeros_like(state.v))
        after = model(x, zero)
        assert torch.signbit(after[1].v).all()
        return
    if what == "attribute":
        model._slope = 3.0
    elif what == "item":
        model._nested["a"][0] = 3.0
    elif what == "global":
        monkeypatch.setitem(globals(), "SLOPE", 3.0)
    elif what == "training":
        model.eval()
    else:

        def step(self, x, state):
            v = state.v + 5 * x
            return v, SlopeState(v)

        monkeypatch.setattr(Slope, "step", step)
    assert_same(model(x, state), ordinary(model, x, state))
    v = state.v.clone()
    rows = x if isinstance(model, CellMixin) else x.sum(0)
    factor = {"training": 1.0, "step": 5.0}.get(what, 6.0)
    torch.testing.assert_close(model(x, state)[1].v, v + factor * rows)


def test_a_shallow_copy_does_not_use_the_calls_of_the_original(uses):
    model, x = geir.LIF(), torch.rand(5, 4)
    warm_up(model, x)
    twin = copy.copy(model)
    twin._buffers = {name: 3 * tensor for name, tensor in model._buffers.items()}
    uses.clear()
    result = twin(x)
    assert not uses
    assert_same(result, ordinary(twin, x, None))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_remember_nothing(duplicate):
    model = geir.LIF()
    warm_up(model, torch.rand(5, 4))
    assert type(model._memo.direct) is direct.PreparedCalls
    assert duplicate(model)._memo.direct is None


def test_a_saved_model_holds_no_memo():
    model = geir.LIF()
    sizes = []
    for _ in range(2):
        file = io.BytesIO()
        torch.save(model, file)
        sizes.append(len(file.getvalue()))
        warm_up(model, torch.rand(5, 4))
    assert sizes[0] == sizes[1]


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


def test_large_runs_notice_changed_values():
    model, xs = geir.LIF(tau_mem=torch.rand(1500) + 0.01), torch.rand(20, 3, 1500)
    state = warm_up(model, xs)
    model.tau_mem.data[1499] = 0.5
    assert_same(model(xs, state), ordinary(model, xs, state))


def test_nothing_is_prepared_while_settings_change(monkeypatch):
    prepared = []
    make = direct_preparation._make_call
    monkeypatch.setattr(direct_preparation, "_make_call", lambda *args: prepared.append(1) or make(*args))
    cell, layer, x = geir.LIFCell(), geir.LIF(), torch.rand(5, 4)
    for surrogate in (geir.surrogates.SuperSpike(), geir.surrogates.Triangle()) * 3:
        cell.surrogate = layer.surrogate = surrogate
        cell(x)
        layer(x)
    assert not prepared
    for _ in range(2):
        cell(x)
        layer(x)
    assert len(prepared) == 2


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
