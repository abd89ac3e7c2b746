"""Balance a pole, or swing up a pendulum of two links, with a spiking actor-critic:
`python -m geir.tasks.control --environment CartPole-v1`.

One layer of `ALIF` neurons, and leaky integrators whose potentials are the logits of the actions and the predicted
reward. An observation is a constant current for some steps. Thresholds adapt with time constants from 50 to 500 ms, so
that spikes depend on changes of the observation. `--method ppo` learns by backpropagation through time in several
environments at once; `--method e-prop` learns online in one of them, without backpropagation over time: at every step,
the error of the predicted reward multiplies the eligibility traces.

Neurons keep their state over an episode, or with `--reset-state` begin every step of the environment at rest. With
`--mask-velocities` only positions are observed, so that the network needs memory.

After training, the network plays 100 new episodes, without learning, and takes the most probable action. CartPole-v1
counts as solved from a mean reward of 475, Acrobot-v1 from -100.

References: J. Schulman et al., *Proximal policy optimization algorithms*, 2017; G. Bellec et al., *A solution to the
learning dilemma for recurrent networks of spiking neurons*, 2020; the environments are those of gymnasium (M. Towers et
al., 2024).
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn, Tensor

from .. import plot
from ..containers import SequentialState
from ..neurons import ALIF, LI
from ..surrogates import SuperSpike
from .checkpoint import EpochResult
from .command_line import build_parser, main, Result
from .environments import Environments, OBSERVATIONS, TRAINING_SEEDS
from .epochs import train_epochs
from .files import write_atomically
from .loop import seed_of_epoch
from .ppo import ActorCritic, respond
from .reward_eprop import OnlineActorCritic
from .settings import out_setting, resume_setting, seed_setting, setting, TaskSettings

METHODS = ("ppo", "e-prop")
DT, TAU_MEM, TAU_SYN, BETA = 5e-3, 20e-3, 5e-3, 0.3
# Range of the time constants of adaptation.
TAU_ADAPT = 50e-3, 500e-3
# Standard deviations of the initial weights and biases of the neurons, at which they spike.
WEIGHT, BIAS = 3.0, 1.5
# Initial weights of the readout relative to PyTorch's, so that actions are equally probable at first.
READOUT_WEIGHT = 0.3
# Updates between two reports.
EPOCH = 10


@dataclass(frozen=True)
class Settings(TaskSettings):
    """Settings of a run. Each field is a flag of the command line."""

    environment: str = setting("CartPole-v1", f"one of {', '.join(OBSERVATIONS)}", choices=tuple(OBSERVATIONS))
    method: str = setting("ppo", "ppo, or e-prop to learn online", choices=METHODS)
    updates: int = setting(100, "number of rollouts of PPO, of episodes of e-prop")
    environments: int = setting(16, "environments that PPO runs at once")
    rollout: int = setting(128, "steps of each of them in a rollout")
    neurons: int = setting(64, "number of spiking neurons")
    steps: int = setting(4, "time steps of the network per step of the environment")
    reset_state: bool = setting(False, "begin every step of the environment at rest")
    mask_velocities: bool = setting(False, "observe positions only")
    learning_rate: float = setting(5e-3, "learning rate of Adam at first; falls to zero")
    test_episodes: int = setting(100, "number of test episodes", free=True)
    seed: int = seed_setting("weights, actions and episodes")
    out: Path = out_setting("control", "checkpoint and figure")
    resume: bool = resume_setting()


def network(observation: int, neurons: int, actions: int) -> SequentialState:
    """A layer of spiking neurons, and one leaky integrator for each action and for the predicted reward.

    Args:
        observation: Number of parts of an observation.
        neurons: Number of spiking neurons.
        actions: Number of actions.
    """
    inputs, outputs = nn.Linear(observation, neurons), nn.Linear(neurons, actions + 1)
    nn.init.normal_(inputs.weight, std=WEIGHT)
    nn.init.normal_(inputs.bias, std=BIAS)
    with torch.no_grad():
        outputs.weight.mul_(READOUT_WEIGHT)
    nn.init.zeros_(outputs.bias)
    tau_adapt = torch.logspace(math.log10(TAU_ADAPT[0]), math.log10(TAU_ADAPT[1]), neurons)
    surrogate = SuperSpike(alpha=10.0)
    neuron = ALIF(dt=DT, tau_mem=TAU_MEM, tau_syn=TAU_SYN, tau_adapt=tau_adapt, beta=BETA, surrogate=surrogate)
    return SequentialState(inputs, neuron, outputs, LI(dt=DT, tau_mem=TAU_MEM, tau_syn=TAU_SYN))


@torch.no_grad()
def play(model: SequentialState, environments: Environments, seeds: Tensor, steps: int, keeps_state: bool) -> Tensor:
    """Play an episode in each environment without learning, with the most probable actions; returns their rewards."""
    environments.start(seeds)
    state, rewards = None, torch.full((environments.number,), math.nan)
    while rewards.isnan().any():
        observation = environments.observation[None]
        response, state = respond(model, observation, state if keeps_state else None, steps)
        ended = environments.step(response.logits[0].argmax(-1)).ended
        rewards = torch.where(rewards.isnan() & ended, environments.total.float(), rewards)
        if ended.any():
            # All must take the next step; episodes after the first do not count.
            environments.start(seeds, ended)
    return rewards


def run(**settings: object) -> Result:
    """Train and test; for `settings`, see `geir.tasks`.

    Returns:
        The result, including `test_reward`, the mean over the test episodes, after the last update.
    """
    given = replace(Settings(), **settings)
    online, keeps_state = given.method == "e-prop", not given.reset_state
    environments = Environments(given.environment, 1 if online else given.environments, given.mask_velocities)
    torch.manual_seed(given.seed)
    model = network(environments.size, given.neurons, environments.actions)
    agent = (OnlineActorCritic if online else ActorCritic)(model, environments, given.steps, keeps_state)
    optimizer = torch.optim.Adam(model.parameters(), lr=given.learning_rate)

    def update(number: int) -> float:
        generator = torch.Generator().manual_seed(seed_of_epoch(given.seed, number))
        if isinstance(agent, OnlineActorCritic):
            return agent.play(optimizer, generator)
        return agent.update(optimizer, agent.collect(given.rollout, generator), generator)

    def finish(history: Sequence[EpochResult]) -> Result:
        test = Environments(given.environment, given.test_episodes, given.mask_velocities)
        rewards = play(model, test, TRAINING_SEEDS + torch.arange(given.test_episodes), given.steps, keeps_state)
        figure = given.out / "control.png"
        draw_rewards(history, given.environment, figure)
        return {
            "test_reward": rewards.double().mean().item(),
            "lowest_test_reward": rewards.min().item(),
            "test_episodes": given.test_episodes,
            "figure": str(figure),
        }

    return train_epochs(
        "control",
        given,
        math.ceil(given.updates / EPOCH),
        agent,
        optimizer,
        learning_rate=lambda epoch: given.learning_rate * (1 - epoch * EPOCH / given.updates),
        batches=lambda epoch: range(epoch * EPOCH, min((epoch + 1) * EPOCH, given.updates)),
        update=update,
        evaluate=environments.report,
        finish=finish,
    )


def draw_rewards(history: Sequence[EpochResult], environment: str, path: Path) -> None:
    """Draw the mean reward of training episodes over the steps taken, as PNG."""
    points = [(epoch["environment_steps"], epoch["reward"]) for epoch in history if "reward" in epoch]
    with plot.style():
        figure = Figure(figsize=(5, 3), layout="constrained")
        axes = figure.subplots()
        axes.plot([x for x, _ in points], [y for _, y in points], "o-", color=plot.BLUE, markersize=4)
        axes.set(title=environment, xlabel="steps of the environment", ylabel="mean reward of training episodes")
        write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=180))


if __name__ == "__main__":
    sys.exit(main(build_parser("control", __doc__, Settings()), run))
