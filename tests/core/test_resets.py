"""Resets."""

import pytest
import torch

import geir

DOUBLE = torch.float64


def exactly(value):
    return torch.tensor(value, dtype=DOUBLE)


@pytest.mark.parametrize("detach", [True, False])
def test_detach_stops_the_gradient_through_the_reset(detach):
    v, v_reset, v_th = exactly(1.4).requires_grad_(), exactly(0.1), exactly(1.0)
    z = geir.surrogates.Gaussian(0.5)(v - v_th)
    for reset, slope in ((geir.ResetToValue(detach), 0.1 - 1.4), (geir.ResetBySubtraction(detach), 0.1 - 1.0)):
        (grad,) = torch.autograd.grad(reset(z, v, v_reset, v_th), v, retain_graph=True)
        through = 0.0 if isinstance(reset, geir.ResetToValue) else 1.0
        expected = through + (
            0.0 if detach else slope * geir.surrogates.Gaussian(0.5).derivative(v.detach() - v_th).item()
        )
        assert grad.item() == pytest.approx(expected)
