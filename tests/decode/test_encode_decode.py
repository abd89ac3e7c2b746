import math
import pickle

import numpy as np
import pytest
import torch
from scipy.stats import binom

import geir
from geir import encode
from geir.decode import decoders as decode


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_poisson_rates_and_their_spread():
    x = torch.tensor([0.0, 0.2, 0.5, 1.0])
    zs = encode.poisson(x.expand(2000, 4), 500, f_max=200, generator=generator())
    assert zs.shape == (500, 2000, 4)
    assert set(zs.unique().tolist()) == {0.0, 1.0}
    counts = zs.sum(0)
    for k, intensity in enumerate(x.tolist()):
        expected = binom(500, intensity * 0.2)
        assert counts[:, k].mean().item() == pytest.approx(
            expected.mean(), abs=4 * expected.std() / math.sqrt(2000) + 1e-9
        )
        assert counts[:, k].std().item() == pytest.approx(expected.std(), rel=0.08, abs=1e-9)


def test_signed_poisson_spikes_have_the_sign():
    x = torch.tensor([-1.0, -0.3, 0.0, 0.6])
    zs = encode.signed_poisson(x, 20_000, f_max=100, generator=generator())
    np.testing.assert_allclose(zs.mean(0), 0.1 * x, atol=0.008)
    assert set(zs.unique().tolist()) == {-1.0, 0.0, 1.0}


@pytest.mark.parametrize("module", [encode.PoissonEncoder, encode.SignedPoissonEncoder])
def test_random_encoders_repeat_with_their_generator_only(module):
    x = torch.rand(50)
    torch.testing.assert_close(module(30, generator=generator(3))(x), module(30, generator=generator(3))(x))
    assert not torch.equal(module(30, generator=generator(3))(x), module(30, generator=generator(4))(x))
    torch.manual_seed(7)
    first = module(30)(x)
    torch.manual_seed(7)
    torch.testing.assert_close(module(30)(x), first)
    assert module(30, f_max=50, dt=2e-3)(x).shape == (30, 50)


def test_constant_current_spikes_at_the_rate_of_the_textbook():
    current = torch.tensor([0.5, 1.2, 2.0, 5.0])
    zs = encode.constant_current_lif(current, 10_000, geir.LIFBox(dt=1e-4))
    assert zs[:, 0].sum() == 0
    for k, x in enumerate(current.tolist()[1:], 1):
        assert 1 / zs[:, k].sum().item() == pytest.approx(10e-3 * math.log(x / (x - 1)), rel=0.05)


def test_latency_is_the_first_spike_sooner_for_stronger_currents():
    current = torch.tensor([0.5, 1.2, 2.0, 5.0])
    zs = encode.SpikeLatencyLIFEncoder(100, geir.LIFBox(dt=1e-3))(current)
    assert zs.sum(0).tolist() == [0, 1, 1, 1]
    times = decode.first_spike_time(zs)
    for k, x in enumerate(current.tolist()[1:], 1):
        assert times[k].item() == pytest.approx(10e-3 * math.log(x / (x - 1)), abs=1e-3)
    full = encode.ConstantCurrentLIFEncoder(100)(current)
    torch.testing.assert_close(encode.SpikeLatencyEncoder()(full), zs)


