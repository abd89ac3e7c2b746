"""Run a network one step at a time and learn at every step."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn, Tensor
from torch.utils._pytree import tree_flatten

from .._runtime.kernels import step_content
from .._util.validation import unwrap_output
from ..containers import SequentialState
from ._advance import Advance
from ._attach import Broadcast, Join
from ._linearize import linearize, neuron_parameters, step_of
from ._model import feedback_size, is_adaptive, Plan
from ._parse import parse
from ._sequence import run_sequence
from ._state import OnlineLayerState, OnlineState
from ._traces import Filter
from .rules import DECOLLE, EProp, OnlineRule, Random


class Online(nn.Module):
    r"""A network that learns online: `backward` after each step adds the gradient of that step to `.grad`.

    With :math:`J = \partial s' / \partial s`, :math:`b = \partial s' / \partial I`, :math:`h = \partial z /
    \partial s` and :math:`d = \partial z / \partial I` of each neuron's step, every synapse has a trace

    .. math:: e = h \, \varepsilon + d \, x, \qquad \varepsilon \leftarrow J \varepsilon + b \, x,

    and the gradient is :math:`\sum_t L_t e_t` with the learning signal :math:`L_t`, for example :math:`\partial \ell_t
    / \partial z_t`. For recurrent weights, :math:`x` is the output of the previous step. The neuron's learnable
    parameters have traces in the same way. All derivatives are taken from the neuron's step, so any elementwise neuron
    can be used. Traces are part of the state, which holds no graph: memory does not grow with time.

    Where the last layer is a readout without spikes, such as `LI`, eligibilities of the layer below are filtered by
    it, so that with :math:`\ell_t` any function of the readout's output the gradient of one layer is exact.

    Gradients equal those of backpropagation while weights stay the same. Every change of weights leaves the traces of
    earlier steps as they are.

    Args:
        model: A `SequentialState` of `torch.nn.Linear` or `torch.nn.Conv2d` (with or without `Lift`), each directly
            followed by elementwise neurons, or at the end; recurrent neurons such as `LIFRecurrent`; pooling,
            `Flatten` and `Dropout`. Weights may be parametrized by `torch.nn.utils.parametrize`.
        rule: `EProp()`, `OSTL()`, `OTTT()`, `SLTT()` or `DECOLLE(...)`.

    Raises:
        TypeError: If the rule cannot be applied to a module of the model; the message names both.
        ValueError: If the model has `return_hidden=True`.

    >>> import geir
    >>> model = geir.SequentialState(geir.Lift(nn.Linear(3, 4)), geir.LIF(), geir.Lift(nn.Linear(4, 2)), geir.LI())
    >>> learner, state = Online(model, geir.learning.EProp()), None
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
            raise TypeError(f"Online expected a rule such as geir.learning.EProp(), got {rule!r}.")
        self.model, self.rule = model, rule
        self._shared: dict[str, list[int]] = {}
        self._readout: tuple[object, Filter] | None = None
        plan = parse(model, rule)
        like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(()))
        if isinstance(rule, DECOLLE):
            for k, layer in enumerate(plan.layers):
                self.register_buffer(f"readout_{k}", _draw(rule.outputs, layer.size, rule.scale, like))
        if isinstance(rule, EProp) and isinstance(rule.feedback, Random):
            outputs = feedback_size(plan) if plan.layers else 0
            for k, layer in enumerate(plan.hidden()):
                weights = _draw(outputs, layer.size, rule.feedback.scale, like)
                if is_adaptive(rule):
                    self.register_parameter(f"feedback_{k}", nn.Parameter(weights))
                else:
                    self.register_buffer(f"feedback_{k}", weights)

    def extra_repr(self) -> str:
        return f"rule={self.rule}"

    def forward(self, x: Tensor, state: Sequence[OnlineLayerState] | None = None) -> tuple[Any, OnlineState]:
        """Advance by one step.

        Args:
            x: One step of input, shape (batch, ..., inputs), for convolutions (batch, channels, height, width).
            state: The state that the previous call returned. Default: all neurons at rest.

        Returns:
            Output of the step (with `DECOLLE` the list of local readouts), and the state with traces, one
            `OnlineLayerState` for each layer of neurons.

        Raises:
            ValueError: If `x` has no batch dimension, or `state` does not fit the model, the rule or the input.
            TypeError: If `state` is not a state of this learner, or the step of a neuron has no derivatives or is not
                elementwise.
        """
        x = unwrap_output("Online", x)
        if x.dim() < 2:
            raise ValueError(f"Online expected one step of input of shape (batch, ..., inputs), got {tuple(x.shape)}.")
        plan = parse(self.model, self.rule)
        states = _check_state(state, plan)
        broadcast = isinstance(self.rule, EProp) and isinstance(self.rule.feedback, Random)
        readout = self._filter(plan, x, first=state is None) if plan.filtered(self.rule) else None
        hidden, after, owns = len(plan.hidden()), [], []
        own: Tensor | None = None
        for k, (layer, entry) in enumerate(zip(plan.layers, states, strict=True)):
            for module in layer.before:
                x, own = module(x), None if own is None else module(own)
            filters = readout is not None and k < hidden and (broadcast or k == hidden - 1)
            # A linear readout without learnable parameters has the same derivatives at all steps.
            known = readout if k == hidden and not neuron_parameters(layer.neuron) else None
            advance = Advance(self.rule, layer, readout if filters else None, known, self._shared)
            z, signal, entry = advance.run(x, own, entry)
            after.append(entry)
            own = None
            if isinstance(self.rule, DECOLLE) or (broadcast and k < hidden):
                x = z.detach()
                owns.append(signal)
            elif filters:
                x, own = z, signal
            else:
                x = Join.apply(z, signal)
        if isinstance(self.rule, DECOLLE):
            weights = [getattr(self, f"readout_{k}") for k in range(len(owns))]
            return [own @ weight.to(own.dtype).T for own, weight in zip(owns, weights, strict=True)], tuple(after)
        for module in plan.head[: plan.after_weights]:
            x = module(x)
        if broadcast and owns:
            weights = [getattr(self, f"feedback_{k}") for k in range(len(owns))]
            x = Broadcast.apply(x, len(owns), *owns, *weights)
        for module in plan.head[plan.after_weights :]:
            x = module(x)
        return x, tuple(after)

    def sequence(self, xs: Tensor) -> Tensor:
        r"""Run a whole sequence from rest, with e-prop in its offline form.

        `backward` of any loss of the output adds the sum of the gradients of all steps, where the loss is the sum of
        losses of steps: the same as running step by step, up to rounding errors. No trace for synapses is needed; the
        gradient is that of one backward pass over time through the state of each neuron, without the products with
        recurrent weights. Memory grows with the number of steps, as in backpropagation through time.

        A penalty on firing rates counts at every step.

        Args:
            xs: Input, shape (time, batch, ..., inputs), for convolutions (time, batch, channels, height, width).

        Returns:
            Output, shape (time, batch, ..., outputs).

        Raises:
            TypeError: If the rule is not `EProp`, or the step of a neuron has no derivatives or is not elementwise.
            ValueError: If `xs` has no steps, or no batch dimension.
        """
        if not isinstance(self.rule, EProp):
            raise TypeError(
                f"Online.sequence is the offline form of EProp, not of {self.rule}; run step by step, or use "
                "backpropagation through time."
            )
        xs = unwrap_output("Online.sequence", xs)
        if xs.dim() < 3 or not len(xs):
            raise ValueError(
                "Online.sequence expected input of shape (time, batch, ..., inputs) with at least one step, got "
                f"{tuple(xs.shape)}."
            )
        with torch.no_grad():
            self(xs[0])  # for its checks
        plan = parse(self.model, self.rule)
        random = isinstance(self.rule.feedback, Random)
        feedback = [getattr(self, f"feedback_{k}") for k in range(len(plan.hidden()))] if random else []
        return run_sequence(plan, self.rule, feedback, xs)

    def _filter(self, plan: Plan, x: Tensor, first: bool) -> Filter:
        """The filter of the readout, computed again when anything that its step reads has changed."""
        neuron = plan.layers[-1].neuron
        content = step_content(neuron, *step_of(neuron))
        key = None if content is None else (x.dtype, x.device, content)
        if first or key is None or self._readout is None or self._readout[0] != key:
            self._readout = key, _filter(plan, self.rule, x, check=first)
        return self._readout[1]


