"""Characters from one drawing of each: `geir.tasks.omniglot` and `geir.tasks.few_shot`."""

import math

import numpy as np
import pytest
import torch
from task_table import write_omniglot
from torch import nn
from torch.nn.functional import batch_norm, conv2d, cross_entropy

from geir.tasks import omniglot as task
from geir.tasks.few_shot import GradientLearner, PlasticLearner
from geir.tasks.omniglot_data import draw_episodes, Episodes

QUICK = {"iterations": 3, "batch_size": 2, "channels": 4, "steps": 3, "test_episodes": 4}
LEARNERS = [(kind, neuron) for kind in (GradientLearner, PlasticLearner) for neuron in ("lif", "relu")]


def draw(count=3, queries=2):
    drawings = torch.rand(8, 6, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return draw_episodes(drawings, count, queries, torch.Generator().manual_seed(2))


def learner(kind, neuron, seed=0):
    torch.manual_seed(seed)
    return kind(neuron, 4, 4).double()


@pytest.fixture
def data(tmp_path):
    return write_omniglot(tmp_path / "omniglot.npz")


def rectifier_logits(weights, images):
    """The network of `GradientLearner` with rectifiers, in PyTorch's functions."""
    for k in range(4):
        kernel, scale, shift = weights[3 * k : 3 * k + 3]
        images = conv2d(images, kernel, stride=2, padding=1)
        images = batch_norm(images, None, None, scale, shift, training=True).relu()
    readout, bias = weights[12:]
    return images.flatten(1) @ readout.T + bias


def test_a_step_of_maml_is_that_of_its_definition_in_value_and_gradient():
    model, episodes = learner(GradientLearner, "relu"), draw()
    weights = [*model.parameters()]
    expected = []
    for support, labels, queries, _ in zip(*episodes, strict=True):
        loss = cross_entropy(rectifier_logits(weights, support), labels)
        gradients = torch.autograd.grad(loss, weights, create_graph=True)
        adapted = [w - 0.4 * g for w, g in zip(weights, gradients, strict=True)]
        expected.append(rectifier_logits(adapted, queries))
    logits = model(episodes)
    torch.testing.assert_close(logits, torch.stack(expected))
    outer = [torch.autograd.grad(ys.square().sum(), weights) for ys in (logits, torch.stack(expected))]
    torch.testing.assert_close(outer[0], outer[1])
    assert all(g.abs().max() > 1e-3 for g in outer[0])


@pytest.mark.parametrize(("kind", "neuron"), LEARNERS)
def test_all_weights_are_trained(kind, neuron):
    model, episodes = learner(kind, neuron), draw()
    loss = cross_entropy(model(episodes).flatten(0, 1), episodes.answers.flatten())
    loss.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name


@pytest.mark.parametrize(("kind", "neuron"), LEARNERS)
def test_an_episode_does_not_depend_on_others(kind, neuron):
    model, episodes = learner(kind, neuron).eval(), draw()
    with torch.no_grad():
        together = model(episodes)
        for k in range(3):
            alone = model(Episodes._make(part[k : k + 1] for part in episodes))
            torch.testing.assert_close(alone[0], together[k])
    assert together.shape == (3, 10, 5)


def test_the_plastic_layer_follows_hebbs_rule_and_its_equation():
    model, episodes = learner(PlasticLearner, "relu").eval(), draw(count=1)
    with torch.no_grad():
        model.layer.connection.weight.add_(0.1 * torch.randn(5, 21))
        model.layer.alpha.add_(torch.randn(5, 21))
        features = [model.embedding(images[0].unsqueeze(0))[0][0] for images in (episodes.support, episodes.queries)]
        logits = model(episodes)[0]
    fixed, alpha = (w.detach().numpy() for w in (model.layer.connection.weight, model.layer.alpha))
    eta, decay = 0.01, math.exp(-1e-3 / 4e-3)

    def show(trace, x):
        v, potentials = np.zeros(5), []
        for _ in range(4):
            v = decay * v + (1 - decay) * (fixed + alpha * trace) @ x
            post = np.exp(v) / np.exp(v).sum()
            trace = (1 - eta) * trace + eta * np.outer(post, x)
            potentials.append(v)
        return trace, np.mean(potentials, 0)

    trace = np.zeros((5, 21))
    for x, label in zip(features[0].numpy(), episodes.labels[0], strict=True):
        trace, _ = show(trace, np.concatenate([x, np.eye(5)[label]]))
    expected = [show(trace, np.concatenate([x, np.zeros(5)]))[1] for x in features[1].numpy()]
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("neuron", ["lif", "relu"])
def test_without_fixed_weights_of_features_other_labels_only_rename_the_answers(neuron):
    model, episodes = learner(PlasticLearner, neuron), draw()
    names = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        logits, renamed = model(episodes), model(episodes._replace(labels=names[episodes.labels]))
    torch.testing.assert_close(renamed[..., names], logits)
    assert not torch.allclose(renamed, logits)


@pytest.mark.parametrize(("method", "iterations"), [("maml", 30), ("plasticity", 120)])
def test_characters_are_learned_from_one_drawing(tmp_path, data, method, iterations):
    settings = {"channels": 8, "test_episodes": 20, "out": tmp_path}
    result = task.run(data=data, method=method, neuron="relu", iterations=iterations, **settings)
    assert result["test_accuracy"] > 0.45
    assert (result["train_characters"], result["test_characters"]) == (30, 10)
    assert (tmp_path / "omniglot.png").read_bytes().startswith(b"\x89PNG")


def test_the_seed_decides_the_weights_before_training(tmp_path, data):
    settings = {**QUICK, "data": data, "method": "plasticity", "iterations": 1, "learning_rate": 1e-9}
    results = [task.run(**settings, seed=seed, out=tmp_path / str(k)) for k, seed in enumerate((1, 1, 2))]
    models = [torch.load(result["weights"], weights_only=True) for result in results]
    kernels = [model["embedding.0.module.weight"] for model in models]
    assert torch.equal(kernels[0], kernels[1])
    assert (kernels[0] - kernels[2]).abs().max() > 1e-3


def test_the_accuracy_is_the_share_of_recognized_drawings():
    episodes = draw(count=60)

    class AlwaysTwo(nn.Module):
        def forward(self, part):
            return torch.eye(5)[2].expand(*part.answers.shape, 5)

    assert task.accuracy(AlwaysTwo(), episodes) == pytest.approx(0.2)