def test_population_code_peaks_at_the_preferred_value():
    code = encode.PopulationEncoder(5, low=-1, high=1)(torch.tensor([[-1.0, 0.0], [0.5, 0.25]]))
    assert code.shape == (2, 2, 5)
    assert code.argmax(-1)[:, 0].tolist() == [0, 3]
    assert code[0, 0, 0] == 1
    assert code[1, 1, 2] == pytest.approx(math.exp(-0.125))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: encode.poisson(torch.tensor([0.5, 255.0]), 10),
            r"intensities in \[0, 1\], got 255.0; scale the input",
        ),
        (lambda: encode.poisson(torch.tensor([-0.1]), 10), r"intensities in \[0, 1\], got -0.1"),
        (lambda: encode.poisson(torch.tensor([float("nan")]), 10), "got nan"),
        (lambda: encode.signed_poisson(torch.tensor([1.5]), 10), r"intensities in \[-1, 1\], got 1.5"),
        (lambda: encode.poisson(torch.zeros(2), 10, f_max=2000), "2 spikes in a step of dt=0.001 s; at most 1"),
        (lambda: encode.poisson(torch.zeros(2), -1), "steps must be a whole number of steps, got -1"),
        (lambda: encode.poisson(torch.zeros(2), 1.5), "got 1.5"),
        (lambda: encode.PopulationEncoder(1)(torch.zeros(2)), "at least 2 neurons"),
        (lambda: encode.PopulationEncoder(3, low=1, high=0)(torch.zeros(2)), "low < high"),
        (lambda: encode.PopulationEncoder(3, sigma=0)(torch.zeros(2)), "sigma must be positive"),
        (
            lambda: decode.rate(torch.zeros(0, 3)),
            r"rate_decode takes \(time, ...\) of at least one step, got shape \(0, 3\)",
        ),
    ],
)
def test_bad_values_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_integer_intensities_are_refused():
    with pytest.raises(TypeError, match="floating-point intensities, got torch.uint8"):
        encode.poisson(torch.zeros(2, dtype=torch.uint8), 10)


def test_encoders_show_and_pickle_their_settings():
    encoder = encode.PoissonEncoder(30, f_max=50.0)
    assert repr(encoder) == "PoissonEncoder(steps=30, f_max=50.0, dt=0.001)"
    assert repr(pickle.loads(pickle.dumps(encoder))) == repr(encoder)


ZS = torch.tensor([[0, 0, 1], [1, 0, 0], [1, 0, 1], [0, 0, 1]], dtype=torch.float64)[:, None]
VS = torch.tensor([[0.1, 3.0], [2.0, -1.0], [0.5, 0.0]], dtype=torch.float64)[:, None]


def test_decoders_are_what_they_say():
    assert decode.rate(ZS).tolist() == [[0.5, 0.0, 0.75]]
    assert decode.max_potential(VS).tolist() == [[2.0, 3.0]]
    assert decode.last_potential(VS).tolist() == [[0.5, 0.0]]
    np.testing.assert_allclose(decode.first_spike_time(ZS, dt=2e-3), [[2e-3, 8e-3, 0.0]], atol=1e-15)
    np.testing.assert_allclose(decode.first_spike_score(ZS, dt=2e-3, tau=4e-3), [[-0.5, -2.0, 0.0]], atol=1e-12)


def test_losses_are_cross_entropies_of_their_scores():
    def by_hand(scores, label):
        return math.log(sum(math.exp(s) for s in scores)) - scores[label]

    label = torch.tensor([1])
    assert decode.rate_loss(ZS, label).item() == pytest.approx(by_hand([2, 0, 3], 1))
    assert decode.max_potential_loss(VS, label).item() == pytest.approx(by_hand([2, 3], 1))
    assert decode.last_potential_loss(VS, label).item() == pytest.approx(by_hand([0.5, 0], 1))
    assert decode.first_spike_loss(ZS, label, dt=2e-3, tau=4e-3).item() == pytest.approx(by_hand([-0.5, -2.0, 0.0], 1))


def test_first_spike_time_has_gradients_also_where_spikes_are_missing():
    zs = ZS.clone().requires_grad_()
    decode.first_spike_time(zs, dt=1.0).sum().backward()
    # A spike at step t before the first one at f would save f - t steps, after it nothing; a silent neuron counts the whole run.
    assert zs.grad[:, 0, 1].tolist() == [-4, -3, -2, -1]
    assert zs.grad[0, 0, 0] == -1
    assert zs.grad[2:, 0, 0].tolist() == [0, 0]
    smooth = torch.rand(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(decode.first_spike_time, (smooth,))
