"""Neurons, networks and oracles for tests of online learning. The oracles are loops over the step, differentiated by
autograd; they share no code with `geir.learning`."""

from typing import NamedTuple

import torch
from model_table import learnable_recipe, MODELS
from torch import nn, Tensor
from torch.nn import functional
from torch.utils._pytree import tree_map

import geir

INPUTS, NEURONS, OUTPUTS, STEPS, BATCH = 6, 5, 2, 20, 3


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


# Models with random numbers need a seed, to draw the same ones twice. Two of the table have none.
ELEMENTWISE = [Cubic(), *[model for model in MODELS if model.elementwise]]


def build(kind):
    """A neuron with the settings of this one, all of its parameters learnable."""
    if isinstance(kind, Cubic):
        return Cubic(gain=geir.learnable(0.4)).double()
    neuron = learnable_recipe(kind)().double()
    for module in neuron.modules():
        if getattr(module, "seed", 1) is None:
            module.seed = 1
    return neuron


def inputs(kind=None):
    # The steps of this model are short.
    steps = 3 * STEPS if isinstance(kind, geir.neurons.HodgkinHuxley) else STEPS
    return (torch.rand(steps, BATCH, INPUTS) < 0.3).double(), torch.randn(steps, BATCH, OUTPUTS).double()


def connection(neuron, xs, size=NEURONS):
    """A linear connection that is strong enough for the neuron to spike, and weak enough not to spike always."""
    linear = nn.Linear(xs.shape[-1], size).double()
    linear.weight.data.uniform_(0.0, 1.0)
    linear.bias.data.uniform_(0.0, 0.2)
    if not neuron.spiking:
        return linear
    with torch.no_grad():
        for lowest in (0.05, 0.01):
            for gain in (2.0**k for k in range(-4, 12)):
                zs, _ = neuron(gain * linear(xs))
                if lowest < zs.mean() < 0.7 and zs.isfinite().all():
                    linear.weight.data.mul_(gain)
                    linear.bias.data.mul_(gain)
                    return linear
    raise AssertionError(f"no strength of input makes {neuron} spike")


def loss_of(y, target):
    return (0.5 * (y - target) ** 2).sum()


def learn(learner, xs, targets):
    """Outputs, gradients of the learner's parameters and the last state."""
    state, ys = None, []
    learner.zero_grad()
    for x, target in zip(xs, targets, strict=True):
        y, state = learner(x, state)
        loss_of(y, target).backward()
        ys.append(y.detach())
    grads = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in learner.model.named_parameters()}
    return torch.stack(ys), grads, state


def run(neuron, currents, weights=None, detach_state=False, detach_feedback=False, step=None):
    """Outputs of a neuron over time, with recurrent weights if given: input at t, output of t - 1."""
    z, state, zs = torch.zeros_like(currents[0]), None, []
    for current in currents:
        if weights is not None:
            current = current + functional.linear(z.detach() if detach_feedback else z, weights)
        state = neuron.initial_state(current) if state is None else state
        state = tree_map(Tensor.detach, state) if detach_state else state
        z, state = (step or neuron.step)(current, state, *neuron.prepare())
        zs.append(z)
    return torch.stack(zs)


def gradients(model, loss):
    """Gradients of a loss by the parameters of a model, by name."""
    parameters = dict(model.named_parameters())
    grads = torch.autograd.grad(loss, [*parameters.values()], retain_graph=True, materialize_grads=True)
    return dict(zip(parameters, grads, strict=True))


def error(actual, expected):
    """The largest difference of a gradient, relative to its largest entry."""
    assert actual.keys() == expected.keys()
    worst = 0.0
    for name, value in expected.items():
        assert torch.isfinite(value).all(), f"the gradient of {name} is not finite"
        difference = (actual[name] - value).abs().max().item()
        worst = max(worst, difference / (value.abs().max().item() or 1.0))
    return worst
