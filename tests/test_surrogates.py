import inspect
import pickle
import re

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from geir import surrogates as s
from geir.surrogates import Surrogate

# A surrogate, the formula of its derivative in NumPy, its peak, half width and integral. The half width is the distance at
# which the derivative falls to half of its peak, or to zero for a rectangle.
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
    (s.ZeroGradient(), lambda x: np.zeros_like(x), 0, np.inf, 0),
]
every_surrogate = pytest.mark.parametrize(
    ("surrogate", "formula", "peak", "half_width", "integral"),
    CASES,
    ids=[repr(case[0]) for case in CASES],
)
GRID = torch.linspace(-3, 3, 601, dtype=torch.float64)
PUBLIC = {
    value
    for value in vars(s).values()
    if inspect.isclass(value) and issubclass(value, Surrogate) and value is not Surrogate
}


def spikes_and_gradient(surrogate, x):
    x = x.clone().requires_grad_()
    z = surrogate(x)
    z.sum().backward()
    return z.detach(), x.grad


def test_every_surrogate_is_in_the_table_of_cases():
    # `Custom` has a test below, the others are tested with the neurons that reset by subtraction.
    assert PUBLIC - {s.Custom, s.MultiSpike, s.TernarySpike, s.GradedSpike} == {type(case[0]) for case in CASES}


def test_the_table_in_the_documentation_lists_every_surrogate_with_its_numbers():
    rows = re.findall(r"^`(\w+)` +(\S*) +(\S*) +(\S*) ", s.__doc__, re.MULTILINE)
    assert {row[0] for row in rows} == {kind.__name__ for kind in PUBLIC}
    x = torch.logspace(-7, 7, 400_001, dtype=torch.float64)
    for name, *stated in rows:
        if name in ("StraightThrough", "ZeroGradient", "Custom", "MultiSpike", "TernarySpike", "GradedSpike"):
            continue
        surrogate = getattr(s, name)()
        right = surrogate.derivative(x)
        half_width = x[right <= right[0] / 2][0]
        # The integral in the logarithm of x resolves both narrow peaks and long tails.
        integral = torch.trapezoid((right + surrogate.derivative(-x)) * x, x.log())
        measured = [right[0].item(), half_width.item(), integral.item()]
        assert [float(number) for number in stated] == pytest.approx(measured, rel=5e-3)


@every_surrogate
def test_forward_is_the_heaviside_step_and_backward_the_formula(surrogate, formula, peak, half_width, integral):
    z, grad = spikes_and_gradient(surrogate, GRID)
    assert torch.equal(z, (GRID > 0).double())
    torch.testing.assert_close(grad.numpy(), formula(GRID.numpy()), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(surrogate(GRID.float()), (GRID > 0).float())


@every_surrogate
def test_peak_half_width_and_integral_are_as_stated(surrogate, formula, peak, half_width, integral):
    value = lambda x: surrogate.derivative(torch.tensor(x, dtype=torch.float64)).item()
    assert value(0.0) == pytest.approx(peak, rel=2e-3)
    if np.isfinite(half_width):
        if isinstance(surrogate, s.Rectangle):
            assert value(half_width * 0.999) > 0 == value(half_width * 1.001)
        else:
            assert value(half_width) == pytest.approx(value(0.0) / 2, rel=2e-2)
    if np.isfinite(integral):
        center = quad(value, -0.3, 0.3, points=[0])[0]
        tail = quad(value, 0.3, 400, limit=900, points=[0.4, 0.7, 3.0, 30.0])[0]
        assert center + 2 * tail == pytest.approx(integral, rel=5e-3)


@every_surrogate
def test_the_derivative_can_be_differentiated(surrogate, formula, peak, half_width, integral):
    x = (GRID[3::7] + 1e-3).clone().requires_grad_()
    (first,) = torch.autograd.grad(surrogate(x).sum(), x, create_graph=True)
    if not first.requires_grad:  # piecewise constant
        assert isinstance(surrogate, s.StraightThrough | s.ZeroGradient | s.Rectangle)
        return
    (second,) = torch.autograd.grad(first.sum(), x)
    h = 1e-6
    slope = (formula(x.detach().numpy() + h) - formula(x.detach().numpy() - h)) / (2 * h)
    torch.testing.assert_close(second.numpy(), slope, rtol=1e-5, atol=1e-5)


@every_surrogate
def test_forward_mode_agrees_with_backward_mode(surrogate, formula, peak, half_width, integral):
    _, tangent = torch.func.jvp(surrogate, (GRID,), (torch.ones_like(GRID),))
    torch.testing.assert_close(tangent, spikes_and_gradient(surrogate, GRID)[1])


@every_surrogate
def test_gradients_per_sample_agree_with_backward_mode(surrogate, formula, peak, half_width, integral):
    gradients = torch.func.vmap(torch.func.grad(surrogate))(GRID)
    torch.testing.assert_close(gradients, spikes_and_gradient(surrogate, GRID)[1])


def test_custom_accepts_any_function():
    _, grad = spikes_and_gradient(s.Custom(torch.cos), GRID)
    torch.testing.assert_close(grad, torch.cos(GRID))


def test_nan_does_not_spike_and_the_threshold_is_strict():
    x = torch.tensor([0.0, float("nan"), float("inf"), -float("inf")])
    assert s.SuperSpike()(x).tolist() == [0, 0, 1, 0]


def test_the_base_class_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Surrogate()


def test_heaviside_is_the_name_of_norse_for_the_zero_gradient():
    assert s.Heaviside is s.ZeroGradient


@pytest.mark.parametrize("invalid", [0.0, -1.0, float("inf"), float("nan")])
def test_a_width_that_is_not_positive_and_finite_raises(invalid):
    with pytest.raises(ValueError, match="SuperSpike.alpha must be positive and finite, got"):
        s.SuperSpike(alpha=invalid)


@pytest.mark.parametrize("name", sorted({kind.__name__ for kind in PUBLIC} | {"Heaviside", "Surrogate"}))
def test_pickles_from_before_the_package_had_modules_are_read(name):
    # They name every class in `geir.surrogates`.
    assert pickle.loads(f"cgeir.surrogates\n{name}\n.".encode()) is getattr(s, name)
