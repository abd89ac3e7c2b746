"""Weights that hooks and parametrizations compute in every call: nothing is traced again, and nothing is kept."""

import gc
import warnings

import pytest
import torch
from runtime_helpers import with_reference
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

import geir
from geir._runtime.compiler import find_compiler
from geir._runtime.kernels import cpu, program_cache
from geir.testing import close

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")

XS = 3 * torch.rand(12, 2, 6, generator=torch.Generator().manual_seed(0))


def old_weight_norm(layer, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return weight_norm(layer, name)


COMPUTED = {
    "prune": lambda layer, name: prune.l1_unstructured(layer, name, 0.5),
    "weight_norm hook": old_weight_norm,
    "spectral_norm hook": spectral_norm,
    "weight_norm": parametrizations.weight_norm,
    "orthogonal": parametrizations.orthogonal,
}


def recurrent(how, name):
    torch.manual_seed(0)
    layer = geir.LIFRecurrent(6, 6)
    COMPUTED[how](layer, name)
    return layer.eval()  # spectral_norm iterates in training


def train(layer):
    layer.zero_grad()
    zs, _ = layer(XS)
    zs.square().sum().backward()
    return zs.detach(), {name: parameter.grad for name, parameter in layer.named_parameters()}


@pytest.mark.parametrize("name", ["recurrent_weights", "input_weights"])
@pytest.mark.parametrize("how", COMPUTED)
def test_computed_weights_are_traced_once_and_nothing_is_kept(how, name, monkeypatch):
    work = []
    for function in ("trace", "fingerprint_module"):
        genuine = getattr(program_cache, function)
        monkeypatch.setattr(program_cache, function, lambda *a, f=genuine: (work.append(f.__name__), f(*a))[1])
    program_cache._programs.clear()
    layer = recurrent(how, name)
    for _ in range(3):
        train(layer)
    assert work.count("trace") == 1
    work.clear()

    def count_objects():
        gc.collect()
        return len(gc.get_objects())

    before, programs, kernels = count_objects(), len(program_cache._programs), cpu.kernel.cache_info().currsize
    for _ in range(100):
        train(layer)
    assert work == []
    assert (len(program_cache._programs), cpu.kernel.cache_info().currsize) == (programs, kernels)
    assert count_objects() - before < 20


@pytest.mark.parametrize("how", COMPUTED)
def test_computed_weights_follow_their_parameters(how):
    layer = recurrent(how, "recurrent_weights")
    seen = []
    for _ in range(3):
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.mul_(0.9)
                parameter.add_(0.1 * torch.randn_like(parameter))
        actual = train(layer)
        other = recurrent(how, "recurrent_weights")
        other.load_state_dict(layer.state_dict())
        close(actual, train(with_state(other)), 1e-4)
        seen.append(actual[0])
    assert not torch.equal(seen[0], seen[2])


def with_state(layer):
    layer.unroll = geir.reference
    return layer


class Positive(nn.Module):
    scale = 1.0

    def forward(self, x):
        return self.scale * x.abs() + 1e-3


@pytest.mark.parametrize("integrator", [geir.Exact(), geir.Euler()], ids=repr)
@pytest.mark.parametrize("learnable", [False, True])
def test_a_parametrized_threshold_has_a_kernel_that_follows_the_parametrization(integrator, learnable):
    layer = geir.LIF(integrator=integrator, v_th=geir.learnable(1.0) if learnable else 1.0)
    parametrize.register_parametrization(layer, "v_th", Positive())
    counts = []
    for scale in (1.0, 1.5, 2.0):
        layer.parametrizations["v_th"][0].scale = scale
        zs, _ = layer(XS)
        assert torch.equal(zs, with_reference(layer)(XS)[0])
        counts.append(zs.sum())
    assert counts[0] > counts[1] > counts[2] > 0


def test_the_code_below_a_parametrized_class_is_part_of_the_fingerprint():
    def make(factor):
        class Scaled(geir.LIF):
            def receive(self, x, state):
                return super().receive(factor * x, state)

        layer = Scaled(v_th=geir.learnable(1.0))
        parametrize.register_parametrization(layer, "v_th", Positive())
        return layer

    weak, strong = make(1.0), make(3.0)
    for layer in (weak, strong):
        assert torch.equal(layer(XS)[0], with_reference(layer)(XS)[0])
    assert not torch.equal(weak(XS)[0], strong(XS)[0])
