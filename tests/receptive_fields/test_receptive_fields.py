"""Receptive fields have the moments and respond as the theory says."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from scipy import ndimage, signal

import geir
from geir import learnable, LIF, Lift
from geir.receptive_fields import (
    ParameterizedSpatialReceptiveField2d,
    SampledSpatialReceptiveField2d,
    spatial_parameters,
    spatial_receptive_field,
    SpatialReceptiveField2d,
    SpatioTemporalReceptiveField,
    temporal_scale_distribution,
    TemporalReceptiveField,
)

SIZE = 61
DOWN, RIGHT = torch.meshgrid(
    torch.arange(SIZE).double() - SIZE // 2, torch.arange(SIZE).double() - SIZE // 2, indexing="ij"
)


def field(scale, angle=0.0, ratio=1.0, size=SIZE, **keywords):
    values = (torch.tensor(value, dtype=torch.float64) for value in (scale, angle, ratio))
    return spatial_receptive_field(*values, size=size, **keywords)


def response(fields, image):
    """The sum of an image weighted with a field."""
    return (fields * image).sum((-2, -1))


def along_and_across(angle):
    u = math.cos(angle) * RIGHT + math.sin(angle) * DOWN
    v = math.cos(angle) * DOWN - math.sin(angle) * RIGHT
    return u, v


GEOMETRIES = [(1.5, 0.0, 1.0), (2.0, 0.6, 2.0), (3.0, -1.1, 1.5), (2.5, 2.0, 0.5)]


@pytest.mark.parametrize(("scale", "angle", "ratio"), GEOMETRIES)
def test_moments_are_those_given(scale, angle, ratio):
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
def test_a_derivative_responds_to_its_own_monomial_only(scale, angle, ratio, orders):
    dx, dy = orders
    f = field(scale, angle, ratio, dx=dx, dy=dy)
    u, v = along_and_across(angle)
    sigma_u, sigma_v = ratio * scale, scale
    for p in range(4):
        for q in range(4 - p):
            # The scale-normalised derivative of u^p v^q at 0, for p + q not above the order the only one left.
            exact = sigma_u**dx * sigma_v**dy * math.factorial(dx) * math.factorial(dy) if (p, q) == (dx, dy) else 0.0
            if p + q <= dx + dy:
                assert response(f, u**p * v**q).item() == pytest.approx(exact, abs=2e-4 * sigma_u**p * sigma_v**q)


def test_fields_agree_with_scipys_gaussian_derivatives():
    impulse = np.zeros((SIZE, SIZE))
    impulse[SIZE // 2, SIZE // 2] = 1
    for dx, dy in ((0, 0), (1, 0), (0, 1), (2, 0), (1, 2)):
        ours = field(2.0, dx=dx, dy=dy) / 2.0 ** (dx + dy)
        # What correlates is the mirror image of what convolves.
        theirs = ndimage.gaussian_filter(impulse, 2.0, order=(dy, dx), truncate=14)[::-1, ::-1]
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_first_derivatives_are_steerable():
    right, down = field(2.0, dx=1), field(2.0, dy=1)
    for angle in (0.4, 1.9, -2.5):
        torch.testing.assert_close(field(2.0, angle, dx=1), math.cos(angle) * right + math.sin(angle) * down)


def test_smoothing_twice_is_smoothing_with_the_summed_variance():
    twice = signal.fftconvolve(field(1.5, 0.7, 2.0), field(2.0, 0.7, 2.0), mode="same")
    np.testing.assert_allclose(twice, field(2.5, 0.7, 2.0), atol=1e-8)


def test_the_response_to_a_scaled_edge_is_the_same_at_its_scale():
    # Scale-normalised derivatives of erf((u) / (sqrt 2 s)), at scale s: s / sqrt(2 pi (s^2 + s^2)).
    responses = [response(field(s, dx=1), torch.erf(RIGHT / (math.sqrt(2) * s)) / 2).item() for s in (2.0, 3.0, 4.0)]
    assert responses == pytest.approx([1 / math.sqrt(4 * math.pi)] * 3, abs=1e-4)


def test_sampling_is_as_accurate_as_the_documentation_says():
    for scale in (0.7, 1.0, 3.0):
        size = 2 * math.ceil(3.5 * scale) + 1
        assert abs(field(scale, size=size).sum().item() - 1) < 1e-3
    assert abs(field(0.5, size=9).sum().item() - 1) > 1e-3


def test_parameters_broadcast_and_have_right_gradients():
    scale = torch.tensor([[1.2], [0.9]], dtype=torch.float64, requires_grad=True)
    others = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.4, 1.3, 0.2, -0.3)]

    def fields(scale, angle, ratio, x, y):
        return spatial_receptive_field(
            scale, angle, ratio, x=x, y=y, size=5, dx=torch.tensor([0, 1, 2]), dy=torch.tensor([1, 0, 1])
        )

    assert fields(scale, *others).shape == (2, 3, 5, 5)
    torch.testing.assert_close(fields(scale, *others)[1, 2], field(0.9, 0.4, 1.3, size=5, x=0.2, y=-0.3, dx=2, dy=1))
    assert torch.autograd.gradcheck(fields, (scale, *others))


def test_combinations_leave_out_what_is_equal():
    table = spatial_parameters([1.0, 2.0], [0.0, 0.5, 1.0], [1.0, 3.0], derivatives=[(0, 0), (1, 0)])
    whole = spatial_parameters([1.0, 2.0], [0.0, 0.5, 1.0], [1.0, 3.0], derivatives=[(0, 0), (1, 0)], replicas=True)
    # Without derivatives, round fields of the two other angles are left out, at both scales.
    assert len(whole["scale"]) == 24
    assert len(table["scale"]) == 20
    few, many = (spatial_receptive_field(**t, size=11).flatten(1) for t in (table, whole))
    equal = torch.isclose(many[:, None], few[None], atol=1e-6).all(-1)
    assert bool(equal.any(1).all())
    assert bool((torch.isclose(few[:, None], few[None], atol=1e-6).all(-1) == torch.eye(20, dtype=torch.bool)).all())
    assert [
        (a, b) for a, b in zip(*(spatial_parameters(1.0, 0.0, 1.0, 2)[k].tolist() for k in ("dx", "dy")), strict=True)
    ] == [
        (0, 0),
        (1, 0),
        (0, 1),
        (2, 0),
        (1, 1),
        (0, 2),
    ]


TABLE = spatial_parameters([1.0, 2.0], [0.0, 0.7], [1.0, 2.0], derivatives=1)
PRODUCT = {"scales": [1.0, 2.0], "angles": [0.0, 0.7], "ratios": [1.0, 2.0], "derivatives": 1}


def test_the_layer_is_a_correlation_with_its_fields():
    image = torch.rand(2, 3, 20, 24)
    ys = SpatialReceptiveField2d(3, 9, **TABLE)(image)
    fields = spatial_receptive_field(**TABLE, size=9)
    assert ys.shape == (2, len(fields), 20, 24)
    for k in (0, 3, len(fields) - 1):
        expected = sum(ndimage.correlate(image[1, c].numpy(), fields[k].numpy(), mode="constant") for c in range(3))
        np.testing.assert_allclose(ys[1, k], expected, atol=1e-5)
    torch.testing.assert_close(SampledSpatialReceptiveField2d(3, 9, **PRODUCT)(image), ys)
    torch.testing.assert_close(SpatialReceptiveField2d(3, 9, stride=2, **TABLE)(image), ys[..., ::2, ::2])


def test_without_aggregation_every_channel_has_every_field():
    image = torch.rand(2, 3, 20, 24)
    each = SpatialReceptiveField2d(3, 9, aggregate=False, **TABLE)(image)
    summed = SpatialReceptiveField2d(3, 9, **TABLE)(image)
    assert each.shape == (2, 3 * summed.shape[1], 20, 24)
    torch.testing.assert_close(each.unflatten(1, (3, -1)).sum(1), summed)
    torch.testing.assert_close(each[:, : summed.shape[1]], SpatialReceptiveField2d(1, 9, **TABLE)(image[:, :1]))


def test_fields_follow_their_parameters_at_once():
    layer = SpatialReceptiveField2d(1, 9, scale=learnable(torch.tensor([1.0, 2.0])), dx=1)
    before = layer.fields()
    with torch.no_grad():
        layer.log_scale.add_(math.log(1.5))
    torch.testing.assert_close(layer.fields(), spatial_receptive_field(torch.tensor([1.5, 3.0]), size=9, dx=1))
    assert not torch.allclose(layer.fields(), before)
    layer.scale = [0.5, 0.7]
    torch.testing.assert_close(layer.fields(), spatial_receptive_field([0.5, 0.7], size=9, dx=1))


def test_scale_angle_and_ratio_are_learned_from_responses():
    image = torch.randn(4, 1, 24, 24)
    target = SpatialReceptiveField2d(1, 15, scale=1.5, angle=0.8, ratio=1.6, x=0.5, dx=1)(image).detach()
    layer = ParameterizedSpatialReceptiveField2d(1, 15, scales=1.0, angles=0.4, ratios=1.2, derivatives=[(1, 0)])
    assert set(dict(layer.named_parameters())) == {"log_scales", "angles", "log_ratios", "x", "y"}
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.03)
    for _ in range(150):
        optimizer.zero_grad()
        loss = (layer(image) - target).pow(2).mean() / target.pow(2).mean()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
        optimizer.step()
    assert loss < 1e-3
    learned = {name: value.item() for name, value in layer.declared_parameters().items()}
    assert learned == pytest.approx({"scales": 1.5, "angles": 0.8, "ratios": 1.6, "x": 0.5, "y": 0.0}, abs=0.03)


def test_one_scale_is_shared_by_all_fields_that_have_it():
    layer = ParameterizedSpatialReceptiveField2d(1, 9, **PRODUCT)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "log_scales": (2,),
        "angles": (2,),
        "log_ratios": (2,),
        "x": (),
        "y": (),
    }
    assert len(layer.fields()) == 2 * 2 * 2 * 3
    layer(torch.rand(1, 1, 12, 12)).pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize(
    "layer",
    [
        SpatialReceptiveField2d(2, 7, **TABLE),
        SampledSpatialReceptiveField2d(2, 7, **PRODUCT),
        ParameterizedSpatialReceptiveField2d(2, 7, **PRODUCT),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_have_the_manners_of_modules(layer):
    image = torch.rand(2, 2, 10, 10)
    expected = layer(image)
    loaded = copy.deepcopy(layer)
    for tensor in (*loaded.parameters(), *loaded.buffers()):
        if tensor.is_floating_point():
            tensor.data.mul_(1.1)
    assert not torch.allclose(loaded(image), expected)
    loaded.load_state_dict(layer.state_dict())
    for twin in (loaded, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(twin(image), expected)
    torch.testing.assert_close(copy.deepcopy(layer).double()(image.double()).float(), expected)
    assert Lift(layer)(image.expand(5, *image.shape)).shape == (5, *expected.shape)


def impulse_response(model, steps, dt):
    xs = torch.zeros(steps, 1, 1, dtype=torch.float64)
    xs[0] = 1 / dt
    return model.double()(xs)[0][:, 0].T


@pytest.mark.parametrize("c", [math.sqrt(2), 2.0])
def test_temporal_kernels_have_the_mean_and_variance_of_exponentials_in_series(c):
    sigma = temporal_scale_distribution(5, min_scale=4e-3, c=c).double()
    mu = torch.diff(sigma**2, prepend=torch.zeros(1)).sqrt()
    errors = []
    for dt in (2e-4, 1e-4):
        kernels = impulse_response(TemporalReceptiveField(sigma, dt=dt), round(20 * sigma[-1].item() / dt), dt)
        assert (kernels >= 0).all()
        times = dt * (torch.arange(kernels.shape[1]) + 0.5)
        total, mean = dt * kernels.sum(1), dt * (kernels * times).sum(1)
        spread = dt * (kernels * (times - mean[:, None]) ** 2).sum(1)
        torch.testing.assert_close(total, torch.ones(5).double(), rtol=0, atol=1e-4)
        torch.testing.assert_close(spread, sigma**2, rtol=1e-3, atol=0)
        errors.append((mean - mu.cumsum(0)).abs())
        # What the documentation says of sampling: half a step for each level, of which the first is the middle of the input's own step.
        torch.testing.assert_close(mean, mu.cumsum(0) - dt / 2 * torch.arange(5), rtol=1e-3, atol=1e-9)
    torch.testing.assert_close(errors[0][1:], 2 * errors[1][1:], rtol=0.05, atol=0)


def test_temporal_kernels_are_the_cascade_of_scipy():
    sigma, dt = [3e-3, 5e-3, 8e-3], 1e-3
    xs = torch.rand(80, 2, 3, dtype=torch.float64)
    ys, _ = TemporalReceptiveField(sigma, dt=dt).double()(xs)
    expected, level, before = [], xs.numpy(), 0.0
    for s in sigma:
        decay = math.exp(-dt / math.sqrt(s**2 - before**2))
        level = signal.lfilter([1 - decay], [1, -decay], level, axis=0)
        expected.append(level)
        before = s
    np.testing.assert_allclose(ys, np.concatenate(expected, 2), atol=1e-7)


def test_scales_are_evenly_spaced_in_their_logarithm():
    torch.testing.assert_close(temporal_scale_distribution(4, 0.01), 0.01 * math.sqrt(2) ** torch.arange(4))
    torch.testing.assert_close(temporal_scale_distribution(3, 0.01, c=2), torch.tensor([0.01, 0.02, 0.04]))
    torch.testing.assert_close(temporal_scale_distribution(3, 0.01, 0.09), torch.tensor([0.01, 0.03, 0.09]))
    assert temporal_scale_distribution(1, 0.01).tolist() == pytest.approx([0.01])


def test_the_kernel_is_the_same_at_every_scale_but_for_its_extent():
    # The limit kernel's covariance under scaling; a cascade of 7 levels, a factor of 2 apart, is close to the limit.
    kernels = impulse_response(TemporalReceptiveField(temporal_scale_distribution(7, 1e-3, c=2.0), dt=1e-4), 6000, 1e-4)
    fast, slow = kernels[-2], kernels[-1]
    stretched = torch.nn.functional.interpolate(fast[None, None], scale_factor=2, mode="linear")[0, 0, :6000] / 2
    assert (slow - stretched).abs().max() < 0.03 * slow.max()
    # Exponentials with equal time constants in series change their shape, so the test can tell.
    sigma = 16e-3 * torch.arange(1.0, 8).sqrt()
    equal = impulse_response(TemporalReceptiveField(sigma, dt=1e-4), 6000, 1e-4)
    assert (
        equal[3] - torch.nn.functional.interpolate(equal[None, :1], scale_factor=2, mode="linear")[0, 0, :6000] / 2
    ).abs().max() > 0.1 * equal[3].max()


def test_time_constants_are_learned():
    field = TemporalReceptiveField(learnable([5e-3, 9e-3]))
    ys, _ = field(torch.rand(50, 2, 3))
    ys[-1].sum().backward()
    assert [name for name, _ in field.named_parameters()] == ["levels.0.log_tau_mem", "levels.1.log_tau_mem"]
    assert all(p.grad is not None and p.grad != 0 for p in field.parameters())


def network():
    spatial = SampledSpatialReceptiveField2d(2, 5, scales=[1.0], angles=[0.0, 1.5], ratios=[2.0], derivatives=[(1, 0)])
    return SpatioTemporalReceptiveField(spatial, TemporalReceptiveField([4e-3, 7e-3]))


def test_space_and_time_separate_and_commute():
    xs = torch.rand(30, 2, 2, 8, 8)
    model = network()
    ys, _ = model(xs)
    assert ys.shape == (30, 2, 4, 8, 8)
    first = model.temporal(xs)[0]
    other = torch.cat([Lift(model.spatial)(part) for part in first.chunk(2, 2)], 2)
    torch.testing.assert_close(ys, other)


def test_a_stream_in_parts_is_one_run():
    xs, model = torch.rand(30, 2, 2, 8, 8), network()
    expected, last = model(xs)
    first, middle = model(xs[:11])
    second, end = model(xs[11:], middle)
    torch.testing.assert_close(torch.cat([first, second]), expected)
    torch.testing.assert_close(end, last)
    ys, _ = geir.SequentialState(model, Lift(torch.nn.Conv2d(4, 3, 3)), LIF())(20 * xs)
    assert ys.sum() > 0


def test_levels_may_spike():
    zs, _ = TemporalReceptiveField([5e-3, 9e-3], neuron=geir.LIFBox)(3 * torch.ones(100, 1, 1))
    assert set(zs.unique().tolist()) == {0.0, 1.0}


CASES = {
    "an even size": (
        lambda: field(1.0, size=4),
        ValueError,
        "spatial_receptive_field: size must be an odd number of pixels, .* got 4",
    ),
    "no scale": (lambda: field(0.0), ValueError, "spatial_receptive_field: scale must be positive, got 0"),
    "a negative ratio": (
        lambda: field(1.0, ratio=-2.0),
        ValueError,
        "spatial_receptive_field: ratio must be positive, got -2",
    ),
    "a scale that is a name": (
        lambda: spatial_receptive_field("fine", size=3),
        TypeError,
        "scale must be a number or a tensor, got 'fine'",
    ),
    "half a derivative": (
        lambda: field(1.0, dx=0.5),
        ValueError,
        "dx must be an order of derivative, 0, 1, 2, ..., got 0.5",
    ),
    "a negative derivative": (lambda: field(1.0, dy=-1), ValueError, "dy must be an order of derivative, .* got -1"),
    "no combination": (
        lambda: spatial_parameters(1.0, 0.0, -1.0),
        ValueError,
        "spatial_parameters: ratios must be positive, got -1",
    ),
    "derivatives that are no pairs": (
        lambda: spatial_parameters(1.0, 0.0, 1.0, [1, 2]),
        ValueError,
        r"derivatives must be a number >= 0 or pairs of orders, such as \[\(0, 0\), \(1, 0\)\], got \[1, 2\]",
    ),
    "a layer of even size": (
        lambda: SpatialReceptiveField2d(1, 4),
        ValueError,
        "SpatialReceptiveField2d.size must be an odd number of pixels, got 4",
    ),
    "a layer without scale": (
        lambda: SpatialReceptiveField2d(1, 5, scale=0.0),
        ValueError,
        "SpatialReceptiveField2d.scale must be > 0.0 px, got 0.0",
    ),
    "a layer of wrong derivatives": (
        lambda: SampledSpatialReceptiveField2d(1, 5, derivatives=-1),
        ValueError,
        "derivatives must be a number >= 0 or pairs of orders",
    ),
    "a misspelt parameter": (
        lambda: SampledSpatialReceptiveField2d(1, 5, scale=1.0),
        TypeError,
        "SampledSpatialReceptiveField2d has no parameter 'scale'. Did you mean 'scales'",
    ),
    "a bank to learn": (
        lambda: SampledSpatialReceptiveField2d(1, 5, scales=learnable(1.0)),
        ValueError,
        "take ParameterizedSpatialReceptiveField2d",
    ),
    "other channels": (
        lambda: SpatialReceptiveField2d(2, 5)(torch.ones(1, 3, 8, 8)),
        ValueError,
        r"SpatialReceptiveField2d takes \(batch, channels, height, width\) with 2 channels, got shape \(1, 3, 8, 8\)",
    ),
    "no scales": (
        lambda: temporal_scale_distribution(0, 0.01),
        ValueError,
        "n_scales must be a positive whole number, got 0",
    ),
    "no least scale": (
        lambda: temporal_scale_distribution(3, 0.0),
        ValueError,
        "needs min_scale > 0 s and c > 1, got 0.0 and 1.4",
    ),
    "no distribution": (
        lambda: temporal_scale_distribution(3, 0.01, c=1.0),
        ValueError,
        "needs min_scale > 0 s and c > 1",
    ),
    "scales that do not grow": (
        lambda: temporal_scale_distribution(3, 0.02, 0.01),
        ValueError,
        "max_scale must be larger than min_scale, .* got 0.01",
    ),
    "a cascade that does not grow": (
        lambda: TemporalReceptiveField([2e-3, 2e-3]),
        ValueError,
        r"takes scales that increase .* got \[0.002, 0.002\]",
    ),
    "a cascade without levels": (lambda: TemporalReceptiveField([]), ValueError, "takes scales that increase"),
    "no channels": (
        lambda: TemporalReceptiveField([2e-3])(torch.ones(5, 2)),
        ValueError,
        r"takes \(time, batch, channels, ...\), got shape \(5, 2\)",
    ),
    "a composition of numbers": (
        lambda: SpatioTemporalReceptiveField(1.0, TemporalReceptiveField([2e-3])),
        TypeError,
        "SpatioTemporalReceptiveField.spatial must be a module, got 1.0",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_input_is_refused(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()
