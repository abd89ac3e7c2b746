"""Run a program whose output feeds back through a matrix of weights."""

import ctypes
import functools
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from .. import memory, sparse
from ..arguments import ctypes_structure, fill_structure, Value
from . import arguments as declared, cpu, feedforward
from .active import ActiveOutputs, can_select
from .cpu import Kernel
from .feedforward import allocate, allocate_gradients, contiguous, find_kernel, forward_arguments, layout_constants
from .plan import BackwardTensors, Feedback, Gradients, Outcome, Plan, SavedFeedback, Tensors

_SELECTED = ctypes_structure(declared.SELECTED)


def forward(plan: Plan, tensors: Tensors[Tensor], feedback: Feedback[Tensor]) -> Outcome[Tensor]:
    """Run a program over time, adding weights times the last output to the input of every step."""
    kernel = find_kernel(plan, tensors.xs, tensors.constants, (False,) * len(tensors.constants))
    outcome = allocate(plan, tensors)
    inputs = memory.empty(tensors.xs.shape, tensors.xs)
    arguments = forward_arguments(plan, kernel, inputs, tensors, outcome)
    if kernel.forward_recurrent is None:
        _forward_by_steps(plan, kernel, arguments, tensors.xs, inputs, outcome, feedback)
    else:
        kernel.forward_recurrent(
            {
                **arguments,
                "given_input": contiguous(tensors.xs),
                "initial_output": feedback.z.contiguous(),
                "weights": sparse.transposed(contiguous(feedback.weights)),
                "width": len(feedback.weights),
            }
        )
    return outcome._replace(inputs=inputs)


def _forward_by_steps(
    plan: Plan,
    kernel: Kernel,
    arguments: Mapping[str, Value],
    xs: Tensor,
    inputs: Tensor,
    outcome: Outcome[Tensor],
    feedback: Feedback[Tensor],
) -> None:
    """Run one step after another: a matrix product, which is added to the given input, and a kernel.

    Nothing waits for the device, and nothing is allocated between two steps, so a run can be captured in a CUDA graph.
    """
    last_output, weights = _rows(feedback.z), feedback.weights.t()
    state, final_state = arguments["initial_state"], arguments["final_state"]
    recorded = outcome.state if plan.record else None
    for t, (given, x, z) in enumerate(zip(xs.unbind(), inputs.unbind(), outcome.zs.unbind(), strict=True)):
        torch.addmm(_rows(given), last_output, weights, out=_rows(x))
        chunk, step_in_chunk = divmod(t, plan.checkpoint_every or len(inputs))
        stored = None if outcome.checkpoints is None or step_in_chunk else outcome.checkpoints[chunk]
        step = {"input": x, "output": z, "initial_state": state, "checkpoints": stored, "recorded_states": None}
        kernel.forward({**arguments, **step, "steps": 1, "checkpoint_every": 1})
        last_output, state = _rows(z), final_state
        if recorded is not None and isinstance(state, Tensor):
            recorded[:, t] = state


