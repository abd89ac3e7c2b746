import math

import pytest
import torch

import geir
from geir import encode


def test_constant_current_lif_spikes_at_the_closed_form_rate():
    current = torch.tensor([0.5, 1.2, 2.0, 5.0])
    zs = encode.constant_current_lif(current, 10_000, geir.LIFBox(dt=1e-4))
    assert zs[:, 0].sum() == 0
    for k, x in enumerate(current.tolist()[1:], 1):
        assert 1 / zs[:, k].sum().item() == pytest.approx(10e-3 * math.log(x / (x - 1)), rel=0.05)


def test_spike_latency_lif_is_the_first_spike_and_has_the_closed_form_latency():
    current = torch.tensor([0.5, 1.2, 2.0, 5.0])
    zs = encode.SpikeLatencyLIFEncoder(100, geir.LIFBox(dt=1e-3))(current)
    assert zs.sum(0).tolist() == [0, 1, 1, 1]
    times = geir.decode.first_spike_time(zs)
    for k, x in enumerate(current.tolist()[1:], 1):
        assert times[k].item() == pytest.approx(10e-3 * math.log(x / (x - 1)), abs=1e-3)
    all_spikes = encode.ConstantCurrentLIFEncoder(100)(current)
    torch.testing.assert_close(encode.SpikeLatencyEncoder()(all_spikes), zs)


def test_time_to_first_spike_is_linear_and_zero_never_spikes():
    x = torch.tensor([1.0, 0.76, 0.75, 0.74, 1e-3, 0.0])
    zs = encode.TimeToFirstSpikeEncoder(100)(x)
    assert zs.sum(0).tolist() == [1, 1, 1, 1, 1, 0]
    assert zs.argmax(0).tolist()[:5] == [0, 24, 25, 26, 99]


@pytest.mark.parametrize("period", [1, 4, 8, 12])
def test_phases_are_binary_digits(period):
    x = torch.rand(200, dtype=torch.float64)
    zs = encode.PhaseEncoder(2 * period, period=period)(x)
    for value, train in zip(x.tolist(), zs.T.tolist(), strict=True):
        digits = format(int(value * 2**period), f"0{period}b")
        assert train == [float(digit) for digit in digits * 2]
    decoded = encode.phase_weights(2 * period, period).double() @ zs / 2
    assert ((x - decoded >= 0) & (x - decoded < 2.0**-period)).all()


def test_phases_at_the_ends_of_the_range():
    assert encode.phase(torch.tensor([0.0, 1.0]), 8).T.tolist() == [[0] * 8, [1] * 8]
    half = torch.tensor([0.5], dtype=torch.float16)
    assert encode.phase(half, 20, period=20).T.tolist() == [[1.0] + [0.0] * 19]


def test_bursts_have_the_number_of_spikes_and_the_intervals_of_the_formula():
    x = torch.tensor([0.0, 0.01, 0.2, 0.21, 0.5, 0.8, 0.99, 1.0], dtype=torch.float64)
    zs = encode.BurstEncoder(100, max_spikes=5, min_interval=2, max_interval=20)(x)
    for value, train in zip(x.tolist(), zs.T, strict=True):
        number = math.ceil(5 * value)
        interval = math.ceil(20 - 18 * value)
        assert train.nonzero().flatten().tolist() == [k * interval for k in range(number)]


def test_the_default_interval_of_bursts_is_the_longest_that_fits():
    x = torch.linspace(0, 1, 301, dtype=torch.float64)
    for steps, longest in ((40, 9), (41, 10), (44, 10)):
        zs = encode.burst(x, steps)
        assert torch.equal(zs, encode.burst(x, steps, max_interval=longest))
        assert torch.equal(zs.sum(0), torch.ceil(5 * x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_time_to_first_spike_of_half_precision_has_one_spike_at_its_step(dtype):
    """In half precision, several step numbers would be equal to one time."""
    x = torch.linspace(0.01, 1, 200).to(dtype)
    zs = encode.time_to_first_spike(x, 1000)
    assert (zs.float().sum(0) == 1).all()
    expected = [int((1 - value) * 1000) for value in x.double().tolist()]
    difference = zs.float().argmax(0) - torch.tensor(expected)
    # float32 rounds a product that is a whole number up or down.
    assert difference.abs().max() <= 1
    assert (difference == 0).float().mean() > 0.95


def test_time_to_first_spike_is_one_spike_beyond_the_integers_of_float32():
    assert encode.time_to_first_spike(torch.tensor([2e-3]), 2**25).sum() == 1


@pytest.mark.parametrize("period", [8, 24, 30, 62])
def test_the_largest_intensity_has_all_digits(period):
    """2**30 - 1 is not representable in float32, and 2**30 has no digits within the period."""
    assert encode.phase(torch.ones(1), period, period=period).all()


def test_more_digits_than_an_integer_holds_are_refused():
    with pytest.raises(ValueError, match="encode.phase: period must be at most 62 binary digits, got 63"):
        encode.phase(torch.ones(1), 10, period=63)
