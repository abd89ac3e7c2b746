"""One step of a layer with its traces."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_flatten, tree_unflatten, TreeSpec

from .._util.state import AnyState
from ..wrappers import RecurrentMixin
from ..wrappers.recurrent import RecurrentState
from ._attach import AttachLayer, Signals
from ._linearize import inner_state, linearize, Linearized, neuron_parameters, Slopes
from ._model import Layer
from ._state import OnlineLayerState, ReadoutTraces
from ._traces import Filter, Shape, Step, Traces
from .rules import OnlineRule


class Advance:
    """One step of a layer.

    Args:
        rule: The rule.
        layer: The layer.
        readout: The filter of the readout, if it filters this layer's eligibilities.
    """

    def __init__(self, rule: OnlineRule, layer: Layer, readout: Filter | None):
        self.rule, self.layer, self.readout = rule, layer, readout
        self.neuron = layer.neuron
        self.layout = rule.layout(layer.recurrent)

    def run(
        self, x: Tensor, own: Tensor | None, entry: OnlineLayerState | None
    ) -> tuple[Tensor, Tensor, OnlineLayerState]:
        """The output for layers below, the output for this layer's learning signal, and the state after the step."""
        layer, neuron = self.layer, self.neuron
        with torch.no_grad():
            current = neuron.check_input(layer.current(x.detach()))
            dtype = neuron.state_dtype(current)
            state: Any = neuron.start_state(current, None if entry is None else entry.neuron, dtype)
            last = state.z if layer.recurrent else None
            step_input = current.to(dtype)
            if isinstance(neuron, RecurrentMixin):
                step_input = step_input + _feedback(neuron, state.z)
        parts, spec = tree_flatten(inner_state(neuron, state))
        drive = layer.drive(x.to(dtype), last)
        own_drive = None if own is None else layer.drive(own.to(dtype), last)
        weight = torch.cat(layer.weights(), 1).to(dtype)
        parameters = list(neuron_parameters(neuron).values())
        with torch.no_grad():
            result, flow = self._linearize(step_input, spec, parts, first=entry is None)
            slopes = self._rows(result.slopes)
            step = Step(slopes, None if flow is None else self._rows(flow), drive.detach(), weight.detach())
            z = result.output
            if entry is None:
                entry = self._start(step, step_input, state, result.kept)
            self._check_traces(entry, step, step_input)
            eligibility, traces = self.layout.step(step, entry.traces)
            learn, value, readout = self._filtered(eligibility, z, entry.readout)
            penalty, rate = self._penalize(z, entry.rate)
        plain = len(eligibility) if self.readout is not None and penalty is not None else 0
        signals = Signals(self.layout, layer.channel, [p.shape for p in parameters], plain)
        saved = (*eligibility, *learn) if plain else learn
        z, signal = AttachLayer.apply(
            signals,
            z.to(current.dtype),
            value.to(current.dtype),
            drive,
            own_drive,
            weight,
            slopes.d,
            penalty,
            saved,
            *parameters,
        )
        after = tree_unflatten(result.state, spec)
        if layer.recurrent:
            after = RecurrentState(after, result.output)
        return z, signal, OnlineLayerState(after, traces, readout, rate)

    def _linearize(
        self, x: Tensor, spec: TreeSpec, parts: list[Tensor], first: bool
    ) -> tuple[Linearized, Slopes | None]:
        needs_flow = self.layout.needs_flow
        try:
            result = linearize(self.neuron, "step", spec, x, parts, every_part=needs_flow)
            flow = linearize(self.neuron, "flow", spec, x, parts, every_part=True) if needs_flow else None
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, ValueError) as error:
            raise self._refuse(f"its step has no derivatives: {error}") from error
        if not result.differentiable:
            raise self._refuse(
                "the output of its step has no derivative; use a surrogate, `self.surrogate(...)`, and do not detach."
            )
        if first:
            self._check_elementwise(x, spec, parts, result)
        if flow is not None and first:
            for derivative in (flow.slopes.J.flatten(2), flow.slopes.b.flatten(1)):
                if not torch.allclose(derivative, derivative[..., :1].expand_as(derivative), rtol=1e-4, atol=1e-6):
                    raise self._refuse("the flow of its state is not the same for all neurons.")
        return result, None if flow is None else flow.slopes

    def _refuse(self, reason: str) -> TypeError:
        name, kind = self.layer.name, type(self.neuron).__name__
        return TypeError(f"Online with {self.rule} cannot learn module {name}, {kind}: {reason}")

    def _check_elementwise(self, x: Tensor, spec: TreeSpec, parts: list[Tensor], result: Linearized) -> None:
        """Change every other neuron: the rest must stay the same."""
        changed = (torch.arange(x.numel(), device=x.device) % 2 == 0).view(x.shape)
        if x.numel() < 2:
            return
        moved = [torch.where(changed, t + 1, t) for t in (x, *parts)]
        other = linearize(self.neuron, "step", spec, moved[0], moved[1:])
        for before, after in zip((result.output, *result.state), (other.output, *other.state), strict=True):
            if before.shape != x.shape or not torch.equal(before[~changed].nan_to_num(), after[~changed].nan_to_num()):
                raise self._refuse(
                    "its step is not elementwise: the result for a neuron depends on other neurons, or on random "
                    "numbers that are not part of its state."
                )

    def _rows(self, slopes: Slopes) -> Slopes:
        """The derivatives with the neurons in the last dimension."""
        if self.layer.channel == -1:
            return slopes
        return Slopes(*(derivative.movedim(self.layer.channel, -1) for derivative in slopes))

    def _start(self, step: Step, x: Tensor, state: AnyState, kept: list[int]) -> OnlineLayerState:
        # The resting state may depend on parameters, such as `v_rest`.
        rest = linearize(self.neuron, "rest", None, x, [], every_part=True).slopes.state_by_parameter[:, kept]
        traces = self.layout.start(rest.movedim(self.layer.channel, -1), step)
        readout, rate = self._further_shapes(step, x)
        penalty = self.rule.firing_rate
        average = x.new_full(rate, 0.0 if penalty is None else penalty.target)
        return OnlineLayerState(state, traces, ReadoutTraces(*map(x.new_zeros, readout)), average)

    def _further_shapes(self, step: Step, x: Tensor) -> tuple[tuple[Shape, Shape, Shape], Shape]:
        """The shapes of the filtered eligibilities and of the firing rates."""
        rate = tuple(x.shape) if self.rule.firing_rate is not None and self.neuron.spiking else (0,)
        if self.readout is None:
            return ((0,), (0,), (0,)), rate
        parts = len(self.readout.b)
        (_, *weights), (parameters, _, *rest) = self.layout.shapes(step)
        return ((parts, *weights), (parts, parameters, *rest), (parts, *x.shape)), rate

    def _check_traces(self, entry: OnlineLayerState, step: Step, x: Tensor) -> None:
        readout, rate = self._further_shapes(step, x)
        expected = (*self.layout.shapes(step), *readout, rate)
        given = (*entry.traces, *entry.readout, entry.rate)
        names = [f"traces.{name}" for name in Traces._fields] + [f"readout.{name}" for name in ReadoutTraces._fields]
        for name, shape, tensor in zip((*names, "rate"), expected, given, strict=True):
            if tensor.shape != shape:
                raise ValueError(
                    f"Online with {self.rule} expected {name} of shape {shape} in the state of module "
                    f"{self.layer.name}, {type(self.neuron).__name__}, got {tuple(tensor.shape)}; pass the state of a "
                    "call with the same model, rule and batch size."
                )

    def _filtered(
        self, eligibility: tuple[Tensor, ...], z: Tensor, memory: ReadoutTraces
    ) -> tuple[tuple[Tensor, ...], Tensor, ReadoutTraces]:
        """The eligibility for the learning signal, the output that it belongs to, and the memory of the filter."""
        if self.readout is None:
            return eligibility, z, memory
        e, e_p = eligibility
        learn, weights = self.readout(e, memory.weights)
        learn_p, parameters = self.readout(e_p, memory.parameters)
        value, output = self.readout(z, memory.output)
        return (learn, learn_p), value, ReadoutTraces(weights, parameters, output)

    def _penalize(self, z: Tensor, rate: Tensor) -> tuple[Tensor | None, Tensor]:
        penalty = self.rule.firing_rate
        if penalty is None or not self.neuron.spiking:
            return None, rate
        decay = penalty.decay(self.neuron.dt)
        rate = decay * rate + (1 - decay) / self.neuron.dt * z
        return penalty.strength / len(z) * (rate - penalty.target), rate


def _feedback(neuron: RecurrentMixin, z: Tensor) -> Tensor:
    matrix, _ = neuron.prepare()
    connection: Any = neuron.recurrent_weights
    return connection(z) if matrix is None else functional.linear(z.to(matrix.dtype), matrix)
