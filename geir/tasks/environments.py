"""Environments of gymnasium, several at a time, whose state is part of a checkpoint."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn, Tensor


class Observation(NamedTuple):
    """How the observation of an environment is given to a network."""

    scales: tuple[float, ...]  # its parts are divided by these
    velocities: tuple[int, ...]  # the parts that are velocities


OBSERVATIONS = {
    # Position and velocity of the cart, angle and angular velocity of the pole.
    "CartPole-v1": Observation((2.4, 2.0, 0.21, 2.0), (1, 3)),
    # Cosine and sine of both angles, and the angular velocities.
    "Acrobot-v1": Observation((1.0, 1.0, 1.0, 1.0, 4.0, 9.0), (4, 5)),
}
# Seeds of episodes in training are below this, those of other episodes are not.
TRAINING_SEEDS = 2**31


class Step(NamedTuple):
    """Results of a step besides the observation, each of shape (environments,)."""

    rewards: Tensor
    terminated: Tensor  # whether the episode has ended in a final state
    truncated: Tensor  # whether it has reached its time limit

    @property
    def ended(self) -> Tensor:
        """Whether the step was the last of its episode."""
        return self.terminated | self.truncated


class Environments(nn.Module):
    """Several environments of one kind that advance together.

    All that they need to continue is in buffers: after `save_states` and `restore_states`, the same buffers give the
    same episodes. Every episode is started by a seed. The mean reward of episodes that have ended is counted.

    Args:
        name: A key of `OBSERVATIONS`.
        number: Number of environments.
        mask_velocities: Whether to remove the velocities from observations.

    Raises:
        ImportError: If gymnasium is not installed.
    """

    observation: Tensor
    state: Tensor
    age: Tensor
    total: Tensor
    taken: Tensor
    finished: Tensor

    def __init__(self, name: str, number: int, mask_velocities: bool = False):
        super().__init__()
        try:
            import gymnasium
            from gymnasium.vector import AutoresetMode, SyncVectorEnv
        except ImportError:
            raise ImportError(
                "geir.tasks.control needs gymnasium, which is not installed; install it with: pip install "
                "'geir[control]'"
            ) from None
        self.number = number
        self.time_limit = gymnasium.spec(name).max_episode_steps or 0

        def make() -> Any:
            # The time limit is that of `age`.
            return gymnasium.make(name, max_episode_steps=-1, disable_env_checker=True)

        self._environments = SyncVectorEnv([make] * number, autoreset_mode=AutoresetMode.DISABLED)
        self.actions = int(self._environments.single_action_space.n)  # pyright: ignore[reportAttributeAccessIssue]
        scales, velocities = OBSERVATIONS[name]
        self._parts = [k for k in range(len(scales)) if not (mask_velocities and k in velocities)]
        self._scales = torch.tensor(scales)[self._parts]
        first, _ = self._environments.reset(seed=0)
        self.register_buffer("observation", self._observed(first))
        self.register_buffer("state", self._states())
        self.register_buffer("age", torch.zeros(number, dtype=torch.long))
        self.register_buffer("total", torch.zeros(number, dtype=torch.float64))
        self.register_buffer("taken", torch.zeros((), dtype=torch.long))
        # Number of the episodes that have ended since the last report, and the sum of their rewards.
        self.register_buffer("finished", torch.zeros(2, dtype=torch.float64))

    @property
    def size(self) -> int:
        """Number of parts of an observation."""
        return len(self._parts)

    def start(self, seeds: Tensor, which: Tensor | None = None) -> None:
        """Start new episodes.

        Args:
            seeds: A seed for each environment.
            which: The environments, a boolean tensor. Default: all.
        """
        which = torch.ones(self.number, dtype=torch.bool) if which is None else which
        options = {"reset_mask": which.numpy()}
        observation, _ = self._environments.reset(seed=seeds.tolist(), options=options)
        self.observation = self._observed(observation)
        self.age = self.age.masked_fill(which, 0)
        self.total = self.total.masked_fill(which, 0)

    def step(self, actions: Tensor) -> Step:
        """Take one action in each environment. Those whose episode has ended must be started before the next step."""
        observation, rewards, terminated, _, _ = self._environments.step(actions.numpy())
        self.observation = self._observed(observation)
        # Copies, because gymnasium writes to the same arrays again.
        step = Step(torch.tensor(rewards).float(), torch.tensor(terminated), self.age + 1 >= self.time_limit)
        self.age = self.age + 1
        self.total = self.total + step.rewards
        self.taken = self.taken + self.number
        ended = step.ended.double()
        self.finished = self.finished + torch.stack((ended.sum(), (ended * self.total).sum()))
        return step

    def report(self) -> dict[str, float]:
        """The steps taken until now, and the mean reward of the episodes that have ended since the last report."""
        number, total = self.finished.tolist()
        self.finished = torch.zeros_like(self.finished)
        report: dict[str, float] = {"environment_steps": int(self.taken)}
        return report | {"reward": total / number} if number else report

    def save_states(self) -> None:
        """Write the states of the environments to the buffer."""
        self.state = self._states()

    def restore_states(self) -> None:
        """Continue from the states in the buffer."""
        for environment, state in zip(self._environments.envs, self.state.numpy(), strict=True):
            environment.reset()
            environment.unwrapped.state = state.copy()  # pyright: ignore[reportAttributeAccessIssue]

    def _states(self) -> Tensor:
        states = [environment.unwrapped.state for environment in self._environments.envs]  # pyright: ignore
        return torch.from_numpy(np.array(states, dtype=np.float64))

    def _observed(self, observation: np.ndarray) -> Tensor:
        return torch.from_numpy(observation[:, self._parts]).float() / self._scales


def draw_seeds(number: int, generator: torch.Generator) -> Tensor:
    """Seeds of episodes of training."""
    return torch.randint(TRAINING_SEEDS, (number,), generator=generator)
