"""Which models online learning accepts, its errors, its state and its memory."""

import copy
import io
import subprocess
import sys
from typing import NamedTuple

import pytest
import torch
from online_cases import error, gradients, inputs, learn, loss_of, OUTPUTS, run
from seeding import seeded
from torch import nn, Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

import geir
from geir.learning import Adaptive, DECOLLE, EProp, FiringRate, Online, OSTL, OTTT, Random, SLTT

RULES = [OSTL(), EProp(), EProp(Random()), EProp(firing_rate=FiringRate(10.0)), OTTT(), SLTT()]


def network(recurrent=False):
    first = [geir.LIFRecurrent(6, 5)] if recurrent else [nn.Linear(6, 5), geir.LIF(tau_mem=geir.learnable(0.01))]
    return geir.SequentialState(*first, nn.Linear(5, 2), geir.LI())


def advance(learner, steps, batch=3, state=None):
    for _ in range(steps):
        y, state = learner((torch.rand(batch, 6) < 0.5).float(), state)
        y.sum().backward()
    return state


# The state.


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_the_state_has_no_graph_and_the_same_size_after_any_number_of_steps(rule, recurrent):
    learner = Online(network(recurrent), rule)
    short, long = (tree_leaves(advance(learner, steps)) for steps in (1, 12))
    assert [t.shape for t in short] == [t.shape for t in long]
    assert not any(t.requires_grad for t in long)


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_state_can_be_saved_and_loaded_and_continues_the_run(recurrent):
    learner = Online(network(recurrent), EProp(firing_rate=FiringRate(10.0)))
    state = advance(learner, 10)
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded = torch.load(file)  # weights only, as by default
    assert tree_flatten(loaded)[1] == tree_flatten(state)[1]
    x = (torch.rand(3, 6) < 0.5).float()
    for a, b in zip(tree_leaves(learner(x, state)), tree_leaves(learner(x, loaded)), strict=True):
        assert torch.equal(a, b)
    doubled = tree_map(lambda t: 2 * t, state)
    assert torch.equal(doubled[0].traces.weights, 2 * state[0].traces.weights)


def test_a_state_can_be_loaded_in_another_process(tmp_path):
    state = advance(Online(network(), EProp()), 2)
    torch.save(state, tmp_path / "state.pt")
    program = "import sys, torch, geir; print(torch.load(sys.argv[1])[0].traces.weights.shape)"
    command = [sys.executable, "-c", program, str(tmp_path / "state.pt")]
    result = subprocess.run(command, capture_output=True, text=True)
    # The potential, and the two parts of the readout; the traces of the current are shared.
    assert result.stdout == "torch.Size([3, 3, 5, 7])\n", result.stderr


def test_random_numbers_in_the_state_have_no_traces():
    learner = Online(geir.SequentialState(nn.Linear(6, 5), geir.Noisy(geir.LIF(), seed=1)), EProp())
    (state,) = advance(learner, 1)
    assert len(tree_leaves(state.neuron)) == 5
    assert state.traces.weights.shape == (1, 3, 5, 7)
    assert state.traces.shared.shape == (1, 3, 7)


def test_a_learner_can_be_copied_and_its_feedback_weights_are_saved():
    for feedback in (Random(), Adaptive()):
        learner = Online(network(), EProp(feedback))
        twin = copy.deepcopy(learner)
        assert torch.equal(twin.feedback_0, learner.feedback_0)
        assert twin.model[1] is not learner.model[1]
        other = Online(network(), EProp(feedback))
        assert not torch.equal(other.feedback_0, learner.feedback_0)
        other.load_state_dict(learner.state_dict())
        assert torch.equal(other.feedback_0, learner.feedback_0)
        assert isinstance(learner.feedback_0, nn.Parameter) == isinstance(feedback, Adaptive)


def test_a_step_changes_neither_its_input_nor_its_state():
    learner = Online(network(True), EProp(firing_rate=FiringRate(10.0)))
    state, x = advance(learner, 5), torch.ones(3, 6)
    before = tree_map(Tensor.clone, (state, x))
    y, _ = learner(x, state)
    y.sum().backward()
    for a, b in zip(tree_leaves(before), tree_leaves((state, x)), strict=True):
        assert torch.equal(a, b)


