"""Run a program whose output feeds back through sparse connections with delays, on the CPU."""

import ctypes
import math

import torch
from torch import Tensor

from .. import memory
from ..arguments import ctypes_structure, fill_structure, update_structure, Value
from . import arguments as declared, feedforward
from .feedforward import allocate, allocate_gradients, contiguous, find_kernel, forward_arguments, layout_constants
from .plan import BackwardTensors, Feedback, Gradients, Outcome, Plan, SavedFeedback, Structure, Tensors

_STRUCTURE = ctypes_structure(declared.SYNAPSES)


def forward(plan: Plan, tensors: Tensors[Tensor], feedback: Feedback[Tensor]) -> Outcome[Tensor]:
    """Run a program over time, adding to the input of every step the outputs that arrive in it."""
    assert feedback.structure is not None
    kernel = find_kernel(plan, tensors.xs, tensors.constants, (False,) * len(tensors.constants))
    outcome = allocate(plan, tensors)
    xs = tensors.xs
    repeats = xs.stride(0) == 0 and len(xs) > 1
    connections = _Connections(
        feedback.structure, feedback.weights, feedback.z, xs, given=contiguous(xs[0] if repeats else xs)
    )
    # Rows that are used in turn must hold a whole number of stretches in which nothing arrives.
    at_once = connections.struct.least_delay + 1
    window = -(-(at_once + len(feedback.z)) // at_once) * at_once
    rows = len(xs) if plan.keeps_inputs else min(len(xs), window)
    inputs = memory.empty([rows, *xs.shape[1:]], xs)
    recent = [min(at_once, len(xs)), *xs.shape[1:]]
    connections.add(
        recent_output=memory.empty(recent, xs),
        active=memory.empty(recent, xs, torch.uint8),
        given_stride=0 if repeats else connections.struct.stride,
        rows=rows,
        window=window,
    )
    assert kernel.forward_recurrent is not None
    kernel.forward_recurrent(
        {
            **forward_arguments(plan, kernel, inputs, tensors, outcome),
            "steps": len(xs),
            "checkpoint_every": plan.checkpoint_every or len(xs),
            "width": xs.shape[-1],
            "connections": connections.address,
        }
    )
    return outcome._replace(inputs=inputs if plan.keeps_inputs else None)


def backward(plan: Plan, tensors: BackwardTensors[Tensor], saved: SavedFeedback[Tensor]) -> Gradients[Tensor]:
    """The vector-Jacobian product of `forward`.

    The gradient of an output has two terms: the given gradient, and the weighted sum of the gradients of the inputs in
    which it arrived, which are those of later steps. The states are recomputed chunk by chunk. The gradient of the
    weights is computed at the end and reads only the synapses of spikes.
    """
    assert saved.structure is not None
    xs = contiguous(tensors.xs)
    kernel = find_kernel(plan, xs, tensors.constants, plan.needs_grad)
    assert kernel.backward_recurrent is not None
    assert kernel.synapse_gradients is not None
    gradients, accumulators = allocate_gradients(plan, xs, tensors.checkpoints)
    grad_state = None if tensors.grad_state is None else contiguous(tensors.grad_state)
    grad_past = torch.zeros_like(saved.z, memory_format=torch.contiguous_format)
    grad_weights = torch.zeros_like(saved.weights, memory_format=torch.contiguous_format)
    arguments = {
        "input": xs,
        "grad_output": contiguous(tensors.grad_zs),
        "grad_input": gradients.xs,
        "grad_final_state": None if plan.record else grad_state,
        "grad_initial_state": gradients.state,
        "grad_constants": accumulators,
        "neurons": math.prod(xs.shape[1:]),
        "width": xs.shape[-1],
        "steps": len(xs),
        **layout_constants(kernel.constants, tensors.constants, xs.shape[1:]),
    }
    connections = _Connections(
        saved.structure,
        saved.weights,
        saved.z,
        xs,
        output=contiguous(saved.zs),
        grad_input=gradients.xs,
        grad_output=memory.empty(xs.shape[1:], xs),
        grad_past_output=grad_past,
        grad_weights=grad_weights,
    )
    one_step = Plan(plan.program, 1, xs.dtype, record=False)
    for first in reversed(range(0, len(xs), plan.checkpoint_every)):
        chunk = xs[first : first + plan.checkpoint_every]
        start = tensors.checkpoints[first // plan.checkpoint_every]
        states = feedforward.forward(one_step, Tensors(chunk, start, None, tensors.constants)).checkpoints
        recorded = None
        if plan.record and grad_state is not None:
            recorded = grad_state[:, first : first + len(chunk)].transpose(0, 1).contiguous()
        connections.struct.first_step, connections.struct.end_step = first, first + len(chunk)
        kernel.backward_recurrent(
            {
                **arguments,
                "checkpoints": states,
                "grad_recorded_states": recorded,
                "connections": connections.address,
            }
        )
        arguments["grad_final_state"] = gradients.state
    kernel.synapse_gradients(connections.struct)
    sums = feedforward.sum_to_constants(plan, accumulators, tensors.constants)
    return gradients._replace(feedback=Feedback(grad_past, grad_weights), constants=sums)


class _Connections:
    """The struct of sparse connections, and the tensors that it points to.

    Args:
        structure: The connections.
        weights: Their weights.
        past: Outputs before the first step.
        inputs: Input of the run, shape (time, ..., neurons).
        **others: Further tensors of the struct, by name.
    """

    def __init__(self, structure: Structure[Tensor], weights: Tensor, past: Tensor, inputs: Tensor, **others: Tensor):
        delays = structure.delays.to(torch.int32).contiguous()
        self.values: dict[str, Value] = {
            "starts": structure.starts.contiguous(),
            "targets": structure.targets.to(torch.int32).contiguous(),
            "delays": delays,
            "weights": weights.contiguous(),
            "past_output": past.contiguous(),
            **others,
            "neurons": inputs.shape[-1],
            "stride": math.prod(inputs.shape[1:]),
            "steps": len(inputs),
            "past": len(past),
            "delay_stride": int(len(delays) > 1),
            "least_delay": int(delays.min()) if len(delays) else 0,
        }
        self.struct = fill_structure(_STRUCTURE, self.values)
        self.address = ctypes.addressof(self.struct)

    def add(self, **values: Value) -> None:
        """Add values to the struct, by name."""
        self.values |= values
        update_structure(self.struct, values)
