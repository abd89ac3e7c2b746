"""Actor-critic that learns online by reward-modulated e-prop: eligibility traces instead of rollouts."""

from typing import Any

import torch
from torch import nn, Tensor

from ..containers import SequentialState
from ..learning import EProp, Online, RewardTraces
from .environments import draw_seeds, Environments
from .ppo import GAMMA, LAMBDA, Response, REWARD_SCALE

# Weight of the predicted reward in the loss.
VALUE = 0.5


class OnlineActorCritic(nn.Module):
    """A spiking actor-critic that learns at every step of one environment.

    Args:
        network: The network; see `geir.tasks.ppo.respond`.
        environments: The environment, a single one.
        steps: Steps of the network per step of the environment.
        keeps_state: Whether neurons and their traces keep their state over an episode.
    """

    def __init__(self, network: SequentialState, environments: Environments, steps: int, keeps_state: bool):
        super().__init__()
        self.learner = Online(network, EProp())
        self.environments = environments
        self.steps, self.keeps_state = steps, keeps_state

    def play(self, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> float:
        """Play one episode, with an update at every step; returns the mean squared error of the predicted reward."""
        traces = RewardTraces(optimizer, gamma=GAMMA, lam=LAMBDA)
        environments = self.environments
        environments.start(draw_seeds(1, generator))
        state, errors = None, []
        response, state = self._respond(state)
        error: Tensor | None = None
        while True:
            action = torch.multinomial(response.logits.detach().softmax(-1), 1, generator=generator)[0]
            loss = -response.logits[0].log_softmax(-1)[action] - VALUE * response.values
            optimizer.zero_grad()
            loss.sum().backward()
            traces.step(error)
            step = environments.step(action)
            value = response.values.detach()
            # A final state is followed by no rewards.
            if not step.terminated:
                response, state = self._respond(state)
            following = torch.zeros(1) if step.terminated else response.values.detach()
            error = REWARD_SCALE * step.rewards + GAMMA * following - value
            errors.append(error.item())
            if step.ended:
                traces.end(error)
                return sum(e**2 for e in errors) / len(errors)

    def _respond(self, state: Any) -> tuple[Response, Any]:
        """The response to the current observation, shown for some steps."""
        observation = self.environments.observation
        y, state = self.learner(observation, state if self.keeps_state else None)
        for _ in range(self.steps - 1):
            y, state = self.learner(observation, state)
        return Response(y[:, :-1], y[:, -1]), state
