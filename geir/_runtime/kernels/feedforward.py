"""Run a program over time, on the device where its input lies: allocate the results and call the kernels."""

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import memory
from ..arguments import Value
from . import cpu, gpu
from .cpu import Kernel
from .plan import BackwardTensors, Gradients, Outcome, Plan, Tensors


def forward(plan: Plan, tensors: Tensors[Tensor]) -> Outcome[Tensor]:
    """Run a program over time."""
    kernel = find_kernel(plan, tensors.xs, tensors.constants, (False,) * len(tensors.constants))
    outcome = allocate(plan, tensors)
    kernel.forward(forward_arguments(plan, kernel, contiguous(tensors.xs), tensors, outcome))
    return outcome


def backward(plan: Plan, tensors: BackwardTensors[Tensor]) -> Gradients[Tensor]:
    """The vector-Jacobian product of `forward`."""
    kernel = find_kernel(plan, tensors.xs, tensors.constants, plan.needs_grad)
    xs = contiguous(tensors.xs)
    gradients, accumulators = allocate_gradients(plan, xs, tensors.checkpoints)
    step_shape = tensors.checkpoints.shape[2:]
    grad_state = None if tensors.grad_state is None else contiguous(tensors.grad_state)
    kernel.backward(
        {
            "input": xs,
            "grad_output": contiguous(tensors.grad_zs),
            "grad_input": gradients.xs,
            "grad_final_state": None if plan.record else grad_state,
            "grad_initial_state": gradients.state,
            "checkpoints": contiguous(tensors.checkpoints),
            "grad_recorded_states": grad_state if plan.record else None,
            "grad_constants": accumulators,
            "steps": len(xs),
            "neurons": math.prod(step_shape),
            "checkpoint_every": min(plan.checkpoint_every, len(xs)),
            **layout_constants(kernel.constants, tensors.constants, step_shape),
        }
    )
    return gradients._replace(constants=sum_to_constants(plan, accumulators, tensors.constants))


def find_kernel(plan: Plan, xs: Tensor, constants: Sequence[Tensor], needs_grad: tuple[bool, ...]) -> Kernel:
    """The kernels of a program for the dtypes and the layout of these tensors."""
    device = gpu if xs.is_cuda else cpu
    shared = tuple([constant.numel() == 1 for constant in constants])
    if plan.sparse:
        return cpu.kernel(plan.program, shared, needs_grad, xs.dtype, plan.output_dtype, "synapses")
    return device.kernel(plan.program, shared, needs_grad, xs.dtype, plan.output_dtype)


def allocate(plan: Plan, tensors: Tensors[Tensor]) -> Outcome[Tensor]:
    """Uninitialized memory for the results of a run."""
    xs, state = tensors.xs, tensors.state
    checkpoints = None
    if plan.checkpoint_every:
        chunks = -(-len(xs) // plan.checkpoint_every)
        checkpoints = memory.empty([chunks, *state.shape], state)
    # Not that of `xs`, which has one row for each receptor.
    shape = [len(xs), *state.shape[1:]]
    states = memory.empty([len(state), *shape] if plan.record else state.shape, state)
    return Outcome(memory.empty(shape, xs, plan.output_dtype), states, checkpoints, None)


def forward_arguments(
    plan: Plan, kernel: Kernel, xs: Tensor, tensors: Tensors[Tensor], outcome: Outcome[Tensor]
) -> dict[str, Value]:
    """The arguments of the forward kernels, by name."""
    state = tensors.state
    step_shape = state.shape[1:]
    return {
        "input": xs,
        "output": outcome.zs,
        "initial_state": contiguous(state),
        # Also where the kernel leaves the state between two steps.
        "final_state": memory.empty(state.shape, state) if plan.record else outcome.state,
        "checkpoints": outcome.checkpoints,
        "recorded_states": outcome.state if plan.record else None,
        "steps": len(xs),
        "neurons": math.prod(step_shape),
        "checkpoint_every": plan.checkpoint_every or len(xs),
        **layout_constants(kernel.constants, tensors.constants, step_shape),
    }


def allocate_gradients(plan: Plan, xs: Tensor, checkpoints: Tensor) -> tuple[Gradients[Tensor], Tensor]:
    """Memory for the gradients of input and state, and zeros to which those of the constants are added for
    every neuron."""
    gradients = Gradients(memory.empty(xs.shape, xs), memory.empty(checkpoints.shape[1:], checkpoints), None, ())
    return gradients, memory.empty([sum(plan.needs_grad), *checkpoints.shape[2:]], checkpoints).zero_()


def contiguous(tensor: Tensor) -> Tensor:
    """The tensor, copied if it is not contiguous, or if its numbers are the negatives of those in memory."""
    return (
        tensor if tensor.is_contiguous() and not tensor.is_neg() else memory.empty(tensor.shape, tensor).copy_(tensor)
    )


def sum_to_constants(plan: Plan, accumulators: Tensor, constants: Sequence[Tensor]) -> list[Tensor]:
    """The gradients of constants: those for every neuron summed to the shapes of the constants that need one."""
    learned = [constant for constant, needed in zip(constants, plan.needs_grad, strict=True) if needed]
    return [grad.sum_to_size(constant.shape) for grad, constant in zip(accumulators, learned, strict=True)]


def layout_constants(names: Sequence[str], constants: Sequence[Tensor], shape: torch.Size) -> dict[str, Value]:
    """The arguments of the constants; see `geir._runtime.kernels.arguments`.

    A constant whose values repeat regularly over the neurons is passed as it is, any other is expanded to one
    value for each neuron.
    """
    arguments: dict[str, Value] = {}
    for name, constant in zip(names, constants, strict=True):
        size = repeat = 1
        if constant.dim():
            repeat = _repeat(constant.shape, shape)
            constant = (constant if repeat else constant.expand(shape)).contiguous()
            size = constant.numel()
        arguments[name] = constant
        arguments[f"{name}_size"] = size
        arguments[f"{name}_repeat"] = repeat or 1
    return arguments


@functools.lru_cache
def _repeat(small: torch.Size, shape: torch.Size) -> int:
    """For how many consecutive neurons a constant of shape `small` keeps its value; 0 if its values do not
    repeat regularly."""
    sizes = [1] * (len(shape) - len(small)) + list(small)
    used = [k for k, n in enumerate(sizes) if n > 1]
    first, last = min(used, default=0), max(used, default=-1)
    if any(sizes[k] != shape[k] for k in range(first, last + 1)):
        return 0
    return math.prod(shape[last + 1 :])
