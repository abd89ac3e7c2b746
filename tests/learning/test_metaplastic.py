"""Metaplastic Adam and binary weights."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import geir
from geir.learning import binarize, BinaryWeight, metaplastic_groups, MetaplasticAdam

START = torch.tensor([1.5, -0.8, 0.05, -2.0, 0.0, 0.6]).double()


def gradients(steps, seed=0):
    return torch.randn(steps, len(START), generator=torch.Generator().manual_seed(seed)).double()


def run(optimizer, p, gradients):
    for gradient in gradients:
        p.grad = gradient.to(p.dtype, copy=True)
        optimizer.step()


def published(w, gradients, lr, m, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    """Laborieux et al. 2021, element by element in NumPy."""
    w = w.numpy().copy()
    mean, square = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients.numpy(), 1):
        g = g + weight_decay * w
        mean = betas[0] * mean + (1 - betas[0]) * g
        square = betas[1] * square + (1 - betas[1]) * g**2
        U = mean / (1 - betas[0] ** t) / (np.sqrt(square / (1 - betas[1] ** t)) + eps)
        for k in range(len(w)):
            toward_zero = U[k] * np.sign(w[k]) > 0
            w[k] -= lr * U[k] * ((1 - np.tanh(m * abs(w[k])) ** 2) if toward_zero else 1)
    return w


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("m", [0.5, 1.35, 4.0])
def test_steps_are_those_of_the_published_equations(m, weight_decay):
    p = nn.Parameter(START.clone())
    run(MetaplasticAdam([p], lr=0.05, metaplasticity=m, weight_decay=weight_decay), p, gradients(60))
    expected = published(START, gradients(60), 0.05, m, weight_decay=weight_decay)
    np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    plain = published(START, gradients(60), 0.05, 0.0, weight_decay=weight_decay)
    assert np.abs(plain - expected).max() > 0.01


def test_without_metaplasticity_it_is_adam_to_the_bit():
    ours, theirs = nn.Parameter(START.clone().float()), nn.Parameter(START.clone().float())
    run(MetaplasticAdam([ours], lr=0.01, metaplasticity=0.0, betas=(0.8, 0.99), weight_decay=0.02), ours, gradients(50))
    run(torch.optim.Adam([theirs], lr=0.01, betas=(0.8, 0.99), weight_decay=0.02), theirs, gradients(50))
    assert torch.equal(ours, theirs)


def test_large_weights_are_frozen_toward_zero_only():
    p = nn.Parameter(torch.tensor([20.0, -20.0, 20.0, -20.0]).double())
    optimizer = MetaplasticAdam([p], lr=0.1, metaplasticity=1.35)
    p.grad = torch.tensor([1.0, -1.0, -1.0, 1.0]).double()
    optimizer.step()
    torch.testing.assert_close(
        p.detach(), torch.tensor([20.0, -20.0, 20.1, -20.1], dtype=torch.float64), rtol=1e-9, atol=0
    )


def test_parameter_groups_have_their_own_options():
    hard, soft = nn.Parameter(START.clone()), nn.Parameter(START.clone())
    optimizer = MetaplasticAdam([{"params": [hard], "metaplasticity": 3.0, "lr": 0.02}], lr=0.1, metaplasticity=1.0)
    optimizer.add_param_group({"params": [soft], "betas": (0.5, 0.9)})
    for gradient in gradients(30):
        hard.grad, soft.grad = gradient.clone(), gradient.clone()
        optimizer.step()
    np.testing.assert_allclose(hard.detach(), published(START, gradients(30), 0.02, 3.0), rtol=1e-12, atol=1e-12)
    expected = published(START, gradients(30), 0.1, 1.0, betas=(0.5, 0.9))
    np.testing.assert_allclose(soft.detach(), expected, rtol=1e-12, atol=1e-12)


def test_training_continues_from_a_state_dict():
    p, options = nn.Parameter(START.clone()), {"lr": 0.05, "metaplasticity": 2.0}
    optimizer = MetaplasticAdam([p], **options)
    run(optimizer, p, gradients(10))
    q = nn.Parameter(p.detach().clone())
    resumed = MetaplasticAdam([q], lr=1.0, metaplasticity=0.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(optimizer, p, gradients(10, seed=1))
    run(resumed, q, gradients(10, seed=1))
    assert torch.equal(p, q)
    np.testing.assert_allclose(p.detach(), published(START, torch.cat([gradients(10), gradients(10, 1)]), 0.05, 2.0))


def test_parameters_without_a_gradient_stay_and_a_closure_is_called():
    p, q = nn.Parameter(START.clone()), nn.Parameter(START.clone())
    optimizer = MetaplasticAdam([p, q], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p - 3).square().sum()
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    assert loss.item() == pytest.approx((START - 3).square().sum().item())
    assert torch.equal(q, START)
    assert not torch.equal(p, START)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -0.1}, "MetaplasticAdam: lr must be at least 0 and finite, got -0.1"),
        ({"metaplasticity": -1.0}, "metaplasticity must be at least 0 and finite, got -1.0"),
        ({"metaplasticity": float("nan")}, "metaplasticity must be at least 0 and finite, got nan"),
        ({"eps": float("inf")}, "eps must be"),
        ({"weight_decay": -1.0}, "weight_decay must be"),
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers from 0 to below 1, got \(0.9, 1.0\)"),
    ],
)
def test_options_out_of_range_raise(options, message):
    p = nn.Parameter(START.clone())
    with pytest.raises(ValueError, match=message):
        MetaplasticAdam([p], **options)
    with pytest.raises(ValueError, match=message):
        MetaplasticAdam([nn.Parameter(torch.zeros(1))]).add_param_group({"params": [p], **options})


def test_binary_weights_have_one_magnitude_and_pass_gradients_straight_through():
    layer = nn.Linear(4, 3).double()
    hidden = layer.weight.detach().clone()
    assert binarize(layer) is layer
    torch.testing.assert_close(layer.weight.detach(), torch.where(hidden > 0, 0.5, -0.5).double(), rtol=0, atol=0)
    x, upstream = torch.randn(5, 4).double(), torch.randn(5, 3).double()
    (layer(x) * upstream).sum().backward()
    original = layer.parametrizations["weight"].original
    # The chain rule with d sign(w)/dw = 1.
    torch.testing.assert_close(original.grad, 0.5 * upstream.t() @ x)
    torch.testing.assert_close(original.detach(), hidden, rtol=0, atol=0)


def test_binary_weights_are_saved_and_take_any_scale():
    layer = binarize(nn.Conv2d(2, 3, 3), scale=0.7)
    assert set(layer.weight.abs().flatten().tolist()) == {torch.tensor(0.7).item()}
    twin = binarize(nn.Conv2d(2, 3, 3), scale=0.7)
    twin.load_state_dict(layer.state_dict())
    assert torch.equal(layer.weight, twin.weight)
    assert "scale=0.7" in repr(layer)
    assert binarize(nn.Conv2d(2, 3, 3)).weight.abs().max().item() == pytest.approx(18**-0.5)


def test_groups_separate_hidden_weights_from_the_rest():
    model = geir.SequentialState(
        geir.Lift(binarize(nn.Linear(4, 6))), geir.LIF(tau_mem=geir.learnable(0.02)), geir.Lift(nn.Linear(6, 2))
    )
    first, second = metaplastic_groups(model, 2.0)
    assert first["metaplasticity"] == 2.0
    assert second["metaplasticity"] == 0.0
    names = {id(p): name for name, p in model.named_parameters()}
    assert [names[id(p)] for p in first["params"]] == ["0.module.parametrizations.weight.original"]
    assert {names[id(p)] for p in second["params"]} == set(names.values()) - {names[id(first["params"][0])]}
    assert [group["metaplasticity"] for group in metaplastic_groups(binarize(nn.Linear(2, 2, bias=False)))] == [1.35]


def test_a_spiking_network_with_binary_weights_learns_and_remembers_signs():
    torch.manual_seed(0)
    model = geir.SequentialState(
        geir.Lift(binarize(nn.Linear(6, 32))), geir.LIF(v_th=0.3), geir.Lift(binarize(nn.Linear(32, 2))), geir.LI()
    )
    xs, labels = torch.rand(20, 40, 6), torch.arange(40) % 2
    xs[:, labels == 1, :3] += 1.0
    optimizer = MetaplasticAdam(metaplastic_groups(model), lr=5e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(xs)[0][-1], labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_bad_input_raises():
    with pytest.raises(TypeError, match="binarize expected a module with a floating-point parameter 'weight'"):
        binarize(geir.LIF())
    with pytest.raises(TypeError, match="binarize expected a module"):
        binarize(3)
    with pytest.raises(ValueError, match="the weight of ParametrizedLinear is binary already"):
        binarize(binarize(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="scale must be positive and finite, got 0"):
        BinaryWeight(0.0)
    with pytest.raises(ValueError, match="no binary weights; make them with geir.learning.binarize"):
        metaplastic_groups(nn.Linear(2, 2))
