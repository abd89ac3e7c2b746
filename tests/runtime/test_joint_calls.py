"""A container that proves for all its modules at once that nothing has changed notices every change."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from direct_helpers import assert_same, CHANGES, ordinary, warm_up
from torch import nn

import geir
from geir._runtime.compiler import find_compiler
from geir.containers.joint_calls import JointCalls

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")

X = 3 * torch.rand(5, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def runs(monkeypatch):
    """How many modules each joint call ran."""
    counts, run = [], JointCalls.run

    def counting(self, x, states):
        result = run(self, x, states)
        counts.append(len(result[1]))
        return result

    monkeypatch.setattr(JointCalls, "run", counting)
    return counts


def network(*more):
    torch.manual_seed(0)
    linear, other, last = (nn.Linear(8, 8) for _ in range(3))
    for layer in (linear, other):
        nn.init.normal_(layer.weight)
    modules = [linear, geir.LIFCell(v_th=0.2), nn.Dropout(0.5).eval(), other, geir.LIFCell(v_th=0.25), last]
    return geir.SequentialState(*modules, *more)


@pytest.fixture
def prepared(runs):
    """A network that runs jointly, and its state."""
    model = network()
    with torch.no_grad():
        state = warm_up(model, X)
        runs.clear()
        assert model(X, state)[0].any()
    assert runs == [6]
    runs.clear()
    return model, state


def check_after(change, model, state):
    """A change is noticed at once, and in the calls after it."""
    with torch.no_grad():
        before = model(X, state)
        change()
        for _ in range(5):
            after = model(X, state)
            assert_same(after, ordinary(model, X, state))
    return before, after


@pytest.mark.filterwarnings("ignore:ParametrizedLIFCell runs on the reference loop")
@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("index", [1, 4])
def test_changes_of_a_neuron(prepared, index, name):
    model, state = prepared
    before, after = check_after(lambda: CHANGES[name](model[index]), model, state)
    if name != "other memory":
        assert not torch.equal(before[1][index].v, after[1][index].v)


def halve(x):
    return x / 2


class Halved(nn.Linear):
    def forward(self, x):
        return super().forward(x) / 2


def prune(module):
    nn.utils.parametrize.register_parametrization(module, "weight", nn.Softmax(0))


CONTAINER_CHANGES = {
    "weights": lambda model: model[0].weight.fill_(0.3),
    "data of weights": lambda model: setattr(model[0].weight, "data", torch.eye(8)),
    "another module": lambda model: model.__setitem__(2, nn.Tanh()),
    "fewer modules": lambda model: model.__delitem__(5),
    "more modules": lambda model: model.append(nn.Tanh()),
    "modules exchanged": lambda model: setattr(
        model, "_modules", dict(zip(model._modules, [model[k] for k in (3, 1, 2, 0, 4, 5)], strict=True))
    ),
    "a neuron put elsewhere": lambda model: model.__setitem__(4, model[1]),
    "class of a module": lambda model: setattr(model[0], "__class__", Halved),
    "forward of the instance": lambda model: setattr(model[2], "forward", halve),
    "call of the instance": lambda model: setattr(model[2], "_call_impl", halve),
    "compiled form": lambda model: setattr(model[2], "_compiled_call_impl", halve),
    "hook": lambda model: model[5].register_forward_hook(lambda module, x, y: y / 2),
    "hook before": lambda model: model[0].register_forward_pre_hook(lambda module, x: x[0] / 2),
    "hook of a neuron": lambda model: model[4].register_forward_hook(lambda module, x, y: (y[0] / 2, y[1])),
    "parametrization": lambda model: prune(model[5]),
    "probability": lambda model: model.__setitem__(2, nn.Dropout(1.0)),
    "all steps at once": lambda model: setattr(model, "return_hidden", True),
}


@pytest.mark.parametrize("name", CONTAINER_CHANGES)
def test_changes_of_the_container_and_of_other_modules(prepared, name):
    model, state = prepared
    with torch.no_grad():
        before = model(X, state)
        CONTAINER_CHANGES[name](model)
        given = state[: len(model)] + ((),) * (len(model) - len(state))
        for _ in range(5):
            after = model(X, given)
            # Not of copies, which would have lost some of the changes.
            assert_same(after, geir.SequentialState(*model, return_hidden=model.return_hidden)(X, given))
    with pytest.raises((AssertionError, TypeError)):
        assert_same(after, before)


def halve_in(self, x):
    return x / 2


class WithoutCode:
    """A callable that has no code in Python, as mocks have none."""

    def __call__(self, x):
        return x / 2


@pytest.mark.parametrize("patch", ["forward", "__call__", "_call_impl", "code of forward", "without code"])
def test_a_class_of_pytorch_that_is_patched(prepared, monkeypatch, patch):
    model, state = prepared
    with torch.no_grad():
        before = model(X, state)
        if patch == "code of forward":
            monkeypatch.setattr(nn.Dropout.forward, "__code__", halve_in.__code__)
        elif patch == "without code":
            monkeypatch.setattr(nn.Dropout, "forward", WithoutCode())
        else:
            monkeypatch.setattr(nn.Dropout, patch, halve_in, raising=False)
        for _ in range(4):
            with pytest.raises(AssertionError):
                assert_same(model(X, state), before)
        monkeypatch.undo()
        assert_same(model(X, state), before)


CELLS = []


def slow_down(self, x):
    CELLS[0].dt = 2e-3
    return x


@pytest.mark.parametrize("patch", ["forward", "code of forward"])
def test_a_patched_class_that_changes_a_later_neuron(prepared, monkeypatch, patch):
    model, state = prepared
    monkeypatch.setattr("test_joint_calls.CELLS", [model[4]])
    if patch == "forward":
        monkeypatch.setattr(nn.Dropout, "forward", slow_down)
    else:
        monkeypatch.setattr(nn.Dropout.forward, "__code__", slow_down.__code__)
        monkeypatch.setitem(nn.Dropout.forward.__globals__, "CELLS", [model[4]])
    with torch.no_grad():
        _, after = model(X, state)
        x, _ = model[:4](X, state[:4])
        assert_same(after[4], geir.LIFCell(v_th=0.25, dt=2e-3)(x, state[4])[1])


def test_training_and_evaluation(prepared):
    model, state = prepared
    with torch.no_grad():
        before, _ = model(X, state)
        model.train()
        for _ in range(4):
            torch.manual_seed(1)
            noisy, _ = model(X, state)
            torch.manual_seed(1)
            assert_same(noisy, ordinary(model, X, state)[0])
        assert not torch.equal(noisy, before)
        model.eval()
        assert_same(model(X, state)[0], before)


def as_method(module):
    """A module of PyTorch with the `forward` of another."""
    identity = nn.Identity()
    identity.forward = module.forward
    return identity


@pytest.mark.parametrize("wrap", [lambda module: module, nn.Sequential, as_method])
def test_a_neuron_that_a_module_before_it_changes(wrap):
    class Slower(nn.Module):
        def forward(self, x):
            cell.dt = dt
            return x

    model = network(wrap(Slower()), geir.LIFCell(v_th=0.05))
    cell, dt = model[7], 1e-3
    with torch.no_grad():
        state = warm_up(model, X)
        model(X, state)
        dt = 2e-3
        _, after = model(X, state)
        x, _ = model[:6](X, state[:6])
        assert_same(after[7], geir.LIFCell(v_th=0.05, dt=2e-3)(x, state[7])[1])


@pytest.mark.parametrize("change", ["shape", "dtype", "state"])
def test_other_inputs_and_states(prepared, change):
    model, state = prepared
    with torch.no_grad():
        if change == "shape":
            with pytest.raises(ValueError, match="shape"):
                model(X[:2], state)
            assert_same(model(X[:2]), ordinary(model, X[:2], None))
        elif change == "dtype":
            assert_same(model.double()(X.double()), ordinary(model, X.double(), None))
        else:
            with pytest.raises(TypeError, match="state"):
                model(X, (*state[:4], (1, 2), ()))
            with pytest.raises(ValueError, match="tuple with one entry"):
                model(X, state[:3])


@pytest.mark.parametrize("frozen", [False, True])
def test_gradients(frozen, runs):
    model = network().requires_grad_(not frozen)
    x = X.clone().requires_grad_()

    def one_by_one(x, states):
        after = []
        for module, state in zip(model, states or ((),) * len(model), strict=True):
            x, state = module(x, state or None) if isinstance(module, geir.LIFCell) else (module(x), ())
            after.append(state)
        return x, tuple(after)

    def gradients(step):
        state, total = None, 0
        for _ in range(6):
            z, state = step(x, state)
            total = total + z.square().sum()
        return torch.autograd.grad(total, [x, *(p for p in model.parameters() if p.requires_grad)])

    for _ in range(3):
        found = gradients(model)
    assert runs[-1] == 6
    assert found[0].any()
    assert_same(found, gradients(one_by_one))


def test_a_neuron_that_learns_runs_as_usual(prepared, runs):
    model, state = prepared
    model[4].v_th = nn.Parameter(torch.tensor(0.2))
    with torch.no_grad():
        state = warm_up(model, X)
    runs.clear()
    z, _ = model(X, state)
    assert runs == [4]
    (gradient,) = torch.autograd.grad(z.sum(), model[4].v_th)
    fresh = copy.deepcopy(model)
    assert_same(gradient, torch.autograd.grad(fresh(X, state)[0].sum(), fresh[4].v_th)[0])


def test_a_proof_is_made_again_when_nothing_changes_any_more(prepared, runs):
    model, state = prepared
    with torch.no_grad():
        model[1].v_th.fill_(0.2)
        for _ in range(5):
            model(X, state)
        assert runs[-1] == 6
        runs.clear()
        model[2].train()
        model(X, state)
        model[2].eval()
        for _ in range(3):
            model(X, state)
    assert runs == [6, 6]


def test_no_proof_is_made_while_something_changes_in_every_call(prepared, runs):
    model, state = prepared
    with torch.no_grad():
        for step in range(5):
            model[1].dt = 1e-3 + 1e-4 * step
            model(X, state)
            assert model._known.joint._proof is None or step == 0
    assert not runs


def test_a_shallow_copy_of_a_neuron(prepared):
    model, state = prepared
    twin = copy.copy(model[4])
    twin._buffers = {name: 3 * tensor for name, tensor in twin._buffers.items()}
    with torch.no_grad():
        model[4] = twin
        for _ in range(5):
            after = model(X, state)
            assert_same(after, ordinary(model, X, state))
            x, _ = model[:4](X, state[:4])
            assert_same(after[1][4], ordinary(twin, x, state[4])[1])


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_prove_for_themselves(prepared, runs, duplicate):
    model, state = prepared
    twin = duplicate(model)
    runs.clear()
    with torch.no_grad():
        assert_same(twin(X, state), model(X, state))
    assert len(runs) == 1


def test_modules_of_the_user_are_called_as_usual(runs):
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * F.linear(x, self.weight)

    torch.manual_seed(0)
    model = geir.SequentialState(nn.Linear(8, 8), geir.LIFCell(), Doubled(8, 8), geir.LIFCell())
    with torch.no_grad():
        state = warm_up(model, X)
        runs.clear()
        assert_same(model(X, state), ordinary(model, X, state))
    assert runs == [2]


def test_a_container_that_is_set_to_lift_its_modules_refuses_cells(prepared):
    model, state = prepared
    model.lift = True
    with torch.no_grad(), pytest.raises(ValueError, match="cell"):
        model(X, state)
