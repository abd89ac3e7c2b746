"""Control of environments by a spiking actor-critic: `geir.tasks.control`."""

import os
import signal
import sys

import pytest
import torch

from geir.tasks import control as task
from geir.tasks.environments import Environments

gymnasium = pytest.importorskip("gymnasium", reason="the environments are those of gymnasium")

QUICK = {"updates": 2, "environments": 2, "rollout": 24, "neurons": 8, "steps": 2, "test_episodes": 3}
every_method = pytest.mark.parametrize("method", task.METHODS)


def weights(result):
    return torch.load(result["weights"], weights_only=True)


@every_method
def test_all_weights_learn(tmp_path, method):
    torch.manual_seed(0)
    untrained = task.network(4, 8, 2).state_dict()
    trained = weights(task.run(**QUICK, method=method, out=tmp_path))
    prefix = "network" if method == "ppo" else "learner.model"
    for name in ("0.weight", "0.bias", "2.weight", "2.bias"):
        assert not torch.equal(trained[f"{prefix}.{name}"], untrained[name])


@every_method
@pytest.mark.parametrize("stop", [1, 3, 4])
def test_an_interrupted_and_resumed_run_equals_one_that_was_not(tmp_path, monkeypatch, method, stop):
    monkeypatch.setattr(task, "EPOCH", 3)
    settings = QUICK | {"updates": 5, "method": method}
    whole = task.run(**settings, out=tmp_path / "whole")
    assert whole["epochs"] == 2
    updates = []
    seed_of_epoch = task.seed_of_epoch

    def interrupt(seed, number):
        updates.append(number)
        if len(updates) == stop:
            os.kill(os.getpid(), signal.SIGINT)
        return seed_of_epoch(seed, number)

    monkeypatch.setattr(task, "seed_of_epoch", interrupt)
    stopped = task.run(**settings, out=tmp_path / "parts")
    assert stopped["interrupted"]
    assert len(updates) == stop
    assert "test_reward" not in stopped
    resumed = task.run(**settings, out=tmp_path / "parts", resume=True)
    # Each has random numbers of its own.
    assert updates == [0, 1, 2, 3, 4]
    expected, actual = weights(whole), weights(resumed)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    same = ("test_reward", "lowest_test_reward", "environment_steps", "reward")
    assert {name: resumed.get(name) for name in same} == {name: whole.get(name) for name in same}


@pytest.mark.parametrize(
    "settings", [{"environment": "Acrobot-v1"}, {"mask_velocities": True}, {"reset_state": True, "method": "e-prop"}]
)
def test_every_variant_runs(tmp_path, settings):
    if "method" in settings:
        settings = settings | {"updates": 1}
    result = task.run(**QUICK | settings, out=tmp_path)
    assert not result["interrupted"]
    assert result["lowest_test_reward"] <= result["test_reward"] <= 500
    assert (tmp_path / "control.png").stat().st_size > 1000


@pytest.mark.parametrize("keeps_state", [True, False])
def test_a_test_plays_one_whole_episode_of_each_seed(keeps_state):
    torch.manual_seed(2)
    model = task.network(4, 8, 2)
    seeds = torch.tensor([11, 12, 13])
    together = task.play(model, Environments("CartPole-v1", 3), seeds, 2, keeps_state)
    alone = [task.play(model, Environments("CartPole-v1", 1), seed[None], 2, keeps_state).item() for seed in seeds]
    assert together.tolist() == alone
    assert len(set(alone)) > 1
    assert all(5 < reward < 500 for reward in alone)


def test_only_the_first_episode_of_an_environment_counts():
    # The second environment is balanced. In the first, the cart is pushed to the left at first, later to both sides.
    def model(xs, state):
        count = 0 if state is None else state
        right = xs[..., 2] + xs[..., 3] > 0
        right[:, 0] = count > 20 and count % 2
        score = torch.where(right, 1.0, -1.0)
        return torch.stack((-score, score, score), -1), count + 1

    rewards = task.play(model, Environments("CartPole-v1", 2), torch.tensor([1, 2]), 1, True)
    alone = gymnasium.make("CartPole-v1")
    alone.reset(seed=1)
    pushes = next(k for k in range(1, 500) if alone.step(0)[2])
    assert rewards.tolist() == [pushes, 500]


def test_the_network_keeps_its_state_over_an_episode_only():
    # A neuron that counts its steps: after four, its output changes the action.
    given = []

    def model(xs, state):
        count = torch.zeros(xs.shape[1]) if state is None else state
        given.append(count)
        count = count + len(xs)
        return torch.stack((count, -count, count), -1).expand(len(xs), -1, -1), count

    environments = Environments("CartPole-v1", 1)
    task.play(model, environments, torch.tensor([1]), 3, True)
    assert [count.item() for count in given[:3]] == [0, 3, 6]
    given.clear()
    task.play(model, environments, torch.tensor([1]), 3, False)
    assert {count.item() for count in given} == {0}


def test_without_gymnasium_one_sentence_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    parser = task.build_parser("control", "", task.Settings())
    assert task.main(parser, task.run, ["--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error == (
        "error: geir.tasks.control needs gymnasium, which is not installed; install it with: pip install "
        "'geir[control]'\n"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"environment": "Pong"}, "--environment must be one of CartPole-v1, Acrobot-v1, got 'Pong'"),
        ({"method": "dqn"}, "--method must be one of ppo, e-prop, got 'dqn'"),
        ({"neurons": 0}, "--neurons must be positive, got 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        task.run(**settings)
