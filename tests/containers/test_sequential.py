"""`SequentialState`: modules in sequence, one step at a time or over time."""

import copy
import functools
import pickle
from collections import OrderedDict

import pytest
import torch
from container_helpers import run_steps, XS
from seeding import seeded
from torch import nn

import geir
from geir import LI, LICell, LIF, LIFCell, LIFRecurrentCell, Lift, SequentialState


def test_state_is_passed_to_every_module_step_by_step():
    linear, cell, readout = nn.Linear(5, 6), LIFCell(), LICell()
    ys, state = run_steps(SequentialState(linear, cell, readout), XS)
    zs, cell_state = run_steps(cell, linear(XS).detach())
    vs, readout_state = run_steps(readout, zs)
    assert zs.sum() > 5
    torch.testing.assert_close(ys, vs)
    torch.testing.assert_close(state[1:], (cell_state, readout_state))
    assert state[0] == ()


def test_a_lifted_network_over_time_equals_the_network_of_cells():
    conv, pool, linear = nn.Conv2d(1, 3, 3), nn.MaxPool2d(2), nn.Linear(12, 2)
    cells = SequentialState(conv, LIFCell(), pool, nn.Flatten(), linear, LICell())
    layers = SequentialState(Lift(conv), LIF(), Lift(pool), Lift(nn.Flatten()), Lift(linear), LI())
    xs = torch.rand(30, 2, 1, 6, 6) * 3
    expected, states = run_steps(cells, xs)
    actual, last = layers(xs)
    assert expected.abs().sum() > 0
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(last[1], states[1])
    lifted, after = Lift(cells)(xs)
    torch.testing.assert_close(lifted, expected)
    torch.testing.assert_close(after[1], states[1])


@pytest.mark.parametrize("lift", [False, True])
def test_two_runs_in_a_row_equal_one_run(lift):
    wrap = (lambda module: module) if lift else Lift
    model = SequentialState(wrap(nn.Linear(5, 6)), LIF(), wrap(nn.Linear(6, 2)), LI(), lift=lift)
    expected, last = model(XS)
    first, middle = model(XS[:17])
    second, end = model(XS[17:], middle)
    torch.testing.assert_close(torch.cat([first, second]), expected)
    torch.testing.assert_close(end, last)


def test_nn_sequential_accepts_output_state_tuples_and_starts_at_rest_in_every_call():
    linear, readout = nn.Linear(5, 6), nn.Linear(6, 2)
    plain = nn.Sequential(Lift(linear), LIF(), Lift(readout), LI())
    ours = SequentialState(Lift(linear), LIF(), Lift(readout), LI())
    vs, state = plain(XS)
    torch.testing.assert_close(vs, ours(XS)[0])
    torch.testing.assert_close(plain(XS)[0], vs)
    assert isinstance(state, geir.neurons.LIState)
    torch.testing.assert_close(
        nn.Sequential(LIFCell(), LIFCell())(XS[0])[0], SequentialState(LIFCell(), LIFCell())(XS[0])[0]
    )


@pytest.mark.parametrize(
    "recurrent",
    seeded(lambda: [nn.RNN(5, 6), nn.GRU(5, 6, num_layers=2), nn.LSTM(5, 6)]),
    ids=lambda m: type(m).__name__,
)
def test_recurrent_layers_of_torch_keep_their_state(recurrent):
    model = SequentialState(recurrent, Lift(nn.Linear(6, 4)), LIF())
    first, middle = model(XS[:19])
    second, _ = model(XS[19:], middle)
    torch.testing.assert_close(torch.cat([first, second]), model(XS)[0])
    hidden = recurrent(XS)[0]
    torch.testing.assert_close(model(XS)[0], LIF()(model[1](hidden))[0])


@pytest.mark.parametrize(
    "cell", seeded(lambda: [nn.RNNCell(5, 6), nn.GRUCell(5, 6), nn.LSTMCell(5, 6)]), ids=lambda m: type(m).__name__
)
def test_recurrent_cells_of_torch_keep_their_state(cell):
    ys, state = run_steps(SequentialState(cell, LIFCell()), XS)
    h, z = None, None
    for x, y in zip(XS, ys, strict=True):
        h = cell(x, h)
        out, z = LIFCell()(h[0] if isinstance(h, tuple) else h, z)
        torch.testing.assert_close(y, out)
    torch.testing.assert_close(state[0], h)


def test_containers_nest():
    inner = SequentialState(nn.Linear(6, 6), LIFCell())
    model = SequentialState(nn.Linear(5, 6), inner, SequentialState(inner, LICell()))
    ys, state = run_steps(model, XS)
    flat, _ = run_steps(SequentialState(model[0], *inner, *inner, LICell()), XS)
    torch.testing.assert_close(ys, flat)
    assert isinstance(state[1][1], geir.neurons.LIFState)
    ys, state = SequentialState(Lift(LIFCell()), Lift(nn.Linear(5, 2)))(XS)
    assert ys.shape == (40, 3, 2)
    assert isinstance(state[0], geir.neurons.LIFState)


