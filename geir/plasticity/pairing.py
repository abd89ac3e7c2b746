"""Pairs of spikes: which spikes form pairs, and the traces of both sides."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from ..core.parameters import Parameter, parameter
from .rule import Rule


@dataclass(frozen=True)
class Pairing(ABC):
    """Which spikes form pairs, as the effect of a spike on a trace. Abstract: a subclass defines `__call__`."""

    @abstractmethod
    def __call__(self, trace: Tensor, z: Tensor) -> Tensor:
        """The trace after spikes `z`, each of the size that one spike adds."""


@dataclass(frozen=True)
class AllToAll(Pairing):
    """All spikes form pairs: each adds to the trace."""

    def __call__(self, trace: Tensor, z: Tensor) -> Tensor:
        return trace + z


@dataclass(frozen=True)
class NearestSpike(Pairing):
    """Only the most recent spike forms pairs: each spike replaces the trace."""

    def __call__(self, trace: Tensor, z: Tensor) -> Tensor:
        return torch.where(z != 0, z, trace)


class PairState(NamedTuple):
    """State of a pair-based rule."""

    pre: Tensor  # trace of the presynaptic spikes
    post: Tensor  # trace of the postsynaptic spikes


def initial_traces(pre: Tensor, post: Tensor, weight: Tensor) -> PairState:
    """Traces before any spike, in the precision of the weight."""
    return PairState(
        pre=torch.zeros_like(pre, dtype=weight.dtype),
        post=torch.zeros_like(post, dtype=weight.dtype),
    )


class Traces(NamedTuple):
    """The traces that the spikes of one step see."""

    pre: Tensor  # for postsynaptic spikes: includes the presynaptic spikes of this step
    post: Tensor  # for presynaptic spikes: excludes the postsynaptic spikes of this step
    next_state: PairState  # the traces after the step


State = TypeVar("State", bound=tuple)


class PairRule(Rule[State]):
    r"""A pair-based rule, with one trace for each side.

    .. math:: \tau_+ \dot x = -x, \qquad \tau_- \dot y = -y;

    presynaptic spikes, scaled by :math:`A_+`, enter :math:`x`, and postsynaptic spikes, scaled by
    :math:`A_-`, enter :math:`y`, as defined by `pairing`.

    Abstract: a subclass defines `initial_state` and `change`, with `traces`.

    Args:
        pairing: Which spikes form pairs: `AllToAll` or `NearestSpike`.
    """

    a_plus: Parameter = parameter(default=1.0, doc="weight change of a pre-before-post pair at zero lag")
    a_minus: Parameter = parameter(default=1.0, doc="weight change of a post-before-pre pair at zero lag")
    tau_plus: Parameter = parameter(default=20e-3, unit="s", above=0.0, doc="time constant of pre-before-post pairs")
    tau_minus: Parameter = parameter(default=20e-3, unit="s", above=0.0, doc="time constant of post-before-pre pairs")
    pairing: Pairing = AllToAll()

    def traces(self, pre: Tensor, post: Tensor, state: PairState) -> Traces:
        """The traces that the spikes of this step see, and the traces after the step."""
        x = self.pairing(self.decay(self.tau_plus) * state.pre, self.a_plus * pre)
        y = self.decay(self.tau_minus) * state.post
        return Traces(pre=x, post=y, next_state=PairState(x, self.pairing(y, self.a_minus * post)))
