"""Proximal policy optimization with neurons that keep their state: `geir.tasks.ppo`."""

from itertools import pairwise

import pytest
import torch

from geir.tasks import ppo
from geir.tasks.control import network
from geir.tasks.environments import Environments

pytest.importorskip("gymnasium", reason="the environments are those of gymnasium")


STEPS = 3


def actor_critic(number=3, keeps_state=True, name="CartPole-v1"):
    torch.manual_seed(1)
    environments = Environments(name, number)
    model = network(environments.size, 20, environments.actions)
    return ppo.ActorCritic(model, environments, STEPS, keeps_state)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_advantages_are_the_weighted_mean_of_those_over_several_steps():
    # The definition: (1 - lam) sum_n lam^(n-1) A_n with the advantages A_n over n steps, of which the last has all of
    # the remaining weight.
    gamma, lam, steps = 0.9, 0.8, 12
    torch.manual_seed(0)
    rewards, values, following = (torch.randn(steps, 2, dtype=torch.float64) for _ in range(3))
    ended = torch.zeros(steps, 2, dtype=torch.bool)
    ended[4, 0] = ended[9, 0] = ended[0, 1] = True
    following[:-1] = torch.where(ended[:-1], following[:-1], values[1:])
    following[4, 0] = 0
    expected = torch.empty_like(values)
    for k in range(2):
        for t in range(steps):
            end = next((u for u in range(t, steps) if ended[u, k]), steps - 1)
            several = []
            for n in range(1, end - t + 2):
                total = sum(gamma**j * rewards[t + j, k] for j in range(n))
                several.append(total + gamma**n * following[t + n - 1, k] - values[t, k])
            weights = [(1 - lam) * lam ** (n - 1) for n in range(1, len(several))]
            weights.append(lam ** (len(several) - 1))
            assert sum(weights) == pytest.approx(1)
            expected[t, k] = sum(w * a for w, a in zip(weights, several, strict=True))
    actual = ppo.estimate_advantages(rewards, values, following, ended, gamma, lam)
    torch.testing.assert_close(actual, expected)


def test_fragments_are_the_runs_between_starts():
    starts = torch.zeros(6, 3, dtype=torch.bool)
    starts[2, 0] = starts[3, 0] = starts[0, 1] = starts[5, 2] = True
    fragments = ppo.split_fragments(starts)
    triples = zip(*(part.tolist() for part in fragments), strict=True)
    assert list(triples) == [(0, 0, 2), (0, 2, 1), (0, 3, 3), (1, 0, 6), (2, 0, 5), (2, 5, 1)]


@pytest.mark.parametrize("keeps_state", [True, False])
def test_a_rollout_is_what_the_network_does_alone_in_each_episode(keeps_state):
    agent = actor_critic(keeps_state=keeps_state)
    rollouts = [agent.collect(60, generator(k)) for k in range(2)]
    observations, actions, log_probabilities = (
        torch.cat([getattr(rollout, name) for rollout in rollouts])
        for name in ("observations", "actions", "log_probabilities")
    )
    starts = torch.cat([rollout.starts for rollout in rollouts])
    assert starts[0].all()
    episodes = 0
    for k in range(3):
        first = [*starts[:, k].nonzero()[:, 0].tolist(), len(starts)]
        for begin, end in pairwise(first):
            # A fresh network, at rest.
            response, _ = ppo.respond(agent.network, observations[begin:end, k, None], None, STEPS)
            expected = response.logits[:, 0].log_softmax(-1).gather(-1, actions[begin:end, k, None])[:, 0]
            torch.testing.assert_close(log_probabilities[begin:end, k], expected, rtol=1e-4, atol=1e-5)
            episodes += 1
    assert episodes > 6 if keeps_state else episodes == 360
    # Some episode goes on from the first rollout to the second.
    assert not rollouts[1].starts[0].all() or not keeps_state