def test_a_state_that_does_not_fit_is_refused():
    learner = Online(network(), EProp())
    state = advance(learner, 2)
    x = torch.ones(3, 6)
    with pytest.raises(ValueError, match="2 entries, got 1"):
        learner(x, state[:1])
    with pytest.raises(TypeError, match="tuple of OnlineLayerState as its state, got OnlineLayerState"):
        learner(x, state[0])
    with pytest.raises(TypeError, match="OnlineLayerState for module 1, LIF, got LIFState"):
        learner(x, (state[0].neuron, state[1]))
    with pytest.raises(TypeError, match="LIF expected a LIFState"):
        learner(x, (state[1], state[0]))
    with pytest.raises(ValueError, match=r"LIFState.v has shape \(3, 5\)"):
        learner(torch.ones(4, 6), state)
    with pytest.raises(ValueError, match=r"OTTT\(\) expected traces.weights .* module 1, LIF, got \(3, 3, 5, 7\)"):
        Online(learner.model, OTTT())(x, state)
    with pytest.raises(ValueError, match=r"expected rate of shape \(3, 5\)"):
        Online(learner.model, EProp(firing_rate=FiringRate(10.0)))(x, state)


def test_an_input_without_batch_or_of_another_type_is_refused():
    learner = Online(network(), EProp())
    with pytest.raises(ValueError, match="batch"):
        learner(torch.ones(6))
    with pytest.raises(TypeError, match="Online expected floating-point input, got torch.int64"):
        learner(torch.ones(3, 6, dtype=torch.int64))
    with pytest.raises(TypeError, match="Online expected a tensor, got list"):
        learner([1.0])


