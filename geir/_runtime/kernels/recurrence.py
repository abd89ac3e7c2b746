"""Run a recurrent model: its output feeds back through weights or through any module."""

import functools
from collections.abc import Callable

import torch
from torch import nn, Tensor
from torch._subclasses import FakeTensor
from torch.nn import functional

from ..._util.inputs import AnyInput
from ..._util.state import AnyState
from ..._util.validation import check_same_receptors
from ..arguments import PLAIN_TENSORS
from ..stepper import Feedback as Connection, Stepper
from .autograd import run_differentiably
from .plan import Feedback, Plan, Tensors
from .program_cache import prepare_run, PreparedRun, stack_receptors, unstack_state


def run_recurrent(
    stepper: Stepper,
    xs: AnyInput,
    state: AnyState,
    record: bool,
    checkpoint_every: int | None,
    output_dtype: torch.dtype,
) -> tuple[Tensor, AnyState]:
    """Run a recurrent model over time.

    A matrix of weights, or an `nn.Linear` without hooks, feeds back inside the kernel on the CPU. Any other
    connection is called between two runs of one step each, and so is every connection on a GPU or to several
    receptors.
    """
    inner_state, z = state
    assert stepper.feedback is not None
    prepared = prepare_run(stepper, inner_state, type(xs))
    inputs = stack_receptors(xs).to(z.dtype)
    weights, bias = _matrix(stepper.feedback)
    if bias is not None and isinstance(xs, Tensor):
        inputs = inputs + bias
    # A subclass, such as a distributed tensor, has no memory that C can read.
    plain = type(weights) in PLAIN_TENSORS or isinstance(weights, FakeTensor)  # the latter while it is exported
    if weights is not None and isinstance(xs, Tensor) and not xs.is_cuda and plain:
        every = prepared.checkpoint_every(checkpoint_every)
        plan = Plan(prepared.program, every, inputs.dtype, record, recurrent=True)
        feedback = Feedback(z, weights.to(inputs.dtype))
        outcome = run_differentiably(plan, Tensors(inputs, prepared.state, feedback, prepared.constants))
        zs, after = outcome.zs, outcome.state
    else:
        connection = stepper.feedback.connection
        if weights is not None:
            connection = functools.partial(functional.linear, weight=weights.to(inputs.dtype))
        assert not isinstance(connection, Tensor)
        zs, after = _run_step_by_step(prepared, inputs, z, _feed_back(stepper, xs, connection), record)
    last = zs if record else zs[-1]
    return zs.to(output_dtype), type(state)(unstack_state(inner_state, after), last)


def _feed_back(stepper: Stepper, xs: AnyInput, connection: Callable[[Tensor], AnyInput]) -> Callable[[Tensor], Tensor]:
    """The connection, checked to lead to the receptors of the input, which are stacked."""
    name = type(stepper.module).__name__

    def feed_back(z: Tensor) -> Tensor:
        y = connection(z)
        check_same_receptors(name, xs, y)
        return y if isinstance(xs, Tensor) else torch.stack(tuple(y))

    return feed_back


def _matrix(feedback: Connection) -> tuple[Tensor | None, Tensor | None]:
    """The weights and the bias of a connection that is nothing but a matrix product; else no weights."""
    connection = feedback.connection
    if isinstance(connection, Tensor):
        return connection, None
    if type(connection) is nn.Linear and not connection._forward_hooks and not connection._forward_pre_hooks:
        return connection.weight, connection.bias
    return None, None


def _run_step_by_step(
    prepared: PreparedRun, inputs: Tensor, z: Tensor, connection: Callable[[Tensor], Tensor], record: bool
) -> tuple[Tensor, Tensor]:
    """The outputs, and the last state or all states, stacked."""
    plan = Plan(prepared.program, 1, inputs.dtype, record=False)
    state, outputs, states = prepared.state, list[Tensor](), list[Tensor]()
    for x in inputs.split(1):
        outcome = run_differentiably(plan, Tensors(x + connection(z), state, None, prepared.constants))
        z, state = outcome.zs[0], outcome.state
        outputs.append(outcome.zs)
        states.append(state)
    return torch.cat(outputs), torch.stack(states, 1) if record else state
