import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from geir import surrogates as s
from geir.surrogates import Surrogate

# Value, its formula in numpy, its peak, where it has fallen to half of that (or to zero), and its integral.
CASES = [
    (s.SuperSpike(20.0), lambda x: (1 + 20 * abs(x)) ** -2.0, 1, (np.sqrt(2) - 1) / 20, 2 / 20),
    (
        s.SparseFastSigmoid(20.0, 0.3),
        lambda x: (abs(x) < 0.3) * (1 + 20 * abs(x)) ** -2.0,
        1,
        (np.sqrt(2) - 1) / 20,
        0.6 / 7,
    ),
    (s.Sigmoid(3.0), lambda x: 3 * np.exp(-3 * x) / (1 + np.exp(-3 * x)) ** 2, 3 / 4, 1.763 / 3, 1),
    (s.ATan(3.0), lambda x: 1.5 / (1 + (np.pi / 2 * 3 * x) ** 2), 3 / 2, 2 / (3 * np.pi), 1),
    (s.Triangle(0.3, 0.7), lambda x: 0.3 * np.maximum(0, 1 - abs(x) / 0.7), 0.3, 0.35, 0.21),
    (s.Rectangle(0.8), lambda x: (abs(x) < 0.4) / 0.8, 1 / 0.8, 0.4, 1),
    (s.Gaussian(0.4), lambda x: norm.pdf(x, 0, 0.4), 0.399 / 0.4, 1.1774 * 0.4, 1),
    (
        s.MultiGaussian(0.5, 0.15, 6.0),
        lambda x: 1.15 * norm.pdf(x, 0, 0.5) - 0.15 * norm.pdf(x, 0.5, 3) - 0.15 * norm.pdf(x, -0.5, 3),
        0.878,
        0.5712,
        0.85,
    ),
    (s.Erfc(3.0), lambda x: 3 / np.sqrt(np.pi) * np.exp(-9 * x * x), 0.564 * 3, 0.8326 / 3, 1),
    (s.Tanh(3.0), lambda x: 1.5 / np.cosh(3 * x) ** 2, 1.5, 0.8814 / 3, 1),
    (s.Circle(3.0), lambda x: 1.5 * (1 + 9 * x * x) ** -1.5, 1.5, 0.7664 / 3, 1),
    (s.PiecewiseExponential(3.0), lambda x: 1.5 * np.exp(-3 * abs(x)), 1.5, 0.6931 / 3, 1),
    (s.StraightThrough(), lambda x: np.ones_like(x), 1, np.inf, np.inf),
    (s.Heaviside(), lambda x: np.zeros_like(x), 0, np.inf, 0),
]
every = pytest.mark.parametrize(
    ("surrogate", "formula", "peak", "half", "integral"),
    CASES,
    ids=lambda v: repr(v) if isinstance(v, Surrogate) else "",
)
GRID = torch.linspace(-3, 3, 601, dtype=torch.float64)


def gradient(surrogate, x):
    x = x.clone().requires_grad_()
    z = surrogate(x)
    z.sum().backward()
    return z.detach(), x.grad


def test_every_surrogate_is_in_the_table():
    named = {getattr(s, name) for name in s.__all__} - {
        s.Surrogate,
        s.Custom,
        s.MultiSpike,
    }  # tested in test_deep_neurons.py
    assert named == {type(case[0]) for case in CASES}


@every
def test_forward_is_the_heaviside_step_and_backward_the_stated_formula(surrogate, formula, peak, half, integral):
    z, grad = gradient(surrogate, GRID)
    assert torch.equal(z, (GRID > 0).double())
    torch.testing.assert_close(grad.numpy(), formula(GRID.numpy()), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(surrogate(GRID.float()), (GRID > 0).float())


@every
def test_peak_width_and_integral_are_the_stated_ones(surrogate, formula, peak, half, integral):
    value = lambda x: surrogate.derivative(torch.tensor(x, dtype=torch.float64)).item()
    assert value(0.0) == pytest.approx(peak, rel=2e-3)
    if np.isfinite(half):
        if isinstance(surrogate, s.Rectangle):
            assert value(half * 0.999) > 0 == value(half * 1.001)
        else:
            assert value(half) == pytest.approx(value(0.0) / 2, rel=2e-2)
    if np.isfinite(integral):
        total = (
            quad(value, -0.3, 0.3, points=[0])[0]
            + 2 * quad(value, 0.3, 400, limit=900, points=[0.4, 0.7, 3.0, 30.0])[0]
        )
        assert total == pytest.approx(integral, rel=5e-3)


@every
def test_can_be_differentiated_twice(surrogate, formula, peak, half, integral):
    x = (GRID[3::7] + 1e-3).clone().requires_grad_()
    (first,) = torch.autograd.grad(surrogate(x).sum(), x, create_graph=True)
    if not first.requires_grad:  # constant
        assert isinstance(surrogate, s.StraightThrough | s.Heaviside | s.Rectangle)
        return
    (second,) = torch.autograd.grad(first.sum(), x)
    h = 1e-6
    slope = (formula(x.detach().numpy() + h) - formula(x.detach().numpy() - h)) / (2 * h)
    torch.testing.assert_close(second.numpy(), slope, rtol=1e-5, atol=1e-5)


@every
def test_forward_mode_agrees_with_backward(surrogate, formula, peak, half, integral):
    _, tangent = torch.func.jvp(surrogate, (GRID,), (torch.ones_like(GRID),))
    torch.testing.assert_close(tangent, gradient(surrogate, GRID)[1])


def test_custom_takes_any_function():
    _, grad = gradient(s.Custom(torch.cos), GRID)
    torch.testing.assert_close(grad, torch.cos(GRID))


def test_nan_does_not_spike_and_threshold_is_strict():
    x = torch.tensor([0.0, float("nan"), float("inf"), -float("inf")])
    assert s.SuperSpike()(x).tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("bad", [0.0, -1.0, float("inf"), float("nan")])
def test_a_width_must_be_positive(bad):
    with pytest.raises(ValueError, match="SuperSpike.alpha must be positive and finite, got"):
        s.SuperSpike(alpha=bad)
