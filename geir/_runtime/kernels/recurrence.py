"""Run a recurrent model: its output feeds back through weights or through any module."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn, Tensor
from torch._subclasses import FakeTensor
from torch.nn import functional

from ..._util.class_edits import module_of_code
from ..._util.inputs import AnyInput
from ..._util.state import AnyState
from ..._util.validation import check_same_receptors
from ..arguments import PLAIN_TENSORS
from ..stepper import Feedback as Connection, Stepper, SynapticConnection
from .autograd import run_differentiably
from .plan import Feedback, Plan, Structure, Tensors
from .prepared_run import prepare_run, PreparedRun, stack_receptors, unstack_state


def run_recurrent(
    stepper: Stepper,
    xs: AnyInput,
    state: AnyState,
    record: bool,
    checkpoint_every: int | None,
    output_dtype: torch.dtype,
) -> tuple[Tensor, AnyState]:
    """Run a recurrent model over time.

    A matrix of weights and an `nn.Linear` without hooks are a part of the run, and so is a `SynapticConnection` without
    hooks on the CPU. Any other connection is called between two runs of one step each, and so is every connection to
    several receptors.
    """
    inner_state, z, *of_connection = state
    assert stepper.feedback is not None
    prepared = prepare_run(stepper, inner_state, type(xs))
    # The outputs before the first step that still matter, the last one last.
    past = torch.cat([of_connection[0].past, z[None]]) if of_connection else z[None]
    inputs = stack_receptors(xs).to(z.dtype)
    if not isinstance(xs, Tensor):
        connection = _to_receptors(stepper, xs)
        zs, after = _run_step_by_step(prepared, inputs, z, connection, record)
        return _results(state, zs, after, record, output_dtype)
    bias, feedback = _feedback(stepper.feedback, z, past)
    if bias is not None:
        inputs = inputs + bias.to(inputs.dtype)
    if feedback is not None and _runs_in_kernels(feedback, xs):
        every = prepared.checkpoint_every(checkpoint_every) if torch.is_grad_enabled() else 0
        plan = Plan(prepared.program, every, inputs.dtype, record, True, sparse=feedback.structure is not None)
        outcome = run_differentiably(plan, Tensors(inputs, prepared.state, feedback, prepared.constants))
        zs, after = outcome.zs, outcome.state
    else:
        connection: Any = stepper.feedback.connection
        if feedback is not None and feedback.structure is None:
            connection = functools.partial(functional.linear, weight=feedback.weights)
        elif bias is not None:
            inputs = xs.to(z.dtype)  # the connection adds it
        zs, after = _run_step_by_step(prepared, inputs, z, connection, record, *of_connection)
    return _results(state, zs, after, record, output_dtype, past)


def _results(
    state: AnyState,
    zs: Tensor,
    after: Tensor,
    record: bool,
    output_dtype: torch.dtype,
    past: Tensor | None = None,
) -> tuple[Tensor, AnyState]:
    """The output and the state of a run.

    Args:
        state: The state before it.
        zs: The output.
        after: The last state of the neurons or all states, stacked.
        record: Whether to return all states.
        output_dtype: Dtype of the output.
        past: The inputs of a connection with delays before the first step and in it.
    """
    inner_state, _, *of_connection = state
    inner = unstack_state(inner_state, after)
    states = (type(part)(_past(past, zs, record)) for part in of_connection if past is not None)
    return zs.to(output_dtype), type(state)(inner, zs if record else zs[-1], *states)


def _to_receptors(stepper: Stepper, xs: AnyInput) -> Callable[[Tensor], Tensor]:
    """The connection, checked to lead to the receptors of the input, which are stacked."""
    assert stepper.feedback is not None
    module: Any = stepper.feedback.connection
    connection = functools.partial(functional.linear, weight=module) if isinstance(module, Tensor) else module
    name = type(stepper.module).__name__

    def feed_back(z: Tensor) -> Tensor:
        y = connection(z)
        check_same_receptors(name, xs, y)
        return torch.stack(tuple(y))

    return feed_back


def _runs_in_kernels(feedback: Feedback[Tensor], xs: Tensor) -> bool:
    weights = feedback.weights
    # A subclass, such as a distributed tensor, has no memory that C can read.
    plain = type(weights) in PLAIN_TENSORS or isinstance(weights, FakeTensor)  # the latter while it is exported
    return plain and not (xs.is_cuda and feedback.structure is not None)


def _feedback(connection: Connection, z: Tensor, past: Tensor) -> tuple[Tensor | None, Feedback[Tensor] | None]:
    """The bias of a connection, and what a kernel needs of it; None of one that a kernel cannot do."""
    module = connection.connection
    if isinstance(module, Tensor):
        return None, Feedback(z, module.to(z.dtype))
    if module._forward_hooks or module._forward_pre_hooks:
        return None, None
    if type(module) is nn.Linear:
        return module.bias, Feedback(z, module.weight.to(z.dtype))
    if isinstance(module, SynapticConnection) and _is_of_geir(module):
        weights, starts, targets, delays, bias = module.synapses()
        if z.shape[-1:] != (len(starts) - 1,):
            raise ValueError(
                f"The neurons have recurrent weights of {len(starts) - 1} neurons, but one step of input has shape "
                f"{tuple(z.shape)}."
            )
        return bias, Feedback(past, weights.to(z.dtype), Structure(starts, targets, delays))
    return None, None


def _is_of_geir(module: SynapticConnection) -> bool:
    """Whether a connection does what its synapses do. A subclass of a user may do more."""
    methods = [getattr(type(module), name, None) for name in ("__call__", "forward", "respond", "advance", "synapses")]
    return all(method is None or module_of_code(method).startswith(("geir.", "torch.")) for method in methods)


def _past(past: Tensor, zs: Tensor, record: bool) -> Tensor:
    """The inputs of a connection with delays that it needs after the run, or after every step of it.

    Args:
        past: Its inputs before the first step and in it, shape (longest + 1, ...).
        zs: The output of the run, its later inputs, shape (time, ...).
        record: Whether to return those after every step.
    """
    longest = len(past) - 1
    if not record:
        # Not all of `zs`, a large tensor; but the number of steps of an exported model is not known.
        latest = torch.cat([past, zs if torch.compiler.is_compiling() else zs[-len(past) :]])
        return latest[latest.shape[0] - 1 - longest : latest.shape[0] - 1]
    inputs = torch.cat([past, zs])
    if not longest:
        return zs.new_empty(len(zs), *past.shape)[:, :0]
    return inputs.unfold(0, longest, 1)[1 : len(zs) + 1].movedim(-1, 1)


def _run_step_by_step(
    prepared: PreparedRun,
    inputs: Tensor,
    z: Tensor,
    connection: Any,
    record: bool,
    past: AnyState = None,
) -> tuple[Tensor, Tensor]:
    """The outputs, and the last state or all states, stacked.

    Args:
        prepared: The step.
        inputs: Input, shape (time, ...).
        z: Output before the first step.
        connection: From an output to its feedback; if there is `past`, a `DelayedConnection`.
        record: Whether to return all states.
        past: The state of a connection with delays.
    """
    plan = Plan(prepared.program, 1, inputs.dtype, record=False)
    state, outputs, states = prepared.state, list[Tensor](), list[Tensor]()
    for x in inputs.split(1):
        if past is None:
            feedback = connection(z)
        else:
            feedback, past = connection.advance(z, past)
        outcome = run_differentiably(plan, Tensors(x + feedback, state, None, prepared.constants))
        z, state = outcome.zs[0], outcome.state
        outputs.append(outcome.zs)
        states.append(state)
    return torch.cat(outputs), torch.stack(states, 1) if record else state
