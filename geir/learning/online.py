"""Run a feedforward network one step at a time and learn at every step."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from .._util.state import AnyState
from ..containers import Lift, SequentialState
from ..core.neuron import Dynamics
from ..wrappers import RecurrentMixin
from ._step import linearize, OnlineStep
from .rules import OnlineRule


class OnlineLayerState(NamedTuple):
    """State of neurons that learn online."""

    neuron: AnyState  # state of the neurons
    weight_traces: Tensor  # derivative of the state by weights and bias, (parts, batch, neurons, inputs + bias)
    parameter_traces: Tensor  # derivative by the neuron's parameters, (parameters, parts, batch, neurons)


class Online(nn.Module):
    r"""A feedforward network that learns online: `backward` after each step adds the gradient of that step.

    With :math:`J = \partial s' / \partial s`, :math:`b = \partial s' / \partial I`, :math:`h = \partial z /
    \partial s` and :math:`d = \partial z / \partial I` of each neuron's step, every synapse has a trace

    .. math:: e = h \, \varepsilon + d \, x, \qquad \varepsilon \leftarrow J \varepsilon + b \, x,

    and the gradient is :math:`\sum_t L_t e_t` with :math:`L_t = \partial \ell_t / \partial z_t`. The neuron's
    learnable parameters have traces in the same way. All derivatives are taken from the neuron's step, so any
    elementwise neuron can be used. Traces are part of the state, which holds no graph.

    Args:
        model: A `SequentialState` of `torch.nn.Linear` (or `Lift` of it), each followed by neurons or at the end.
        rule: `OSTL()` or `SLTT()`.

    Raises:
        TypeError: If the rule cannot be applied to a module of the model.

    >>> import geir
    >>> model = geir.SequentialState(geir.Lift(nn.Linear(3, 4)), geir.LIF(), geir.Lift(nn.Linear(4, 2)))
    >>> learner, state = Online(model, geir.learning.OSTL()), None
    >>> for x in torch.ones(10, 1, 3):
    ...     y, state = learner(x, state)
    ...     y.square().sum().backward()
    >>> model[0].module.weight.grad.shape
    torch.Size([4, 3])
    """

    def __init__(self, model: SequentialState, rule: OnlineRule):
        super().__init__()
        if not isinstance(model, SequentialState):
            raise TypeError(f"Online expected a SequentialState, got {type(model).__name__}.")
        if not isinstance(rule, OnlineRule):
            raise TypeError(f"Online expected a rule such as geir.learning.OSTL(), got {rule!r}.")
        self.model, self.rule = model, rule
        modules = [m.module if isinstance(m, Lift) else m for m in model]
        for k, module in enumerate(modules):
            follows = k > 0 and isinstance(modules[k - 1], nn.Linear)
            neuron = isinstance(module, Dynamics) and module.elementwise and not isinstance(module, RecurrentMixin)
            if type(module) is not nn.Linear and not (neuron and follows):
                raise TypeError(
                    f"Online with {rule} cannot learn module {k}, {type(module).__name__}: expected torch.nn.Linear, "
                    "or directly after it an elementwise neuron without recurrence; use backpropagation through time."
                )
        tensors = [id(p) for module in modules for p in module.parameters()]
        if len(set(tensors)) < len(tensors):
            raise TypeError(f"Online with {rule} cannot learn a parameter that two modules share; copy one of them.")

    def forward(
        self, x: Tensor, state: Sequence[OnlineLayerState] | None = None
    ) -> tuple[Tensor, tuple[OnlineLayerState, ...]]:
        """Advance by one step.

        Args:
            x: One step of input, shape (batch, ..., inputs).
            state: The state that the previous call returned. Default: all neurons at rest.

        Returns:
            Output of the step, and the state with traces, one entry for each layer of neurons.

        Raises:
            ValueError: If `x` has no batch dimension, or the number of entries of `state` is wrong.
        """
        if x.dim() < 2:
            raise ValueError(f"Online expected one step of input of shape (batch, ..., inputs), got {tuple(x.shape)}.")
        modules: list[Any] = [m.module if isinstance(m, Lift) else m for m in self.model]
        layers = sum(isinstance(module, Dynamics) for module in modules)
        if state is not None and len(state) != layers:
            raise ValueError(
                f"Online expected a state with {layers} entries, got {len(state)}; pass the state of its previous call."
            )
        after: list[OnlineLayerState] = []
        for k, module in enumerate(modules):
            if isinstance(module, Dynamics):
                x, entry = self._step(modules[k - 1], module, x, None if state is None else state[len(after)])
                after.append(entry)
            elif k + 1 == len(modules) or isinstance(modules[k + 1], nn.Linear):
                x = module(x)
        return x, tuple(after)

    def _step(
        self, linear: nn.Linear, neuron: Dynamics, x: Tensor, state: OnlineLayerState | None
    ) -> tuple[Tensor, OnlineLayerState]:
        weight = linear.weight
        if linear.bias is not None:  # a bias is the weight of an input of 1
            x, weight = torch.cat([x, torch.ones_like(x[..., :1])], -1), torch.cat([weight, linear.bias[:, None]], 1)
        parameters = [p for _, p in neuron.named_parameters()]
        if state is None:
            state = _start(neuron, x, weight, parameters, self.rule)
        parts, spec = tree_flatten(state.neuron)
        traces = (state.weight_traces, state.parameter_traces)
        z, *results = OnlineStep.apply(neuron, spec, self.rule.temporal, x, weight, *parts, *traces, *parameters)
        *after, eps, eps_p = results
        return z, OnlineLayerState(tree_unflatten(after, spec), eps, eps_p)


def _start(
    neuron: Dynamics, x: Tensor, weight: Tensor, parameters: list[nn.Parameter], rule: OnlineRule
) -> OnlineLayerState:
    with torch.no_grad():
        current = (x @ weight.T).detach()
        neuron.check_input(current)
        neuron.check_parameters(current)
        initial = neuron.initial_state(current)
    spec = tree_flatten(initial)[1]
    # The resting state may depend on parameters, such as `v_rest`.
    _, slopes = linearize(neuron, None, [current], parameters)
    eps_p = slopes[:, 1:].transpose(0, 1).contiguous()
    eps = current.new_zeros(spec.num_leaves, *current.shape, x.shape[-1])
    parts = [part.detach().clone() for part in tree_leaves(initial)]
    return OnlineLayerState(tree_unflatten(parts, spec), eps, eps_p if rule.temporal else torch.zeros_like(eps_p))
