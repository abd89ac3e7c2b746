"""Run a program over time, forward and backward."""

from torch import Tensor

from . import feedback, feedforward, synaptic_feedback
from .plan import BackwardTensors, Gradients, Outcome, Plan, Tensors


def forward(plan: Plan, tensors: Tensors[Tensor]) -> Outcome[Tensor]:
    """Run a program over time, on the device where the input lies."""
    if tensors.feedback is None:
        return feedforward.forward(plan, tensors)
    return (synaptic_feedback if plan.sparse else feedback).forward(plan, tensors, tensors.feedback)


def backward(plan: Plan, tensors: BackwardTensors[Tensor]) -> Gradients[Tensor]:
    """The vector-Jacobian product of `forward`."""
    if tensors.feedback is None:
        return feedforward.backward(plan, tensors)
    return (synaptic_feedback if plan.sparse else feedback).backward(plan, tensors, tensors.feedback)