def test_two_rollouts_are_one_of_twice_the_length():
    together, parted = actor_critic(), actor_critic()
    whole = together.collect(30, generator())
    continued = generator()
    parts = [parted.collect(15, continued) for _ in range(2)]
    assert not parts[1].starts[0].all()
    for name in ("observations", "starts", "actions", "log_probabilities"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


@pytest.mark.parametrize("keeps_state", [True, False])
def test_replaying_a_rollout_gives_the_same_responses(keeps_state):
    agent = actor_critic(keeps_state=keeps_state)
    agent.collect(15, generator())
    rollout = agent.collect(60, generator(1))
    assert not rollout.starts[0].all() or not keeps_state
    count = torch.zeros_like(rollout.actions)
    for fragments in ppo.shuffle(ppo.split_fragments(rollout.starts), generator()):
        response, index = agent.replay(rollout, fragments)
        count[index] += 1
        chosen = response.logits.log_softmax(-1).gather(-1, rollout.actions[index][:, None])[:, 0]
        torch.testing.assert_close(chosen, rollout.log_probabilities[index], rtol=1e-4, atol=1e-5)
    # Every step once.
    assert torch.equal(count, torch.ones_like(count))


@pytest.mark.parametrize("keeps_state", [True, False])
def test_an_episode_at_its_time_limit_is_continued_by_the_predicted_reward(monkeypatch, keeps_state):
    agent = actor_critic(number=1, keeps_state=keeps_state)
    agent.environments.time_limit = 5
    shown = []

    def respond(network, observations, state, steps):
        shown.append(observations[0])
        return ppo_respond(network, observations, state, steps)

    ppo_respond = ppo.respond
    monkeypatch.setattr(ppo, "respond", respond)
    rollout = agent.collect(7, generator())
    assert agent.environments.age.item() == 2
    # Five steps, the observation after them, and three of the next episode.
    assert len(shown) == 9
    xs = torch.stack(shown[:6]) if keeps_state else torch.stack(shown[:6], 1)
    with torch.no_grad():
        response, _ = ppo_respond(agent.network, xs, None, STEPS)
    values = response.values.flatten()
    assert values.std() > 1e-3
    expected = ppo.REWARD_SCALE + ppo.GAMMA * values[5] - values[4]
    torch.testing.assert_close(rollout.advantages[4, 0], expected)


def test_a_final_state_is_followed_by_no_rewards(monkeypatch):
    agent = actor_critic(number=1)

    def respond(network, observations, state, steps):
        # Always push to the left, which ends the episode within some ten steps.
        response, state = ppo_respond(network, observations, state, steps)
        left = torch.tensor([50.0, -50.0]).expand_as(response.logits)
        return ppo.Response(left, torch.ones_like(response.values)), state

    ppo_respond = ppo.respond
    monkeypatch.setattr(ppo, "respond", respond)
    rollout = agent.collect(20, generator())
    last = int(rollout.starts[1:, 0].nonzero()[0])
    assert 5 < last < 15
    assert rollout.advantages[last, 0].item() == pytest.approx(ppo.REWARD_SCALE - 1)


def test_the_objective_is_clipped():
    agent = actor_critic(number=2)
    rollout = agent.collect(20, generator())
    fragments = ppo.split_fragments(torch.zeros_like(rollout.starts))
    # The state at the beginning is at rest, and no episode has ended: the same fragments as in the rollout.
    rollout = rollout._replace(starts=rollout.starts & (torch.arange(20) == 0)[:, None])
    # All old probabilities are smaller than now: ratios of 2, beyond the limit of 1.2.
    response, index = agent.replay(rollout, fragments)
    now = torch.empty_like(rollout.log_probabilities)
    now[index] = response.logits.log_softmax(-1).gather(-1, rollout.actions[index][:, None])[:, 0].detach()
    advantages = torch.randn(20, 2, generator=generator())
    rollout = rollout._replace(log_probabilities=now - torch.tensor(2.0).log(), advantages=advantages)
    normalized = (advantages - advantages.mean()) / advantages.std(correction=0)
    objective = torch.where(normalized > 0, 1.2 * normalized, 2 * normalized).mean()
    p = response.logits.softmax(-1)
    entropy = -(p * p.log()).sum(-1).mean()
    error = (response.values - rollout.returns[index]).square().mean()
    expected = -objective + 0.5 * error - 0.01 * entropy
    torch.testing.assert_close(agent.loss(rollout, fragments), expected)
