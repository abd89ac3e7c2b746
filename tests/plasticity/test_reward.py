"""Reward-modulated rules, against closed forms."""

import numpy as np
import pytest
import torch
from plasticity_cases import DOUBLE, double, run

import geir
from geir.plasticity import RewardModulated, STDP


def eligible_by_one_pair(rule, batch=1):
    """A weight, and the state 50 ms after a pair of spikes 10 ms apart."""
    weight = torch.full((1, 1), 0.5, dtype=DOUBLE)
    pres, posts = torch.zeros(2, 61, batch, 1, dtype=DOUBLE)
    pres[0], posts[10] = 1, 1
    return run(rule, pres, posts, weight)


@pytest.mark.parametrize("tau_reward", [0.3, 1e-6])
def test_a_late_reward_changes_the_weight_by_the_remaining_eligibility(tau_reward):
    rule = double(RewardModulated(STDP(a_plus=0.01), tau_eligibility=0.2, tau_reward=tau_reward))
    weight, state = eligible_by_one_pair(rule)
    assert weight.item() == 0.5
    remaining = 0.01 * np.exp(-0.5) * np.exp(-0.05 / 0.2)
    assert state.eligibility.item() == pytest.approx(remaining)
    state = rule.reward(state, -3.0)
    silence = torch.zeros(1700 if tau_reward == 0.3 else 1, 1, 1, dtype=DOUBLE)
    weight, _ = run(rule, silence, silence, weight, state=state)
    assert weight.item() == pytest.approx(0.5 - 3 * remaining * 0.2 / (0.2 + tau_reward), rel=1e-6)


def test_each_sample_has_its_own_reward():
    rule = double(RewardModulated(STDP(a_plus=0.01), tau_reward=1e-6))
    weight, state = eligible_by_one_pair(rule, batch=4)
    state = state._replace(eligibility=state.eligibility * torch.tensor([1.0, 1, 2, 5]).view(4, 1, 1))
    state = rule.reward(state, torch.tensor([1.0, 0.0, 0.0, -3.0]))
    weight, _ = rule(*torch.zeros(2, 4, 1, dtype=DOUBLE), weight, state)
    assert weight.item() == pytest.approx(0.5 + (1 - 3 * 5) / 4 * state.eligibility[0].item(), rel=1e-5)


RULE = RewardModulated(STDP())
STATE = RULE(torch.ones(2, 3), torch.ones(2, 4), torch.zeros(4, 3))[1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: RULE.reward(STATE, torch.ones(3)),
            ValueError,
            r"one for each of 2 samples, got shape \(3,\)",
        ),
        (
            lambda: RULE.reward(geir.plasticity.PlasticState(None, STATE), 1.0),
            TypeError,
            "such as `state.rule` of a Plastic layer, got PlasticState",
        ),
        (lambda: RewardModulated(3), TypeError, "RewardModulated.rule must be a learning rule"),
    ],
    ids=["another number of samples", "state of the layer", "not a rule"],
)
def test_invalid_rewards_are_rejected(call, error, message):
    with pytest.raises(error, match=message):
        call()
