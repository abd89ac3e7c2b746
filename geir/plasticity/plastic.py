"""A connection that learns while the network runs."""

from typing import Any, cast, NamedTuple

import torch
from torch import nn, Tensor

from .._runtime.memo import Memo
from .._util.state import state_type
from .._util.time_distributed import fold_time
from ..core.neuron import Dynamics
from ..wrappers import CellMixin
from ._fused import Activity, Inner, run_fused, step_of_synapse, StepState
from .intrinsic import IntrinsicPlasticity
from .rule import AnyRule, Rule


@state_type
class PlasticState(NamedTuple):
    """State of `Plastic`.

    A part that is `None` starts from its initial state: ``state._replace(neuron=None)`` resets the
    neurons and keeps the traces and averages of the rule.
    """

    neuron: tuple | None  # state of the neurons
    rule: tuple | None  # state of the rule


class _PlasticBase(nn.Module):
    """A connection, its postsynaptic neurons, and the rule that changes its weight; shared by `Plastic`
    and `PlasticCell`."""

    def __init__(
        self,
        connection: nn.Module,
        neuron: Dynamics[Any],
        rule: AnyRule,
        intrinsic: IntrinsicPlasticity | None = None,
    ):
        super().__init__()
        self._check_parts(connection, neuron, rule, intrinsic)
        self.connection = connection
        self.neuron = neuron
        self.rule = rule
        self.intrinsic = intrinsic
        rule.check_weight(self.weight)
        self._memo = Memo()

    def _check_parts(self, connection: object, neuron: object, rule: object, intrinsic: object) -> None:
        caller = type(self).__name__
        if not isinstance(connection, nn.Module) or not {"weight"} & {*connection._parameters, *connection._buffers}:
            raise TypeError(
                f"{caller} takes a connection that stores its `weight`, such as nn.Linear(784, 100), "
                f"got {connection!r}."
            )
        if not isinstance(neuron, Dynamics) or isinstance(neuron, CellMixin) or neuron.record_states:
            raise TypeError(
                f"{caller} takes neurons over time that do not record states, such as LIF(), got {neuron!r}."
            )
        if not isinstance(rule, Rule):
            raise TypeError(f"{caller} takes a learning rule, such as STDP(), got {rule!r}.")
        if not isinstance(intrinsic, IntrinsicPlasticity | None):
            raise TypeError(f"{caller}.intrinsic must be an IntrinsicPlasticity, got {intrinsic!r}.")
        if intrinsic and not isinstance(getattr(neuron, "v_th", None), Tensor):
            raise TypeError(
                f"{caller}.intrinsic moves the threshold `v_th`, which {type(neuron).__name__} does not have."
            )
        for part in filter(None, (rule, intrinsic)):
            if part.dt != neuron.dt:
                raise ValueError(
                    f"{caller} needs one step size, but {type(part).__name__} has dt={part.dt} "
                    f"and {type(neuron).__name__} has dt={neuron.dt}."
                )

    @property
    def weight(self) -> Tensor:
        """The weight of the connection, which learns."""
        return cast(Tensor, self.connection.weight)

    def _check_input(self, x: object, layout: str, dims: int) -> Tensor:
        x = x[0] if isinstance(x, tuple) else x
        if not isinstance(x, Tensor) or x.dim() < dims or x.shape[0] == 0:
            given = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"{type(self).__name__} of {type(self.connection).__name__} takes {layout}, got {given}.")
        return x

    def _check_state(self, state: object) -> PlasticState:
        if not isinstance(state, PlasticState | None):
            raise TypeError(f"{type(self).__name__} expected a PlasticState as its state, got {type(state).__name__}.")
        return PlasticState(neuron=None, rule=None) if state is None else state

    @torch.no_grad()
    def _learn(self, xs: Tensor, state: PlasticState) -> tuple[Tensor, PlasticState]:
        """Run over at least one step; after each, update the weight and the thresholds in place.

        The loop defines the result. One sample runs inside a kernel, if its step can become one.
        """
        neuron, rule, weight = self.neuron, self.rule, self.weight
        # Again, because the module may have been converted since.
        rule.check_precision(weight)
        # The first step's input determines the shapes and the precision of the states.
        current = self._current(xs[0])
        dtype = neuron.state_dtype(current)
        neuron_state = neuron.start_state(current, state.neuron, dtype)
        rule_state = rule.start_state(xs[0], current, weight, state.rule)
        if (result := run_fused(self, xs, PlasticState(neuron_state, rule_state))) is not None:
            return result
        prepared = neuron.prepare()
        zs: list[Tensor] = []
        for x in xs.unbind(0):
            # That of the first step is known.
            current = self._current(x) if zs else current
            z, neuron_state = neuron.step(current.to(dtype), neuron_state, *prepared)
            rule_state = rule.update_(x, z, weight, rule_state, self.connection)
            if self.intrinsic is not None:
                v_th = cast(Tensor, neuron.v_th)
                v_th.copy_(self.intrinsic(z, v_th))
                # Values computed from the parameters may depend on the threshold.
                prepared = neuron.prepare()
            zs.append(z.to(current.dtype))
        return torch.stack(zs), PlasticState(neuron_state, rule_state)

    def _current(self, x: Tensor) -> Tensor:
        """The input of the neurons' step."""
        return self.neuron.transform_input(self.neuron.check_input(self.connection(x)), over_time=False)

    def _step_of_synapse(self, x: Activity, state: StepState, prepared: Inner) -> tuple[Tensor, StepState]:
        return step_of_synapse(self, x, state, prepared)


