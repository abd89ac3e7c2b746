import math

import torch

from geir import encode


def test_delta_spikes_agree_with_a_scalar_loop():
    xs = torch.randn(400, 3, dtype=torch.float64).cumsum(0) / 10
    # Changes that equal the threshold up to rounding.
    xs[100:150] = 0.3 + 0.15 * torch.arange(50, dtype=torch.float64)[:, None]
    zs = encode.delta(xs, threshold=0.15)
    for signal, train in zip(xs.T.tolist(), zs.T.tolist(), strict=True):
        reference = 0.0
        expected = []
        for value in signal:
            z = (value - reference > 0.15) - (reference - value > 0.15)
            reference += 0.15 * z
            expected.append(float(z))
        assert train == expected
    assert {-1.0, 1.0} <= set(zs.unique().tolist())


def test_a_slow_signal_is_rebuilt_from_delta_spikes_within_the_threshold():
    ts = torch.linspace(0, 1, 1000, dtype=torch.float64)
    xs = torch.stack([torch.sin(2 * math.pi * 3 * ts), ts**2, -ts], 1)
    rebuilt = 0.05 * encode.delta(xs, threshold=0.05).cumsum(0)
    assert (rebuilt - xs).abs().max() <= 0.05 + 1e-12


def test_delta_continues_from_a_state():
    xs = torch.randn(60, 2).cumsum(0)
    encoder = encode.DeltaEncoder(threshold=0.5)
    whole, _ = encoder(xs)
    first, state = encoder(xs[:25])
    second, _ = encoder(xs[25:], state)
    assert torch.equal(torch.cat([first, second]), whole)


def test_delta_starts_from_the_reference_in_the_state():
    constant = torch.full((10, 2), 7.0)
    zs, _ = encode.DeltaEncoder(threshold=0.5)(constant, encode.DeltaState(constant[0]))
    assert not zs.any()
