"""Environments of gymnasium whose state is part of a checkpoint: `geir.tasks.environments`."""

import numpy as np
import pytest
import torch

from geir.tasks.environments import draw_seeds, Environments, OBSERVATIONS, TRAINING_SEEDS

gymnasium = pytest.importorskip("gymnasium", reason="the environments are those of gymnasium")

every_environment = pytest.mark.parametrize("name", OBSERVATIONS)


def actions(environments, steps, seed=0):
    shape = steps, environments.number
    return torch.randint(environments.actions, shape, generator=torch.Generator().manual_seed(seed))


@every_environment
def test_steps_are_those_of_gymnasium(name):
    environments = Environments(name, 2)
    environments.start(torch.tensor([5, 6]))
    scales = torch.tensor(OBSERVATIONS[name].scales)
    originals = [gymnasium.make(name) for _ in range(2)]
    observations = [original.reset(seed=5 + k)[0] for k, original in enumerate(originals)]
    totals = torch.zeros(2)
    # CartPole ends after about ten steps to one side.
    chosen = torch.zeros(30, 2, dtype=torch.long) if name == "CartPole-v1" else actions(environments, 30)
    for t in range(30):
        torch.testing.assert_close(environments.observation * scales, torch.from_numpy(np.stack(observations)))
        step = environments.step(chosen[t])
        expected = [original.step(int(action)) for original, action in zip(originals, chosen[t], strict=True)]
        totals += step.rewards
        observations = [observation for observation, *_ in expected]
        assert step.rewards.tolist() == [reward for _, reward, *_ in expected]
        assert step.terminated.tolist() == [terminated for _, _, terminated, *_ in expected]
        assert not step.truncated.any()
        if step.ended.any():
            break
    assert step.ended.any() == (name == "CartPole-v1")
    torch.testing.assert_close(environments.total.float(), totals)


@every_environment
def test_scaled_observations_are_of_order_one(name):
    environments = Environments(name, 20)
    seen = []
    for chosen in actions(environments, 60):
        ended = environments.step(chosen).ended
        seen.append(environments.observation)
        if ended.any():
            environments.start(torch.arange(20), ended)
    deviations = torch.cat(seen).std(0)
    assert (deviations < 1).all()
    assert (deviations > 0.02).all()


def test_masked_observations_are_positions_only():
    environments = Environments("CartPole-v1", 1, mask_velocities=True)
    environments.start(torch.tensor([3]))
    observation, _ = gymnasium.make("CartPole-v1").reset(seed=3)
    assert environments.size == 2
    torch.testing.assert_close(
        environments.observation[0], torch.tensor(observation[[0, 2]]) / torch.tensor([2.4, 0.21])
    )
    # Cosines and sines of the angles.
    masked, whole = Environments("Acrobot-v1", 1, mask_velocities=True), Environments("Acrobot-v1", 1)
    assert torch.equal(masked.observation, whole.observation[:, :4])


def test_the_time_limit_is_that_of_gymnasium():
    environments = Environments("Acrobot-v1", 2)
    assert environments.time_limit == 500
    environments.time_limit = 4
    none = torch.ones(2, dtype=torch.long)  # no torque: hangs down
    assert [environments.step(none).truncated.tolist() for _ in range(3)] == [[False, False]] * 3
    environments.start(torch.tensor([7, 8]), torch.tensor([True, False]))
    assert environments.step(none).truncated.tolist() == [False, True]
    assert environments.total.tolist() == [-1, -4]


@every_environment
def test_the_same_buffers_give_the_same_episodes(name):
    one, other = Environments(name, 3), Environments(name, 3)
    one.start(torch.tensor([1, 2, 3]))
    for chosen in actions(one, 5):
        one.step(chosen)
    one.save_states()
    other.load_state_dict(one.state_dict())
    for environments in (one, other):
        environments.restore_states()
    for chosen in actions(one, 4, seed=1):
        steps = [environments.step(chosen) for environments in (one, other)]
        assert all(torch.equal(*parts) for parts in zip(*steps, strict=True))
        assert torch.equal(one.observation, other.observation)
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))
    assert int(one.taken) == 27


def test_the_report_is_the_mean_reward_of_episodes_that_have_ended():
    environments = Environments("CartPole-v1", 2)
    assert environments.report() == {"environment_steps": 0}
    lengths = []
    while len(lengths) < 4:
        ended = environments.step(torch.tensor([0, 1])).ended
        lengths += environments.age[ended].tolist()
        environments.start(torch.tensor([1, 2]), ended) if ended.any() else None
    report = environments.report()
    assert report["reward"] == pytest.approx(sum(lengths) / len(lengths))
    assert report["environment_steps"] == int(environments.taken)
    assert "reward" not in environments.report()


def test_seeds_of_training_are_not_those_of_tests():
    seeds = draw_seeds(10_000, torch.Generator().manual_seed(0))
    assert seeds.min() >= 0
    assert seeds.max() < TRAINING_SEEDS
    # The tests' seeds are taken as they are.
    environments = Environments("CartPole-v1", 2)
    environments.start(TRAINING_SEEDS + torch.arange(2))
    observation, _ = gymnasium.make("CartPole-v1").reset(seed=TRAINING_SEEDS + 1)
    torch.testing.assert_close(
        environments.observation[1] * torch.tensor([2.4, 2.0, 0.21, 2.0]), torch.tensor(observation)
    )
