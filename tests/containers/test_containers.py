from collections import OrderedDict

import pytest
import torch
from torch import nn

import geir
from geir import LI, LICell, LIF, LIFCell, LIFRecurrentCell, Lift, RecurrentSequential, SequentialState


def stepped(module, xs, state=None):
    outputs = []
    for x in xs:
        y, state = module(x, state)
        outputs.append(y)
    return torch.stack(outputs), state


XS = torch.rand(40, 3, 5) * 4


def test_sequential_threads_state_step_by_step():
    linear, cell, readout = nn.Linear(5, 6), LIFCell(), LICell()
    ys, state = stepped(SequentialState(linear, cell, readout), XS)
    zs, inner = stepped(cell, linear(XS).detach())
    vs, outer = stepped(readout, zs)
    assert zs.sum() > 5
    torch.testing.assert_close(ys, vs)
    torch.testing.assert_close(state[1:], (inner, outer))
    assert state[0] == ()


def test_lifted_network_over_time_is_the_network_of_cells():
    conv, pool, linear = nn.Conv2d(1, 3, 3), nn.MaxPool2d(2), nn.Linear(12, 2)
    cells = SequentialState(conv, LIFCell(), pool, nn.Flatten(), linear, LICell())
    layers = SequentialState(Lift(conv), LIF(), Lift(pool), Lift(nn.Flatten()), Lift(linear), LI())
    xs = torch.rand(30, 2, 1, 6, 6) * 3
    expected, states = stepped(cells, xs)
    actual, last = layers(xs)
    assert expected.abs().sum() > 0
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(last[1], states[1])
    lifted, after = Lift(cells)(xs)
    torch.testing.assert_close(lifted, expected)
    torch.testing.assert_close(after[1], states[1])


def test_streaming_in_two_parts_is_running_once():
    model = SequentialState(Lift(nn.Linear(5, 6)), LIF(), Lift(nn.Linear(6, 2)), LI())
    expected, last = model(XS)
    first, middle = model(XS[:17])
    second, end = model(XS[17:], middle)
    torch.testing.assert_close(torch.cat([first, second]), expected)
    torch.testing.assert_close(end, last)


def test_plain_sequential_takes_pairs_and_starts_at_rest_at_every_call():
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
    [nn.RNN(5, 6), nn.GRU(5, 6, num_layers=2), nn.LSTM(5, 6)],
    ids=lambda m: type(m).__name__,
)
def test_torch_recurrent_layers_are_threaded(recurrent):
    model = SequentialState(recurrent, Lift(nn.Linear(6, 4)), LIF())
    first, middle = model(XS[:19])
    second, _ = model(XS[19:], middle)
    torch.testing.assert_close(torch.cat([first, second]), model(XS)[0])
    hidden = recurrent(XS)[0]
    torch.testing.assert_close(model(XS)[0], LIF()(model[1](hidden))[0])


@pytest.mark.parametrize(
    "cell", [nn.RNNCell(5, 6), nn.GRUCell(5, 6), nn.LSTMCell(5, 6)], ids=lambda m: type(m).__name__
)
def test_torch_recurrent_cells_are_threaded(cell):
    ys, state = stepped(SequentialState(cell, LIFCell()), XS)
    h, z = None, None
    for x, y in zip(XS, ys, strict=True):
        h = cell(x, h)
        out, z = LIFCell()(h[0] if isinstance(h, tuple) else h, z)
        torch.testing.assert_close(y, out)
    torch.testing.assert_close(state[0], h)


def test_containers_nest():
    inner = SequentialState(nn.Linear(6, 6), LIFCell())
    model = SequentialState(nn.Linear(5, 6), inner, SequentialState(inner, LICell()))
    ys, state = stepped(model, XS)
    flat, _ = stepped(SequentialState(model[0], *inner, *inner, LICell()), XS)
    torch.testing.assert_close(ys, flat)
    assert isinstance(state[1][1], geir.neurons.LIFState)
    ys, state = SequentialState(Lift(LIFCell()), Lift(nn.Linear(5, 2)))(XS)
    assert ys.shape == (40, 3, 2)
    assert isinstance(state[0], geir.neurons.LIFState)


class Counter(nn.Module):
    """A user's own module with state."""

    def forward(self, x, state=None):
        count = 1 if state is None else state + 1
        return x * count, count


def test_a_users_module_with_state_is_threaded():
    _, state = stepped(SequentialState(Counter(), nn.ReLU()), XS[:7])
    assert state == (7, ())


