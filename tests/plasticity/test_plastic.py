"""`Plastic` and `PlasticCell`: a rule applied to a connection while the network runs."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

import geir
from geir import LIF
from geir.plasticity import IntrinsicPlasticity, Plastic, PlasticCell, RewardModulated, STDP, STDPSensor


def plastic_layer(connection=None, rule=None, kind=Plastic):
    torch.manual_seed(1)
    connection = connection or nn.Linear(6, 4, bias=False)
    return kind(connection, LIF(v_th=0.2), rule or STDP(a_plus=0.05, w_min=-1.0))


def random_spikes(*shape):
    return (torch.rand(*shape) < 0.3).float()


@pytest.mark.parametrize("convolutional", [False, True])
def test_plastic_is_a_loop_over_connection_neuron_and_rule(convolutional):
    connection = nn.Conv2d(2, 3, 3, padding=1) if convolutional else nn.Linear(6, 4)
    xs = random_spikes(30, 4, 2, 5, 5) if convolutional else random_spikes(30, 4, 6)
    plastic = plastic_layer(connection, STDP(a_plus=2e-3, w_min=-1.0))
    reference, rule, cell = copy.deepcopy(connection), copy.deepcopy(plastic.rule), geir.LIFCell(v_th=0.2)
    zs, state = plastic(xs)
    expected, neuron_state, rule_state = [], None, None
    with torch.no_grad():
        for x in xs:
            z, neuron_state = cell(reference(x), neuron_state)
            weight, rule_state = rule(x, z, reference.weight, rule_state, reference)
            reference.weight.copy_(weight)
            expected.append(z)
    assert zs.sum() > 10
    assert plastic.weight.abs().max() < 1
    torch.testing.assert_close(plastic.weight, reference.weight, rtol=0, atol=0)
    torch.testing.assert_close(zs, torch.stack(expected), rtol=0, atol=0)
    torch.testing.assert_close(state, geir.plasticity.PlasticState(neuron_state, rule_state), rtol=0, atol=0)


def test_one_run_equals_two_half_runs_and_the_lifted_cell():
    xs = random_spikes(40, 3, 6)
    whole, parts, cell = plastic_layer(), plastic_layer(), plastic_layer(kind=PlasticCell)
    zs, state = whole(xs)
    first, middle = parts(xs[:20])
    second, last = parts(xs[20:], middle)
    lifted, end = geir.Lift(cell)(xs)
    assert zs.sum() > 10
    for z, s, module in ((torch.cat([first, second]), last, parts), (lifted, end, cell)):
        torch.testing.assert_close((z, s, module.weight), (zs, state, whole.weight), rtol=0, atol=0)


def test_the_weight_learns_in_training_mode_and_is_fixed_in_evaluation_mode():
    xs, plastic = random_spikes(40, 3, 6), plastic_layer()
    initial = plastic.weight.detach().clone()
    zs, state = plastic(xs)
    learned = plastic.weight.detach().clone()
    assert not zs.requires_grad
    assert (learned != initial).any()
    plastic.eval()
    evaluated, next_state = plastic(xs, state)
    assert plastic.weight.equal(learned)
    assert next_state.rule is state.rule
    expected, _ = LIF(v_th=0.2)(functional.linear(xs, learned), state.neuron)
    torch.testing.assert_close(evaluated, expected)
    evaluated.sum().backward()
    assert plastic.weight.grad.abs().sum() > 0
    cell = PlasticCell(plastic.connection, plastic.neuron, plastic.rule).eval()
    torch.testing.assert_close(geir.Lift(cell)(xs, state)[0], evaluated)


def test_neurons_can_be_reset_while_the_rule_continues():
    xs, plastic = random_spikes(40, 3, 6), plastic_layer()
    _, state = plastic(xs)
    _, continued = plastic(xs[:1], state._replace(neuron=None))
    _, fresh = plastic_layer()(xs[:1])
    assert not continued.rule.pre.equal(fresh.rule.pre)
    assert continued.neuron.i.abs().sum() < state.neuron.i.abs().sum()


def test_plastic_layers_work_in_sequence_and_save_the_learned_weights():
    def network():
        second = plastic_layer(nn.Linear(4, 4, bias=False))
        return geir.SequentialState(plastic_layer(), second, geir.Lift(nn.Linear(4, 2)), geir.LI())

    model = network()
    initial = [module.weight.detach().clone() for module in model[:2]]
    vs, state = model(random_spikes(40, 3, 6))
    # Later layers are trained by gradients.
    vs.sum().backward()
    assert model[2].module.weight.grad is not None
    assert isinstance(state[0], geir.plasticity.PlasticState)
    assert all((module.weight != before).any() for module, before in zip(model[:2], initial, strict=True))
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    loaded = network()
    loaded.load_state_dict(torch.load(buffer))
    assert loaded[0].weight.equal(model[0].weight)
    xs = random_spikes(10, 3, 6)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(twin.eval()(xs)[0], loaded.eval()(xs)[0])


class UserConnection(nn.Module):
    """A connection defined by a user: linear in its weight, with a mask."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4, 6))
        self.register_buffer("mask", (torch.rand(4, 6) < 0.5).float())

    def forward(self, x):
        return functional.linear(x, self.weight * self.mask)


