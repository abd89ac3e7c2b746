"""Logic on spikes. Every gate is a polynomial that is right for 0 and 1, so that gradients pass; between them it takes its inputs as chances."""

import torch
from torch import Tensor

from .._util.validation import check_has_time, check_pair


def logical_and(x: Tensor, y: Tensor) -> Tensor:
    """A spike where both spike, :math:`xy`. Any shapes that broadcast."""
    return _spikes("logical_and", x) * _spikes("logical_and", y)


def logical_or(x: Tensor, y: Tensor) -> Tensor:
    """A spike where one of two spikes, or both, :math:`x + y - xy`. Any shapes that broadcast."""
    return _spikes("logical_or", x) + _spikes("logical_or", y) - x * y


def logical_xor(x: Tensor, y: Tensor) -> Tensor:
    """A spike where just one of two spikes, :math:`x + y - 2xy`. Any shapes that broadcast."""
    return _spikes("logical_xor", x) + _spikes("logical_xor", y) - 2 * x * y


def logical_not(x: Tensor) -> Tensor:
    """A spike where there is none, :math:`1 - x`. Any shape."""
    return 1 - _spikes("logical_not", x)


def muller_c(xs: Tensor, ys: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Muller's C-element: spikes once both inputs do, until neither does; in between it does what it did before.

    Args:
        xs: Spikes, shape (time, ...).
        ys: Spikes, shape (time, ...).
        state: Output at the step before, shape (...). Default: no spike.

    Returns:
        Spikes, shape (time, ...), and the state after the last step.

    >>> zs, state = muller_c(torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 1.0, 0.0]))
    >>> zs
    tensor([0., 1., 1., 0.])
    """
    check_pair("muller_c", xs, ys)
    z = _before("muller_c", xs, state)
    zs = []
    for both, one in zip(logical_and(xs, ys).unbind(0), logical_xor(xs, ys).unbind(0), strict=True):
        z = both + one * z
        zs.append(z)
    return torch.stack(zs), z


def posedge_detector(xs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A spike where the input spikes but did not at the step before; of ``logical_not(xs)``, where it ceases to.

    Args:
        xs: Spikes, shape (time, ...).
        state: Input at the step before, shape (...). Default: no spike.

    Returns:
        Spikes, shape (time, ...), and the state after the last step.

    >>> posedge_detector(torch.tensor([1.0, 1.0, 0.0, 1.0]))
    (tensor([1., 0., 0., 1.]), tensor(1.))
    """
    check_has_time("posedge_detector", xs)
    before = torch.cat([_before("posedge_detector", xs, state)[None], xs[:-1]])
    return logical_and(xs, logical_not(before)), xs[-1]


def _spikes(caller: str, x: Tensor) -> Tensor:
    if not x.is_floating_point():
        raise TypeError(f"{caller} takes spikes as floating-point numbers, got {x.dtype}; convert them with .float().")
    return x


def _before(caller: str, xs: Tensor, state: Tensor | None) -> Tensor:
    """The step before the first."""
    if state is None:
        return torch.zeros_like(xs[0])
    if state.shape != xs.shape[1:]:
        raise ValueError(f"{caller} continues from a state of shape {tuple(xs.shape[1:])}, got {tuple(state.shape)}.")
    return state
