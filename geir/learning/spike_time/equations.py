r"""The equations of a neuron as matrices, found by evaluating its own functions.

With :math:`S = (s, 1)`, the state and a constant: :math:`\dot S = M S` between events; a spike where
:math:`\alpha \cdot S` becomes positive, then :math:`S \leftarrow D S`; an arrival of weight :math:`w` makes
:math:`S \leftarrow S + w R`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._util.state import AnyState, tensors_of
from ..._util.validation import check_broadcastable, check_one_receptor
from ...core.neuron import Dynamics
from ...core.ode import ODE, ODENeuron

# A function from a state and an input to some numbers per neuron.
_Function = Callable[[AnyState, Tensor], Sequence[Tensor]]


class Equations(NamedTuple):
    """The equations, differentiable in the parameters; float64. `count` is 1 if all neurons are the same."""

    flow: Tensor  # M, shape (count, n + 1, n + 1)
    threshold: Tensor  # alpha, shape (count, n + 1)
    reset: Tensor  # D, shape (count, n + 1, n + 1)
    arrival: Tensor  # R, shape (count, n + 1)
    rest: Tensor  # S at rest, shape (count, n + 1)


def check_neuron(owner: str, neuron: object) -> None:
    """Check that a neuron is affine between spikes and at spikes.

    Raises:
        TypeError: If it is no neuron, or its step is more than receive, affine flow, threshold and reset.
        ValueError: If its threshold, its reset or the effect of its input is not affine.
    """
    kind = type(neuron).__name__
    if not isinstance(neuron, ODENeuron):
        raise TypeError(
            f"{owner}.neuron must be a spiking neuron given by differential equations, an ODENeuron such as LIF(), "
            f"got {kind}."
        )
    check_one_receptor(owner, kind, neuron.input_types)
    if not neuron.affine:
        raise TypeError(
            f"{owner}.neuron must be declared affine (`class {kind}(..., affine=True)`), because its flow between "
            f"spikes is solved exactly; {kind} is not. Use LIF, LIFBox, CubaLIF, ALIF or AlphaLIF, for example."
        )
    changed = [
        name
        for name, original in {
            "forward": Dynamics.forward,
            "step": ODENeuron.step,
            "advance": ODE.advance,
            "transform_input": Dynamics.transform_input,
        }.items()
        if getattr(type(neuron), name) is not original
    ]
    if changed:
        raise TypeError(
            f"{owner}.neuron must step by receive, flow, threshold and reset alone, but {kind} "
            f"overrides `{changed[0]}`. Use the plain neuron; SpikeTimeLayer(..., recurrent=True) adds recurrence."
        )
    parts = len(neuron.rest())
    tensors = neuron.declared_parameters() | neuron.other_tensors()
    scalars = {name: value.detach().double().reshape(-1)[:1] for name, value in tensors.items()}
    zero = torch.zeros(1, dtype=torch.float64)
    twin: Any = neuron.with_values(scalars)
    with torch.no_grad():
        for name, function in _functions(twin, zero).items():
            if not _is_affine(type(twin.rest()), function, zero, parts):
                raise ValueError(
                    f"{owner}.neuron must have a derivative, threshold, reset and input that are affine in the state; "
                    f"the {name} of {kind} is not, or depends on the state before the step."
                )


def read_equations(owner: str, neuron: ODENeuron[Any], size: int) -> Equations:
    """The equations of a layer of neurons.

    Raises:
        ValueError: If a parameter does not fit a layer of this size.
    """
    for name, tensor in neuron.declared_parameters().items():
        check_broadcastable(owner, f"neuron.{name}", tensor, torch.Size([size]), "the layer's neurons")
    same = all(tensor.numel() == 1 for tensor in tensors_of(neuron).values())
    zero = torch.zeros(1 if same else size, dtype=torch.float64)
    rest = neuron.rest()
    parts, kind = len(rest), type(rest)
    functions = _functions(neuron, zero)
    last = torch.zeros(len(zero), 1, parts + 1, dtype=torch.float64)
    one = last.clone()
    one[..., -1] = 1.0
    flow = torch.cat([_matrix(kind, functions["derivative"], zero, parts), last], 1)
    reset = torch.cat([_matrix(kind, functions["reset"], zero, parts), one], 1)
    threshold = _matrix(kind, functions["threshold"], zero, parts)[:, 0]
    silent, unit = kind(*([zero] * parts)), zero + 1
    received = [a - b for a, b in zip(neuron.receive(unit, silent), neuron.receive(zero, silent), strict=True)]
    # An input that drives the derivative is constant for one step; its charge arrives at once.
    pairs = zip(neuron.derivative(unit, silent), neuron.derivative(zero, silent), strict=True)
    driven = [neuron.dt * (a - b) for a, b in pairs]
    arrival = torch.stack([*(zero + a + b for a, b in zip(received, driven, strict=True)), zero], -1)
    start = torch.stack([*(zero + part for part in rest), unit], -1)
    return Equations(flow, threshold, reset, arrival, start)


def _functions(neuron: ODENeuron[Any], zero: Tensor) -> dict[str, _Function]:
    """The functions that must be affine, by the name under which messages call them."""
    nowhere = type(neuron.rest())(*([zero + math.nan] * len(neuron.rest())))
    return {
        "derivative": lambda state, x: neuron.derivative(x, state),
        "threshold": lambda state, x: (neuron.threshold(nowhere, state),),
        "reset": lambda state, x: neuron.reset(zero + 1, state),
        "input": lambda state, x: [a - b for a, b in zip(neuron.receive(x, state), state, strict=True)],
    }


def _matrix(kind: type, function: _Function, zero: Tensor, parts: int) -> Tensor:
    """The matrix of an affine function without input, shape (count, outputs, parts + 1), the constant last."""

    def column(k: int) -> Tensor:
        unit = kind(*(zero + float(j == k) for j in range(parts)))
        return torch.stack([zero + part for part in function(unit, zero)], -1)

    constant = column(parts)
    return torch.stack([*(column(k) - constant for k in range(parts)), constant], -1)


def _is_affine(kind: type, function: _Function, zero: Tensor, parts: int) -> bool:
    """Whether a function of state and input is affine, and the state does not change the effect of the input."""
    matrix = _matrix(kind, function, zero, parts)[0]
    silent = kind(*([zero] * parts))
    drive = torch.cat([zero + part for part in function(silent, zero + 1)]) - matrix[:, -1]
    # Deterministic points, on both sides of zero and far from it.
    for scale in (0.3, 2.0, 50.0):
        for sign in (1.0, -1.0):
            values = [sign**k * scale * (0.7 + 0.4 * k) for k in range(parts)]
            x = sign * 1.3 * scale
            found = torch.cat([zero + part for part in function(kind(*(zero + v for v in values)), zero + x)])
            point = torch.tensor([*values, 1.0], dtype=torch.float64)
            expected = matrix @ point + drive * x
            size = matrix.abs() @ point.abs() + (drive * x).abs()
            if not bool(((found - expected).abs() <= 1e-9 * size + 1e-300).all()):
                return False
    return True
