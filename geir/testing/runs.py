"""Tools for testing the contract: input that makes a neuron spike, copies with other parameters, and results."""

import copy
import itertools
from typing import Any

import torch
from torch import nn, Tensor

from .._util.inputs import AnyInput, map_input
from .._util.state import leaves
from ..core.neuron import Dynamics, Neuron
from ..core.parameters import Declared
from ..core.resets import Reset

STEPS, BATCH, SIZE = 60, 3, 4


def strong_input(neuron: Dynamics, seed: int = 0, input_type: Any = None) -> AnyInput:
    """Random input that makes a spiking neuron spike often, but not in every step.

    Args:
        neuron: The neuron.
        seed: Of the random numbers.
        input_type: One of the neuron's types of input. Default: the first.

    Returns:
        Input, float64, shape (time, batch, neurons), or a named tuple with one for each receptor. If equal input to all
        receptors does not make the neuron spike, that to all but one is weaker.

    Raises:
        AssertionError: If no strength of input does so.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise() -> Tensor:
        return torch.rand(STEPS, BATCH, SIZE, generator=generator, dtype=torch.float64)

    input_type = input_type or neuron.input_types[0]
    if input_type is not Tensor:
        receptors = input_type._fields
        patterns = [input_type(*(noise() for _ in receptors))]
        # Receptors may inhibit the neuron.
        patterns += [
            input_type(
                *(part if name == strongest else part / 10 for name, part in zip(receptors, patterns[0], strict=True))
            )
            for strongest in receptors
        ]
    else:
        patterns = [noise()]
    if not neuron.spiking:
        return patterns[0]
    with torch.no_grad():
        # A model with a small time step spikes at most once per neuron in this time.
        for lowest_rate, pattern in itertools.product((0.03, 0.01), patterns):
            for gain in (2.0**k for k in range(-4, 12)):
                xs = map_input(lambda part, gain=gain: gain * part, pattern)
                zs, _ = neuron(xs)
                if lowest_rate < zs.mean() < 0.9:
                    return xs
    raise AssertionError(
        f"{type(neuron).__name__} is silent or spikes in almost every step, for input of any strength "
        "from 1/16 to 2048."
    )


def run(neuron: Dynamics, xs: AnyInput, **keywords: Any) -> dict[str, Any]:
    """Output, last state, and the gradients of a weighted sum of both for the input and every parameter."""
    neuron.zero_grad()
    xs = map_input(lambda part: part.detach().clone().requires_grad_(), xs)
    zs, state = neuron(xs, **keywords)
    parts = dict(leaves(state))
    weighted_sum(zs, *parts.values()).backward()
    input_gradient = map_input(lambda part: torch.zeros_like(part) if part.grad is None else part.grad, xs)
    parameter_gradients = {f"{name}.grad": p.grad for name, p in neuron.named_parameters()}
    return {"zs": zs, **parts, "xs.grad": input_gradient} | parameter_gradients


def weighted_sum(*tensors: Tensor) -> Tensor:
    """A sum of all numbers, each with another weight."""
    sums = [(torch.linspace(-1, 1, t.numel(), dtype=t.dtype).view_as(t) * t).sum() for t in tensors]
    return torch.stack(sums).sum()


def learnable_copy(neuron: Dynamics, shape: tuple[int, ...] = (SIZE,)) -> Dynamics:
    """A copy whose declared parameters are all learnable, with one value per neuron."""
    neuron = copy.deepcopy(neuron)
    for module in neuron.modules():
        if isinstance(module, Declared):
            for name, value in module.declared_parameters().items():
                setattr(module, name, nn.Parameter(value.detach().expand(shape).clone()))
    return neuron


def close(actual: Any, expected: Any, tolerance: float = 1e-9) -> None:
    """Assert that anything nested is equal to a tolerance, shapes and dtypes included."""
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def smooth_copy(neuron: Dynamics) -> Dynamics:
    """A copy whose spikes are smooth, and whose resets pass the gradient of the spikes on."""
    neuron = copy.deepcopy(neuron)
    for module in neuron.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Reset):
                setattr(module, name, type(value)(detach=False))
        if isinstance(module, Neuron):
            module.surrogate = torch.sigmoid
    return neuron


def at(xs: AnyInput, *place: Any) -> AnyInput:
    """A part of the input by its index, at every receptor."""
    return map_input(lambda part: part[place], xs)