@pytest.mark.parametrize("rule", [EProp(), EProp(Random()), OTTT()], ids=repr)
@pytest.mark.parametrize("last", [nn.Identity(), nn.Dropout(0.0), nn.AvgPool1d(1)], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("readout", [True, False], ids=["LI", "Linear"])
def test_a_module_without_weights_after_the_output_changes_nothing(last, readout, rule):
    xs, targets = inputs()
    model = network().double()[: 4 if readout else 3]
    learner = Online(model, rule)
    expected = {name: grad.clone() for name, grad in learn(learner, xs, targets)[1].items()}
    assert expected["0.weight"].abs().max() > 0
    other = Online(geir.SequentialState(*model, last), rule)
    other.load_state_dict(learner.state_dict())
    assert error(learn(other, xs, targets)[1], expected) < 1e-12


@pytest.mark.parametrize("rule", [EProp(), EProp(Random()), OTTT()], ids=repr)
def test_decolle_and_feedback_work_on_batches_of_several_dimensions(rule):
    x = (torch.rand(3, 2, 6) < 0.5).float()
    y, _ = Online(network(), rule)(x)
    assert y.shape == (3, 2, 2)
    y.sum().backward()
    ys, _ = Online(network()[:2], DECOLLE(outputs=4))(x)
    assert [y.shape for y in ys] == [(3, 2, 4)]
    ys[0].sum().backward()


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_losses_of_several_steps_may_be_added_before_one_backward_pass(rule):
    torch.manual_seed(0)
    xs = (torch.rand(12, 3, 6) < 0.5).double()
    learner, grads = Online(network(recurrent=rule == OSTL()).double(), rule), []
    for every in (1, 4):
        learner.zero_grad()
        state, total = None, 0.0
        for k, x in enumerate(xs):
            y, state = learner(x, state)
            total = total + y.square().sum()
            if k % every == every - 1:
                total.backward()
                total = 0.0
        grads.append({name: p.grad for name, p in learner.model.named_parameters()})
    if rule == EProp(firing_rate=FiringRate(10.0)):
        assert grads[0]["0.weight"].abs().max() > 0
    assert error(*grads) < 1e-12


# Modules that a rule cannot learn.


class OwnForward(geir.LIF):
    def forward(self, xs, state=None):
        return super().forward(2 * xs, state)


class OwnInput(geir.LIF):
    def transform_input(self, x, over_time):
        return 2 * x


LINEAR = seeded(lambda: nn.Linear(4, 4))
WIDE_LI = geir.LI(tau_mem=torch.full((4,), 0.01))
CASES = seeded(lambda: {
    "unknown": (EProp(), [nn.Conv1d(4, 4, 1)], "0, Conv1d: expected torch.nn.Linear"),
    "no connection": (EProp(), [geir.LIF()], "0, LIF: neurons must come directly after torch.nn.Linear"),
    "batch normalization": (EProp(), [LINEAR, nn.BatchNorm1d(4), geir.LIF()], "1, BatchNorm1d: it needs statistics"),
    "not elementwise": (EProp(), [LINEAR, geir.Compartments(geir.LIF(), 4)], "1, Compartments: .* not elementwise"),
    "recurrent inside": (
        EProp(), [LINEAR, geir.Refractory(geir.LIFRecurrent(4, 4))], "1, Refractory: it is around a recurrent layer"),
    "forward": (EProp(), [LINEAR, OwnForward()], "1, OwnForward: it defines forward"),
    "input": (EProp(), [LINEAR, OwnInput()], "1, OwnInput: it defines transform_input"),
    "receptors": (EProp(), [LINEAR, geir.neurons.ReceptorLIF()], "1, ReceptorLIF: it has several receptors"),
    "between": (EProp(), [LINEAR, nn.ReLU(), geir.LIF()], "2, LIF: neurons must come directly after"),
    "two connections": (EProp(), [LINEAR, nn.Linear(4, 4), geir.LIF()], "the Linear before module 2, LIF"),
    "shared": (EProp(), [LINEAR, geir.LIF(), LINEAR, geir.LIF()], "2, Linear: it shares a parameter with module 0"),
    "recurrent module": (
        EProp(), [geir.LIFRecurrent(4, 4, recurrent_weights=nn.Sequential(nn.Linear(4, 4)))], "0, LIFRecurrent: its recurrent weights are Sequential"),
    "nested": (EProp(), [geir.SequentialState(LINEAR, geir.Lift(nn.GRUCell(4, 4)))], r"0\.1, GRUCell: expected"),
    "grouped": (EProp(), [nn.Conv2d(4, 4, 3, groups=2), geir.LIF()], "1, LIF: the convolution before it has groups"),
    "not affine": (OTTT(), [LINEAR, geir.AdEx()], "1, AdEx: .* affine differential"),
    "per neuron": (OTTT(), [LINEAR, geir.LIF(tau_mem=torch.full((4,), 0.01))], "1, LIF: .* tau_mem has one value per neuron"),
    "local": (DECOLLE(outputs=2), [LINEAR, geir.Izhikevich()], "1, Izhikevich: .* affine"),
    "local readout": (DECOLLE(outputs=2), [LINEAR, geir.LIF(), nn.Linear(4, 2)], "learns from these; remove the Linear after"),
    "local pooling": (DECOLLE(outputs=2), [LINEAR, geir.LIF(), nn.AvgPool1d(2)], "learns from these; remove the AvgPool1d after"),
    "local convolution": (DECOLLE(outputs=2), [nn.Conv2d(1, 4, 3), geir.LIF()], "cannot learn a convolution"),
    "readout per neuron": (EProp(), [LINEAR, geir.LIF(), nn.Linear(4, 4), WIDE_LI], "3, LI, as readout: tau_mem has one value per"),
    "max pooling": (
        EProp(), [nn.Conv2d(1, 4, 3), geir.LIF(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 2), geir.LI()], "5, LI, as readout: MaxPool2d"),
    "feedback to a convolution": (
        EProp(Random()), [nn.Conv2d(1, 4, 3), geir.LIF(), nn.Flatten(), nn.Linear(4, 2)], "cannot learn a convolution"),
})  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_module_that_the_rule_cannot_learn_is_named_with_the_rule(case):
    rule, modules, message = CASES[case]
    with pytest.raises(TypeError, match=message) as caught:
        Online(geir.SequentialState(*modules), rule)
    assert f"Online with {rule}" in str(caught.value)


def test_hooks_are_refused_because_a_step_would_not_call_them():
    for k in (0, 1):
        model = geir.SequentialState(nn.Linear(4, 4), geir.LIF())
        model[k].register_forward_hook(lambda *_: None)
        with pytest.raises(TypeError, match=f"module {k}, .* hooks"):
            Online(model, EProp())


def test_return_hidden_and_other_arguments_are_refused():
    model = geir.SequentialState(nn.Linear(4, 4), geir.LIF(), return_hidden=True)
    with pytest.raises(ValueError, match="return_hidden=True"):
        Online(model, EProp())
    with pytest.raises(ValueError, match="return_hidden=True"):
        Online(geir.SequentialState(model), EProp())
    with pytest.raises(TypeError, match="Online expected a SequentialState, got Linear"):
        Online(nn.Linear(4, 4), EProp())
    with pytest.raises(TypeError, match="a rule such as geir.learning.EProp"):
        Online(network(), EProp)
    with pytest.raises(TypeError, match="Symmetric.* got 'symmetric'"):
        EProp(feedback="symmetric")
    with pytest.raises(TypeError, match="FiringRate or None, got 10"):
        SLTT(firing_rate=10)
    with pytest.raises(ValueError, match="target must be positive"):
        FiringRate(target=0.0)
    with pytest.raises(ValueError, match="outputs must be an integer >= 1, got 0"):
        DECOLLE(outputs=0)
    with pytest.raises(ValueError, match="Random: scale must be positive"):
        Random(scale=-1.0)


class BadState(NamedTuple):
    v: Tensor


class Bad(geir.Neuron[BadState]):
    """Breaks a promise of the contract."""

    fault: str = "none"

    def rest(self):
        return BadState(v=torch.zeros(()))

    def step(self, x, state):
        v = 0.9 * state.v + x
        if self.fault == "mixes neurons":
            v = v + 0.1 * v.mean()
        if self.fault == "draws random numbers":
            v = v + torch.rand_like(v)
        if self.fault == "leaves torch":
            v = torch.from_numpy(v.numpy() + 0)
        z = (v > 1).to(v.dtype) if self.fault == "no surrogate" else self.surrogate(v - 1)
        return z, BadState(v=v * (1 - z))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("mixes neurons", "not elementwise"), ("draws random numbers", "not elementwise"),
     ("leaves torch", "no derivatives"), ("no surrogate", "no derivative; use a surrogate")],
)  # fmt: skip
def test_a_step_without_derivatives_of_its_own_is_refused(fault, reason):
    learner = Online(geir.SequentialState(nn.Linear(4, 4), Bad(fault=fault)), EProp())
    with pytest.raises(TypeError, match=rf"EProp\(\) cannot learn module 1, Bad: .*{reason}"):
        learner(torch.ones(2, 4))


