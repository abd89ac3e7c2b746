"""Reward as the third factor of a learning rule."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.parameters import Parameter, parameter
from .connection_view import ConnectionView
from .rule import RuleWrapper


class RewardModulatedState(NamedTuple):
    """State of `RewardModulated`."""

    rule: tuple  # state of the rule
    eligibility: Tensor  # shape (batch, *weight)
    reward: Tensor  # current reward per second, shape (batch,)


class RewardModulated(RuleWrapper[RewardModulatedState]):
    r"""Another rule's changes, stored as an eligibility of each synapse until a reward turns them into
    changes of the weight.

    .. math::
        \dot w = r \, e, \qquad \tau_e \dot e = -e + \tau_e \, \Delta(t), \qquad
        \tau_r \dot r = -r + \textstyle\sum_k r_k \, \delta(t - t_k),

    with the rule's changes :math:`\Delta` and the rewards :math:`r_k` given by `reward`; solved exactly
    between spikes. A reward that is followed by no more spikes changes the weight by
    :math:`r_k \, e \, \tau_e / (\tau_e + \tau_r)`, which tends to :math:`r_k e` as
    :math:`\tau_r \to 0`. Each sample of a batch has its own reward, so each needs the memory of one
    weight for its eligibility.

    Reference: E. Izhikevich, *Solving the distal reward problem through linkage of STDP and dopamine
    signaling*, 2007; R. Florian, *Reinforcement learning through modulation of spike-timing-dependent
    synaptic plasticity*, 2007.

    Args:
        rule: The rule whose changes are stored.
    """

    tau_eligibility: Parameter = parameter(default=1.0, unit="s", above=0.0, doc="time constant of the eligibility")
    tau_reward: Parameter = parameter(default=0.2, unit="s", above=0.0, doc="time constant of the reward")

    def reward(self, state: RewardModulatedState, amount: float | Tensor) -> RewardModulatedState:
        """Give a reward, which takes effect in the next step.

        Args:
            state: State before the reward.
            amount: One reward for all samples, or one for each, shape (batch,).

        Returns:
            The state after the reward.

        Raises:
            TypeError: If `state` is not a state of this rule.
            ValueError: If `amount` does not have one value for each sample.
        """
        if not isinstance(state, RewardModulatedState):
            raise TypeError(
                "RewardModulated.reward takes a RewardModulatedState, such as `state.rule` of a Plastic layer, "
                f"got {type(state).__name__}."
            )
        amount = torch.as_tensor(amount, dtype=state.reward.dtype, device=state.reward.device)
        if amount.dim() and amount.shape != state.reward.shape:
            raise ValueError(
                f"RewardModulated.reward takes one reward, or one for each of {len(state.reward)} samples, "
                f"got shape {tuple(amount.shape)}."
            )
        return state._replace(reward=state.reward + amount / self.tau_reward)

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> RewardModulatedState:
        batch = post.shape[: 1 - weight.dim()].numel()
        return RewardModulatedState(
            rule=self.rule.initial_state(pre, post, weight),
            eligibility=weight.new_zeros(batch, *weight.shape),
            reward=weight.new_zeros(batch),
        )

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: RewardModulatedState, connection: ConnectionView
    ) -> tuple[Tensor, RewardModulatedState]:
        # The product of reward and eligibility decays with both rates; `received` is its integral over the step.
        rate = 1 / self.tau_eligibility + 1 / self.tau_reward
        received = state.reward * -torch.expm1(-self.dt * rate) / rate
        change = torch.tensordot(received / max(1, len(received)), state.eligibility, 1)
        eligible, rule_state = self.rule.change(pre, post, weight, state.rule, connection.per_sample())
        eligibility = self.decay(self.tau_eligibility) * state.eligibility + eligible
        return change, RewardModulatedState(rule_state, eligibility, self.decay(self.tau_reward) * state.reward)
