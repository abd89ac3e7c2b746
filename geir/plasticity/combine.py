"""Rules made of rules."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.parameters import Parameter, parameter, setting
from .rule import Around, Rule
from .synapses import Synapses


class BothState(NamedTuple):
    """State of `Both`."""

    first: Any  # state of the first rule
    second: Any  # state of the second rule


class Both(Rule[BothState]):
    """Two rules at once: their changes add, and both their bounds hold, as in ``Both(STDP(), SynapticScaling())``.

    Args:
        first: A learning rule.
        second: Another.
    """

    first: Rule[Any] = setting(kw_only=False, accepts=Rule, expected="a learning rule")
    second: Rule[Any] = setting(kw_only=False, accepts=Rule, expected="a learning rule")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first.dt != self.second.dt:
            raise ValueError(f"Both needs one step size, got dt={self.first.dt} and dt={self.second.dt}.")

    @property
    def dt(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]  (the rules')
        return self.first.dt

    @property
    def w_min(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return torch.maximum(self.first.w_min, self.second.w_min)

    @property
    def w_max(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return torch.minimum(self.first.w_max, self.second.w_max)

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> BothState:
        return BothState(self.first.initial_state(pre, post, weight), self.second.initial_state(pre, post, weight))

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: BothState, synapses: Synapses
    ) -> tuple[Tensor, BothState]:
        one, first = self.first.change(pre, post, weight, state.first, synapses)
        other, second = self.second.change(pre, post, weight, state.second, synapses)
        return one + other, BothState(first, second)


class OnRatesState(NamedTuple):
    """State of `OnRates`."""

    rule: Any  # state of the rule
    pre: Tensor  # rate before, in Hz
    post: Tensor  # rate behind, in Hz


class OnRates(Around[OnRatesState]):
    r"""A rule of rates, applied to spikes: it gets :math:`\nu` with :math:`\tau \dot \nu = \sum_k \delta(t - t_k) - \nu` for each side, in hertz.

    Args:
        rule: A rule of rates, such as `BCM` or `Oja`.
    """

    tau: Parameter = parameter(default=50e-3, unit="s", above=0.0, doc="time constant of the rates")

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> OnRatesState:
        silence = torch.zeros_like(pre, dtype=weight.dtype), torch.zeros_like(post, dtype=weight.dtype)
        return OnRatesState(self.rule.initial_state(pre, post, weight), *silence)

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: OnRatesState, synapses: Synapses
    ) -> tuple[Tensor, OnRatesState]:
        left = self.decay(self.tau)
        before, behind = left * state.pre + pre / self.tau, left * state.post + post / self.tau
        change, inner = self.rule.change(before, behind, weight, state.rule, synapses)
        return change, OnRatesState(inner, before, behind)