class Counter(nn.Module):
    """A user-defined module with state."""

    def forward(self, x, state=None):
        count = 1 if state is None else state + 1
        return x * count, count


def test_a_user_defined_stateful_module_keeps_its_state():
    _, state = run_steps(SequentialState(Counter(), nn.ReLU()), XS[:7])
    assert state == (7, ())


def test_it_can_be_edited_like_nn_sequential():
    model = SequentialState(nn.Linear(5, 6), LIFCell())
    model.append(nn.Linear(6, 2))
    model.insert(0, nn.Dropout(0.0))
    model[2] = LIFRecurrentCell(6, 6)
    assert isinstance(model[1:3], SequentialState)
    assert [type(m).__name__ for m in model] == ["Dropout", "Linear", "LIFRecurrentCell", "Linear"]
    ys, state = run_steps(model, XS)
    assert ys.shape == (40, 3, 2)
    assert [s != () for s in state] == [False, False, True, False]
    named = SequentialState(OrderedDict(encode=nn.Linear(5, 6), fire=LIFCell()))
    assert set(named.state_dict()) >= {"encode.weight", "fire.tau_mem"}
    del model[0]
    assert len(model) == 3


def test_hidden_outputs_are_returned_on_request():
    model = SequentialState(Lift(nn.Linear(5, 6)), LIF(), Lift(nn.Linear(6, 2)), LI(), return_hidden=True)
    outputs, _ = model(XS)
    assert [tuple(y.shape) for y in outputs] == [(40, 3, 6), (40, 3, 6), (40, 3, 2), (40, 3, 2)]


def test_forward_hooks_of_modules_see_output_and_state():
    model, seen = SequentialState(nn.Linear(5, 6), LIFCell()), []
    model[1].register_forward_hook(lambda module, args, result: seen.append(result[1]))
    _, state = run_steps(model, XS)
    assert len(seen) == 40
    torch.testing.assert_close(seen[-1], state[1])


# ---- lift=True


def lifted(**settings):
    modules = OrderedDict(
        linear=nn.Linear(5, 6), norm=nn.BatchNorm1d(6), neuron=LIF(v_th=0.1), out=Lift(nn.Linear(6, 2)), readout=LI()
    )
    return SequentialState(modules, lift=True, **settings)


def test_lifting_equals_wrapping_every_stateless_module_in_lift():
    model = lifted()
    wrapped = SequentialState(Lift(model.linear), Lift(model.norm), model.neuron, model.out, model.readout)
    expected, expected_state = wrapped(XS)
    ys, state = model(XS)
    assert expected.std() > 0.1
    torch.testing.assert_close(ys, expected)
    torch.testing.assert_close(state, expected_state)
    assert [entry == () for entry in state] == [True, True, False, True, False]


def test_lifting_leaves_the_names_of_parameters_as_in_nn_sequential():
    modules = nn.Conv2d(1, 2, 3), LIF(), nn.Flatten(), nn.Linear(18, 3)
    assert list(SequentialState(*modules, lift=True).state_dict()) == list(nn.Sequential(*modules).state_dict())
    assert {"linear.weight", "norm.running_mean", "out.module.weight"} <= set(lifted().state_dict())


def test_a_lifted_network_returns_hidden_outputs_on_request():
    outputs, _ = lifted(return_hidden=True)(XS)
    assert [tuple(y.shape) for y in outputs] == [(40, 3, 6)] * 3 + [(40, 3, 2)] * 2


@pytest.mark.parametrize("settings", [{"lift": True}, {"return_hidden": True}, {"lift": True, "return_hidden": True}])
def test_slices_sums_and_multiples_keep_the_settings(settings):
    model = SequentialState(nn.Dropout(), nn.Linear(6, 6), LIF(v_th=0.1), **settings)
    for part in (model[:2], model[1:], model[::2], model + nn.Sequential(LI()), 2 * model):
        assert type(part) is SequentialState
        assert part.lift == settings.get("lift", False)
        assert part.return_hidden == settings.get("return_hidden", False)
    assert model[:2][1] is model[1]
    assert len(model + nn.Sequential(LI())) == 4
    assert len(model * 2) == 6


def test_a_slice_of_a_lifted_network_runs_on_the_slice_of_its_state():
    model = lifted(return_hidden=True).eval()
    outputs, state = model(XS)
    hidden, first_states = model[:3](XS)
    torch.testing.assert_close(hidden, outputs[:3])
    torch.testing.assert_close(first_states, state[:3])
    more, _ = model(XS, state)
    torch.testing.assert_close(model[:3](XS, state[:3])[0], more[:3])