def _draw(outputs: int, neurons: int, scale: float, like: Tensor) -> Tensor:
    return torch.randn(outputs, neurons, dtype=like.dtype, device=like.device) * scale / neurons**0.5


def _check_state(state: Any, plan: Plan) -> Sequence[OnlineLayerState | None]:
    layers = plan.layers
    if state is None:
        return [None] * len(layers)
    if not isinstance(state, tuple | list) or hasattr(state, "_fields"):
        raise TypeError(
            f"Online expected a tuple of OnlineLayerState as its state, got {type(state).__name__}; pass the state of "
            "its previous call."
        )
    if len(state) != len(layers):
        raise ValueError(
            f"Online expected a state with {len(layers)} entries, got {len(state)}; pass the state of its previous "
            "call."
        )
    for layer, entry in zip(layers, state, strict=True):
        if not isinstance(entry, OnlineLayerState):
            raise TypeError(
                f"Online expected an OnlineLayerState for module {layer.name}, {type(layer.neuron).__name__}, got "
                f"{type(entry).__name__}; pass the state of its previous call."
            )
    return state


def _filter(plan: Plan, rule: OnlineRule, x: Tensor, check: bool) -> Filter:
    """The filter of the readout; with `check`, whether its derivatives are the same in two states: it is linear."""
    neuron = plan.layers[-1].neuron
    point = torch.tensor([0.3, -0.7], device=x.device)
    with torch.no_grad():
        dtype = neuron.state_dtype(point.to(x.dtype))
        rest = neuron.initial_state(point.to(dtype), dtype)
    parts, spec = tree_flatten(rest)
    parts = [part + (k + 1) * point.to(dtype).flip(0) for k, part in enumerate(parts)]
    slopes = linearize(neuron, "step", spec, point.to(dtype), parts).slopes
    for derivative in (slopes.J, slopes.b, slopes.h, slopes.d):
        if check and not torch.allclose(derivative[..., 0], derivative[..., 1], rtol=1e-4, atol=1e-6):
            raise TypeError(
                f"Online with {rule} cannot learn with module {plan.layers[-1].name}, {type(neuron).__name__}, as "
                "readout: it is not linear, so it does not filter the eligibilities of the layer below; use LI() or "
                "another linear readout, end with torch.nn.Linear, or use OTTT() or SLTT(), which do not filter."
            )
    return Filter(*(derivative[..., 0] for derivative in (slopes.J, slopes.b, slopes.h, slopes.d)))
