"""e-prop of a whole sequence: one backward pass over time without recurrent products."""

import copy
from typing import Any

import torch
from torch import nn, Tensor
from torch.func import functional_call
from torch.nn import functional
from torch.utils._pytree import tree_flatten

from .._runtime.stepper import Stepper
from .._util.state import AnyState
from .._util.time_distributed import fold_time
from ..core.neuron import Dynamics
from ..wrappers import RecurrentMixin
from ._attach import Broadcast, Join
from ._linearize import evaluate_detached, inner_state, step_of
from ._model import Layer, Plan
from .rules import FiringRate, OnlineRule


def run_sequence(plan: Plan, rule: OnlineRule, feedback: list[Tensor], xs: Tensor) -> Tensor:
    """The output over time, (time, batch, ...), whose gradients are the sums of those of `Online`.

    Every layer runs twice where gradients pass: over time, differentiable by its own weights only; and with the state
    before every step detached, differentiable by its input, for the layers below.

    Args:
        plan: The network.
        rule: The rule, for its penalty on firing rates.
        feedback: Feedback weights of the hidden layers; none for symmetric feedback.
        xs: Input, (time, batch, ...).
    """
    filtered, hidden, owns = plan.filtered(rule), len(plan.hidden()), []
    x, own = xs, None
    for k, layer in enumerate(plan.layers):
        for module in layer.before:
            x, own = fold_time(module, x), None if own is None else fold_time(module, own)
        z, learn = _run_layer(layer, rule.firing_rate, x, own)
        own = None
        filters = filtered and k < hidden and (bool(feedback) or k == hidden - 1)
        if feedback and k < hidden:
            x = z.detach()
            owns.append(_filter(plan.layers[-1].neuron, learn) if filters else learn)
        elif filters:
            x, own = z, learn
        else:
            x = Join.apply(z, learn)
    for module in plan.head[: plan.after_weights]:
        x = fold_time(module, x)
    if owns:
        x = Broadcast.apply(x, len(owns), *owns, *feedback)
    for module in plan.head[plan.after_weights :]:
        x = fold_time(module, x)
    return x


def _run_layer(layer: Layer, penalty: FiringRate | None, x: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
    """The output with the gradient of each step alone, for the input, and that over time, for the weights.

    Args:
        layer: The layer.
        penalty: Penalty on firing rates.
        x: Input, (time, batch, ...).
        own: The same input with the gradient for the weights of the layer below, where this layer filters it.
    """
    neuron = layer.neuron
    currents = neuron.check_input(_currents(layer, x.detach() if own is None else own))
    dtype = neuron.state_dtype(currents)
    state = neuron.start_state(currents[0].detach(), None, dtype)
    feedback: Tensor | None = None
    if isinstance(neuron, RecurrentMixin):
        with torch.no_grad():
            zs, _ = neuron.unroll(neuron.stepper(dtype), currents, state, False)
        last = torch.cat([state.z[None].to(zs.dtype), zs[:-1]])
        feedback = _feedback(neuron, last)
        currents = currents + feedback
    state = inner_state(neuron, state)
    step, prepared = step_of(neuron)
    needed = x.requires_grad and torch.is_grad_enabled()
    stepper = Stepper(neuron, step, prepared, dtype, neuron.elementwise)
    zs, states = neuron.unroll(stepper, currents, state, needed)
    learn = zs
    if penalty is not None and neuron.spiking:
        learn = _Penalized.apply(zs, _penalty_gradient(penalty, neuron.dt, zs.detach().to(dtype)))
    if not needed:
        return zs.detach(), learn
    given = _currents(layer, x, detached=True)
    if feedback is not None:
        given = given + feedback.detach()
    return _run_steps(neuron, given.to(dtype), state, states).to(zs.dtype), learn


def _currents(layer: Layer, x: Tensor, detached: bool = False) -> Tensor:
    """The input of the neurons over time, without recurrent feedback."""
    module: nn.Module = _Input(layer.neuron) if layer.connection is None else layer.connection
    if not detached:
        return fold_time(module, x)
    weights = {name: p.detach() for name, p in module.named_parameters()}
    return functional_call(module, weights, (x.flatten(0, 1),)).unflatten(0, x.shape[:2])


class _Input(nn.Module):
    """The input weights of a recurrent layer as a module."""

    def __init__(self, neuron: Dynamics):
        super().__init__()
        self.neuron = neuron

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron.transform_input(x, over_time=False)


def _feedback(neuron: RecurrentMixin, zs: Tensor) -> Tensor:
    matrix, _ = neuron.prepare()
    connection: Any = neuron.recurrent_weights
    return connection(zs) if matrix is None else functional.linear(zs.to(matrix.dtype), matrix)


def _run_steps(neuron: Dynamics, xs: Tensor, start: AnyState, states: AnyState) -> Tensor:
    """The output of all steps at once, from the states before them; differentiable by the input."""
    first, spec = tree_flatten(start)
    later, _ = tree_flatten(states)
    before = [torch.cat([a[None], b[:-1]]).detach() for a, b in zip(first, later, strict=True)]
    return evaluate_detached(neuron, spec, xs, before)[0]


def _filter(readout: Dynamics, zs: Tensor) -> Tensor:
    """The outputs of neurons, each filtered by the readout: its response without that to no input."""
    fixed = copy.deepcopy(readout).requires_grad_(False)
    silent, _ = fixed(torch.zeros_like(zs).detach())
    return fixed(zs)[0] - silent


def _penalty_gradient(penalty: FiringRate, dt: float, zs: Tensor) -> Tensor:
    """The gradient of the penalty by the outputs, (time, batch, ...)."""
    decay, rate, gradients = penalty.decay(dt), torch.full_like(zs[0], penalty.target), []
    for z in zs:
        rate = decay * rate + (1 - decay) / dt * z
        gradients.append(penalty.strength / len(z) * (rate - penalty.target))
    return torch.stack(gradients)


class _Penalized(torch.autograd.Function):
    """The same output, whose gradient also has that of a penalty."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None]:
        (given,), (gradient,) = grad_outputs, ctx.saved_tensors
        return given + gradient.to(given.dtype), None