def test_lifted_networks_nest():
    inner = SequentialState(nn.Flatten(), nn.Linear(4, 6), LIF(v_th=0.1), lift=True)
    xs = XS[..., :4].unflatten(-1, (2, 2))
    expected, state = inner(xs)
    assert expected.sum() > 10
    in_lifted, states = SequentialState(inner, nn.Linear(6, 2), lift=True)(xs)
    torch.testing.assert_close(states[0], state)
    assert in_lifted.shape == (40, 3, 2)
    torch.testing.assert_close(SequentialState(inner, LI())(xs)[0], LI()(expected)[0])
    # A container without lift inside one with lift receives the input over time unchanged.
    plain = SequentialState(Lift(inner[0]), Lift(inner[1]), inner[2])
    torch.testing.assert_close(SequentialState(plain, lift=True)(xs)[0], expected)


def test_copies_and_pickles_keep_the_settings():
    model = lifted(return_hidden=True)
    expected = model(XS)
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        assert twin.lift
        assert twin.return_hidden
        torch.testing.assert_close(twin(XS), expected)


def test_the_representation_shows_the_settings():
    assert "lift=True, return_hidden=True" in repr(lifted(return_hidden=True))
    assert repr(SequentialState(nn.Flatten())) == repr(nn.Sequential(nn.Flatten())).replace(
        "Sequential", "SequentialState"
    )


# ---- errors


def test_a_state_of_another_network_is_rejected():
    model = SequentialState(nn.Linear(5, 6), LIFCell())
    message = (
        "SequentialState expected as its state a tuple with one entry for each of its 2 modules, "
        "got a tuple with 3 entries; pass the state that its previous call returned"
    )
    with pytest.raises(ValueError, match=message):
        model(XS[0], ((), (), ()))
    with pytest.raises(ValueError, match="got LIFState"):
        SequentialState(nn.Linear(5, 6), LIFCell(), LICell())(XS[0], LIFCell()(XS[0])[1])
    with pytest.raises(ValueError, match="got int"):
        lifted()(XS, 5)
    with pytest.raises(TypeError, match="LIF expected a LIFState as its state, got LIState"):
        SequentialState(LIF(), lift=True)(XS, (geir.neurons.LIState(XS[0], XS[0]),))


def test_a_lifted_network_rejects_input_without_a_batch():
    with pytest.raises(ValueError, match=r"Linear over time .*\(5,\)"):
        SequentialState(nn.Linear(5, 2), lift=True)(XS[0, 0])


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


class Sum(nn.Module):
    def forward(self, x, state=None):
        total = x if state is None else x + state
        return total, total


def wrap(forward):
    @functools.wraps(forward)
    def wrapper(*args):
        return forward(*args)

    return wrapper


def set_class(model, monkeypatch):
    model[0].__class__ = Sum


def set_forward_of_class(model, monkeypatch):
    monkeypatch.setattr(Doubled, "forward", Sum.forward)


def set_wrapped_forward_of_class(model, monkeypatch):
    monkeypatch.setattr(Doubled, "forward", wrap(Sum.forward))


def set_entry(model, monkeypatch):
    model._modules["0"] = Sum()


@pytest.mark.parametrize(
    "change", [set_class, set_forward_of_class, set_wrapped_forward_of_class, set_entry], ids=lambda f: f.__name__
)
def test_a_module_that_got_a_state_since_the_last_call_keeps_it(change, monkeypatch):
    # With the same code as the wrapper that comes later.
    monkeypatch.setattr(Doubled, "forward", wrap(Doubled.forward) if "wrapped" in change.__name__ else Doubled.forward)
    model = SequentialState(Doubled())
    for _ in range(3):
        y, state = model(XS[0])
        torch.testing.assert_close(y, 2 * XS[0])
        assert state == ((),)
    change(model, monkeypatch)
    ys, _ = run_steps(model, XS)
    torch.testing.assert_close(ys, XS.cumsum(0))


def test_a_module_that_took_the_place_of_another_of_its_class_is_called():
    model = SequentialState(nn.Linear(5, 5))
    model(XS[0])
    other = nn.Linear(5, 5)
    model._modules["0"] = other
    torch.testing.assert_close(model(XS[0])[0], XS[0] @ other.weight.T + other.bias)


@pytest.mark.parametrize("lift", [False, True])
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_module_of_torchscript_may_stand_in_a_network(lift):
    linear = nn.Linear(5, 5)
    model = SequentialState(torch.jit.trace(linear, XS[0]), lift=lift)
    x = XS if lift else XS[0]
    torch.testing.assert_close(model(x)[0], x @ linear.weight.T + linear.bias)


def test_a_lifted_module_that_got_a_state_since_the_last_call_keeps_it():
    model = SequentialState(Lift(Doubled()))
    for _ in range(3):
        torch.testing.assert_close(model(XS)[0], 2 * XS)
    model[0].module = Sum()
    half = len(XS) // 2
    first, state = model(XS[:half])
    second, _ = model(XS[half:], state)
    torch.testing.assert_close(torch.cat([first, second]), XS.cumsum(0))


def test_a_container_that_has_been_called_is_copied_without_what_it_knows_of_its_modules():
    model = SequentialState(Doubled())
    model(XS[0])
    for duplicate in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert duplicate._known is None
        torch.testing.assert_close(duplicate(XS[0])[0], 2 * XS[0])
