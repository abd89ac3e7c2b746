"""Reward-modulated e-prop against its definition."""

import math

import pytest
import torch
from online_cases import build, connection, inputs, NEURONS, run
from torch import nn

import geir
from geir.learning import EProp, Online, RewardTraces

GAMMA, LAM, CRITIC = 0.9, 0.7, 0.5
ACTIONS = 2


def actor_critic():
    """A network with one output for each action and one for the predicted reward."""
    xs, _ = inputs()
    xs = xs[:, :1]
    neuron = build(geir.ALIF())
    model = geir.SequentialState(
        connection(neuron, xs), neuron, nn.Linear(NEURONS, ACTIONS + 1).double(), geir.LI().double()
    )
    return model, xs


def loss_of_step(y, action):
    return -y[0, :ACTIONS].log_softmax(-1)[action] - CRITIC * y[0, -1]


def test_updates_are_errors_of_rewards_times_filtered_eligibilities():
    torch.manual_seed(0)
    model, xs = actor_critic()
    rewards, actions = torch.randn(len(xs)).double().tolist(), torch.randint(ACTIONS, (len(xs),)).tolist()
    # The definition: gradients of each step's loss by autograd, through all steps before it.
    linear, neuron, head, readout = model
    ys = run(readout, head(run(neuron, linear(xs))))
    parameters = list(model.parameters())
    values = ys[:, 0, -1].tolist()
    gradients = [
        torch.autograd.grad(loss_of_step(y, a), parameters, retain_graph=True, materialize_grads=True)
        for y, a in zip(ys, actions, strict=True)
    ]
    wanted = []
    for t in range(len(xs)):
        error = rewards[t] - values[t] + (GAMMA * values[t + 1] if t + 1 < len(xs) else 0.0)
        parts = [[(GAMMA * LAM) ** (t - s) * g for g in gradients[s]] for s in range(t + 1)]
        wanted.append([error * sum(part) for part in zip(*parts, strict=True)])
    # Step by step. A learning rate of zero leaves the weights, so that the two can be compared.
    inner, given = torch.optim.SGD(parameters, lr=0.0), []
    inner.register_step_pre_hook(lambda *_: given.append([p.grad.clone() for p in parameters]))
    optimizer = RewardTraces(inner, gamma=GAMMA, lam=LAM)
    learner, state, error = Online(model, EProp()), None, None
    for t, x in enumerate(xs):
        y, state = learner(x, state)
        if t:
            error = rewards[t - 1] + GAMMA * y[0, -1].detach() - values[t - 1]
        optimizer.zero_grad()
        loss_of_step(y, actions[t]).backward()
        before = [p.grad.clone() for p in parameters]
        optimizer.step(error)
        assert all(torch.equal(p.grad, g) for p, g in zip(parameters, before, strict=True))
    optimizer.end(rewards[-1] - values[-1])
    assert len(given) == len(wanted) == len(xs)
    for actual, expected in zip(given, wanted, strict=True):
        assert expected[0].abs().max() > 0
        for a, e in zip(actual, expected, strict=True):
            torch.testing.assert_close(a, e, rtol=1e-10, atol=1e-12)
    assert not optimizer.traces


def test_a_choice_is_learned_from_a_reward_that_comes_later():
    torch.manual_seed(0)
    cues = torch.eye(2).repeat_interleave(5, 1)[:, None]  # (cue, batch, inputs)
    model = geir.SequentialState(
        nn.Linear(10, 30), geir.LIF(v_th=0.3, surrogate=geir.surrogates.SuperSpike(alpha=10.0)), nn.Linear(30, 3)
    )
    learner = Online(model, EProp())
    optimizer = RewardTraces(torch.optim.Adam(model.parameters(), lr=5e-3), gamma=1.0, lam=0.9)
    rewards = []
    for trial in range(150):
        state, choice, value, cue = None, None, 0.0, trial % 2
        for t in range(4):
            # The choice is made in the second step, the reward comes after the fourth.
            y, state = learner(cues[cue] if t < 2 else torch.zeros(1, 10), state)
            td_error = None if t == 0 else y[0, -1].detach() - value
            value = y[0, -1].detach()
            loss = -0.5 * y[0, -1]
            if t == 1:
                choice = torch.distributions.Categorical(logits=y[0, :2]).sample().item()
                loss = loss - y[0, :2].log_softmax(-1)[choice]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step(td_error)
        rewards.append(float(choice == cue))
        optimizer.end(rewards[-1] - value)
    assert sum(rewards[-40:]) / 40 > 0.9, sum(rewards[:40]) / 40


def test_the_state_of_traces_can_be_saved_and_loaded():
    weights = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))]
    first = RewardTraces(torch.optim.Adam(weights, lr=0.1), gamma=0.5, lam=0.5)
    (weights[0].sum() * 3).backward()
    first.step()
    copies = [nn.Parameter(w.detach().clone()) for w in weights]
    second = RewardTraces(torch.optim.Adam(copies, lr=0.1), gamma=0.5, lam=0.5)
    second.load_state_dict(first.state_dict())
    first.end(1.0)
    second.end(1.0)
    assert torch.equal(weights[0], copies[0])
    assert weights[0][0] != 1
    assert torch.equal(weights[1], torch.ones(3))
    with pytest.raises(ValueError, match="same number and shapes"):
        second.load_state_dict({"traces": []})


def test_bad_arguments_are_refused():
    weight = nn.Parameter(torch.ones(2))
    with pytest.raises(TypeError, match="RewardTraces expected an optimizer"):
        RewardTraces([weight])
    for name in ("gamma", "lam"):
        with pytest.raises(ValueError, match=f"{name} must be at least 0 and at most 1, got 1.5"):
            RewardTraces(torch.optim.SGD([weight], lr=0.1), **{name: 1.5})
    optimizer = RewardTraces(torch.optim.SGD([weight], lr=0.1))
    with pytest.raises(ValueError, match="a tensor of 2 numbers; use a batch of one environment"):
        optimizer.step(torch.ones(2))
    with pytest.raises(ValueError, match="one finite number, got nan"):
        optimizer.end(math.nan)
