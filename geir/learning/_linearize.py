"""One step of a neuron and its derivatives, one small Jacobian for every neuron and sample."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import nn, Tensor
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_unflatten, TreeSpec

from .._runtime.stepper import Prepared, Step
from .._util.state import AnyState
from ..core.neuron import Dynamics
from ..core.ode import ODE
from ..wrappers import Recurrent, RecurrentMixin


class Slopes(NamedTuple):
    """Derivatives of a step, without the parts of the state that are not differentiable, such as random numbers."""

    J: Tensor  # next state by state, (parts, parts, ...)
    b: Tensor  # next state by input, (parts, ...)
    h: Tensor  # output by state, (parts, ...)
    d: Tensor  # output by input, (...)
    state_by_parameter: Tensor  # (parameters, parts, ...)
    output_by_parameter: Tensor  # (parameters, ...)


class Linearized(NamedTuple):
    """A step and its derivatives."""

    output: Tensor
    state: list[Tensor]
    slopes: Slopes
    kept: list[int]  # the parts of the state that have derivatives
    differentiable: bool  # whether the output has any derivative


# The function to linearize: a step, the state at rest, or the flow without threshold and reset.
What = Literal["step", "rest", "flow"]


class _Function(nn.Module):
    """A module around the function, so that `functional_call` can replace the parameters of the neuron."""

    def __init__(self, neuron: Dynamics):
        super().__init__()
        self.neuron = neuron

    def forward(self, what: What, spec: TreeSpec | None, x: Tensor, *parts: Tensor) -> list[Tensor]:
        return _evaluate(self.neuron, what, spec, x, parts)


def _evaluate(neuron: Any, what: What, spec: TreeSpec | None, x: Tensor, parts: Sequence[Tensor]) -> list[Tensor]:
    if spec is None:
        return tree_leaves(inner_state(neuron, neuron.initial_state(x)))
    state, (step, prepared) = tree_unflatten(parts, spec), step_of(neuron)
    if what == "flow":
        flow: Any = flow_of(neuron)
        return tree_leaves(flow.advance(x, state, *prepared))
    z, after = step(x, state, *prepared)
    return [z, *tree_leaves(after)]


def evaluate_detached(neuron: Dynamics, spec: TreeSpec, x: Tensor, parts: Sequence[Tensor]) -> list[Tensor]:
    """Output and state after a step, which depends on no parameter as far as autograd can see."""
    detached = {f"neuron.{name}": p.detach() for name, p in neuron.named_parameters()}
    return functional_call(_Function(neuron), detached, ("step", spec, x, *parts))


def step_of(neuron: Dynamics) -> tuple[Step, Prepared]:
    """The step of a neuron without its recurrent connection, and its last arguments."""
    if isinstance(neuron, RecurrentMixin):
        _, prepared = neuron.prepare()
        return neuron.inner_step, prepared
    return neuron.step, neuron.prepare()


def inner_state(neuron: Dynamics, state: AnyState) -> AnyState:
    """The state of the model without its recurrent connection."""
    return state.neuron if isinstance(neuron, RecurrentMixin) else state


def flow_of(neuron: Dynamics) -> ODE | None:
    """The affine differential equation of a neuron, or None."""
    model = neuron.neuron if isinstance(neuron, Recurrent) else neuron
    return model if isinstance(model, ODE) and model.affine else None


def neuron_parameters(neuron: Dynamics) -> dict[str, nn.Parameter]:
    """The learnable parameters of a neuron by name, without the weights of a recurrent layer."""
    weights = neuron.weight_names if isinstance(neuron, RecurrentMixin) else ()
    return {name: p for name, p in neuron.named_parameters() if name.split(".")[0] not in weights}


def linearize(
    neuron: Dynamics,
    what: What,
    spec: TreeSpec | None,
    x: Tensor,
    parts: Sequence[Tensor],
    every_part: bool = False,
) -> Linearized:
    """A step and its derivatives by input, state and learnable parameters.

    The step is elementwise, so the derivative of a sum over neurons holds the derivative of every neuron. For that,
    parameters are expanded to one value per neuron and sample.

    Args:
        neuron: The neuron.
        what: What is linearized.
        spec: Structure of the state. None for the state at rest.
        x: One step of input to the neurons.
        parts: The tensors of the state.
        every_part: Whether to keep parts of the state without derivatives.
    """
    parameters = neuron_parameters(neuron)
    # One copy of the neurons for each result, so that one backward pass differentiates each copy's own result.
    count = len(parts) or len(tree_leaves(inner_state(neuron, neuron.initial_state(x))))
    with torch.enable_grad():
        copies = (1 + count, *x.shape)
        wide = [p.detach().expand(copies).clone().requires_grad_() for p in parameters.values()]
        sources = [t.detach().expand(copies).clone().requires_grad_() for t in (x, *parts)]
        if parameters:
            replaced = {f"neuron.{name}": p for name, p in zip(parameters, wide, strict=True)}
            results = functional_call(_Function(neuron), replaced, (what, spec, *sources))
        else:
            results = _evaluate(neuron, what, spec, sources[0], sources[1:])
        if what != "step":
            results.insert(0, x.expand(copies))  # no output
        kept = [k for k, result in enumerate(results[1:]) if every_part or result.requires_grad]
        sources = [sources[0], *[sources[1 + k] for k in kept if parts], *wide]
        slopes = _derivatives(results, sources)[:, [0, *[1 + k for k in kept]]].transpose(0, 1)
    count = len(kept) if parts else 0
    by_input, by_state, by_parameter = slopes[:, 0], slopes[:, 1 : 1 + count], slopes[:, 1 + count :]
    return Linearized(
        results[0][0].detach(),
        [result[0].detach() for result in results[1:]],
        Slopes(
            J=by_state[1:],
            b=by_input[1:],
            h=by_state[0],
            d=by_input[0],
            state_by_parameter=by_parameter[1:].transpose(0, 1),
            output_by_parameter=by_parameter[0],
        ),
        kept,
        results[0].requires_grad,
    )


def _derivatives(results: list[Tensor], sources: list[Tensor]) -> Tensor:
    """The derivatives of the first copy of the first result, the second copy of the second result, and so on."""
    given = [(k, result) for k, result in enumerate(results) if result.requires_grad]
    if not given:
        return torch.stack([torch.zeros_like(source) for source in sources])
    seeds = torch.zeros(len(given), *results[0].shape, dtype=results[0].dtype, device=results[0].device)
    for seed, (k, _) in zip(seeds, given, strict=True):
        seed[k] = 1
    outputs = [result for _, result in given]
    return torch.stack(torch.autograd.grad(outputs, sources, list(seeds), materialize_grads=True))
