"""Learning sinusoids in the state of a network: `geir.tasks.sinusoids`."""

import numpy as np
import pytest
import torch
from torch import nn

from geir.tasks import sinusoids as task

QUICK = {"iterations": 3, "batch_size": 4, "neurons": 20, "test_episodes": 20}
NETWORKS = {"adaptive": True, "lif": False}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def predictor(adaptive=True, neurons=20):
    return task.Predictor(neurons, adaptive, seeded())


def train_alone(model, updates, batch):
    """Train one network as the task does in its first 100 updates with seed 0."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    generator = seeded(0)
    for _ in range(updates):
        episodes = task.draw_episodes(batch, generator)
        loss = ((model(task.encode(episodes)) / 10 - episodes.y / 10) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_every_episode_has_examples_of_one_sinusoid():
    x, y = (part.double().numpy() for part in task.draw_episodes(300, seeded()))
    assert x.shape == y.shape == (20, 300)
    assert -5 <= x.min() < -4.9
    assert 4.9 < x.max() <= 5
    amplitudes, phases = [], []
    for k in range(300):
        # A sin(x + phi) = A cos(phi) sin(x) + A sin(phi) cos(x)
        waves = np.stack([np.sin(x[:, k]), np.cos(x[:, k])], 1)
        (a, b), *_ = np.linalg.lstsq(waves, y[:, k], rcond=None)
        np.testing.assert_allclose(waves @ (a, b), y[:, k], atol=1e-4)
        amplitudes.append(np.hypot(a, b))
        phases.append(np.arctan2(b, a) % (2 * np.pi))
    assert 0.1 <= min(amplitudes) < 0.3
    assert 9.7 < max(amplitudes) <= 10.001
    assert np.mean(amplitudes) == pytest.approx(5.05, abs=0.5)
    assert np.mean(phases) == pytest.approx(np.pi, abs=0.35)


def test_a_question_is_x_an_answer_x_and_y_and_a_pause_nothing():
    centers = np.linspace(-1, 1, 20)
    x = torch.full((20, 1), 5.0 * centers[3])
    y = torch.full((20, 1), 10.0 * centers[12])
    y[7] = 10.0 * centers[16]
    xs = task.encode(task.Episodes(x, y))
    assert xs.shape == (400, 1, 40)
    question, answer, pause = xs[:, 0].unflatten(0, (20, 20)).split([4, 4, 12], 1)
    tuned = np.exp(-((centers - centers[3]) ** 2) / (2 * 0.1**2))
    np.testing.assert_allclose(question[..., :20], np.broadcast_to(tuned, (20, 4, 20)), atol=1e-5)
    assert torch.equal(answer[..., :20], question[..., :20])
    assert not question[..., 20:].any()
    assert not pause.any()
    of_y = answer[..., 20:]
    assert torch.equal(of_y, of_y[:, :1].expand_as(of_y))
    assert of_y[:, 0].argmax(-1).tolist() == [12] * 7 + [16] + [12] * 12
    torch.testing.assert_close(of_y.amax(-1), torch.ones(20, 4), rtol=0, atol=1e-5)


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_prediction_depends_on_earlier_answers_only(adaptive):
    model = predictor(adaptive, 100)
    x, y = task.draw_episodes(8, seeded())
    changed = y.clone()
    changed[5] = -y[5]
    before, after = (model(task.encode(task.Episodes(x, values))) for values in (y, changed))
    assert before.shape == (20, 8)
    assert torch.equal(before[:6], after[:6])
    assert not torch.equal(before[6:], after[6:])


def test_the_networks_start_with_the_same_weights():
    adaptive, lif = predictor(True), predictor(False)
    for key in ("layer.input_weights", "layer.recurrent_weights", "readout.weight"):
        assert torch.equal(adaptive.state_dict()[key], lif.state_dict()[key])
    assert adaptive.layer.recurrent_weights.any()
    assert not adaptive.layer.recurrent_weights.diagonal().any()
    assert adaptive.layer.beta.tolist() == pytest.approx([0.0] * 10 + [0.3] * 10)
    assert not lif.layer.beta.any()


def test_the_error_is_relative_to_that_of_predicting_zero():
    episodes = task.draw_episodes(300, seeded())

    class AlwaysOne(nn.Module):
        def forward(self, xs):
            return torch.ones(20, xs.shape[1])

    y = episodes.y.double()
    expected = ((1 - y) ** 2).mean(1) / (y**2).mean()
    errors = task.relative_errors(AlwaysOne(), episodes)
    torch.testing.assert_close(errors.double(), expected, rtol=1e-5, atol=1e-5)
    assert task.learned_error(AlwaysOne(), episodes) == pytest.approx(expected[10:].mean().item(), rel=1e-5)


def test_all_weights_learn_but_no_neuron_connects_to_itself(tmp_path):
    result = task.run(**QUICK, out=tmp_path)
    trained = torch.load(result["weights"], weights_only=True)
    for name, adaptive in NETWORKS.items():
        for key, before in predictor(adaptive).state_dict().items():
            learned = key.startswith("readout.") or key in ("layer.input_weights", "layer.recurrent_weights")
            assert torch.equal(before, trained[f"{name}.{key}"]) != learned, key
        assert not trained[f"{name}.layer.recurrent_weights"].diagonal().any()
    assert (tmp_path / "sinusoids.png").read_bytes().startswith(b"\x89PNG")


def test_a_network_is_trained_beside_others_as_it_is_alone(tmp_path):
    result = task.run(**QUICK, out=tmp_path)
    trained = torch.load(result["weights"], weights_only=True)
    alone = predictor(adaptive=False)
    train_alone(alone, 3, 4)
    for key in ("layer.input_weights", "layer.recurrent_weights", "readout.weight"):
        torch.testing.assert_close(trained[f"lif.{key}"], alone.state_dict()[key], rtol=1e-3, atol=1e-5)


def test_a_network_with_adaptive_thresholds_learns_within_an_episode():
    model = predictor(neurons=100)
    train_alone(model, 100, 32)
    errors = task.relative_errors(model, task.draw_episodes(200, seeded(5)))
    # Nothing is known in the first example.
    assert errors[0] > 0.9
    assert errors[10:].mean() < 0.8