class Plastic(_PlasticBase):
    """A connection and its postsynaptic neurons, over time; a rule changes the weight of the connection
    in every step.

    In `train()` mode the weight learns: it is updated in place, as the running statistics of batch
    normalization are, so it is kept between runs and is part of the `state_dict`. In `eval()` mode it
    is fixed. The states of the neurons and of the rule belong to one run: they go in and come out. To
    treat the weight as state too, call the rule: ``rule(pre, post, weight, state)``.

    In `train()` mode the output has no gradient. One sample and a dense connection run in one kernel on the
    CPU, derived from the step of the neurons and the change of an elementwise rule; everything else runs
    step by step, with the same result. In `eval()` mode the layer is differentiable and runs on the
    kernels, as any other layer, and returns the state of the rule unchanged.

    Args:
        connection: A module that is linear in its `weight`, such as `nn.Linear` or `nn.Conv2d`. Its
            input is the presynaptic activity.
        neuron: The postsynaptic neurons, over time, such as ``LIF()``. Their input is the connection's output.
        rule: The learning rule, such as `STDP`. Its `dt` must be that of the neurons.
        intrinsic: A rule that moves the threshold `v_th` of the neurons. Default: the threshold is fixed.

    Raises:
        TypeError: If an argument has the wrong type, the connection stores no `weight`, or `intrinsic`
            is given and the neurons have no `v_th`.
        ValueError: If step sizes differ, or the weight is outside the rule's bounds.

    >>> import geir
    >>> connection = nn.Linear(10, 3, bias=False)
    >>> _ = nn.init.constant_(connection.weight, 0.3)
    >>> layer = Plastic(connection, geir.LIF(), geir.plasticity.STDP())
    >>> zs, state = layer(torch.ones(100, 4, 10))
    >>> zs.shape, bool((layer.weight != 0.3).all())
    (torch.Size([100, 4, 3]), True)
    """

    def forward(
        self, xs: Tensor | tuple[Tensor, object], state: PlasticState | None = None
    ) -> tuple[Tensor, PlasticState]:
        """Run over time.

        Args:
            xs: Spikes, shape (time, batch, *input), or the previous module's `(output, state)` tuple;
                its state is ignored.
            state: State to continue from. Default: the initial state.

        Returns:
            Spikes, shape (time, batch, *output), and the state after the last step.

        Raises:
            TypeError: If `state` is not a `PlasticState`, or the weight is to learn in half precision.
            ValueError: If `xs` has no batch dimension or no step, or a part of `state` does not match it.
        """
        layout = "(time, batch, *input) of at least one step"
        checked_xs = self._check_input(xs, layout, self.weight.dim() + 1)
        state = self._check_state(state)
        if not self.training:
            zs, neuron_state = self.neuron(fold_time(self.connection, checked_xs), state.neuron)
            return zs, state._replace(neuron=neuron_state)
        return self._learn(checked_xs, state)


class PlasticCell(_PlasticBase):
    """One step of `Plastic`, ``(x, state) -> (z, state)``: use it to act between steps, for example to
    give rewards."""

    def forward(
        self, x: Tensor | tuple[Tensor, object], state: PlasticState | None = None
    ) -> tuple[Tensor, PlasticState]:
        """Advance by one step.

        Args:
            x: Spikes, shape (batch, *input), or the previous module's `(output, state)` tuple; its
                state is ignored.
            state: State before the step. Default: the initial state.

        Returns:
            Spikes, shape (batch, *output), and the state after the step.

        Raises:
            TypeError: If `state` is not a `PlasticState`, or the weight is to learn in half precision.
            ValueError: If `x` has no batch dimension, or a part of `state` does not match it.
        """
        checked_x = self._check_input(x, "(batch, *input)", self.weight.dim())
        state = self._check_state(state)
        if not self.training:
            zs, neuron_state = self.neuron(self.connection(checked_x).unsqueeze(0), state.neuron)
            return zs[0], state._replace(neuron=neuron_state)
        zs, state = self._learn(checked_x[None], state)
        return zs[0], state
