"""Online gradients equal those of autograd, for every elementwise neuron and its parameters."""

from typing import NamedTuple

import pytest
import torch
from model_table import learnable_recipe, MODELS
from torch import nn, Tensor
from torch.utils._pytree import tree_map

import geir
from geir.learning import Online, OSTL, SLTT


class CubicState(NamedTuple):
    v: Tensor
    w: Tensor


class Cubic(geir.Neuron[CubicState]):
    """A user's neuron: nothing detached, the input enters both parts, and the resting state is a parameter."""

    gain: geir.Parameter = geir.parameter(default=0.4)

    def rest(self):
        return CubicState(v=0.1 * self.gain, w=torch.zeros(()))

    def step(self, x, state):
        v = state.v + 0.2 * (state.v - state.v**3 / 3 - state.w + x)
        w = state.w + 0.05 * (torch.tanh(v) * self.gain - state.w + 0.1 * x * v)
        z = self.surrogate(v - 1)
        return z, CubicState(v=v * (1 - z), w=w + 0.3 * z * torch.cos(v))


def network(neuron, scale=3.0):
    model = geir.SequentialState(geir.Lift(nn.Linear(6, 5)), neuron, geir.Lift(nn.Linear(5, 2))).double()
    model[0].module.weight.data.mul_(scale)
    return model


def data():
    return (torch.rand(40, 3, 6) < 0.3).double(), torch.randn(40, 3, 2).double()


def learn(model, rule, xs, targets):
    learner, state, ys = Online(model, rule), None, []
    for x, target in zip(xs, targets, strict=True):
        y, state = learner(x, state)
        (0.5 * (y - target) ** 2).sum().backward()
        ys.append(y.detach())
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]
    return torch.stack(ys), grads, state


def autograd(model, xs, targets, detach=False):
    """By a loop over the step; with `detach` no gradient passes from step to step."""
    first, neuron, readout = model[0].module, model[1], model[2].module
    state, ys = None, []
    for x in xs:
        current = first(x)
        state = neuron.initial_state(current) if state is None else state
        state = tree_map(Tensor.detach, state) if detach else state
        z, state = neuron.step(current, state, *neuron.prepare())
        ys.append(readout(z))
    loss = (0.5 * (torch.stack(ys) - targets) ** 2).sum()
    grads = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True, allow_unused=True)
    return torch.stack(ys).detach(), grads


def assert_same(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        assert torch.isfinite(e).all()
        assert (a - e).abs().max() <= 1e-10 * e.abs().max() + 1e-300


ELEMENTWISE = [model for model in MODELS if model.elementwise and getattr(model, "seed", 1) is not None]


@pytest.mark.parametrize("rule", [OSTL(), SLTT()], ids=repr)
@pytest.mark.parametrize("kind", [*ELEMENTWISE, Cubic()], ids=repr)
def test_online_gradients_of_one_layer_equal_autograd(kind, rule):
    neuron = Cubic(gain=geir.learnable(0.4)) if isinstance(kind, Cubic) else learnable_recipe(kind)()
    model, (xs, targets) = network(neuron), data()
    wanted_ys, wanted = autograd(model, xs, targets, detach=rule == SLTT())
    ys, grads, _ = learn(model, rule, xs, targets)
    assert torch.equal(ys, wanted_ys) or (ys - wanted_ys).abs().max() < 1e-12
    assert_same(grads, wanted)


def test_state_has_no_graph_and_does_not_grow():
    model, (xs, targets) = network(geir.LIF(tau_mem=geir.learnable(0.01))), data()
    _, _, short = learn(model, OSTL(), xs[:2], targets[:2])
    _, _, long = learn(model, OSTL(), xs, targets)
    for a, b in zip(torch.utils._pytree.tree_leaves(short), torch.utils._pytree.tree_leaves(long), strict=True):
        assert a.shape == b.shape
        assert not b.requires_grad


@pytest.mark.parametrize(
    "modules",
    [[nn.Conv1d(1, 1, 1)], [geir.LIF()], [nn.Linear(4, 4), geir.Compartments(geir.LIF(), 4)],
     [nn.Linear(4, 4), geir.LIFRecurrent(4, 4)]],
    ids=["convolution", "no connection", "compartments", "recurrent"],
)  # fmt: skip
def test_a_module_that_the_rule_cannot_learn_is_named(modules):
    name = type(modules[-1]).__name__
    with pytest.raises(TypeError, match=rf"OSTL\(\) cannot learn module {len(modules) - 1}, {name}"):
        Online(geir.SequentialState(*modules), OSTL())


def test_shared_parameters_are_refused():
    linear = nn.Linear(4, 4)
    with pytest.raises(TypeError, match="two modules share"):
        Online(geir.SequentialState(linear, geir.LIF(), linear), OSTL())


def test_an_input_without_batch_and_a_wrong_state_are_refused():
    learner = Online(geir.SequentialState(nn.Linear(4, 4), geir.LIF()), OSTL())
    with pytest.raises(ValueError, match="batch"):
        learner(torch.ones(4))
    with pytest.raises(ValueError, match="1 entries, got 0"):
        learner(torch.ones(1, 4), ())
