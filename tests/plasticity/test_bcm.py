"""The BCM rule, against its stable fixed points."""

import torch
from plasticity_cases import DOUBLE, double

from geir.plasticity import BCM


def test_bcm_becomes_selective_for_one_of_two_inputs():
    """Fixed points of Intrator & Cooper: with two alternating inputs, the response to one is 2, and to the other 0."""
    rule, state = double(BCM(eta=20.0, tau_theta=0.03)), None
    inputs = torch.tensor([[1.0, 0.2], [0.3, 1.0]], dtype=DOUBLE)
    weight = torch.tensor([[0.5, 0.4], [0.4, 0.5]], dtype=DOUBLE)
    for step in range(2500):
        x = inputs[step % 2].unsqueeze(0)
        weight, state = rule(x, x @ weight.t(), weight, state)
    responses = inputs @ weight.t()
    torch.testing.assert_close(responses, torch.tensor([[2.0, 0.0], [0.0, 2.0]], dtype=DOUBLE), rtol=0, atol=0.05)
