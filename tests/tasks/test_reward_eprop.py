"""An actor-critic that learns online: `geir.tasks.reward_eprop`."""

import pytest
import torch

from geir.tasks import ppo
from geir.tasks.control import network
from geir.tasks.environments import draw_seeds, Environments
from geir.tasks.reward_eprop import GAMMA, LAMBDA, OnlineActorCritic, REWARD_SCALE, VALUE

pytest.importorskip("gymnasium", reason="the environments are those of gymnasium")


STEPS = 2


def agent(keeps_state=True, name="CartPole-v1"):
    torch.manual_seed(1)
    environments = Environments(name, 1)
    model = network(environments.size, 10, environments.actions)
    return OnlineActorCritic(model, environments, STEPS, keeps_state)


def policy_gradient(model, environments, keeps_state, generator):
    """The gradient of an episode by backpropagation over time, and the number of its steps.

    Traces of losses times the later errors, summed over an episode, are losses times advantages.
    """
    environments.start(draw_seeds(1, generator))
    observations, actions, rewards = [], [], []
    state = None
    while True:
        observations.append(environments.observation)
        with torch.no_grad():
            response, state = ppo.respond(model, environments.observation[None], state, STEPS)
        state = state if keeps_state else None
        actions.append(torch.multinomial(response.logits[0].softmax(-1), 1, generator=generator)[0])
        step = environments.step(actions[-1])
        rewards.append(step.rewards)
        if step.ended:
            break
    xs = torch.stack([*observations, environments.observation])
    if keeps_state:
        response, _ = ppo.respond(model, xs, None, STEPS)
    else:
        response, _ = ppo.respond(model, xs.transpose(0, 1), None, STEPS)
        response = ppo.Response(response.logits.transpose(0, 1), response.values.T)
    values = response.values.detach()
    following = values[1:].clone()
    if step.terminated:
        following[-1] = 0
    ended = torch.zeros(len(actions), 1, dtype=torch.bool)
    advantages = ppo.estimate_advantages(
        REWARD_SCALE * torch.stack(rewards), values[:-1], following, ended, GAMMA, LAMBDA
    )
    chosen = response.logits[:-1, 0].log_softmax(-1).gather(-1, torch.stack(actions))
    loss = ((-chosen - VALUE * response.values[:-1]) * advantages).sum()
    return torch.autograd.grad(loss, list(model.parameters())), len(actions)


class Recorder(torch.optim.Optimizer):
    """Adds up the gradients that it is given, and leaves the weights as they are."""

    def __init__(self, parameters):
        super().__init__(parameters, {})
        self.sums = [torch.zeros_like(p) for p in self.param_groups[0]["params"]]

    def step(self, closure=None):
        for total, p in zip(self.sums, self.param_groups[0]["params"], strict=True):
            total += p.grad


@pytest.mark.parametrize("keeps_state", [True, False])
@pytest.mark.parametrize("time_limit", [6, 500])
def test_updates_of_an_episode_add_up_to_the_policy_gradient(keeps_state, time_limit):
    learner = agent(keeps_state)
    learner.environments.time_limit = time_limit
    model = learner.learner.model
    generator = torch.Generator().manual_seed(3)
    expected, length = policy_gradient(model, learner.environments, keeps_state, generator)
    assert (length == 6) == (time_limit == 6)
    recorder = Recorder(model.parameters())
    learner.play(recorder, generator.manual_seed(3))
    for total, gradient in zip(recorder.sums, expected, strict=True):
        assert gradient.abs().max() > 0
        torch.testing.assert_close(total, gradient, rtol=1e-3, atol=1e-5)
