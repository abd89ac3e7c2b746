"""Logic gates on spikes.

Every gate is a polynomial that is exact for inputs of 0 and 1, so it is differentiable. Inputs between 0 and 1 are
probabilities: if the inputs spike independently, the output is the probability that the gate spikes.
"""

import torch
from torch import Tensor

from .._util.precision import HALF_PRECISION, widen
from .._util.validation import check_has_time, check_pair


def logical_and(x: Tensor, y: Tensor) -> Tensor:
    """Spike where both inputs spike, :math:`xy`.

    Args:
        x: Spikes, any shape.
        y: Spikes, a shape that broadcasts with that of `x`.

    Returns:
        Spikes, in the broadcast shape.

    Raises:
        TypeError: If an input is not floating-point.
    """
    _check_spikes("measures.logical_and", x, y)
    return _rounded(_wide_and(x, y), x, y)


def logical_or(x: Tensor, y: Tensor) -> Tensor:
    """Spike where at least one input spikes, :math:`x + y - xy`.

    Args:
        x: Spikes, any shape.
        y: Spikes, a shape that broadcasts with that of `x`.

    Returns:
        Spikes, in the broadcast shape.

    Raises:
        TypeError: If an input is not floating-point.
    """
    _check_spikes("measures.logical_or", x, y)
    wide_x, wide_y = widen(x), widen(y)
    return _rounded(wide_x + wide_y - wide_x * wide_y, x, y)


def logical_xor(x: Tensor, y: Tensor) -> Tensor:
    """Spike where exactly one input spikes, :math:`x + y - 2xy`.

    Args:
        x: Spikes, any shape.
        y: Spikes, a shape that broadcasts with that of `x`.

    Returns:
        Spikes, in the broadcast shape.

    Raises:
        TypeError: If an input is not floating-point.
    """
    _check_spikes("measures.logical_xor", x, y)
    return _rounded(_wide_xor(x, y), x, y)


def logical_not(x: Tensor) -> Tensor:
    """Spike where the input does not, :math:`1 - x`.

    Args:
        x: Spikes, any shape.

    Returns:
        Spikes, in the same shape.

    Raises:
        TypeError: If the input is not floating-point.
    """
    _check_spikes("measures.logical_not", x)
    return (1 - widen(x)).to(x.dtype)


def muller_c(xs: Tensor, ys: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Muller C-element: the output follows the inputs where they agree, and keeps its value where they differ.

    Args:
        xs: Spikes, shape (time, ...).
        ys: Spikes, shape (time, ...).
        state: Output at the previous step, shape (...). Default: no spike.

    Returns:
        Spikes, shape (time, ...), and the state after the last step, which is float32 for input in half precision.

    Raises:
        ValueError: If the shapes differ, there is no step, or `state` does not have the shape of one step.
        TypeError: If an input is not floating-point.

    >>> zs, state = muller_c(torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 1.0, 0.0]))
    >>> zs
    tensor([0., 1., 1., 0.])
    """
    check_pair("measures.muller_c", xs, ys)
    z = widen(_initial_state("measures.muller_c", xs, state))
    zs = []
    for both, one in zip(_wide_and(xs, ys).unbind(0), _wide_xor(xs, ys).unbind(0), strict=True):
        z = both + one * z
        zs.append(z)
    return _rounded(torch.stack(zs), xs, ys), z


def posedge_detector(xs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Positive-edge detector: spike where the input spikes but did not at the previous step.

    For negative edges, pass ``logical_not(xs)``.

    Args:
        xs: Spikes, shape (time, ...).
        state: Input at the previous step, shape (...). Default: no spike.

    Returns:
        Spikes, shape (time, ...), and the state after the last step.

    Raises:
        ValueError: If there is no step, or `state` does not have the shape of one step.
        TypeError: If the input is not floating-point.

    >>> posedge_detector(torch.tensor([1.0, 1.0, 0.0, 1.0]))
    (tensor([1., 0., 0., 1.]), tensor(1.))
    """
    check_has_time("measures.posedge_detector", xs)
    previous = torch.cat([_initial_state("measures.posedge_detector", xs, state)[None], xs[:-1]])
    return (widen(xs) * (1 - widen(previous))).to(xs.dtype), xs[-1]


def _wide_and(x: Tensor, y: Tensor) -> Tensor:
    return widen(x) * widen(y)


def _wide_xor(x: Tensor, y: Tensor) -> Tensor:
    x, y = widen(x), widen(y)
    return x + y - 2 * x * y


def _rounded(wide: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """A result in float32, rounded to half precision if both inputs are in it."""
    dtype = torch.promote_types(x.dtype, y.dtype)
    return wide.to(dtype) if dtype in HALF_PRECISION else wide


def _check_spikes(caller: str, *inputs: Tensor) -> None:
    for x in inputs:
        if not x.is_floating_point():
            raise TypeError(f"{caller} expected floating-point spikes, got {x.dtype}; convert them with .float().")


def _initial_state(caller: str, xs: Tensor, state: Tensor | None) -> Tensor:
    if state is None:
        return torch.zeros_like(xs[0])
    if state.shape != xs.shape[1:]:
        raise ValueError(
            f"{caller}: state has shape {tuple(state.shape)}, but one step of input has shape {tuple(xs.shape[1:])}."
        )
    return state