def test_any_connection_that_is_linear_in_its_weight_learns_where_it_has_synapses():
    connection = UserConnection()
    initial = connection.weight.detach().clone()
    plastic = plastic_layer(connection)
    plastic(random_spikes(40, 3, 6))
    changed = plastic.weight != initial
    assert changed.any()
    assert not changed[connection.mask == 0].any()


def test_steps_without_spikes_do_not_change_the_weight():
    plastic = plastic_layer()
    initial = plastic.weight.detach().clone()
    plastic(torch.zeros(20, 3, 6))
    assert plastic.weight.equal(initial)


def test_reward_reaches_a_plastic_layer_through_its_state():
    plastic = plastic_layer(rule=RewardModulated(STDP(a_plus=0.05, w_min=-1.0)))
    initial = plastic.weight.detach().clone()
    _, state = plastic(random_spikes(40, 3, 6))
    assert plastic.weight.equal(initial)
    _, state = plastic(torch.zeros(20, 3, 6), state._replace(rule=plastic.rule.reward(state.rule, 1.0)))
    assert (plastic.weight - initial).abs().max() > 1e-3


def test_postsynaptic_neurons_may_be_recurrent_or_refractory():
    for neuron in (geir.LIFRecurrent(4, 4, v_th=0.2), geir.Refractory(LIF(v_th=0.2)), geir.IAF()):
        plastic = Plastic(nn.Linear(6, 4), neuron, STDP(w_min=-1.0))
        zs, state = plastic(random_spikes(20, 3, 6))
        assert plastic.eval()(random_spikes(20, 3, 6), state)[0].shape == zs.shape


INVALID = {
    "a connection without weight": (
        lambda: Plastic(nn.ReLU(), LIF(), STDP()),
        TypeError,
        r"stores its `weight`, such as nn.Linear\(784, 100\), got ReLU",
    ),
    "a cell instead of neurons over time": (
        lambda: Plastic(nn.Linear(3, 4), geir.LIFCell(), STDP()),
        TypeError,
        r"Plastic takes neurons over time .*, got LIFCell\(\)",
    ),
    "a string as rule": (
        lambda: Plastic(nn.Linear(3, 4), LIF(), "stdp"),
        TypeError,
        "Plastic takes a learning rule, such as STDP.*, got 'stdp'",
    ),
    "two step sizes": (
        lambda: plastic_layer(rule=STDP(dt=1e-4)),
        ValueError,
        "needs one step size, but STDP has dt=0.0001 and LIF has dt=0.001",
    ),
    "weights out of bounds": (
        lambda: plastic_layer(rule=STDP()),
        ValueError,
        r"STDP keeps weights in \[0, 1\], got -0.\d+; initialize the weight within the bounds",
    ),
    "neurons without a threshold": (
        lambda: Plastic(nn.Linear(3, 4), geir.LI(), STDPSensor(), IntrinsicPlasticity()),
        TypeError,
        "moves the threshold `v_th`, which LI does not have",
    ),
    "a number as intrinsic plasticity": (
        lambda: Plastic(nn.Linear(3, 4), LIF(), STDPSensor(), 1.0),
        TypeError,
        "Plastic.intrinsic must be an IntrinsicPlasticity, got 1.0",
    ),
    "input without time": (
        lambda: plastic_layer()(random_spikes(3, 6)),
        ValueError,
        r"Plastic of Linear takes \(time, batch, \*input\) of at least one step, got shape \(3, 6\)",
    ),
    "input without steps": (
        lambda: plastic_layer()(random_spikes(0, 3, 6)),
        ValueError,
        r"of at least one step, got shape \(0, 3, 6\)",
    ),
    "input of a cell without batch": (
        lambda: plastic_layer(kind=PlasticCell)(random_spikes(6)),
        ValueError,
        r"PlasticCell of Linear takes \(batch, \*input\), got shape \(6,\)",
    ),
    "the state of a neuron": (
        lambda: plastic_layer()(random_spikes(5, 3, 6), LIF()(random_spikes(5, 3, 4))[1]),
        TypeError,
        "Plastic expected a PlasticState as its state, got LIFState",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_parts_and_input_are_rejected(case):
    call, error, message = INVALID[case]
    with pytest.raises(error, match=message):
        call()