class Square(geir.Dynamics[BadState]):
    """A readout that is not linear."""

    def rest(self):
        return BadState(v=torch.zeros(()))

    def step(self, x, state):
        v = 0.9 * state.v + x
        return v**2, BadState(v=v)


def test_a_readout_that_is_not_linear_is_refused():
    model = geir.SequentialState(nn.Linear(4, 4), geir.LIF(), nn.Linear(4, 2), Square())
    with pytest.raises(TypeError, match=r"EProp\(\) cannot learn with module 3, Square, as readout: it is not linear"):
        Online(model, EProp())(torch.ones(2, 4))
    Online(model, SLTT())(torch.ones(2, 4))


def test_a_gradient_of_a_gradient_is_refused():
    model = network()
    y, _ = Online(model, EProp())(torch.ones(3, 6))
    (grad,) = torch.autograd.grad(y.square().sum(), model[0].weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


# Convolutions.


def convolutional(pool, readout):
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, stride=2, padding=1, dilation=1).double()
    conv.weight.data.uniform_(0, 0.8)
    tau = torch.tensor([0.008, 0.01, 0.02]).view(3, 1, 1)
    neuron = geir.ALIF(tau_mem=geir.learnable(tau)).double()
    after = [geir.LI().double()] if readout else []
    linear = nn.Linear(12, OUTPUTS).double()
    xs = (torch.rand(20, 2, 2, 8, 7) < 0.4).double()
    return (
        geir.SequentialState(conv, neuron, pool, nn.Flatten(), linear, *after),
        xs,
        torch.randn(20, 2, OUTPUTS).double(),
    )


@pytest.mark.parametrize("rule", [EProp(), SLTT()], ids=repr)
@pytest.mark.parametrize(
    ("pool", "readout"),
    [(nn.AvgPool2d(2), False), (nn.MaxPool2d(2), False), (nn.AvgPool2d(2), True)],
    ids=["average", "maximum", "average, LI"],
)
def test_gradients_of_a_convolution_equal_backpropagation_through_time(pool, readout, rule):
    model, xs, targets = convolutional(pool, readout)
    conv, neuron, pool, flatten, linear, *last = model
    zs = run(neuron, torch.stack([conv(x) for x in xs]), detach_state=rule == SLTT())
    assert zs.shape[2:] == (3, 4, 4)
    assert zs.sum() > 10
    ys = linear(torch.stack([flatten(pool(z)) for z in zs]))
    if last:
        ys = run(last[0], ys, detach_state=rule == SLTT())
    actual = learn(Online(model, rule), xs, targets)[1]
    assert error(actual, gradients(model, loss_of(ys, targets))) < 1e-10


def test_ottt_of_two_convolutions_equals_autograd_with_the_upper_state_detached():
    first, second = (geir.LIF(reset_mechanism=geir.ResetBySubtraction()).double() for _ in range(2))
    model = geir.SequentialState(
        nn.Conv2d(1, 3, 3), first, nn.MaxPool2d(2), nn.Conv2d(3, 2, 2), second, nn.Flatten(), nn.Linear(8, 2)
    ).double()
    model[0].weight.data.uniform_(0, 1.5)
    model[3].weight.data.uniform_(0, 1.5)
    xs, targets = (torch.rand(20, 2, 1, 8, 8) < 0.5).double(), torch.randn(20, 2, 2).double()

    def lift(module, x):
        return torch.stack([module(step) for step in x])

    zs = run(first, lift(model[0], xs))
    currents = lift(model[3], lift(model[2], zs))
    assert run(second, currents).sum() > 10
    outputs = [model[6](run(second, currents, detach_state=detached).flatten(2)) for detached in (False, True)]
    full, instant = (gradients(model, loss_of(ys, targets)) for ys in outputs)
    full |= {name: value for name, value in instant.items() if name[0] == "0"}
    assert error(learn(Online(model, OTTT()), xs, targets)[1], full) < 1e-10
