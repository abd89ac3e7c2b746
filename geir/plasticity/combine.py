"""Rules made of other rules."""

from typing import NamedTuple

import torch
from torch import Tensor

from .._util.attributes import derived_attribute
from ..core.parameters import Parameter, parameter, setting
from .connection_view import ConnectionView
from .rule import AnyRule, Rule, RuleWrapper


class SumOfRulesState(NamedTuple):
    """State of `SumOfRules`."""

    first: tuple  # state of the first rule
    second: tuple  # state of the second rule


class SumOfRules(Rule[SumOfRulesState]):
    """Two rules applied together: their changes add, and the bounds of both hold, as in
    ``SumOfRules(STDP(), SynapticScaling())``.

    Args:
        first: A learning rule.
        second: Another learning rule, with the same `dt`.

    Raises:
        ValueError: If the rules have different step sizes.
    """

    first: AnyRule = setting(kw_only=False, accepts=Rule, expected="a learning rule")
    second: AnyRule = setting(kw_only=False, accepts=Rule, expected="a learning rule")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first.dt != self.second.dt:
            raise ValueError(
                f"SumOfRules needs rules with the same step size, got dt={self.first.dt} and dt={self.second.dt}."
            )

    @derived_attribute
    def dt(self) -> float:
        return self.first.dt

    @derived_attribute
    def w_min(self) -> Tensor:
        return torch.maximum(self.first.w_min, self.second.w_min)

    @derived_attribute
    def w_max(self) -> Tensor:
        return torch.minimum(self.first.w_max, self.second.w_max)

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> SumOfRulesState:
        return SumOfRulesState(
            first=self.first.initial_state(pre, post, weight), second=self.second.initial_state(pre, post, weight)
        )

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: SumOfRulesState, connection: ConnectionView
    ) -> tuple[Tensor, SumOfRulesState]:
        first_change, first_state = self.first.change(pre, post, weight, state.first, connection)
        second_change, second_state = self.second.change(pre, post, weight, state.second, connection)
        return first_change + second_change, SumOfRulesState(first_state, second_state)


class RateBasedState(NamedTuple):
    """State of `RateBased`."""

    rule: tuple  # state of the rule
    pre: Tensor  # presynaptic rate, in Hz
    post: Tensor  # postsynaptic rate, in Hz


class RateBased(RuleWrapper[RateBasedState]):
    r"""A rule of rates, applied to spikes.

    The rule receives a running estimate of the rate of each neuron, in hertz:

    .. math:: \tau \dot \nu = \sum_k \delta(t - t_k) - \nu.

    Args:
        rule: A rule of rates, such as `BCM` or `Oja`.
    """

    tau: Parameter = parameter(default=50e-3, unit="s", above=0.0, doc="time constant of the rates")

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> RateBasedState:
        return RateBasedState(
            rule=self.rule.initial_state(pre, post, weight),
            pre=torch.zeros_like(pre, dtype=weight.dtype),
            post=torch.zeros_like(post, dtype=weight.dtype),
        )

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: RateBasedState, connection: ConnectionView
    ) -> tuple[Tensor, RateBasedState]:
        decay = self.decay(self.tau)
        pre_rate = decay * state.pre + pre / self.tau
        post_rate = decay * state.post + post / self.tau
        change, rule_state = self.rule.change(pre_rate, post_rate, weight, state.rule, connection)
        return change, RateBasedState(rule_state, pre_rate, post_rate)
