"""An actor-critic that learns online: `geir.tasks.reward_eprop`."""

import pytest
import torch

from geir.tasks import ppo
from geir.tasks.control import network
from geir.tasks.reward_eprop import GAMMA, LAMBDA, OnlineActorCritic, REWARD_SCALE, VALUE

pytest.importorskip("gymnasium", reason="the tasks of control need gymnasium")

from geir.tasks.environments import draw_seeds, Environments

STEPS = 2


def agent(keeps_state=True, name="CartPole-v1"):
    torch.manual_seed(1)
    environments = Environments(name, 1)
    model = network(environments.size, 10, environments.actions)
    return OnlineActorCritic(model, environments, STEPS, keeps_state)


def expected_change(model, environments, keeps_state, generator):
    r"""The sum of all updates of one episode with unchanged weights, by backpropagation over the episode.

    With :math:`\ell_t` the loss of a step, :math:`\sum_t \delta_t \sum_{s \le t} (\gamma \lambda)^{t - s} \nabla
    \ell_s`, the gradient of a sum of losses in which each has the weight :math:`\sum_{t \ge s} (\gamma \lambda)^{t - s}
    \delta_t`: the advantage.
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


@pytest.mark.parametrize("keeps_state", [True, False])
@pytest.mark.parametrize("time_limit", [6, 500])
def test_updates_of_an_episode_add_up_to_the_policy_gradient(keeps_state, time_limit):
    learner = agent(keeps_state)
    learner.double()
    learner.environments.float()
    learner = learner.float()
    learner.environments.time_limit = time_limit
    model = learner.learner.model
    gradients, length = expected_change(model, learner.environments, keeps_state, torch.Generator().manual_seed(3))
    before = [p.detach().clone() for p in model.parameters()]
    # So small that the weights stay the same during the episode, up to rounding.
    rate = 1e-2
    updates = [torch.zeros_like(p) for p in before]

    class Collect(torch.optim.SGD):
        def step(self, closure=None):
            for update, p in zip(updates, model.parameters(), strict=True):
                update.sub_(p.grad)

    learner.play(Collect(model.parameters(), lr=rate), torch.Generator().manual_seed(3))
    assert (length == 6) == (time_limit == 6)
    for update, gradient in zip(updates, gradients, strict=True):
        torch.testing.assert_close(-update, gradient, rtol=1e-3, atol=1e-5)
