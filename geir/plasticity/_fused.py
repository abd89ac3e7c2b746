"""Run a plastic layer inside one kernel, derived from the step of its neurons and the change of its rule."""

import math
from collections.abc import Sequence
from typing import Any, cast, NamedTuple, TYPE_CHECKING

import torch
from torch import nn, Tensor

from .._runtime.compiler import NoCompilerError
from .._runtime.kernels import Fused, plasticity as kernel
from .._runtime.kernels.dispatch import is_special
from .._runtime.kernels.prepared_run import find_program
from .._runtime.kernels.program import NotFusableError, Program
from .._runtime.stepper import Prepared, Stepper
from .._util.state import AnyState, leaves, map_state, map_tensors, tensors_of
from ..core.neuron import Dynamics
from ..wrappers import RecurrentMixin, RecurrentState
from .connection_view import ConnectionView
from .rule import AnyRule, Rule

if TYPE_CHECKING:
    from .plastic import _PlasticBase, PlasticState

# Preparing a run takes as long as a few steps of the reference loop.
_FEWEST_STEPS = 8


class Activity(NamedTuple):
    """One step of input of a plastic layer, as its kernel takes it."""

    pre: Tensor  # presynaptic spikes
    current: Tensor  # input current of the neurons


class StepState(NamedTuple):
    """State of a plastic layer, as its kernel takes it."""

    neuron: AnyState
    rule: AnyState
    weight: Tensor
    low: Tensor  # smallest weight; as a state, because the rule may compute it
    high: Tensor
    threshold: Tensor  # of the neurons, if it moves


class Inner(NamedTuple):
    """The prepared values of the neurons."""

    inner: Prepared


class _Synapse:
    """A `ConnectionView` of one synapse: the products of both sides are products of numbers."""

    def per_sample(self) -> "_Synapse":
        return self

    def outer(self, post: Tensor, pre: Tensor) -> Tensor:
        return post * pre

    def broadcast_post(self, post: Tensor) -> Tensor:
        return post


def step_of_synapse(layer: "_PlasticBase", x: Activity, state: StepState, prepared: Inner) -> tuple[Tensor, StepState]:
    """The step of a plastic layer as it is traced, for one synapse; the next `weight` is its change."""
    neuron: Any = layer.neuron
    advance = neuron.inner_step if isinstance(neuron, RecurrentMixin) else neuron.step
    z, after = advance(x.current, state.neuron, *prepared.inner)
    view = cast(ConnectionView, _Synapse())
    change, rule_state = layer.rule.change(x.pre, z, state.weight, state.rule, view)
    threshold = state.threshold if layer.intrinsic is None else layer.intrinsic(z, neuron.v_th)
    return z, StepState(after, rule_state, change, layer.rule.w_min, layer.rule.w_max, threshold)


def run_fused(layer: "_PlasticBase", xs: Tensor, state: "PlasticState") -> "tuple[Tensor, PlasticState] | None":
    """Run a plastic layer of one sample over time inside a kernel, which changes weight and thresholds in place.

    Args:
        layer: The layer.
        xs: Presynaptic spikes, shape (time, 1, inputs).
        state: State to start from, complete.

    Returns:
        The spikes, shape (time, 1, neurons), and the state after the last step; None if the reference loop must run:
        for other shapes, devices and connections, for neurons and rules that are not elementwise, and where the neurons
        have ``unroll=geir.reference``.
    """
    if not _is_possible(layer, xs, state):
        return None
    try:
        return _run(layer, xs, state)
    except (NotFusableError, NoCompilerError):
        return None


def _is_possible(layer: "_PlasticBase", xs: Tensor, state: "PlasticState") -> bool:
    neuron, rule, connection, weight = layer.neuron, layer.rule, layer.connection, layer.weight
    if torch.compiler.is_compiling() or is_special() or torch.is_autocast_enabled("cpu"):
        return False
    if len(xs) < _FEWEST_STEPS or not isinstance(neuron.unroll, Fused):
        return False
    if type(connection) is not nn.Linear or _has_hooks(connection) or xs.dim() != 3 or xs.shape[1] != 1:
        return False
    numbers = [xs, *(part for _, part in leaves(state))]
    tensors = [*numbers, *tensors_of(layer).values()]
    if not all(type(t) in (Tensor, nn.Parameter) and t.is_cpu and not t.is_neg() for t in tensors):
        return False
    if {neuron.state_dtype(xs), *(t.dtype for t in numbers)} != {weight.dtype} or not weight.is_contiguous():
        return False
    if type(rule).update_ is not Rule.update_ or not _passes_input(neuron):
        return False
    of_rule = [rule.w_min, rule.w_max, *tensors_of(rule).values()]
    if layer.intrinsic is not None:
        v_th = cast(Tensor, neuron.v_th)
        of_rule += tensors_of(layer.intrinsic).values()
        if v_th.shape != weight.shape[:1] or not v_th.is_contiguous():
            return False
    if any(tensor.numel() != 1 for tensor in of_rule) or not all(math.isfinite(tensor.sum()) for tensor in numbers):
        return False
    # Where all is finite, a product with zero is zero; and weights within their bounds stay where they do not change.
    low, high = weight.aminmax()
    return math.isfinite(low) and math.isfinite(high) and bool(low >= rule.w_min) and bool(high <= rule.w_max)


def _has_hooks(module: nn.Module) -> bool:
    everywhere = nn.modules.module
    hooks = (module._forward_hooks, module._forward_pre_hooks, everywhere._global_forward_hooks)
    return any((*hooks, everywhere._global_forward_pre_hooks))


def _passes_input(neuron: Dynamics[Any]) -> bool:
    """Whether the input current reaches the step of the neurons unchanged."""
    if isinstance(neuron, RecurrentMixin):
        weights = neuron.input_weights
        return type(weights) is nn.Identity and not _has_hooks(weights)
    return type(neuron).transform_input is Dynamics.transform_input


