"""A connection that learns while the network runs."""

from typing import Any, NamedTuple

import torch
from torch import nn, Tensor

from .._util.time_distributed import fold_time
from ..core.neuron import Dynamics
from ..wrappers import CellMixin
from .intrinsic import IntrinsicPlasticity
from .rule import Rule


class PlasticState(NamedTuple):
    """State of `Plastic`. A part that is `None` starts anew: ``state._replace(neuron=None)`` rests the neurons and keeps the rule's averages."""

    neuron: Any  # state of the neurons
    rule: Any  # state of the rule


class _Plastic(nn.Module):
    """What both forms share: a connection, the neurons behind it, and the rule that changes its weight."""

    def __init__(
        self,
        connection: nn.Module,
        neuron: Dynamics[Any],
        rule: Rule[Any],
        intrinsic: IntrinsicPlasticity | None = None,
    ):
        super().__init__()
        name = type(self).__name__
        if not isinstance(connection, nn.Module) or not {"weight"} & {*connection._parameters, *connection._buffers}:
            raise TypeError(
                f"{name} takes a connection that stores its `weight`, such as nn.Linear(784, 100), got {connection!r}."
            )
        if not isinstance(neuron, Dynamics) or isinstance(neuron, CellMixin) or neuron.record_states:
            raise TypeError(f"{name} takes neurons over time that do not record states, such as LIF(), got {neuron!r}.")
        if not isinstance(rule, Rule):
            raise TypeError(f"{name} takes a learning rule, such as STDP(), got {rule!r}.")
        if not isinstance(intrinsic, IntrinsicPlasticity | None):
            raise TypeError(f"{name}.intrinsic must be an IntrinsicPlasticity, got {intrinsic!r}.")
        if intrinsic and not isinstance(getattr(neuron, "v_th", None), Tensor):
            raise TypeError(f"{name}.intrinsic moves the threshold `v_th`, which {type(neuron).__name__} has not.")
        for part in filter(None, (rule, intrinsic)):
            if part.dt != neuron.dt:
                raise ValueError(
                    f"{name} needs one step size, but {type(part).__name__} has dt={part.dt} and {type(neuron).__name__} has dt={neuron.dt}."
                )
        self.connection, self.neuron, self.rule, self.intrinsic = connection, neuron, rule, intrinsic
        rule.check_weight(self.weight)

    @property
    def weight(self) -> Tensor:
        """The weight of the connection, which learns."""
        weight: Any = self.connection.weight
        return weight

    def _input(self, x: Any, dims: int) -> Tensor:
        x = x[0] if isinstance(x, tuple) else x
        if not isinstance(x, Tensor) or x.dim() < dims or x.shape[0] == 0:
            got = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            shape = "(time, batch, *input) of at least one step" if dims > self.weight.dim() else "(batch, *input)"
            raise ValueError(f"{type(self).__name__} of {type(self.connection).__name__} takes {shape}, got {got}.")
        return x

    def _state(self, state: Any) -> PlasticState:
        if not isinstance(state, PlasticState | None):
            raise TypeError(f"{type(self).__name__} continues from a PlasticState, got {type(state).__name__}.")
        return PlasticState(None, None) if state is None else state

    @torch.no_grad()
    def _learn(self, xs: tuple[Tensor, ...], state: PlasticState) -> tuple[list[Tensor], PlasticState]:
        """Run over the steps `xs`, changing the weight, and the thresholds, in each."""
        neuron, rule, intrinsic, weight = self.neuron, self.rule, self.intrinsic, self.weight
        before, learned, prepared, zs, dtype = state.neuron, state.rule, neuron.prepare(), [], weight.dtype
        for x in xs:
            drive = neuron.transform_input(neuron.check_input(self.connection(x)), over_time=False)
            if not zs:
                dtype = neuron.state_dtype(drive)
                before, learned = neuron.check_state(drive, before, dtype), rule.start(x, drive, weight, learned)
            z, before = neuron.step(drive.to(dtype), before, *prepared)
            learned = rule.learn_(x, z, weight, learned, self.connection)
            if intrinsic is not None:
                threshold: Any = neuron.v_th
                threshold.copy_(intrinsic(z, threshold))
                prepared = neuron.prepare()  # it may depend on the threshold
            zs.append(z.to(drive.dtype))
        return zs, PlasticState(before, learned)


class Plastic(_Plastic):
    """A connection and the neurons behind it, over time; while they run, a rule changes the weight of the connection in every step.

    In `train()` mode the weight learns: it is updated in place, as the running statistics of batch normalisation are, so that it survives
    from run to run and is in the `state_dict`. In `eval()` mode it is fixed. What belongs to a run, the state of the neurons and the
    traces of the rule, goes in and comes out. To hold the weight as a state too, call the rule: ``rule(pre, post, weight, state)``.

    Learning makes no gradients: in `train()` mode the output has none. In `eval()` mode the layer is differentiable as any other, runs on
    the kernels, and leaves the state of the rule as it was.

    Args:
        connection: A module linear in its `weight`, such as `nn.Linear` or `nn.Conv2d`. Its input is what is before the synapses.
        neuron: The neurons that get its output, over time, such as ``LIF()``. Their output is what is behind the synapses.
        rule: What changes the weight, such as `STDP`. Its `dt` must be that of the neurons.
        intrinsic: What moves the threshold `v_th` of the neurons, if anything does.

    >>> import geir
    >>> connection = nn.Linear(10, 3, bias=False)
    >>> _ = nn.init.constant_(connection.weight, 0.3)
    >>> layer = Plastic(connection, geir.LIF(), geir.plasticity.STDP())
    >>> zs, state = layer(torch.ones(100, 4, 10))
    >>> zs.shape, bool((layer.weight != 0.3).all())
    (torch.Size([100, 4, 3]), True)
    """

    def forward(self, xs: Any, state: PlasticState | None = None) -> tuple[Tensor, PlasticState]:
        """Run over time.

        Args:
            xs: Spikes, shape (time, batch, *input), or the pair of output and state that the module before returned.
            state: State to continue from. Default: at rest, nothing has happened.

        Returns:
            Spikes, shape (time, batch, *output), and the state after the last step.
        """
        xs, state = self._input(xs, self.weight.dim() + 1), self._state(state)
        if not self.training:
            zs, neuron = self.neuron(fold_time(self.connection, xs), state.neuron)
            return zs, state._replace(neuron=neuron)
        zs, state = self._learn(xs.unbind(0), state)
        return torch.stack(zs), state


class PlasticCell(_Plastic):
    """One step of `Plastic`: ``(x, state) -> (z, state)``, for what happens between steps, such as reward."""

    def forward(self, x: Any, state: PlasticState | None = None) -> tuple[Tensor, PlasticState]:
        """Advance by one step.

        Args:
            x: Spikes, shape (batch, *input), or the pair of output and state that the module before returned.
            state: State before the step. Default: at rest, nothing has happened.

        Returns:
            Spikes, shape (batch, *output), and the state after the step.
        """
        x, state = self._input(x, self.weight.dim()), self._state(state)
        if not self.training:
            zs, neuron = self.neuron(self.connection(x).unsqueeze(0), state.neuron)
            return zs[0], state._replace(neuron=neuron)
        (z,), state = self._learn((x,), state)
        return z, state
