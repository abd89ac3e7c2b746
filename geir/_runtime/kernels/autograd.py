"""A run as an autograd function.

There are two functions, the run and its backward pass, and two styles of each: the old style, and the functional
style that function transforms need. `dispatch` chooses the style. All four are thin shells around `_forward`,
`_save_for_backward`, `_gradients` and `_backward`, which take a `Plan` and flat tensors. The plan is argument 0, so
tensor k is argument k + 1, and `Tensors.unflatten` gives the tensors, their batch dimensions and whether they need
a gradient the same names.
"""

from typing import cast

import torch
from torch import Tensor
from torch.autograd import Function

from ..batched_gradients import accept_batched_gradients
from ..untyped import Context, Untyped
from . import batching, operation, run
from .dispatch import dispatch
from .plan import BackwardTensors, Feedback, Gradients, Outcome, Plan, SavedFeedback, Tensors


def _forward(plan: Plan, *flat: Tensor) -> tuple[Tensor, ...]:
    tensors = Tensors.unflatten(plan, flat)
    call = operation.call_forward if dispatch(tensors.xs).operator else run.forward
    return call(plan, tensors).flatten()


def _save_for_backward(ctx: Context, plan: Plan, tensors: Tensors[Tensor], outcome: Outcome[Tensor]) -> None:
    # Gradients of the checkpoints are never wanted; as zeros they would take memory.
    ctx.set_materialize_grads(False)
    results = (outcome.checkpoints, outcome.inputs, None if outcome.zs.is_floating_point() else outcome.zs)
    ctx.mark_non_differentiable(*[t for t in results if t is not None])
    ctx.plan = plan
    if outcome.checkpoints is not None:
        # `BackwardTensors` without the gradients, in their order.
        feedback = ()
        if tensors.feedback is not None:
            z, weights, structure = tensors.feedback
            feedback = SavedFeedback(z, weights, outcome.zs, structure).flatten()
        xs = tensors.xs if outcome.inputs is None else outcome.inputs
        ctx.save_for_backward(xs, outcome.checkpoints, *feedback, *tensors.constants)


def _gradients(ctx: Context, grad_zs: Tensor | None, grad_state: Tensor | None) -> tuple[Tensor | None, ...]:
    """The gradients of all arguments of `_forward`."""
    xs, checkpoints, *rest = ctx.saved_tensors
    if grad_zs is None:
        grad_zs = xs.new_zeros((), dtype=ctx.plan.output_dtype).expand(xs.shape[0], *checkpoints.shape[2:])
    needed = Tensors.unflatten(ctx.plan, ctx.needs_input_grad[1:]).constants
    plan = ctx.plan.for_backward(needed)
    # In the order of `BackwardTensors`.
    results = differentiate(plan, (xs, grad_zs, grad_state, checkpoints, *rest))
    grad_xs, grad_initial_state, feedback, constants = Gradients.unflatten(plan, results)
    found = iter(constants)
    of_feedback = () if feedback is None else feedback.flatten()
    of_structure = [None] * (Feedback.size(plan) - len(of_feedback))
    of_constants = [next(found) if need else None for need in needed]
    return None, grad_xs, grad_initial_state, *of_feedback, *of_structure, *of_constants


def differentiate(plan: Plan, flat: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
    """The vector-Jacobian product; recorded by autograd only if something differentiates it again or maps over it."""
    route = dispatch(cast(Tensor, flat[0]))  # the input is never None
    if torch.compiler.is_compiling() or not (torch.is_grad_enabled() or route.functional):
        return _backward(plan, *flat)
    function = _FunctionalBackward if route.functional else _Backward
    return cast(tuple[Tensor, ...], function.apply(plan, *flat))


def _backward(plan: Plan, *flat: Tensor | None) -> tuple[Tensor, ...]:
    tensors = BackwardTensors.unflatten(plan, flat)
    call = operation.call_backward if dispatch(tensors.xs).operator else run.backward
    return call(plan, tensors).flatten()


def _raise_second_derivative() -> None:
    raise RuntimeError(
        "Kernels have no second derivative; use the reference loop for it: run the model in the context "
        "geir.learning.second_derivatives(), or make it LIF(unroll=geir.reference)."
    )


# `Function` declares its methods with *args and **kwargs, and so do these, to be compatible.
class _Run(Function):
    """A run, old style."""

    @staticmethod
    def forward(*args: Untyped, **_: Untyped) -> Untyped:
        ctx, plan, *flat = args
        results = _forward(plan, *flat)
        _save_for_backward(ctx, plan, Tensors.unflatten(plan, flat), Outcome.unflatten(plan, results))
        return results

    @staticmethod
    @accept_batched_gradients
    def backward(ctx: Context, *grad_outputs: Untyped) -> Untyped:
        return _gradients(ctx, *grad_outputs[:2])


class _FunctionalRun(Function):
    """A run, for function transforms."""

    @staticmethod
    def forward(*args: Untyped, **_: Untyped) -> Untyped:
        return _forward(*args)

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Untyped, ...], output: Untyped) -> None:
        plan, *flat = inputs
        _save_for_backward(ctx, plan, Tensors.unflatten(plan, flat), Outcome.unflatten(plan, output))

    @staticmethod
    @accept_batched_gradients
    def backward(ctx: Context, *grad_outputs: Untyped) -> Untyped:
        return _gradients(ctx, *grad_outputs[:2])

    @staticmethod
    def vmap(info: Untyped, in_dims: Untyped, *args: Untyped) -> Untyped:
        return batching.map_run(_FunctionalRun.apply, info.batch_size, in_dims, *args)


class _Backward(Function):
    """The backward pass, old style."""

    @staticmethod
    def forward(*args: Untyped, **_: Untyped) -> Untyped:
        _, plan, *flat = args
        return _backward(plan, *flat)

    @staticmethod
    def backward(ctx: Context, *grad_outputs: Untyped) -> Untyped:
        _raise_second_derivative()


class _FunctionalBackward(Function):
    """The backward pass, for function transforms."""

    @staticmethod
    def forward(*args: Untyped, **_: Untyped) -> Untyped:
        return _backward(*args)

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Untyped, ...], output: Untyped) -> None:
        pass

    @staticmethod
    def backward(ctx: Context, *grad_outputs: Untyped) -> Untyped:
        _raise_second_derivative()

    @staticmethod
    def vmap(info: Untyped, in_dims: Untyped, *args: Untyped) -> Untyped:
        return batching.map_backward(_FunctionalBackward.apply, info.batch_size, in_dims, *args)


def run_differentiably(plan: Plan, tensors: Tensors[Tensor]) -> Outcome[Tensor]:
    """Run a program over time, with gradients if they are enabled."""
    route = dispatch(tensors.xs)
    if not (route.functional or route.operator or torch.is_grad_enabled()):
        return run.forward(plan, tensors)
    if route.operator and not (route.functional or plan.checkpoint_every):  # it has no backward pass
        return operation.call_forward(plan, tensors)
    function = _FunctionalRun if route.functional else _Run
    return Outcome.unflatten(plan, cast(tuple[Tensor, ...], function.apply(plan, *tensors.flatten())))
