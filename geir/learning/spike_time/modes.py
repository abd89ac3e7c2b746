r"""How the distance to threshold, :math:`g(t) = \alpha e^{M t} S`, is made of exponentials, and its first crossing.

Remove one exponential after the other by :math:`d/dt - \lambda`. Between neighboring zeros of the next function, the
one before is monotone up to a positive factor (Rolle's theorem), so a change of sign there finds every zero, from the
last function, which has none, up to :math:`g`. No crossing is missed, however close two are. A complex pair is removed
by two operators, :math:`d/dt - u'/u` with :math:`u = e^{s t} \cos o (t - m)`, within windows of less than half a
period.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .exponential import matrix_exponential

Array = NDArray[np.float64]

# Below this condition number, eigenvectors are accurate enough to evaluate the flow by exponentials.
MAX_CONDITION = 1e3
# Share of half a period that a window spans.
_WINDOW = 0.9
# After this many of the slowest time constants, nothing moves any more.
_SETTLED = 60.0
# A distance to threshold below this, relative to its terms, is on the threshold.
ON_THRESHOLD = 1e-12


class Level(NamedTuple):
    """One function of the chain: (first + (s - o tan(o (t - middle of the window))) second) e^{M t} S."""

    first: Array
    second: Array
    s: float
    o: float


class Modes(NamedTuple):
    """The exponentials of one neuron."""

    flow: Array  # M
    threshold: Array  # alpha
    eigenvalues: NDArray[np.complex128]  # of M, that of the constant included
    levels: list[Level]
    vectors: (
        NDArray[np.complex128] | None
    )  # eigenvectors in the order of the eigenvalues; None if they are ill-conditioned
    inverse: NDArray[np.complex128] | None  # of the eigenvectors
    window: float  # longest stretch, in seconds, on which the chain holds
    horizon: float  # after this time the sign of g does not change


def find_modes(owner: str, flow: Array, threshold: Array, duration: float) -> Modes:
    """The exponentials of one neuron.

    Args:
        owner: Name of the caller, for messages.
        flow: M, shape (n + 1, n + 1).
        threshold: alpha, shape (n + 1,).
        duration: End of the simulation in seconds.

    Raises:
        ValueError: If the neuron does not settle, and the simulation has no end.
    """
    eigenvalues = np.append(np.linalg.eigvals(flow[:-1, :-1]), 0.0).astype(np.complex128)
    states = eigenvalues[:-1]
    settles = bool((states.real < 0).all()) or (len(states) == 1 and bool(states[0].real == 0))
    if not settles and math.isinf(duration):
        raise ValueError(
            f"{owner}: the neuron does not return to rest (eigenvalues {states.round(3).tolist()} per second), so "
            "its spikes may never end; give a finite duration."
        )
    levels, window, row, nothing = [], math.inf, threshold, np.zeros_like(threshold)
    for value in (value for value in eigenvalues if value.imag >= 0):
        s, o = float(value.real), float(value.imag)
        levels.append(Level(row, nothing, 0.0, 0.0))
        if o > 0:
            window = min(window, _WINDOW * math.pi / o)
            levels.append(Level(row @ flow, -row, s, o))
            row = row @ flow @ flow - 2 * s * row @ flow + (s * s + o * o) * row
        else:
            row = row @ flow - s * row
    decays = -states.real[states.real < 0]
    horizon = _SETTLED / float(decays.min()) if len(decays) and bool((states.real < 0).all()) else math.inf
    w, vectors = np.linalg.eig(flow)
    if np.linalg.cond(vectors) > MAX_CONDITION:
        return Modes(flow, threshold, eigenvalues, levels, None, None, window, horizon)
    inverse = np.linalg.inv(vectors).astype(np.complex128)
    return Modes(
        flow, threshold, w.astype(np.complex128), levels, vectors.astype(np.complex128), inverse, window, horizon
    )


def first_crossing(modes: Modes, state: Array, limit: float) -> float:
    """The first time within `limit` at which a neuron that starts below or on its threshold rises above it.

    This is the definition; the compiled code does the same with closed forms where there are some.

    Returns:
        Seconds from the start; infinity if there is none.
    """
    threshold, flow = modes.threshold, modes.flow
    if modes.vectors is not None and modes.inverse is not None and _bound(modes, state) <= 0:
        return math.inf
    if len(modes.levels) == 2 and not modes.eigenvalues.any():  # without a leak and alone: a straight line
        slope = float(threshold @ flow @ state)
        time = -float(threshold @ state) / slope if slope > 0 else math.inf
        return time if 0 < time <= limit else math.inf
    limit, low = min(limit, modes.horizon), 0.0
    while low < limit:
        high = min(low + modes.window, limit)
        for time in _zeros(modes, 0, state, low, high):
            if threshold @ flow @ _advance(modes, state, time) > 0:
                return time
        low = high
    return math.inf


def _bound(modes: Modes, state: Array) -> float:
    """At least the largest distance to threshold, now and later, of a flow with eigenvectors."""
    assert modes.vectors is not None
    assert modes.inverse is not None
    terms = (modes.threshold @ modes.vectors) * (modes.inverse @ state)
    sizes = np.where(modes.eigenvalues.imag != 0, np.abs(terms), np.maximum(terms.real, 0))
    sizes = np.where(modes.eigenvalues == 0, terms.real, sizes)
    return math.inf if (modes.eigenvalues.real > 0).any() else float(sizes.sum())


def _advance(modes: Modes, state: Array, time: float) -> Array:
    if modes.vectors is not None and modes.inverse is not None:
        return (modes.vectors @ (np.exp(modes.eigenvalues * time) * (modes.inverse @ state))).real
    flow = modes.flow
    return matrix_exponential(torch.from_numpy(flow * time)).numpy() @ state


def _value(modes: Modes, k: int, state: Array, middle: float, time: float) -> float:
    level = modes.levels[k]
    row = level.first + (level.s - level.o * math.tan(level.o * (time - middle))) * level.second
    return float(row @ _advance(modes, state, time))


def _zeros(modes: Modes, k: int, state: Array, low: float, high: float) -> list[float]:
    """The zeros of one function of the chain, in order."""
    if k == len(modes.levels) - 1:  # one exponential is left
        return []
    middle, found = (low + high) / 2, []
    a, fa = low, _value(modes, k, state, middle, low)
    for b in [*_zeros(modes, k + 1, state, low, high), high]:
        fb = _value(modes, k, state, middle, b)
        if fa * fb < 0:
            found.append(_solve(modes, k, state, middle, a, fa, b, fb))
        a, fa = b, fb
    return found


def _solve(modes: Modes, k: int, state: Array, middle: float, a: float, fa: float, b: float, fb: float) -> float:
    """A zero between two values of different signs: bisection, and the secant where it halves faster."""
    for step in range(200):
        t = (a * fb - b * fa) / (fb - fa) if step % 3 < 2 else (a + b) / 2
        if not a < t < b:
            t = (a + b) / 2
        if not a < t < b:
            break
        ft = _value(modes, k, state, middle, t)
        if ft == 0:
            return t
        if (ft < 0) == (fa < 0):
            a, fa = t, ft
        else:
            b, fb = t, ft
    return b if k == 0 and fb > 0 else a


def modes_of(owner: str, flow: Tensor, threshold: Tensor, duration: float) -> list[Modes]:
    """The exponentials of all neurons."""
    pairs = zip(flow.detach().numpy(), threshold.detach().numpy(), strict=True)
    return [find_modes(owner, m, a, duration) for m, a in pairs]
