"""Pairs of spikes: which count, as values, and the traces by which they meet."""

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from ..core.parameters import Parameter, parameter
from .rule import Rule


@dataclass(frozen=True)
class Pairing:
    """Abstract: subclass it and write `__call__`."""

    def __call__(self, trace: Tensor, z: Tensor) -> Tensor:
        """The trace after spikes `z`."""
        raise NotImplementedError(f"{type(self).__name__} does not define `__call__`.")


@dataclass(frozen=True)
class AllToAll(Pairing):
    """Every spike counts: it adds to the trace."""

    def __call__(self, trace: Tensor, z: Tensor) -> Tensor:
        return trace + z


@dataclass(frozen=True)
class NearestSpike(Pairing):
    """Only the last spike counts: it sets the trace."""

    def __call__(self, trace: Tensor, z: Tensor) -> Tensor:
        return torch.where(z != 0, z, trace)


class PairState(NamedTuple):
    """State of a rule of pairs."""

    pre: Tensor  # trace of the spikes before
    post: Tensor  # trace of the spikes behind


State = TypeVar("State", bound=tuple)


class PairRule(Rule[State]):
    r"""A rule of pairs of spikes, by a trace of each side.

    Abstract: a subclass writes `change` with `traces`.

    .. math:: \tau_+ \dot x = -x, \qquad \tau_- \dot y = -y;

    spikes before, times :math:`A_+`, enter :math:`x`, and spikes behind, times :math:`A_-`, enter :math:`y`, as `pairing` says.

    Args:
        pairing: Which spikes pair: `AllToAll` or `NearestSpike`.
    """

    a_plus: Parameter = parameter(default=1.0, doc="weight of a causal pair (the spike before first) at no distance")
    a_minus: Parameter = parameter(default=1.0, doc="weight of an anticausal pair at no distance")
    tau_plus: Parameter = parameter(default=20e-3, unit="s", above=0.0, doc="time constant of causal pairs")
    tau_minus: Parameter = parameter(default=20e-3, unit="s", above=0.0, doc="time constant of anticausal pairs")
    pairing: Pairing = AllToAll()

    def silence(self, pre: Tensor, post: Tensor, weight: Tensor) -> PairState:
        """Traces of nothing."""
        return PairState(torch.zeros_like(pre, dtype=weight.dtype), torch.zeros_like(post, dtype=weight.dtype))

    def traces(self, pre: Tensor, post: Tensor, state: PairState) -> tuple[Tensor, Tensor, PairState]:
        """What spikes of this step meet: the trace `x` with those before in it, and `y` without those behind; and the next state."""
        x = self.pairing(self.decay(self.tau_plus) * state.pre, self.a_plus * pre)
        y = self.decay(self.tau_minus) * state.post
        return x, y, PairState(x, self.pairing(y, self.a_minus * post))
