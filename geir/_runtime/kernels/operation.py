"""A run as operators of PyTorch, so that it can be compiled, exported, differentiated, batched and transformed
like any other.

`geir::run` and its vector-Jacobian product `geir::run_backward` take the traced program itself, as text, so
that an exported model runs wherever geir is installed, even without the class of the neuron. Operators have
flat schemas; inside Python a run has a `Plan` and `Tensors`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from . import run
from .plan import BackwardTensors, Feedback, Gradients, Outcome, Plan, SavedFeedback, Tensors

_library = torch.library.Library("geir", "DEF")
_library.define(
    "run(str program, Tensor xs, Tensor state, Tensor[] constants, Tensor[] feedback, int checkpoint_every,"
    " ScalarType output_dtype, bool record) -> Tensor[]"
)
_library.define(
    "run_backward(str program, Tensor xs, Tensor grad_zs, Tensor? grad_state, Tensor checkpoints,"
    " Tensor[] constants, bool[] needs_grad, Tensor[] feedback, int checkpoint_every, bool record) -> Tensor[]"
)


def call_forward(plan: Plan, tensors: Tensors[Tensor]) -> Outcome[Tensor]:
    """Run a program by way of PyTorch's dispatcher."""
    results = torch.ops.geir.run(
        plan.program,
        tensors.xs,
        tensors.state,
        list(tensors.constants),
        list(tensors.feedback.flatten() if tensors.feedback else ()),
        plan.checkpoint_every,
        plan.output_dtype,
        plan.record,
    )
    return Outcome.unflatten(plan, results)


def call_backward(plan: Plan, tensors: BackwardTensors[Tensor]) -> Gradients[Tensor]:
    """Run the vector-Jacobian product by way of PyTorch's dispatcher."""
    results = torch.ops.geir.run_backward(
        plan.program,
        tensors.xs,
        tensors.grad_zs,
        tensors.grad_state,
        tensors.checkpoints,
        list(tensors.constants),
        list(plan.needs_grad),
        list(tensors.feedback.flatten() if tensors.feedback else ()),
        plan.checkpoint_every,
        plan.record,
    )
    return Gradients.unflatten(plan, results)


def _run(
    program: str,
    xs: Tensor,
    state: Tensor,
    constants: Sequence[Tensor],
    feedback: Sequence[Tensor],
    checkpoint_every: int,
    output_dtype: torch.dtype,
    record: bool,
) -> list[Tensor]:
    plan = Plan(program, checkpoint_every, output_dtype, record, len(feedback) > 0, len(feedback) > 2)
    tensors = Tensors(xs, state, Feedback.unflatten(feedback) if feedback else None, constants)
    return list(run.forward(plan, tensors).flatten())


def _run_backward(
    program: str,
    xs: Tensor,
    grad_zs: Tensor,
    grad_state: Tensor | None,
    checkpoints: Tensor,
    constants: Sequence[Tensor],
    needs_grad: Sequence[bool],
    feedback: Sequence[Tensor],
    checkpoint_every: int,
    record: bool,
) -> list[Tensor]:
    recurrent, sparse = len(feedback) > 0, len(feedback) > 3
    plan = Plan(program, checkpoint_every, grad_zs.dtype, record, recurrent, sparse, tuple(needs_grad))
    saved = SavedFeedback.unflatten(feedback) if feedback else None
    tensors = BackwardTensors(xs, grad_zs, grad_state, checkpoints, saved, constants)
    return list(run.backward(plan, tensors).flatten())


for _device in ("CPU", "CUDA"):
    _library.impl("run", _run, _device)
    _library.impl("run_backward", _run_backward, _device)


@torch.library.register_fake("geir::run", lib=_library)
def _(
    program: str,
    xs: Tensor,
    state: Tensor,
    constants: list[Tensor],
    feedback: list[Tensor],
    checkpoint_every: int,
    output_dtype: torch.dtype,
    record: bool,
) -> list[Tensor]:
    # Not `len`, which makes a dynamic number of steps a constant.
    chunks = -(-xs.shape[0] // checkpoint_every) if checkpoint_every else 0
    # Not that of `xs`, which has one row for each receptor.
    shape = [xs.shape[0], *state.shape[1:]]
    outcome = Outcome(
        zs=xs.new_empty(shape, dtype=output_dtype),
        state=state.new_empty([len(state), *shape] if record else state.shape),
        checkpoints=state.new_empty([chunks, *state.shape]) if checkpoint_every else None,
        inputs=xs.new_empty(xs.shape) if feedback and (checkpoint_every or len(feedback) == 2) else None,
    )
    return list(outcome.flatten())


@torch.library.register_fake("geir::run_backward", lib=_library)
def _(
    program: str,
    xs: Tensor,
    grad_zs: Tensor,
    grad_state: Tensor | None,
    checkpoints: Tensor,
    constants: list[Tensor],
    needs_grad: list[bool],
    feedback: list[Tensor],
    checkpoint_every: int,
    record: bool,
) -> list[Tensor]:
    grad_feedback = None
    if feedback:
        z, weights, *_ = feedback
        grad_feedback = Feedback(z.new_empty(z.shape), weights.new_empty(weights.shape))
    gradients = Gradients(
        xs=xs.new_empty(xs.shape),
        state=checkpoints.new_empty(checkpoints.shape[1:]),
        feedback=grad_feedback,
        constants=[t.new_empty(t.shape) for t, needed in zip(constants, needs_grad, strict=True) if needed],
    )
    return list(gradients.flatten())
