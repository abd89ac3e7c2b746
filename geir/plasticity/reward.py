"""Reward as a third factor."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.parameters import Parameter, parameter
from .rule import Around
from .synapses import Synapses


class RewardModulatedState(NamedTuple):
    """State of `RewardModulated`."""

    rule: Any  # state of the rule
    eligibility: Tensor  # shape (batch, *weight)
    reward: Tensor  # reward that is there now, per second; shape (batch,)


class RewardModulated(Around[RewardModulatedState]):
    r"""Another rule's changes, kept as an eligibility of each synapse until a reward makes them changes of the weight.

    .. math::
        \dot w = r \, e, \qquad \tau_e \dot e = -e + \tau_e \, \Delta(t), \qquad \tau_r \dot r = -r + \textstyle\sum_k r_k \, \delta(t - t_k),

    with the changes :math:`\Delta` that the rule makes, and the rewards :math:`r_k`, which `reward` gives; solved exactly between spikes. A
    reward with no further spikes changes the weight by :math:`r_k \, e \, \tau_e / (\tau_e + \tau_r)`: in the limit :math:`\tau_r \to 0` by
    :math:`r_k e` at once. Samples of a batch have their own rewards, so eligibility takes the memory of the weight for each.

    Reference: E. Izhikevich, *Solving the distal reward problem through linkage of STDP and dopamine signaling*, 2007; R. Florian,
    *Reinforcement learning through modulation of spike-timing-dependent synaptic plasticity*, 2007.

    Args:
        rule: What makes synapses eligible.
    """

    tau_eligibility: Parameter = parameter(default=1.0, unit="s", above=0.0, doc="time constant of the eligibility")
    tau_reward: Parameter = parameter(default=0.2, unit="s", above=0.0, doc="time constant of the reward")

    def reward(self, state: RewardModulatedState, amount: float | Tensor) -> RewardModulatedState:
        """The state after a reward, which works from the next step on.

        Args:
            state: State before.
            amount: One for all samples, or one for each, shape (batch,).
        """
        if not isinstance(state, RewardModulatedState):
            raise TypeError(
                f"RewardModulated.reward takes a RewardModulatedState, such as `state.rule` of a Plastic, got {type(state).__name__}."
            )
        given = torch.as_tensor(amount, dtype=state.reward.dtype, device=state.reward.device)
        if given.dim() and given.shape != state.reward.shape:
            raise ValueError(
                f"RewardModulated takes one reward, or one for each of {len(state.reward)} samples, got shape {tuple(given.shape)}."
            )
        return state._replace(reward=state.reward + given / self.tau_reward)

    def initial_state(self, pre: Tensor, post: Tensor, weight: Tensor) -> RewardModulatedState:
        batch = post.shape[: 1 - weight.dim()].numel()
        inner = self.rule.initial_state(pre, post, weight)
        return RewardModulatedState(inner, weight.new_zeros(batch, *weight.shape), weight.new_zeros(batch))

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: RewardModulatedState, synapses: Synapses
    ) -> tuple[Tensor, RewardModulatedState]:
        rate = 1 / self.tau_eligibility + 1 / self.tau_reward
        received = state.reward * -torch.expm1(-self.dt * rate) / rate
        change = torch.tensordot(received / max(1, len(received)), state.eligibility, 1)
        eligible, inner = self.rule.change(pre, post, weight, state.rule, synapses.apart())
        eligibility = self.decay(self.tau_eligibility) * state.eligibility + eligible
        return change, RewardModulatedState(inner, eligibility, self.decay(self.tau_reward) * state.reward)
