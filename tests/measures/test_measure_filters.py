"""Filters of spike trains, each against SciPy, NumPy or its definition."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from spike_trains import random_spikes

from geir import measures

F64 = torch.float64


@pytest.mark.parametrize("tau", [1e-4, 5e-3, 1.0])
def test_the_exponential_filter_agrees_with_scipy(tau):
    xs = torch.randn(200, 3, dtype=F64)
    ys = measures.exponential_filter(xs, tau=tau, dt=2e-3)
    expected = lfilter([1], [1, -math.exp(-2e-3 / tau)], xs.numpy(), axis=0)
    np.testing.assert_allclose(ys, expected, rtol=1e-12, atol=1e-12)


def test_the_exponential_filter_is_the_weighted_sum_over_the_past():
    xs = random_spikes(30, 2, 3)
    taus = torch.tensor([2e-3, 10e-3, 50e-3], dtype=F64)
    ts = 1e-3 * torch.arange(30, dtype=F64)
    kernel = torch.exp(-(ts[:, None] - ts)[..., None] / taus)
    kernel = kernel * (ts[:, None] >= ts)[..., None]
    torch.testing.assert_close(measures.exponential_filter(xs, taus), torch.einsum("tsn,sbn->tbn", kernel, xs))


def test_the_exponential_filter_has_gradients_of_input_and_time_constant():
    xs = torch.randn(6, 2, dtype=F64, requires_grad=True)
    milliseconds = torch.tensor([3.0, 20.0], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda xs, milliseconds: measures.exponential_filter(xs, milliseconds * 1e-3), (xs, milliseconds)
    )


def test_the_exponential_filter_does_not_convert_a_parameter_in_place():
    xs = torch.randn(6, 2, dtype=F64)
    tau = torch.nn.Parameter(torch.tensor(5e-3))
    measures.exponential_filter(xs, tau).sum().backward()
    assert tau.dtype == torch.float32
    assert tau.grad.isfinite()


@pytest.mark.parametrize(("steps", "length"), [(40, 7), (5, 7), (200, 90), (64, 1), (129, 65)])
def test_a_causal_filter_agrees_with_the_convolution_of_numpy(steps, length):
    xs = torch.randn(steps, 2, 3, dtype=F64)
    kernel = torch.randn(length, dtype=F64)
    ys = measures.causal_filter(xs, kernel)
    for b, n in itertools.product(range(2), range(3)):
        np.testing.assert_allclose(ys[:, b, n], np.convolve(xs[:, b, n], kernel)[:steps], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(measures.causal_filter(xs[:, 1, 2], kernel), ys[:, 1, 2], rtol=1e-12, atol=1e-12)
    assert measures.causal_filter(xs[:, :0], kernel).shape == (steps, 0, 3)


def test_a_causal_filter_has_gradients_and_agrees_with_the_exponential_one():
    xs = torch.randn(5, 2, dtype=F64, requires_grad=True)
    kernel = torch.randn(3, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(measures.causal_filter, (xs, kernel))
    spikes = random_spikes(100, 3)
    exponential = torch.exp(-1e-3 * torch.arange(100, dtype=F64) / 4e-3)
    torch.testing.assert_close(measures.causal_filter(spikes, exponential), measures.exponential_filter(spikes, 4e-3))


XS = torch.zeros(4, 2)

INVALID = {
    "exponential filter: no step": (
        lambda: measures.exponential_filter(XS[:0]),
        r"exponential_filter expected .* \(time, ...\) with at least one step",
    ),
    "exponential filter: tau of zero": (
        lambda: measures.exponential_filter(XS, tau=0.0),
        "ExponentialFilter.tau must be > 0.0 s, got 0.0",
    ),
    "causal filter: kernel of two dimensions": (
        lambda: measures.causal_filter(XS, torch.ones(2, 2)),
        r"kernel of shape \(length,\) in the dtype .* got shape \(2, 2\) and torch.float32",
    ),
    "causal filter: kernel of another dtype": (
        lambda: measures.causal_filter(XS, torch.ones(2, dtype=F64)),
        r"in the dtype of its input, torch.float32, got shape \(2,\) and torch.float64",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_values_raise(case):
    call, message = INVALID[case]
    with pytest.raises(ValueError, match=message):
        call()
