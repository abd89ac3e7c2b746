"""Learning windows, measured by running a rule."""

import pytest
import torch

import geir
from geir.plasticity import STDP


def test_the_window_of_stdp_consists_of_two_exponentials():
    rule, delays = STDP(a_plus=0.01, a_minus=0.02, tau_plus=10e-3, tau_minus=30e-3), 1e-3 * torch.arange(-50.0, 51.0)
    t = delays.double()
    expected = torch.where(t >= 0, 0.01 * torch.exp(-t / 10e-3), -0.02 * torch.exp(t / 30e-3))
    torch.testing.assert_close(geir.plasticity.stdp_window(rule, delays), expected, rtol=1e-5, atol=1e-9)
    twice = geir.plasticity.stdp_window(rule, delays, pairs=2, frequency=1.0)
    torch.testing.assert_close(twice, 2 * expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"delays": torch.tensor([0.5e-3])},
            r"takes delays that are multiples of the step size 0.001 s, got 0.0005 s",
        ),
        ({"pairs": 2, "frequency": 300.0}, "takes intervals between pairs that are multiples of the step size"),
        ({"pairs": 0}, "at least one pair, at a frequency > 0 Hz, got 0 at 1.0 Hz"),
        ({"delays": torch.tensor(0.0)}, r"takes delays of shape \(n,\) with n > 0, got \(\)"),
        ({"weight": 2.0}, r"STDP keeps weights in \[0, 1\], got 2"),
    ],
    ids=["delay between steps", "frequency between steps", "no pair", "no delay", "weight out of bounds"],
)
def test_invalid_protocols_are_rejected(settings, message):
    with pytest.raises(ValueError, match=message):
        geir.plasticity.stdp_window(STDP(), **({"delays": torch.zeros(1)} | settings))