def test_sequential_is_still_a_list_of_modules():
    model = SequentialState(nn.Linear(5, 6), LIFCell())
    model.append(nn.Linear(6, 2))
    model.insert(0, nn.Dropout(0.0))
    model[2] = LIFRecurrentCell(6, 6)
    assert isinstance(model[1:3], SequentialState)
    assert [type(m).__name__ for m in model] == ["Dropout", "Linear", "LIFRecurrentCell", "Linear"]
    ys, state = stepped(model, XS)
    assert ys.shape == (40, 3, 2)
    assert [s != () for s in state] == [False, False, True, False]
    named = SequentialState(OrderedDict(encode=nn.Linear(5, 6), fire=LIFCell()))
    assert set(named.state_dict()) >= {"encode.weight", "fire.tau_mem"}
    del model[0]
    assert len(model) == 3


def test_hidden_outputs_on_request():
    model = SequentialState(Lift(nn.Linear(5, 6)), LIF(), Lift(nn.Linear(6, 2)), LI(), return_hidden=True)
    outputs, _ = model(XS)
    assert [tuple(y.shape) for y in outputs] == [(40, 3, 6), (40, 3, 6), (40, 3, 2), (40, 3, 2)]


def test_hooks_of_modules_see_output_and_state():
    model, seen = SequentialState(nn.Linear(5, 6), LIFCell()), []
    model[1].register_forward_hook(lambda module, args, result: seen.append(result[1]))
    _, state = stepped(model, XS)
    assert len(seen) == 40
    torch.testing.assert_close(seen[-1], state[1])


def test_batch_normalisation_lifts_over_time():
    norm = Lift(nn.BatchNorm1d(5))
    ys = norm(XS)
    torch.testing.assert_close(ys.mean((0, 1)), torch.zeros(5), atol=1e-5, rtol=0)


def test_recurrent_sequential_feeds_its_output_back():
    linear, cell = nn.Linear(5, 5), LIFCell()
    model = RecurrentSequential(linear, cell)
    ys, state = stepped(model, XS)
    z, inner = torch.zeros(3, 5), None
    for x, y in zip(XS, ys, strict=True):
        z, inner = cell(linear(x + z), inner)
        torch.testing.assert_close(y, z)
    torch.testing.assert_close(state.cache, z)
    torch.testing.assert_close(Lift(model)(XS)[0], ys)
    assert model(XS[0], state)[0].shape == (3, 5)


def test_recurrent_sequential_returns_the_modules_asked_for():
    model = RecurrentSequential(nn.Linear(5, 5), LIFCell(), LICell(), output_modules=[1, 2])
    (zs, vs), state = model(XS[0])
    (again, _), _ = model(XS[1], state)
    assert zs.shape == vs.shape == again.shape == (3, 5)
    torch.testing.assert_close(state.cache, vs)
    assert model(XS[0])[0][0].shape == (3, 5)


def test_recurrent_sequential_refuses_what_cannot_be_fed_back():
    model = RecurrentSequential(nn.Linear(5, 4), LIFCell())
    _, state = model(XS[0])
    with pytest.raises(ValueError, match=r"feeds back shape \(3, 4\), but its input has shape \(3, 5\)"):
        model(XS[1], state)
    with pytest.raises(ValueError, match="has 2 modules, but output_modules asks for 5"):
        RecurrentSequential(nn.Linear(5, 5), LIFCell(), output_modules=5)


def test_lift_refuses_what_has_no_batch_or_mixes_it():
    with pytest.raises(
        ValueError, match=r"Linear over time expected an input of shape \(time, batch, ...\), got shape \(5,\)"
    ):
        Lift(nn.Linear(5, 2))(XS[0, 0])
    with pytest.raises(ValueError, match="Flatten over time must keep the batch"):
        Lift(nn.Flatten(0))(XS)
    with pytest.raises(RuntimeError) as error:
        Lift(nn.Linear(4, 2))(XS)
    assert "was applied over time" in error.value.__notes__[0]
    with pytest.raises(TypeError, match="Lift takes a module, got"):
        Lift(torch.relu)


def test_sequential_refuses_a_state_of_another_network():
    model = SequentialState(nn.Linear(5, 6), LIFCell())
    with pytest.raises(
        ValueError, match="SequentialState of 2 modules continues from a tuple with one entry each, got 3 entries"
    ):
        model(XS[0], ((), (), ()))
    with pytest.raises(ValueError, match="got LIFState"):
        SequentialState(nn.Linear(5, 6), LIFCell(), LICell())(XS[0], LIFCell()(XS[0])[1])
