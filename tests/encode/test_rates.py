import math

import numpy as np
import pytest
import torch
from scipy.stats import binom

from geir import encode


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_poisson_spike_counts_have_a_binomial_mean_and_deviation():
    x = torch.tensor([0.0, 0.2, 0.5, 1.0])
    trains = 1000
    zs = encode.poisson(x.expand(trains, 4), 500, f_max=200, generator=generator())
    assert zs.shape == (500, trains, 4)
    assert set(zs.unique().tolist()) == {0.0, 1.0}
    counts = zs.sum(0)
    for k, intensity in enumerate(x.tolist()):
        expected = binom(500, intensity * 0.2)
        tolerance = 4 * expected.std() / math.sqrt(trains) + 1e-9
        assert counts[:, k].mean().item() == pytest.approx(expected.mean(), abs=tolerance)
        assert counts[:, k].std().item() == pytest.approx(expected.std(), rel=0.08, abs=1e-9)


def test_one_step_of_poisson_has_the_same_rate_and_repeats_with_its_generator():
    x = torch.tensor([0.0, 0.3, 1.0]).expand(20_000, 3)
    zs = encode.PoissonEncoderCell(f_max=200.0, generator=generator(1))(x)
    assert zs.shape == x.shape
    for k, probability in enumerate((0.0, 0.06, 0.2)):
        tolerance = 4 * binom(20_000, probability).std() + 1e-9
        assert zs[:, k].sum().item() == pytest.approx(20_000 * probability, abs=tolerance)
    again = encode.poisson(x, 1, f_max=200.0, generator=generator(1))[0]
    assert torch.equal(zs, again)
    signed = encode.SignedPoissonEncoderCell(f_max=200.0, generator=generator(1))(-x)
    assert torch.equal(signed, -zs)


def test_signed_poisson_spikes_have_the_sign_of_the_intensity():
    x = torch.tensor([-1.0, -0.3, 0.0, 0.6])
    zs = encode.signed_poisson(x, 20_000, f_max=100, generator=generator())
    np.testing.assert_allclose(zs.mean(0), 0.1 * x, atol=0.008)
    assert set(zs.unique().tolist()) == {-1.0, 0.0, 1.0}


@pytest.mark.parametrize("module", [encode.PoissonEncoder, encode.SignedPoissonEncoder])
def test_random_encoders_repeat_with_the_same_generator_only(module):
    x = torch.rand(50)
    torch.testing.assert_close(module(30, generator=generator(3))(x), module(30, generator=generator(3))(x))
    assert not torch.equal(module(30, generator=generator(3))(x), module(30, generator=generator(4))(x))
    torch.manual_seed(7)
    first = module(30)(x)
    torch.manual_seed(7)
    torch.testing.assert_close(module(30)(x), first)
    assert module(30, f_max=50, dt=2e-3)(x).shape == (30, 50)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("encoder", [encode.poisson, encode.signed_poisson])
def test_rates_of_half_precision_are_those_of_the_intensities(encoder, dtype):
    """In bfloat16, random numbers are multiples of 1/256: intensity 0.1 would fire at twice its rate."""
    x = torch.tensor([0.5, 0.1], dtype=dtype)[:, None].expand(2, 500)
    zs = encoder(x, 2000, f_max=20.0, generator=torch.Generator().manual_seed(0))
    rates = zs.float().mean((0, 2)) / 1e-3
    # The standard deviation of the mean of 1,000 s at 10 Hz is 0.1 Hz.
    torch.testing.assert_close(rates, torch.tensor([10.0, 2.0]), rtol=0, atol=0.4)
