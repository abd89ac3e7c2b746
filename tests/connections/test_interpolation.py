"""Interpolation of delays between steps."""

import pytest
import torch
from connection_cases import assert_close, DOUBLE

from geir.connections import Delay, GaussianInterpolation, Interpolation, NearestStep


def test_the_nearest_step_preserves_spikes():
    delays = torch.tensor([0.0, 1e-3, 2.5e-3, 4e-3, 3.2e-3]) + 0.2e-3
    xs = (torch.rand(50, 4, 5) < 0.3).float()
    ys, _ = Delay(delay=delays, max_delay=6e-3, interpolation=NearestStep())(xs)
    assert ((ys == 0) | (ys == 1)).all()
    assert torch.equal(ys[4:, :, 3], xs[:-4, :, 3])


def test_a_narrow_gaussian_is_the_nearest_step_and_the_weights_of_a_wide_one_sum_to_one():
    xs, delays = torch.rand(30, 2, 5, dtype=DOUBLE), torch.tensor([0.0, 1.3, 2.6, 4.4, 6.0], dtype=DOUBLE) * 1e-3
    nearest, _ = Delay(delay=delays, interpolation=NearestStep())(xs)
    narrow, _ = Delay(delay=delays, interpolation=GaussianInterpolation(1e-5))(xs)
    assert_close(narrow, nearest)
    wide, _ = Delay(delay=delays, interpolation=GaussianInterpolation(2e-3))(torch.ones_like(xs))
    assert_close(wide[10:], torch.ones(20, 2, 5, dtype=DOUBLE))


def test_a_gaussian_has_the_weights_of_its_formula():
    xs = torch.zeros(9, 1, dtype=DOUBLE)
    xs[0] = 1
    delay = torch.tensor(3.3e-3, dtype=DOUBLE)
    ys, _ = Delay(delay=delay, max_delay=7e-3, interpolation=GaussianInterpolation(1.5e-3))(xs)
    weights = torch.exp(-((torch.arange(8, dtype=DOUBLE) - 3.3) ** 2) / (2 * 1.5**2))
    assert_close(ys[:8, 0], weights / weights.sum())
    assert ys[8] == 0


def test_a_gaussian_needs_a_width():
    with pytest.raises(ValueError, match="GaussianInterpolation.sigma must be a positive number of seconds, got 0.0"):
        GaussianInterpolation(0.0)


def test_the_abstract_interpolation_cannot_be_constructed():
    with pytest.raises(TypeError, match="abstract class Interpolation"):
        Interpolation()
