"""Proximal policy optimization of a network with state: rollouts, advantages, the clipped objective.

References: J. Schulman et al., *Proximal policy optimization algorithms*, 2017; *High-dimensional continuous control
using generalized advantage estimation*, 2016.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor
from torch.utils import _pytree as pytree

from ..containers import initial_state, reset, SequentialState
from .environments import draw_seeds, Environments
from .epochs import descend

GAMMA, LAMBDA = 0.99, 0.95
CLIP = 0.2
ENTROPY, VALUE = 0.01, 0.5
MAX_GRADIENT = 0.5
PASSES, MINIBATCHES = 6, 4
# Predicted are sums of rewards times this, which are of order one.
REWARD_SCALE = 1 - GAMMA


class Response(NamedTuple):
    """Response of an actor-critic, for every step of the environment."""

    logits: Tensor  # of the actions, (..., actions)
    values: Tensor  # predicted discounted sum of scaled rewards, (...)


class Rollout(NamedTuple):
    """Steps of several environments, each part of shape (steps, environments, ...)."""

    observations: Tensor
    starts: Tensor  # whether the network is at rest before the step
    actions: Tensor
    log_probabilities: Tensor
    advantages: Tensor
    returns: Tensor  # what the values should have been
    state: Any  # of the network before the first step, for each environment


class Fragments(NamedTuple):
    """Runs of successive steps of one environment in a rollout, each part of shape (fragments,)."""

    environments: Tensor
    first: Tensor  # first step
    lengths: Tensor  # number of steps


def respond(network: SequentialState, observations: Tensor, state: Any, steps: int) -> tuple[Response, Any]:
    """Show observations to an actor-critic, each for some steps; its response is the output of the last of them.

    Args:
        network: Maps (time, batch, observation) to (time, batch, actions + 1), of which the last is the value.
        observations: Shape (time, batch, observation).
        state: State of the network; None: at rest.
        steps: Steps of the network per observation.
    """
    ys, state = network(observations.repeat_interleave(steps, 0), state)
    ys = ys[steps - 1 :: steps]
    return Response(ys[..., :-1], ys[..., -1]), state


def estimate_advantages(
    rewards: Tensor, values: Tensor, next_values: Tensor, ended: Tensor, gamma: float = GAMMA, lam: float = LAMBDA
) -> Tensor:
    r"""Generalized advantage estimates, :math:`A_t = \delta_t + \gamma \lambda A_{t+1}`, :math:`\delta_t = r_t + \gamma
    V_{t+1} - V_t`, where :math:`A_{t+1}` is zero after the last step of an episode.

    Args:
        rewards: Rewards, shape (steps, environments).
        values: Predictions before each step, same shape.
        next_values: Predictions after each step, zero if it ended in a final state, same shape.
        ended: Whether the step was the last of its episode, same shape.
        gamma: Discount of later rewards.
        lam: Decay of the weights of later errors.
    """
    errors = rewards + gamma * next_values - values
    advantages = torch.zeros_like(errors)
    following = torch.zeros_like(errors[0])
    for t in reversed(range(len(errors))):
        following = errors[t] + gamma * lam * following.masked_fill(ended[t], 0)
        advantages[t] = following
    return advantages


def split_fragments(starts: Tensor) -> Fragments:
    """Split a rollout where the network is set to rest.

    Args:
        starts: Whether the network is at rest before a step, shape (steps, environments).
    """
    begins = starts.clone()
    begins[0] = True
    environments, first = begins.T.nonzero(as_tuple=True)
    end = torch.full((1,), len(starts))
    # The next fragment begins where this one ends, unless it is one of another environment.
    ends = torch.cat((first[1:], end))
    ends = torch.where(ends == 0, len(starts), ends)
    return Fragments(environments, first, ends - first)


class ActorCritic(nn.Module):
    """A spiking actor-critic with its environments: all that a checkpoint of PPO must hold.

    Args:
        network: The network; see `respond`.
        environments: The environments.
        steps: Steps of the network per step of the environment.
        keeps_state: Whether neurons keep their state over an episode; if not, every step of the environment begins at
            rest.
    """

    starts: Tensor

    def __init__(self, network: SequentialState, environments: Environments, steps: int, keeps_state: bool):
        super().__init__()
        self.network = network
        self.environments = environments
        self.steps, self.keeps_state = steps, keeps_state
        parts, self._structure = pytree.tree_flatten(initial_state(network, environments.observation[None]))
        self._parts = len(parts)
        for k, part in enumerate(parts):
            self.register_buffer(f"state_{k}", part.clone())
        # Whether the network is at rest before the next step.
        self.register_buffer("starts", torch.ones(environments.number, dtype=torch.bool))

    @torch.no_grad()
    def collect(self, length: int, generator: torch.Generator) -> Rollout:
        """Let the network act for some steps in every environment."""
        environments = self.environments
        environments.restore_states()
        parts = [self.get_buffer(f"state_{k}") for k in range(self._parts)]
        state = first_state = pytree.tree_unflatten(parts, self._structure)
        starts, record = self.starts, []
        for _ in range(length):
            observation = environments.observation
            response, state = self._respond(state, starts)
            probabilities = response.logits.softmax(-1)
            actions = torch.multinomial(probabilities, 1, generator=generator)
            log_probabilities = probabilities.gather(-1, actions).log()[:, 0]
            step = environments.step(actions[:, 0])
            # An episode without a final state would have gone on.
            goes_on = step.truncated & ~step.terminated
            following = torch.zeros_like(response.values)
            if goes_on.any():
                beyond, _ = self._respond(state, torch.full_like(goes_on, not self.keeps_state))
                following = torch.where(goes_on, beyond.values, following)
            values = response.values, following
            record.append((observation, starts, actions[:, 0], log_probabilities, *values, step.rewards, step.ended))
            if step.ended.any():
                environments.start(draw_seeds(environments.number, generator), step.ended)
            starts = step.ended if self.keeps_state else torch.ones_like(step.ended)
        last, _ = self._respond(state, starts)
        self._keep(state, starts)
        observations, starts, actions, log_probabilities, values, following, rewards, ended = map(
            torch.stack, zip(*record, strict=True)
        )
        next_values = torch.where(ended, following, torch.cat((values[1:], last.values[None])))
        advantages = estimate_advantages(REWARD_SCALE * rewards, values, next_values, ended)
        return Rollout(observations, starts, actions, log_probabilities, advantages, advantages + values, first_state)

    def update(self, optimizer: torch.optim.Optimizer, rollout: Rollout, generator: torch.Generator) -> float:
        """Train the network on a rollout; returns the mean loss."""
        losses = []
        for _ in range(PASSES):
            for fragments in shuffle(split_fragments(rollout.starts), generator):
                losses.append(descend(optimizer, self.loss(rollout, fragments), MAX_GRADIENT))
        return sum(losses) / len(losses)

    def loss(self, rollout: Rollout, fragments: Fragments) -> Tensor:
        """The clipped objective, the error of the predicted values and the entropy, over the steps of fragments."""
        response, index = self.replay(rollout, fragments)
        log_probabilities = response.logits.log_softmax(-1)
        chosen = log_probabilities.gather(-1, rollout.actions[index][:, None])[:, 0]
        ratio = (chosen - rollout.log_probabilities[index]).exp()
        advantages = rollout.advantages[index]
        advantages = (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
        objective = torch.minimum(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages).mean()
        error = (response.values - rollout.returns[index]).square().mean()
        entropy = -(log_probabilities.exp() * log_probabilities).sum(-1).mean()
        return -objective + VALUE * error - ENTROPY * entropy

    def replay(self, rollout: Rollout, fragments: Fragments) -> tuple[Response, tuple[Tensor, Tensor]]:
        """Run the network over the steps of fragments, each from the state in which it began.

        Returns:
            The responses, each part of shape (all steps of the fragments, ...), and the indices of these steps in the
            parts of the rollout.
        """
        environments, first, lengths = fragments
        state = pytree.tree_map_only(Tensor, lambda part: part[environments], rollout.state)
        state = reset(self.network, state, (first > 0) | rollout.starts[0, environments])
        # Shorter fragments are filled up by steps that do not count.
        offsets = torch.arange(int(lengths.max()))[:, None]
        counted = offsets < lengths
        steps = (first + offsets).clamp(max=len(rollout.starts) - 1)
        response, _ = respond(self.network, rollout.observations[steps, environments], state, self.steps)
        index = steps[counted], environments.expand_as(steps)[counted]
        return Response(response.logits[counted], response.values[counted]), index

    def _respond(self, state: Any, starts: Tensor) -> tuple[Response, Any]:
        """The response to the current observations, where the network is first set to rest if it `starts`."""
        if starts.any():
            state = reset(self.network, state, starts)
        response, state = respond(self.network, self.environments.observation[None], state, self.steps)
        return Response(response.logits[0], response.values[0]), state

    def _keep(self, state: Any, starts: Tensor) -> None:
        for k, part in enumerate(pytree.tree_leaves(state)):
            setattr(self, f"state_{k}", part)
        self.starts = starts
        self.environments.save_states()


def shuffle(fragments: Fragments, generator: torch.Generator) -> Iterator[Fragments]:
    """Minibatches of fragments, in random order."""
    order = torch.randperm(len(fragments.first), generator=generator)
    for chosen in order.tensor_split(min(MINIBATCHES, len(order))):
        yield Fragments(*(part[chosen] for part in fragments))