def _moves_coefficients(neuron: Dynamics[Any], prepared: Prepared) -> bool:
    """Whether the values that a neuron prepares depend on its threshold, which moves in every step."""
    v_th = cast(Tensor, neuron.v_th)
    given = v_th.detach().clone()
    with_given: list[Tensor] = []
    with_other: list[Tensor] = []
    map_tensors(with_given.append, prepared)
    try:
        v_th.add_(1)
        map_tensors(with_other.append, neuron.prepare())
    finally:
        v_th.copy_(given)
    return not all(map(torch.equal, with_given, with_other))


def _run(layer: "_PlasticBase", xs: Tensor, state: "PlasticState") -> "tuple[Tensor, PlasticState] | None":
    neuron, weight = layer.neuron, layer.weight
    neurons = len(weight)
    stepper = neuron.stepper(weight.dtype)
    neuron_state: Any = state.neuron
    recurrent = last_output = None
    if stepper.feedback is not None:
        recurrent = stepper.feedback.connection
        if not isinstance(recurrent, Tensor) or type(neuron_state) is not RecurrentState:
            return None
        recurrent, last_output = recurrent.to(weight.dtype).contiguous(), neuron_state.z.contiguous()
        neuron_state = neuron_state.neuron
    if not stepper.elementwise or any(leaf.shape != (1, neurons) for _, leaf in leaves(neuron_state)):
        return None
    if layer.intrinsic is not None and _moves_coefficients(neuron, stepper.prepared):
        return None
    zero = weight.new_zeros(())
    now = StepState(
        neuron=map_state(_copy, neuron_state),
        rule=map_state(_copy, state.rule),
        weight=weight,
        low=zero,
        high=zero,
        threshold=zero if layer.intrinsic is None else cast(Tensor, neuron.v_th),
    )
    prepared = Inner((stepper.feedback or stepper).prepared)
    # All names of the program have the names of these fields and of the parts of the layer as prefixes, so that none is
    # a word of the template.
    traced = Stepper(layer, layer._step_of_synapse, (prepared,), weight.dtype, True)
    found = find_program(traced, now, weight.dtype, weight.device, Activity)
    program = Program.loads(found.program)
    layout = _layout(layer, program, found.constants)
    if layout is None:
        return None
    values = dict(zip(program.states, (leaf for _, leaf in leaves(now)), strict=True))
    values |= {name: value.contiguous() for name, value in zip(program.constants, found.constants, strict=True)}
    bias = cast(Tensor | None, layer.connection.bias)
    zs = kernel.run(found.program, layout, xs[:, 0].contiguous(), values, bias, recurrent, last_output)
    for changed in (weight, now.threshold):
        if not changed.is_inference():
            torch.autograd.graph.increment_version(changed)
    zs = zs[:, None]
    after = now.neuron if recurrent is None else RecurrentState(now.neuron, zs[-1].clone())
    return zs, type(state)(after, now.rule)


def _copy(part: Tensor) -> Tensor:
    return part.detach().clone(memory_format=torch.contiguous_format)


def _layout(layer: "_PlasticBase", program: Program, constants: Sequence[Tensor]) -> kernel.Layout | None:
    """The axes of the values of a program: inputs, neurons or synapses. None if a value has any other shape."""
    axes_of_rule = _axes_of_rule(layer.rule, layer.weight)
    if axes_of_rule is None:
        return None
    pre, current = program.inputs
    *states, weight, low, high, threshold = program.states
    axes = {pre: kernel.INPUT, current: kernel.NEURON, **dict.fromkeys(states, kernel.NEURON)}
    axes |= dict(zip(states[len(states) - len(axes_of_rule) :], axes_of_rule, strict=True))
    axes |= {weight: kernel.SYNAPSE, low: kernel.SHARED, high: kernel.SHARED, threshold: kernel.SHARED}
    neurons, moving = len(layer.weight), None
    for name, constant in zip(program.constants, constants, strict=True):
        if constant.numel() != 1 and constant.shape not in ((neurons,), (1, neurons)):
            return None
        axes[name] = kernel.SHARED if constant.numel() == 1 else kernel.NEURON
        if layer.intrinsic is not None and constant is layer.neuron.v_th:
            if moving is not None:  # another part of the neuron has the same threshold
                return None
            moving = name
    if layer.intrinsic is not None:
        if moving is None:
            return None
        axes[threshold] = axes[moving] = kernel.NEURON
    return kernel.Layout(tuple(axes.items()), pre, current, weight, (low, high), threshold, moving)


def _axes_of_rule(rule: AnyRule, weight: Tensor) -> list[kernel.Axes] | None:
    """The axes of the parts of a rule's state, found by one step with 2 inputs and 3 neurons.

    In the step, a value for each input and one for each neuron meet in products of both sides only, or their shapes
    would not fit.
    """
    pre, post = weight.new_ones(1, 2), weight.new_ones(1, 3)
    some = weight.new_zeros(3, 2)
    shapes = {(1, 2): kernel.INPUT, (1, 3): kernel.NEURON, (3, 2): kernel.SYNAPSE, (1, 3, 2): kernel.SYNAPSE}
    try:
        state = rule.initial_state(pre, post, some)
        change, after = rule.change(pre, post, some, state, ConnectionView(some))
    except Exception:  # of a user's rule, for example because it is for another number of inputs
        return None
    before, after = ([tuple(leaf.shape) for _, leaf in leaves(each)] for each in (state, after))
    if before != after or change.shape not in ((), (3, 2), (3, 1), (1, 2)) or not shapes.keys() >= {*before}:
        return None
    return [shapes[shape] for shape in before]
