"""Code compiled by `torch.compile` follows changes of numbers, at the second change and later too."""

import pytest
import torch
from pytorch_versions import requires_compile

import geir

XS = 3 * torch.rand(12, 2, 3, generator=torch.Generator().manual_seed(0))


def set_dt(layer, value):
    layer.dt = 1e-3 * value


def set_slope(layer, value):
    layer.surrogate = geir.surrogates.SuperSpike(alpha=10.0 * value)


class Scaled(geir.LIF):
    """A neuron whose input is scaled by a private attribute."""

    _scale = 1.0

    def receive(self, x, state):
        return super().receive(self._scale * x, state)


def set_private_attribute(layer, value):
    layer._scale = value


@requires_compile
@pytest.mark.parametrize("change", [set_dt, set_slope, set_private_attribute])
def test_compiled_code_follows_every_change_of_a_number(change):
    torch.compiler.reset()
    layer = Scaled(integrator=geir.Euler())
    layer._scale = 1.0
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    previous = None
    for value in (1.0, 2.0, 3.0, 4.0):
        change(layer, value)
        results = []
        for run in (compiled, layer):
            xs = XS.clone().requires_grad_()
            zs, state = run(xs)
            (zs.sum() + state.v.sum()).backward()
            results.append((zs.detach(), xs.grad))
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
        assert results[0][0].sum() > 0, "the input is too weak for this test to see a spike"
        assert previous is None or not torch.allclose(previous, results[0][1])
        previous = results[0][1]
