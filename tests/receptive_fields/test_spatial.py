"""Spatial receptive fields: their moments, and their responses as predicted by the theory."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, signal

from geir.receptive_fields import spatial_parameters, spatial_receptive_field

SIZE = 61
# Coordinates of pixels.
DOWN, RIGHT = torch.meshgrid(
    torch.arange(SIZE).double() - SIZE // 2, torch.arange(SIZE).double() - SIZE // 2, indexing="ij"
)


def field(scale, angle=0.0, ratio=1.0, size=SIZE, **keywords):
    values = (torch.tensor(value, dtype=torch.float64) for value in (scale, angle, ratio))
    return spatial_receptive_field(*values, size=size, **keywords)


def response(fields, image):
    """The sum of an image weighted with fields."""
    return (fields * image).sum((-2, -1))


def along_and_across(angle):
    u = math.cos(angle) * RIGHT + math.sin(angle) * DOWN
    v = math.cos(angle) * DOWN - math.sin(angle) * RIGHT
    return u, v


GEOMETRIES = [(1.5, 0.0, 1.0), (2.0, 0.6, 2.0), (3.0, -1.1, 1.5), (2.5, 2.0, 0.5)]


@pytest.mark.parametrize(("scale", "angle", "ratio"), GEOMETRIES)
def test_moments_are_those_of_the_parameters(scale, angle, ratio):
    x, y = 2.3, -1.7
    f = field(scale, angle, ratio, x=x, y=y)
    assert f.sum().item() == pytest.approx(1, abs=1e-6)
    assert response(f, RIGHT).item() == pytest.approx(x, abs=1e-5)
    assert response(f, DOWN).item() == pytest.approx(y, abs=1e-5)
    right, down = RIGHT - x, DOWN - y
    covariance = [
        [response(f, right * right), response(f, right * down)],
        [response(f, down * right), response(f, down * down)],
    ]
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    expected = rotation @ np.diag([(ratio * scale) ** 2, scale**2]) @ rotation.T
    np.testing.assert_allclose(torch.tensor(covariance), expected, atol=1e-3)


@pytest.mark.parametrize(("scale", "angle", "ratio"), GEOMETRIES)
@pytest.mark.parametrize("orders", [(1, 0), (0, 1), (2, 0), (1, 1), (0, 3), (2, 1)])
def test_a_derivative_responds_only_to_the_monomial_of_its_orders(scale, angle, ratio, orders):
    dx, dy = orders
    f = field(scale, angle, ratio, dx=dx, dy=dy)
    u, v = along_and_across(angle)
    sigma_u, sigma_v = ratio * scale, scale
    for p in range(4):
        for q in range(4 - p):
            # The scale-normalized derivative of u^p v^q at 0; it vanishes for all other monomials of at most this order.
            exact = sigma_u**dx * sigma_v**dy * math.factorial(dx) * math.factorial(dy) if (p, q) == (dx, dy) else 0.0
            if p + q <= dx + dy:
                assert response(f, u**p * v**q).item() == pytest.approx(exact, abs=2e-4 * sigma_u**p * sigma_v**q)


def test_fields_agree_with_gaussian_derivatives_of_scipy():
    impulse = np.zeros((SIZE, SIZE))
    impulse[SIZE // 2, SIZE // 2] = 1
    for dx, dy in ((0, 0), (1, 0), (0, 1), (2, 0), (1, 2)):
        actual = field(2.0, dx=dx, dy=dy) / 2.0 ** (dx + dy)
        # A kernel of a correlation is the mirror image of the kernel of a convolution.
        expected = ndimage.gaussian_filter(impulse, 2.0, order=(dy, dx), truncate=14)[::-1, ::-1]
        np.testing.assert_allclose(actual, expected, atol=2e-6)


def test_first_derivatives_are_steerable():
    right, down = field(2.0, dx=1), field(2.0, dy=1)
    for angle in (0.4, 1.9, -2.5):
        torch.testing.assert_close(field(2.0, angle, dx=1), math.cos(angle) * right + math.sin(angle) * down)


def test_the_variances_of_successive_smoothings_add():
    twice = signal.fftconvolve(field(1.5, 0.7, 2.0), field(2.0, 0.7, 2.0), mode="same")
    np.testing.assert_allclose(twice, field(2.5, 0.7, 2.0), atol=1e-8)


def test_the_response_to_an_edge_at_its_own_scale_does_not_depend_on_the_scale():
    # Scale-normalized derivatives of erf((u) / (sqrt 2 s)), at scale s: s / sqrt(2 pi (s^2 + s^2)).
    responses = [response(field(s, dx=1), torch.erf(RIGHT / (math.sqrt(2) * s)) / 2).item() for s in (2.0, 3.0, 4.0)]
    assert responses == pytest.approx([1 / math.sqrt(4 * math.pi)] * 3, abs=1e-4)


def test_sampling_has_the_documented_accuracy():
    for scale in (0.7, 1.0, 3.0):
        size = 2 * math.ceil(3.5 * scale) + 1
        assert abs(field(scale, size=size).sum().item() - 1) < 1e-3
    assert abs(field(0.5, size=9).sum().item() - 1) > 1e-3


def test_parameters_broadcast_and_have_correct_gradients():
    scale = torch.tensor([[1.2], [0.9]], dtype=torch.float64, requires_grad=True)
    others = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.4, 1.3, 0.2, -0.3)]

    def fields(scale, angle, ratio, x, y):
        return spatial_receptive_field(
            scale, angle, ratio, x=x, y=y, size=5, dx=torch.tensor([0, 1, 2]), dy=torch.tensor([1, 0, 1])
        )

    assert fields(scale, *others).shape == (2, 3, 5, 5)
    torch.testing.assert_close(fields(scale, *others)[1, 2], field(0.9, 0.4, 1.3, size=5, x=0.2, y=-0.3, dx=2, dy=1))
    assert torch.autograd.gradcheck(fields, (scale, *others))


def test_combinations_contain_no_duplicates():
    table = spatial_parameters([1.0, 2.0], [0.0, 0.5, 1.0], [1.0, 3.0], derivatives=[(0, 0), (1, 0)])
    whole = spatial_parameters([1.0, 2.0], [0.0, 0.5, 1.0], [1.0, 3.0], derivatives=[(0, 0), (1, 0)], replicas=True)
    # Without derivatives, isotropic fields of the other two angles are duplicates, at both scales.
    assert len(whole["scale"]) == 24
    assert len(table["scale"]) == 20
    few, many = (spatial_receptive_field(**t, size=11).flatten(1) for t in (table, whole))
    equal = torch.isclose(many[:, None], few[None], atol=1e-6).all(-1)
    assert bool(equal.any(1).all())
    assert bool((torch.isclose(few[:, None], few[None], atol=1e-6).all(-1) == torch.eye(20, dtype=torch.bool)).all())
    orders = spatial_parameters(1.0, 0.0, 1.0, 2)
    pairs = list(zip(orders["dx"].tolist(), orders["dy"].tolist(), strict=True))
    assert pairs == [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]


INVALID = {
    "an even size": (
        lambda: field(1.0, size=4),
        ValueError,
        "spatial_receptive_field: size must be an odd number of pixels, .* got 4",
    ),
    "a scale of zero": (lambda: field(0.0), ValueError, "spatial_receptive_field: scale must be positive, got 0"),
    "a negative ratio": (
        lambda: field(1.0, ratio=-2.0),
        ValueError,
        "spatial_receptive_field: ratio must be positive, got -2",
    ),
    "a string as scale": (
        lambda: spatial_receptive_field("fine", size=3),
        TypeError,
        "scale must be a number or a tensor, got 'fine'",
    ),
    "a derivative of fractional order": (
        lambda: field(1.0, dx=0.5),
        ValueError,
        "dx must be an order of derivative, 0, 1, 2, ..., got 0.5",
    ),
    "a derivative of negative order": (
        lambda: field(1.0, dy=-1),
        ValueError,
        "dy must be an order of derivative, .* got -1",
    ),
    "negative ratios of combinations": (
        lambda: spatial_parameters(1.0, 0.0, -1.0),
        ValueError,
        "spatial_parameters: ratios must be positive, got -1",
    ),
    "derivatives that are not pairs": (
        lambda: spatial_parameters(1.0, 0.0, 1.0, [1, 2]),
        ValueError,
        r"derivatives must be a number >= 0 or pairs of orders, such as \[\(0, 0\), \(1, 0\)\], got \[1, 2\]",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_parameters_are_rejected(case):
    call, error, message = INVALID[case]
    with pytest.raises(error, match=message):
        call()
