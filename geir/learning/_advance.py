"""One step of a layer with its traces."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten, TreeSpec

from .._util.state import AnyState
from ..core.neuron import Dynamics
from ..wrappers import RecurrentMixin
from ..wrappers.recurrent import RecurrentState
from ._attach import AttachLayer, Signals
from ._linearize import inner_state, linearize, Linearized, neuron_parameters, Slopes, step_of
from ._model import Layer
from ._sharing import shared_parts
from ._state import OnlineLayerState
from ._traces import Filter, Layout, Output, Shape, Step, Traces
from .rules import OnlineRule


class Advance:
    """One step of a layer.

    Args:
        rule: The rule.
        layer: The layer.
        readout: The filter of the readout, if it filters this layer's eligibilities.
        known: The derivatives of the layer's step, if they are the same at all steps.
        shared: The parts of the state with shared traces by the name of the layer, filled at the first step.
    """

    def __init__(
        self,
        rule: OnlineRule,
        layer: Layer,
        readout: Filter | None,
        known: Filter | None,
        shared: dict[str, list[int]],
    ):
        self.rule, self.layer, self.readout, self.known, self.shared = rule, layer, readout, known, shared
        self.neuron = layer.neuron

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
        weights = [weight.to(dtype) for weight in layer.weights()]
        parameters = list(neuron_parameters(neuron).values())
        with torch.no_grad():
            result = self._linearize(step_input, spec, parts, first=entry is None)
            slopes = self._rows(result.slopes)
            filtered = slopes if self.readout is None else self.readout.after(slopes)
            plain = _output(slopes, parts=len(filtered.b))
            step = Step(filtered, plain, drive.detach(), [weight.detach() for weight in weights])
            if entry is None or layer.name not in self.shared:
                self.shared[layer.name] = self._find_shared(step_input, spec, parts, result.kept)
            layout = self.rule.layout(layer.recurrent, self.shared[layer.name])
            self._check_shared(slopes)
            z = result.output
            if entry is None:
                entry = self._start(layout, step, step_input, state, result.kept)
            self._check_traces(layout, entry, step, step_input)
            saved, traces = layout.step(step, entry.traces)
            value, readout = (z, entry.readout) if self.readout is None else self.readout(z, entry.readout)
            penalty, rate = self._penalize(z, entry.rate)
        z, signal = AttachLayer.apply(
            Signals(layout, layer.channel, [p.shape for p in parameters], [weight.shape[1] for weight in weights]),
            z.to(current.dtype),
            value.to(current.dtype),
            drive,
            own_drive,
            plain,
            _output(filtered, parts=len(filtered.b)),
            penalty,
            saved,
            *weights,
            *parameters,
        )
        after = tree_unflatten(result.state, spec)
        if layer.recurrent:
            after = RecurrentState(after, result.output)
        return z, signal, OnlineLayerState(after, traces, readout, rate)

    def _linearize(self, x: Tensor, spec: TreeSpec, parts: list[Tensor], first: bool) -> Linearized:
        """The step and its derivatives, of which those of the state are that of its flow if the rule says so."""
        if self.known is not None and not first:
            return _known_step(self.neuron, self.known, spec, x, parts)
        needs_flow = self.rule.follows_flow
        try:
            result = linearize(self.neuron, "step", spec, x, parts, every_part=needs_flow)
            flow = linearize(self.neuron, "flow", spec, x, parts, every_part=True).slopes if needs_flow else None
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
        if flow is None:
            return result
        slopes = result.slopes._replace(J=flow.J, b=flow.b, state_by_parameter=flow.state_by_parameter)
        return result._replace(slopes=slopes)

    def _find_shared(self, x: Tensor, spec: TreeSpec, parts: list[Tensor], kept: list[int]) -> list[int]:
        """The parts of the state whose traces are the same for all neurons."""
        if self.rule.follows_flow:
            return list(range(len(kept)))
        return shared_parts(self.neuron, spec, x, parts, kept)

    def _check_shared(self, slopes: Slopes) -> None:
        shared = self.shared[self.layer.name]
        if not shared or self.known is not None:
            return
        values = torch.cat([slopes.J[shared].flatten(0, 1), slopes.b[shared]]).flatten(1)
        low, high = values.aminmax(dim=1)
        if (high - low > 1e-4 * high.abs() + 1e-6).any():
            raise self._refuse(
                "the flow of its state is not the same for all neurons, or the neuron has changed since the run began."
            )

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

    def _start(self, layout: Layout, step: Step, x: Tensor, state: AnyState, kept: list[int]) -> OnlineLayerState:
        # The resting state may depend on parameters, such as `v_rest`.
        rest = linearize(self.neuron, "rest", None, x, [], every_part=True).slopes.state_by_parameter[:, kept]
        traces = layout.start(rest.movedim(self.layer.channel, -1), step)
        readout, rate = self._further_shapes(x)
        penalty = self.rule.firing_rate
        average = x.new_full(rate, 0.0 if penalty is None else penalty.target)
        return OnlineLayerState(state, traces, x.new_zeros(readout), average)

    def _further_shapes(self, x: Tensor) -> tuple[Shape, Shape]:
        """The shapes of the filtered outputs and of the firing rates."""
        readout = (0,) if self.readout is None else (len(self.readout.b), *x.shape)
        return readout, tuple(x.shape) if self.rule.firing_rate is not None and self.neuron.spiking else (0,)

    def _check_traces(self, layout: Layout, entry: OnlineLayerState, step: Step, x: Tensor) -> None:
        expected = (*layout.shapes(step), *self._further_shapes(x))
        given = (*entry.traces, entry.readout, entry.rate)
        names = [f"traces.{name}" for name in Traces._fields]
        for name, shape, tensor in zip((*names, "readout", "rate"), expected, given, strict=True):
            if tensor.shape != shape:
                raise ValueError(
                    f"Online with {self.rule} expected {name} of shape {shape} in the state of module "
                    f"{self.layer.name}, {type(self.neuron).__name__}, got {tuple(tensor.shape)}; pass the state of a "
                    "call with the same model, rule and batch size."
                )

    def _penalize(self, z: Tensor, rate: Tensor) -> tuple[Tensor | None, Tensor]:
        penalty = self.rule.firing_rate
        if penalty is None or not self.neuron.spiking:
            return None, rate
        decay = penalty.decay(self.neuron.dt)
        rate = decay * rate + (1 - decay) / self.neuron.dt * z
        return penalty.strength / len(z) * (rate - penalty.target), rate


def _known_step(neuron: Dynamics, known: Filter, spec: TreeSpec, x: Tensor, parts: list[Tensor]) -> Linearized:
    """A step whose derivatives are known, and the same for all neurons."""
    step, prepared = step_of(neuron)
    z, after = step(x, tree_unflatten(parts, spec), *prepared)
    J, b, h, d = (t.view(*t.shape, *[1] * x.dim()).expand(*t.shape, *x.shape) for t in known)
    slopes = Slopes(J, b, h, d, x.new_zeros(0, len(parts), *x.shape), x.new_zeros(0, *x.shape))
    return Linearized(z, tree_leaves(after), slopes, list(range(len(parts))), True)


def _output(slopes: Slopes, parts: int) -> Output:
    """The derivatives of the output, which depends on no further parts of the state."""
    missing = slopes.h.new_zeros(parts - len(slopes.h), *slopes.d.shape)
    return Output(torch.cat([slopes.h, missing]), slopes.d, slopes.output_by_parameter)


def _feedback(neuron: RecurrentMixin, z: Tensor) -> Tensor:
    matrix, _ = neuron.prepare()
    connection: Any = neuron.recurrent_weights
    return connection(z) if matrix is None else functional.linear(z.to(matrix.dtype), matrix)