def backward(plan: Plan, tensors: BackwardTensors[Tensor], feedback: SavedFeedback[Tensor]) -> Gradients[Tensor]:
    """The vector-Jacobian product of `forward`.

    The gradient of an output has two terms: the given gradient, and the feedback's gradient, which arrives from
    the next step through the weights. The states are recomputed chunk by chunk. Where few outputs are active (see
    `ActiveOutputs`), one kernel goes back through a chunk, and computes the second term only for these; else the kernel
    runs one step at a time, and between two steps a matrix product maps the gradient of the input to that of the
    previous output. The gradient of the weights is one product over all steps at the end. It reads only the rows of the
    gradient that belong to spikes.
    """
    xs = contiguous(tensors.xs)
    shared = tuple([constant.numel() == 1 for constant in tensors.constants])
    selects = can_select(xs, tensors.checkpoints)
    if selects:
        kernel = cpu.kernel(plan.program, shared, plan.needs_grad, xs.dtype, plan.output_dtype, "selected")
    else:
        kernel = find_kernel(plan, xs, tensors.constants, plan.needs_grad)
    gradients, accumulators = allocate_gradients(plan, xs, tensors.checkpoints)
    grad_state = None if tensors.grad_state is None else contiguous(tensors.grad_state)
    grad_z = torch.zeros_like(feedback.z, memory_format=torch.contiguous_format)
    constants = layout_constants(kernel.constants, tensors.constants, xs.shape[1:])
    search = ActiveOutputs(plan, shared, constants) if selects else None
    one_step = Plan(plan.program, 1, xs.dtype, record=False)
    arguments: dict[str, Value] = {
        "grad_final_state": None if plan.record else grad_state,
        "grad_initial_state": gradients.state,
        "grad_constants": accumulators,
        "neurons": math.prod(xs.shape[1:]),
        "checkpoint_every": 1,
        **constants,
    }
    back = _StepsBack(kernel, arguments, xs, tensors.grad_zs, gradients.xs, grad_z, feedback.weights)
    for first in reversed(range(0, len(xs), plan.checkpoint_every)):
        chunk = xs[first : first + plan.checkpoint_every]
        start = tensors.checkpoints[first // plan.checkpoint_every]
        states = feedforward.forward(one_step, Tensors(chunk, start, None, tensors.constants)).checkpoints
        assert states is not None
        recorded = None
        if plan.record and grad_state is not None:
            recorded = grad_state[:, first : first + len(chunk)].transpose(0, 1).contiguous()
        active = search.find(chunk, states) if search else None
        if active is None:
            back.densely(first, states, recorded)
        else:
            back.where_active(first, states, recorded, active)
    torch.mm(_rows(gradients.xs[0]), feedback.weights, out=_rows(grad_z))
    grad_weights = _weight_gradient(feedback, gradients.xs)
    sums = feedforward.sum_to_constants(plan, accumulators, tensors.constants)
    return gradients._replace(feedback=Feedback(grad_z, grad_weights), constants=sums)


class _StepsBack:
    """The backward passes through a chunk of steps. The first chunk must be the last of the run.

    Args:
        kernel: The kernels of the program.
        arguments: Their arguments, except the chunk's.
        xs: Input of the run.
        grad_zs: Gradient of its outputs.
        grad_xs: Gradient of its inputs, written.
        grad_z: Memory for the gradient of one output.
        weights: Weights of the feedback.
    """

    def __init__(
        self,
        kernel: Kernel,
        arguments: dict[str, Value],
        xs: Tensor,
        grad_zs: Tensor,
        grad_xs: Tensor,
        grad_z: Tensor,
        weights: Tensor,
    ) -> None:
        self.kernel, self.arguments, self.weights = kernel, arguments, weights
        self.xs, self.grad_zs, self.grad_xs, self.grad_z = xs, grad_zs, grad_xs, grad_z

    def densely(self, first: int, states: Tensor, recorded: Tensor | None) -> None:
        """Go back through a chunk with a matrix product after every step.

        Args:
            first: First step of the chunk.
            states: States before its steps, shape (time, parts, ...).
            recorded: Gradient of the recorded states of its steps.
        """
        step_back = self.kernel.repeat_backward({**self.arguments, "grad_output": self.grad_z, "steps": 1})
        grad_z, grad_final_state = _rows(self.grad_z), self.arguments["grad_final_state"]
        for t in reversed(range(first, first + len(states))):
            self.grad_z.copy_(self.grad_zs[t])
            if t + 1 < len(self.xs):
                grad_z.addmm_(_rows(self.grad_xs[t + 1]), self.weights)
            step_back(
                {
                    "input": self.xs[t],
                    "grad_input": self.grad_xs[t],
                    "grad_final_state": grad_final_state,
                    "checkpoints": states[t - first],
                    "grad_recorded_states": None if recorded is None else recorded[t - first],
                }
            )
            grad_final_state = self.arguments["grad_initial_state"]
        self.arguments["grad_final_state"] = grad_final_state

    def where_active(self, first: int, states: Tensor, recorded: Tensor | None, active: Tensor) -> None:
        """Go back through a chunk inside one kernel; as `densely`, given which outputs are active."""
        assert self.kernel.backward_recurrent is not None
        selected = {
            "columns": self.columns,
            "needed": active,
            "grad_output": self.grad_z,
            "width": self.xs.shape[-1],
            "steps": len(self.xs),
            "first_step": first,
            "end_step": first + len(states),
        }
        connections = fill_structure(_SELECTED, selected)
        self.kernel.backward_recurrent(
            {
                **self.arguments,
                "input": self.xs,
                "grad_output": self.contiguous_grad_zs,
                "grad_input": self.grad_xs,
                "width": self.xs.shape[-1],
                "steps": len(self.xs),
                "checkpoints": states,
                "grad_recorded_states": recorded,
                "connections": ctypes.addressof(connections),
            }
        )
        self.arguments["grad_final_state"] = self.arguments["grad_initial_state"]

    @functools.cached_property
    def columns(self) -> Tensor:
        """The weights by presynaptic neuron."""
        return sparse.transposed(contiguous(self.weights))

    @functools.cached_property
    def contiguous_grad_zs(self) -> Tensor:
        """The gradient of the outputs."""
        return contiguous(self.grad_zs)


def _weight_gradient(feedback: SavedFeedback[Tensor], grad_xs: Tensor) -> Tensor:
    """The sum over all steps of the outer products of input gradient and last output."""
    first = sparse.product(_rows(feedback.z).t(), _rows(grad_xs[0]))
    return sparse.transposed(sparse.product(_rows(feedback.zs[:-1]).t(), _rows(grad_xs[1:]), first, first))


def _rows(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1])
