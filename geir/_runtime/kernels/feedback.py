"""Run a program whose output feeds back through a matrix of weights."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from .. import memory, sparse
from ..arguments import Value
from . import feedforward
from .active import ActiveOutputs
from .cpu import Kernel
from .feedforward import allocate, allocate_gradients, contiguous, find_kernel, forward_arguments, layout_constants
from .plan import BackwardTensors, Feedback, Gradients, Outcome, Plan, SavedFeedback, Tensors


def forward(plan: Plan, tensors: Tensors[Tensor], feedback: Feedback[Tensor]) -> Outcome[Tensor]:
    """Run a program over time, adding weights times the last output to the input of every step."""
    kernel = find_kernel(plan, tensors.xs, tensors.constants, (False,) * len(tensors.constants))
    outcome = allocate(plan, tensors)
    # The kernel adds the feedback in place.
    inputs = memory.empty(tensors.xs.shape, tensors.xs).copy_(tensors.xs)
    arguments = forward_arguments(plan, kernel, inputs, tensors, outcome)
    if kernel.forward_recurrent is None:
        _forward_by_steps(plan, kernel, arguments, inputs, outcome, feedback)
    else:
        kernel.forward_recurrent(
            {
                **arguments,
                "initial_output": feedback.z.contiguous(),
                "weights": feedback.weights.t().contiguous(),
                "width": len(feedback.weights),
            }
        )
    return outcome._replace(inputs=inputs)


def _forward_by_steps(
    plan: Plan,
    kernel: Kernel,
    arguments: Mapping[str, Value],
    inputs: Tensor,
    outcome: Outcome[Tensor],
    feedback: Feedback[Tensor],
) -> None:
    """Run one step after another: a matrix product, which adds to the input in place, and a kernel.

    Nothing waits for the device, and nothing is allocated between two steps, so a run can be captured in a CUDA graph.
    """
    last_output, weights = _rows(feedback.z), feedback.weights.t()
    state, final_state = arguments["initial_state"], arguments["final_state"]
    recorded = outcome.state if plan.record else None
    for t, (x, z) in enumerate(zip(inputs.unbind(), outcome.zs.unbind(), strict=True)):
        _rows(x).addmm_(last_output, weights)
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
    the next step through the weights. So the kernel runs one step at a time, and between two steps a matrix
    product maps the gradient of the input to that of the previous output. Where few outputs are active (see
    `ActiveOutputs`), the product is computed only for these. The states are recomputed chunk by chunk. The gradient of
    the weights is one product over all steps at the end. It reads only the rows of the gradient that belong to spikes.
    """
    xs = contiguous(tensors.xs)
    kernel = find_kernel(plan, xs, tensors.constants, plan.needs_grad)
    gradients, accumulators = allocate_gradients(plan, xs, tensors.checkpoints)
    grad_state = None if tensors.grad_state is None else contiguous(tensors.grad_state)
    recorded = grad_state if plan.record else None
    grad_final_state = None if plan.record else grad_state
    grad_z = torch.zeros_like(feedback.z, memory_format=torch.contiguous_format)
    grad_zs, inputs, grad_inputs = tensors.grad_zs.unbind(), xs.unbind(), gradients.xs.unbind()
    one_step = Plan(plan.program, 1, xs.dtype, record=False)
    constants = layout_constants(kernel.constants, tensors.constants, xs.shape[1:])
    grad_rows = _rows(grad_z)
    search = None
    if sparse.can_select(grad_rows, grad_rows.shape[1]):
        shared = tuple([constant.numel() == 1 for constant in tensors.constants])
        search = ActiveOutputs(plan, shared, constants)
    columns = None
    step_back = kernel.repeat_backward(
        {
            "grad_output": grad_z,
            "grad_initial_state": gradients.state,
            "grad_constants": accumulators,
            "steps": 1,
            "neurons": math.prod(xs.shape[1:]),
            "checkpoint_every": 1,
            **constants,
        }
    )
    for first in reversed(range(0, len(xs), plan.checkpoint_every)):
        chunk = xs[first : first + plan.checkpoint_every]
        start = tensors.checkpoints[first // plan.checkpoint_every]
        states = feedforward.forward(one_step, Tensors(chunk, start, None, tensors.constants)).checkpoints
        assert states is not None
        active = search.find(chunk, states) if search else [None] * len(chunk)
        for t in reversed(range(first, first + len(chunk))):
            grad_z.copy_(grad_zs[t])
            needed = active[t - first]
            if t + 1 < len(xs) and needed is not None:
                columns = feedback.weights.t().contiguous() if columns is None else columns
                sparse.add_selected(_rows(grad_inputs[t + 1]), columns, _rows(needed), grad_rows)
            elif t + 1 < len(xs):
                grad_rows.addmm_(_rows(grad_inputs[t + 1]), feedback.weights)
            step_back(
                {
                    "input": inputs[t],
                    "grad_input": grad_inputs[t],
                    "grad_final_state": grad_final_state,
                    "checkpoints": states[t - first],
                    "grad_recorded_states": None if recorded is None else recorded[:, t].contiguous(),
                }
            )
            grad_final_state = gradients.state
    torch.mm(_rows(grad_inputs[0]), feedback.weights, out=grad_rows)
    grad_weights = _weight_gradient(feedback, gradients.xs)
    sums = feedforward.sum_to_constants(plan, accumulators, tensors.constants)
    return gradients._replace(feedback=Feedback(grad_z, grad_weights), constants=sums)


def _weight_gradient(feedback: SavedFeedback[Tensor], grad_xs: Tensor) -> Tensor:
    """The sum over all steps of the outer products of input gradient and last output."""
    gradient = torch.zeros_like(feedback.weights, memory_format=torch.contiguous_format)
    sparse.add_product(_rows(feedback.zs[:-1]).t(), _rows(grad_xs[1:]), gradient)
    sparse.add_product(_rows(feedback.z).t(), _rows(grad_xs[0]), gradient)
    return gradient.t()


def _rows(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1])
