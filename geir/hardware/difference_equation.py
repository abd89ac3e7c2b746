"""The difference equation of a neuron, found by probing its step; whatever integrator and model it comes from."""

from typing import Any, cast, NamedTuple

import torch
from torch import Tensor

from ..core.neuron import Dynamics
from ..core.ode import ODE
from ..wrappers import RecurrentMixin, Wrapper
from .layers import inner_neuron, LayerError

# Relative error below which two float32 coefficients count as equal.
TOLERANCE = 1e-4


class DifferenceEquation(NamedTuple):
    r"""A neuron in discrete time, as the digital chips compute it:

    .. math:: u \leftarrow \alpha u + x, \qquad v \leftarrow \gamma v + \kappa u,

    with the potential :math:`v` relative to rest, a threshold, and a reset to rest or by subtraction of the threshold.
    """

    alpha: Tensor  # factor by which the current decays in a step; 0 without a current
    gamma: Tensor  # factor by which the potential decays in a step
    kappa: Tensor  # potential per input
    v_th: Tensor | None  # from rest to threshold; None without a threshold
    rest: Tensor  # resting potential
    subtracts: bool  # whether the reset subtracts the threshold; if not, it sets the potential to rest


class _Response(NamedTuple):
    z: Tensor
    v: Tensor
    i: Tensor


def difference_equation(name: str, neuron: Dynamics) -> DifferenceEquation:
    """The difference equation of a neuron. Gradients with respect to its parameters pass.

    Args:
        name: Name of the neuron in its network, for messages.
        neuron: The neuron.

    Raises:
        LayerError: If the neuron has another equation.
    """
    neuron = inner_neuron(neuron)
    kind = type(neuron).__name__
    if isinstance(neuron, Wrapper):
        advice = f"use geir.{type(neuron.neuron).__name__}() without {kind}"
        raise LayerError(name, "plain neurons", kind, advice)
    fields = getattr(neuron.rest(), "_fields", ())
    if not set(fields) <= {"v", "i"} or "v" not in fields:
        state = ", ".join(fields) or "nothing"
        raise LayerError(name, "neurons with a potential v and a current i", f"{kind} with {state}", "use geir.LIF()")
    parameters = cast(Any, neuron).declared_parameters()
    for key, value in parameters.items():
        if value.numel() > 1 and bool((value != value.flatten()[0]).any()):
            advice = "give one value for all neurons"
            raise LayerError(f"{name}.{key}", "one value for the neurons of a layer", f"{value.numel()} values", advice)

    rest = _scalar(neuron.rest().v)
    v_th = _scalar(cast(Any, neuron).v_th) - rest if neuron.spiking and hasattr(neuron, "v_th") else None
    if neuron.spiking and (v_th is None or bool(v_th <= 0)):
        value = "no v_th" if v_th is None else f"a distance of {v_th.item():g}"
        raise LayerError(name, "a threshold v_th above rest", f"{kind} with {value}", "use geir.LIF()")
    amount = 1.0 if v_th is None else v_th.item() / 4

    def coefficient(v: float = 0.0, i: float = 0.0, x: float = 0.0) -> _Response:
        after = _respond(neuron, v=amount * v, i=amount * i, x=amount * x)
        return _Response(after.z, after.v / amount, after.i / amount)

    at_rest, of_v, of_x = coefficient(), coefficient(v=1.0), coefficient(x=1.0)
    of_i = coefficient(i=1.0) if "i" in fields else _Response(*map(torch.zeros_like, at_rest))
    again = coefficient(v=-2.0, i=-2.0 if "i" in fields else 0.0, x=-2.0)
    linear = -2 * (of_v.v + of_i.v + of_x.v)
    if not (_is_zero(at_rest.v) and _is_zero(at_rest.i) and _is_zero(of_v.i) and _agree(again.v, linear)):
        raise LayerError(name, "a linear membrane at rest without input", kind, "use geir.LIF()")
    alpha, gamma, kappa = of_i.i, of_v.v, of_x.v
    one_step_late = _is_zero(kappa)
    if one_step_late or not _agree(of_i.v * of_x.i, kappa * alpha):
        advice = "use geir.LIF(), whose current jumps when input arrives"
        raise LayerError(name, "input that reaches the potential through the current in the same step", kind, advice)
    subtracts = False if v_th is None else _find_reset(name, neuron, v_th.item(), gamma.item())
    alpha, gamma, kappa, rest = (value.squeeze(0) for value in (alpha, gamma, kappa, rest))
    return DifferenceEquation(alpha, gamma, kappa, None if v_th is None else v_th.squeeze(0), rest, subtracts)


def _find_reset(name: str, neuron: Dynamics, v_th: float, gamma: float) -> bool:
    """Whether the reset subtracts the threshold; False if it sets the potential to rest."""
    with torch.no_grad():
        below, above = (_respond(neuron, v=factor * v_th / gamma, spike=True) for factor in (0.999, 1.001))
        high = _respond(neuron, v=1.5 * v_th / gamma, spike=True)
        # Far below rest, where a neuron with spikes of both signs emits negative ones.
        low = _respond(neuron, v=-1e3 * v_th / gamma, spike=True)
    if below.z.item() != 0 or above.z.item() != 1 or low.z.item() != 0:
        raise LayerError(name, "a spike where v crosses v_th", type(neuron).__name__, "use geir.LIF()")
    remaining = high.v.item() / v_th
    if abs(remaining) < TOLERANCE:
        return False
    if abs(remaining - 0.5) < TOLERANCE:
        return True
    advice = "make v_reset equal to v_rest"
    raise LayerError(name, "a reset to rest or by v_th", f"{remaining:.3g} v_th after a spike at 1.5 v_th", advice)


def _respond(neuron: Dynamics, v: float = 0.0, i: float = 0.0, x: float = 0.0, spike: bool = False) -> _Response:
    """The neuron's state after one step from this distance to rest, before the reset or with `spike` after it."""
    rest = neuron.rest()
    start = rest._replace(v=_scalar(rest.v) + v)
    if "i" in rest._fields:
        start = start._replace(i=_scalar(rest.i) + i)
    prepared: Any = neuron.prepare()
    # A recurrent layer prepares its weights and the values of the neuron.
    recurrent = isinstance(neuron, RecurrentMixin)
    prepared = prepared[1] if recurrent else prepared
    given = _scalar(torch.zeros(())) + x
    if isinstance(neuron, ODE) and not spike:
        z, after = given, neuron.advance(given, start, *prepared)
    else:
        z, after = (neuron.inner_step if recurrent else neuron.step)(given, start, *prepared)
    current = _scalar(after.i) if "i" in rest._fields else torch.zeros_like(given)
    return _Response(_scalar(z), _scalar(after.v) - _scalar(rest.v), current)


def _scalar(value: Tensor) -> Tensor:
    """One element in float64, which is not converted to float32 when it meets parameters."""
    return value.double().flatten()[:1]


def _is_zero(value: Tensor) -> bool:
    return bool(value.detach().abs() < TOLERANCE)


def _agree(value: Tensor, other: Tensor) -> bool:
    a, b = value.item(), other.item()
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b)) + 1e-9
