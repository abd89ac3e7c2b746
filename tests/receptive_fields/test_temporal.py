"""Temporal and spatio-temporal receptive fields, against closed forms and SciPy."""

import math

import numpy as np
import pytest
import torch
from scipy import signal

import geir
from geir import learnable, LIF, Lift
from geir.receptive_fields import (
    SampledSpatialReceptiveField2d,
    SpatioTemporalReceptiveField,
    temporal_scale_distribution,
    TemporalReceptiveField,
)


def impulse_response(model, steps, dt):
    xs = torch.zeros(steps, 1, 1, dtype=torch.float64)
    xs[0] = 1 / dt
    return model.double()(xs)[0][:, 0].T


@pytest.mark.parametrize("c", [math.sqrt(2), 2.0])
def test_temporal_kernels_have_the_mean_and_variance_of_convolved_exponentials(c):
    sigma = temporal_scale_distribution(5, min_scale=4e-3, c=c).double()
    mu = torch.diff(sigma**2, prepend=torch.zeros(1)).sqrt()
    errors = []
    for dt in (2e-4, 1e-4):
        kernels = impulse_response(TemporalReceptiveField(sigma, dt=dt), round(20 * sigma[-1].item() / dt), dt)
        assert (kernels >= 0).all()
        times = dt * (torch.arange(kernels.shape[1]) + 0.5)
        total, mean = dt * kernels.sum(1), dt * (kernels * times).sum(1)
        variance = dt * (kernels * (times - mean[:, None]) ** 2).sum(1)
        torch.testing.assert_close(total, torch.ones(5).double(), rtol=0, atol=1e-4)
        torch.testing.assert_close(variance, sigma**2, rtol=1e-3, atol=0)
        errors.append((mean - mu.cumsum(0)).abs())
        # As documented, sampling reduces the mean by half a step for each level; the first half is the center of the step of the input.
        torch.testing.assert_close(mean, mu.cumsum(0) - dt / 2 * torch.arange(5), rtol=1e-3, atol=1e-9)
    torch.testing.assert_close(errors[0][1:], 2 * errors[1][1:], rtol=0.05, atol=0)


def test_temporal_fields_agree_with_a_cascade_of_scipy_filters():
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


def test_scales_are_evenly_spaced_on_a_logarithmic_axis():
    torch.testing.assert_close(temporal_scale_distribution(4, 0.01), 0.01 * math.sqrt(2) ** torch.arange(4))
    torch.testing.assert_close(temporal_scale_distribution(3, 0.01, c=2), torch.tensor([0.01, 0.02, 0.04]))
    torch.testing.assert_close(temporal_scale_distribution(3, 0.01, 0.09), torch.tensor([0.01, 0.03, 0.09]))
    assert temporal_scale_distribution(1, 0.01).tolist() == pytest.approx([0.01])


def stretched_twofold(kernel):
    """A kernel stretched in time by a factor of 2, with the same integral."""
    return torch.nn.functional.interpolate(kernel[None, None], scale_factor=2, mode="linear")[0, 0, : len(kernel)] / 2


def test_the_kernel_is_the_same_at_all_scales_up_to_its_extent():
    # The limit kernel is covariant under scaling; a cascade of 7 levels with a ratio of 2 is close to the limit.
    kernels = impulse_response(TemporalReceptiveField(temporal_scale_distribution(7, 1e-3, c=2.0), dt=1e-4), 6000, 1e-4)
    fast, slow = kernels[-2], kernels[-1]
    assert (slow - stretched_twofold(fast)).abs().max() < 0.03 * slow.max()
    # Kernels of equal time constants change their shape, so the test can fail.
    sigma = 16e-3 * torch.arange(1.0, 8).sqrt()
    equal = impulse_response(TemporalReceptiveField(sigma, dt=1e-4), 6000, 1e-4)
    assert (equal[3] - stretched_twofold(equal[0])).abs().max() > 0.1 * equal[3].max()


def test_time_constants_are_learned():
    field = TemporalReceptiveField(learnable([5e-3, 9e-3]))
    ys, _ = field(torch.rand(50, 2, 3))
    ys[-1].sum().backward()
    assert [name for name, _ in field.named_parameters()] == ["levels.0.log_tau_mem", "levels.1.log_tau_mem"]
    assert all(p.grad is not None and p.grad != 0 for p in field.parameters())


def separable_field():
    spatial = SampledSpatialReceptiveField2d(2, 5, scales=[1.0], angles=[0.0, 1.5], ratios=[2.0], derivatives=[(1, 0)])
    return SpatioTemporalReceptiveField(spatial, TemporalReceptiveField([4e-3, 7e-3]))


def test_spatial_and_temporal_fields_commute():
    xs = torch.rand(30, 2, 2, 8, 8)
    model = separable_field()
    ys, _ = model(xs)
    assert ys.shape == (30, 2, 4, 8, 8)
    first = model.temporal(xs)[0]
    other = torch.cat([Lift(model.spatial)(part) for part in first.chunk(2, 2)], 2)
    torch.testing.assert_close(ys, other)


def test_a_run_in_parts_equals_one_run():
    xs, model = torch.rand(30, 2, 2, 8, 8), separable_field()
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


INVALID = {
    "zero scales": (
        lambda: temporal_scale_distribution(0, 0.01),
        ValueError,
        "n_scales must be a positive whole number, got 0",
    ),
    "a smallest scale of zero": (
        lambda: temporal_scale_distribution(3, 0.0),
        ValueError,
        "needs min_scale > 0 s and c > 1, got 0.0 and 1.4",
    ),
    "a ratio of one": (
        lambda: temporal_scale_distribution(3, 0.01, c=1.0),
        ValueError,
        "needs min_scale > 0 s and c > 1",
    ),
    "a largest scale below the smallest": (
        lambda: temporal_scale_distribution(3, 0.02, 0.01),
        ValueError,
        "max_scale must be larger than min_scale, .* got 0.01",
    ),
    "scales that do not increase": (
        lambda: TemporalReceptiveField([2e-3, 2e-3]),
        ValueError,
        r"takes scales that increase .* got \[0.002, 0.002\]",
    ),
    "a cascade without levels": (lambda: TemporalReceptiveField([]), ValueError, "takes scales that increase"),
    "input without channels": (
        lambda: TemporalReceptiveField([2e-3])(torch.ones(5, 2)),
        ValueError,
        r"takes \(time, batch, channels, ...\), got shape \(5, 2\)",
    ),
    "a number as spatial field": (
        lambda: SpatioTemporalReceptiveField(1.0, TemporalReceptiveField([2e-3])),
        TypeError,
        "SpatioTemporalReceptiveField.spatial must be a module, got 1.0",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_scales_and_input_are_rejected(case):
    call, error, message = INVALID[case]
    with pytest.raises(error, match=message):
        call()
