"""From a neuron's step to two straight lines of elementwise operations: the step, and its vector-Jacobian product."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, functionalize, vjp
from torch.fx import Graph
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from ..state import leaves, map_state
from .emit import NotFusableError


class Program(NamedTuple):
    """Two elementwise graphs over x, the parts of the state, and what is fixed over time (parameters and prepared coefficients).

    step:     x, *state, *fixed                     ->  z, *next_state
    backward: x, *state, *fixed, dz, *dnext_state   ->  dx, *dstate, *dfixed
    """

    states: int
    fixed: int
    step: Graph
    backward: Graph


class Fixed(NamedTuple):
    """Everything that a step reads besides its input and state, as one list of tensors."""

    names: list[str]
    tensors: list[Tensor]
    structure: Any


def fixed_of(neuron: nn.Module, prepared: Any) -> Fixed:
    """Parameters and buffers, then what was prepared from them."""
    named = dict(neuron.named_parameters()) | dict(neuron.named_buffers())
    coefficients, structure = pytree.tree_flatten(prepared)
    return Fixed(list(named), [*named.values(), *coefficients], structure)


class _Step(nn.Module):
    """Makes `step` callable by `functional_call`."""

    def __init__(self, neuron: Any):
        super().__init__()
        self.neuron = neuron

    def forward(self, x: Tensor, state: Any, prepared: Any) -> Any:
        return self.neuron.step(x, state, *prepared)


def trace(neuron: Any, state: Any, fixed: Fixed) -> Program:
    """Trace a neuron's step with every tensor that it reads as an input; anything else is a constant."""
    states, count = len(list(leaves(state))), len(fixed.names)

    def step(x: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        parts, given = iter(inputs[:states]), inputs[states:]
        values = {f"neuron.{name}": value for name, value in zip(fixed.names, given, strict=False)}
        prepared = pytree.tree_unflatten(list(given[count:]), fixed.structure)
        z, after = functional_call(_Step(neuron), values, (x, map_state(lambda _: next(parts), state), prepared))
        return z, *(part for _, part in leaves(after))

    def backward(x: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        primals, cotangents = inputs[: states + len(fixed.tensors)], inputs[states + len(fixed.tensors) :]
        return vjp(step, x, *primals)[1](tuple(cotangents))

    example = [torch.ones(2) for _ in range(1 + states + len(fixed.tensors))]
    with torch.enable_grad(), torch.device("cpu"):
        try:
            forward_graph = _graph(step, example)
            backward_graph = _graph(backward, example + [torch.ones(2) for _ in range(1 + states)])
        except Exception as error:
            raise NotFusableError(f"its step cannot be traced ({type(error).__name__}: {str(error).splitlines()[0]})") from error
    return Program(states, len(fixed.tensors), forward_graph, backward_graph)


def _graph(function: Any, example: list[Tensor]) -> Graph:
    # Twice: the backward of some operations works in place, and what makes that functional cannot see through an autograd.Function.
    module = make_fx(functionalize(make_fx(function)(*example), remove="mutations_and_views"))(*example)
    module.graph.eliminate_dead_code()
    return module.graph
