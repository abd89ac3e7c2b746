"""Synaptic intelligence and elastic weight consolidation."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import geir
from geir.learning import ElasticWeightConsolidation, SynapticIntelligence

CURVATURE = np.array([1.0, 0.2, 3.0])
CENTERS = (np.array([1.0, 2.0, -1.0]), np.array([-2.0, 1.0, 1.5]), np.array([0.5, -1.0, 0.0]))
STRENGTH, DAMPING, LR = 0.3, 0.05, 0.05


def quadratic(w, center):
    return (0.5 * torch.tensor(CURVATURE) * (w - torch.tensor(center)) ** 2).sum()


def train(w, consolidation, optimizer, center, steps=40):
    for _ in range(steps):
        optimizer.zero_grad()
        (quadratic(w, center) + consolidation.penalty()).backward()
        optimizer.step()
        if isinstance(consolidation, SynapticIntelligence):
            consolidation.update()


def published_intelligence(steps=40):
    """Zenke et al. 2017 in NumPy, with gradient descent on quadratic losses: weights after each task, importances."""
    w, importance, reference, weights = np.zeros(3), np.zeros(3), np.zeros(3), []
    for center in CENTERS:
        omega = np.zeros(3)
        for _ in range(steps):
            g = CURVATURE * (w - center)
            change = -LR * (g + 2 * STRENGTH * importance * (w - reference))
            omega += -g * change
            w = w + change
        importance = np.maximum(0, importance + omega / ((w - reference) ** 2 + DAMPING))
        reference = w.copy()
        weights.append(w)
    return weights, importance


def test_synaptic_intelligence_follows_the_published_equations():
    w = nn.Parameter(torch.zeros(3).double())
    intelligence = SynapticIntelligence([w], STRENGTH, DAMPING)
    optimizer = torch.optim.SGD([w], lr=LR)
    weights, importance = published_intelligence()
    for center, expected in zip(CENTERS, weights, strict=True):
        train(w, intelligence, optimizer, center)
        intelligence.consolidate()
        np.testing.assert_allclose(w.detach(), expected, rtol=1e-12)
    np.testing.assert_allclose(intelligence.importance[0], importance, rtol=1e-12)
    assert importance.min() > 0.1
    with torch.no_grad():
        w += torch.tensor([1.0, 0.0, 2.0]).double()
    assert intelligence.penalty().item() == pytest.approx(STRENGTH * (importance[0] + 4 * importance[2]))


def test_contributions_add_up_to_the_fall_of_the_loss():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    x, y = torch.randn(30, 4).double(), torch.randn(30, 1).double()
    intelligence = SynapticIntelligence(model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = functional.mse_loss(model(x), y).item()
    for _ in range(600):
        optimizer.zero_grad()
        (functional.mse_loss(model(x), y) + intelligence.penalty()).backward()
        optimizer.step()
        intelligence.update()
    fall = before - functional.mse_loss(model(x), y).item()
    assert fall > 0.05
    assert sum(c.sum().item() for c in intelligence.contribution) == pytest.approx(fall, rel=2e-3)


def test_negative_importances_become_zero():
    w = nn.Parameter(torch.zeros(2).double())
    intelligence = SynapticIntelligence([w])
    w.grad = torch.tensor([1.0, -1.0]).double()
    with torch.no_grad():
        w += 1.0  # the first one climbs
    intelligence.update()
    intelligence.consolidate()
    torch.testing.assert_close(intelligence.importance[0], torch.tensor([0.0, 1 / 1.1]).double())


def test_a_parameter_that_is_not_part_of_a_step_contributes_nothing():
    w, unused = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.ones(3))
    intelligence = SynapticIntelligence([w, unused])
    w.grad = torch.ones(3)
    with torch.no_grad():
        unused += 1
    intelligence.update()
    unused.grad = torch.ones(3)
    intelligence.update()
    assert intelligence.contribution[1].abs().sum() == 0


def test_the_fisher_information_is_the_mean_square_of_gradients_of_samples():
    torch.manual_seed(0)
    model = nn.Linear(3, 4).double()
    x, labels = torch.randn(12, 3).double(), torch.randint(4, (12,))
    consolidation = ElasticWeightConsolidation(model.parameters())
    batches = zip(x.split(5), labels.split(5), strict=True)
    consolidation.consolidate(functional.cross_entropy(model(a), b, reduction="none") for a, b in batches)
    # Softmax regression in closed form: the gradient of a sample is (p - onehot) x^T.
    logits = x.numpy() @ model.weight.detach().numpy().T + model.bias.detach().numpy()
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error = p - np.eye(4)[labels.numpy()]
    weight = ((error[:, :, None] * x.numpy()[:, None, :]) ** 2).mean(0)
    np.testing.assert_allclose(consolidation.importance[0], weight, rtol=1e-10)
    np.testing.assert_allclose(consolidation.importance[1], (error**2).mean(0), rtol=1e-10)


def test_the_penalty_of_several_tasks_has_the_gradient_of_the_sum_over_tasks():
    w = nn.Parameter(torch.zeros(3).double())
    consolidation = ElasticWeightConsolidation([w], strength=5.0)
    tasks = []
    for k, center in enumerate(CENTERS):
        with torch.no_grad():
            w.copy_(torch.tensor(center))
        # Losses a w + b w^2 / 2 of two samples; the third parameter never matters for the first task.
        slopes = torch.tensor([[1.0, 2.0, 0.0 if k == 0 else 3.0], [0.5, -1.0, 0.0]]).double() * (k + 1)
        consolidation.consolidate([(slopes * w).sum(1)])
        tasks.append(((slopes**2).mean(0).numpy(), center))
    point = np.array([0.3, -0.7, 2.0])
    with torch.no_grad():
        w.copy_(torch.tensor(point))
    consolidation.penalty().backward()
    expected = sum(5.0 * fisher * (point - center) for fisher, center in tasks)
    np.testing.assert_allclose(w.grad, expected, rtol=1e-12)
    np.testing.assert_allclose(consolidation.importance[0], sum(fisher for fisher, _ in tasks), rtol=1e-12)


@pytest.mark.parametrize("kind", [SynapticIntelligence, ElasticWeightConsolidation])
def test_training_continues_from_a_state_dict(kind):
    def end_task(consolidation, w):
        arguments = () if kind is SynapticIntelligence else ([(torch.tensor(CURVATURE) * w)],)
        consolidation.consolidate(*arguments)

    w = nn.Parameter(torch.zeros(3).double())
    consolidation, optimizer = kind([w], 0.5), torch.optim.SGD([w], lr=LR)
    train(w, consolidation, optimizer, CENTERS[0])
    end_task(consolidation, w)
    train(w, consolidation, optimizer, CENTERS[1], steps=10)
    v = nn.Parameter(w.detach().clone())
    resumed = kind([v], 0.5)
    saved = copy.deepcopy(consolidation.state_dict())
    resumed.load_state_dict(consolidation.state_dict())
    for each, p, inner in ((consolidation, w, optimizer), (resumed, v, torch.optim.SGD([v], lr=LR))):
        train(p, each, inner, CENTERS[1], steps=10)
        end_task(each, p)
        train(p, each, inner, CENTERS[2], steps=10)
    assert torch.equal(w, v)
    for a, b in zip(consolidation.importance, resumed.importance, strict=True):
        assert torch.equal(a, b)
    # The state that was loaded is a copy.
    fresh = kind([v], 0.5)
    fresh.load_state_dict(saved)
    fresh.reference[0] += 1
    assert not torch.equal(saved["reference"][0], fresh.reference[0])


@pytest.mark.parametrize("kind", [SynapticIntelligence, ElasticWeightConsolidation])
def test_the_first_task_is_learned_as_without_it(kind):
    w, v = nn.Parameter(torch.zeros(3).double()), nn.Parameter(torch.zeros(3).double())
    train(w, kind([w]), torch.optim.Adam([w], lr=LR), CENTERS[0])
    optimizer = torch.optim.Adam([v], lr=LR)
    for _ in range(40):
        optimizer.zero_grad()
        quadratic(v, CENTERS[0]).backward()
        optimizer.step()
    assert torch.equal(w, v)


def test_a_spiking_network_is_held_where_an_earlier_task_needs_it():
    torch.manual_seed(0)
    model = geir.SequentialState(
        geir.Lift(nn.Linear(6, 20)), geir.LIF(v_th=0.3), geir.Lift(nn.Linear(20, 2)), geir.LI()
    )
    xs, labels = (torch.rand(10, 30, 6) < 0.4).float(), torch.randint(2, (30,))
    consolidation = ElasticWeightConsolidation(model.parameters())
    consolidation.consolidate([functional.cross_entropy(model(xs)[0][-1], labels, reduction="none")])
    # Each sample by itself.
    expected = [torch.zeros_like(p) for p in model.parameters()]
    for k in range(30):
        loss = functional.cross_entropy(model(xs[:, k : k + 1])[0][-1], labels[k : k + 1])
        for total, gradient in zip(expected, torch.autograd.grad(loss, list(model.parameters())), strict=True):
            total += gradient**2 / 30
    for actual, wanted in zip(consolidation.importance, expected, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-4, atol=1e-9)
    assert expected[0].sum() > 0


@pytest.mark.parametrize("kind", [SynapticIntelligence, ElasticWeightConsolidation])
def test_bad_parameters_raise(kind):
    name = kind.__name__
    with pytest.raises(TypeError, match=f"{name} expected parameters, such as model.parameters"):
        kind(nn.Linear(2, 2).named_parameters())
    with pytest.raises(ValueError, match=f"{name} expected parameters that require a gradient, got none"):
        kind(geir.LIF().parameters())
    with pytest.raises(ValueError, match="got tensors that were computed from others"):
        kind([2 * nn.Parameter(torch.ones(2))])
    with pytest.raises(ValueError, match=f"{name}: strength must be positive and finite, got -1"):
        kind([nn.Parameter(torch.ones(2))], -1.0)
    with pytest.raises(ValueError, match=f"{name}.load_state_dict expected .* its 'importance' does not fit"):
        kind([nn.Parameter(torch.ones(2))]).load_state_dict(kind([nn.Parameter(torch.ones(3))]).state_dict())
    with pytest.raises(ValueError, match=f"{name}.load_state_dict expected"):
        kind([nn.Parameter(torch.ones(2))]).load_state_dict({})


def test_bad_damping_and_bad_losses_raise():
    w = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="SynapticIntelligence: damping must be positive and finite, got 0"):
        SynapticIntelligence([w], damping=0.0)
    consolidation = ElasticWeightConsolidation([w])
    with pytest.raises(ValueError, match="expected the losses of samples, got none"):
        consolidation.consolidate([])
    with pytest.raises(ValueError, match=r"got shape \(\); compute the loss with reduction='none'"):
        consolidation.consolidate([w.sum()])
    with pytest.raises(TypeError, match="expected losses that depend on the parameters"):
        consolidation.consolidate([torch.ones(3)])
    with pytest.raises(TypeError, match="expected losses that depend on the parameters"):
        consolidation.consolidate([1.0])
