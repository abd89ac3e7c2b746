"""Gradients of recurrent layers whose surrogate derivative is zero for most neurons."""

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from runtime_helpers import with_reference
from torch import nn, Tensor

import geir
from geir._runtime.kernels import active
from geir.surrogates import Rectangle, SparseFastSigmoid, SuperSpike, Triangle
from geir.testing import close, run

COMPACT = [Triangle(width=0.3), Rectangle(width=0.3), SparseFastSigmoid(width=0.2)]


@pytest.fixture
def shares(monkeypatch):
    """Select outputs in layers of any size, and return the list of shares of steps that were selected."""
    monkeypatch.setattr(active, "MIN_WIDTH", 0)
    monkeypatch.setattr(active, "MIN_MULTIPLICATIONS", 0)
    measured, find = list[float](), active.ActiveOutputs.find

    def spy(self, xs, states):
        found = find(self, xs, states)
        if found is not None:
            measured.extend(step.count_nonzero().item() / step.numel() for step in found)
        return found

    monkeypatch.setattr(active.ActiveOutputs, "find", spy)
    return measured


def layer(model, size=37, **settings):
    torch.manual_seed(0)
    net = geir.Recurrent(model, 5, size, **settings).double()
    with torch.no_grad():
        net.input_weights.mul_(8)
    return net, torch.rand(30, 3, 5, dtype=torch.float64)


def densely(monkeypatch, net, xs):
    with monkeypatch.context() as patched:
        patched.setattr(active, "MAX_ACTIVE", -1.0)
        return run(net, xs)


@pytest.mark.parametrize("surrogate", COMPACT, ids=repr)
@pytest.mark.parametrize("model", [geir.LIF, geir.ALIF, geir.AdEx, geir.LIFRefrac], ids=lambda m: m.__name__)
@pytest.mark.parametrize("record", [False, True])
def test_leaving_out_inactive_neurons_changes_no_gradient(monkeypatch, shares, surrogate, model, record):
    monkeypatch.setattr(active, "MAX_ACTIVE", 0.99)
    neuron = model(v_th=nn.Parameter(torch.linspace(0.9, 1.2, 37)), surrogate=surrogate)
    net, xs = layer(neuron, record_states=record)
    actual = run(net, xs)
    assert actual["zs"].sum() > 10
    assert len(shares) == len(xs)
    assert 0 < sum(shares) / len(shares) < 0.9
    close(actual, densely(monkeypatch, net, xs), 1e-12)
    close(actual, run(with_reference(net), xs))
    assert len(shares) == len(xs)


@pytest.mark.parametrize("size", [40, 600])  # one thread and several; part of a block and more than one
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1e-9, 0.05, 0.5, 100.0])
def test_gradients_of_any_share_of_neurons_equal_dense_ones(monkeypatch, shares, size, dtype, width):
    monkeypatch.setattr(active, "MAX_ACTIVE", 1.0)
    net, _ = layer(geir.LIF(surrogate=Rectangle(width=width)), size)
    xs = torch.rand(6, 21, 5, dtype=dtype)
    actual = run(net.to(dtype), xs)
    assert len(shares) == len(xs)
    assert {1e-9: max(shares) < 0.01, 100.0: min(shares) == 1}.get(width, 0 < sum(shares) / len(shares) < 1)
    close(actual, densely(monkeypatch, net, xs), 1e-12 if dtype == torch.float64 else 1e-4)


def test_many_active_neurons_are_multiplied_densely(shares):
    net, xs = layer(geir.LIF(surrogate=SuperSpike()))
    close(run(net, xs), run(with_reference(net), xs))
    assert shares == []


class ScaledState(NamedTuple):
    v: Tensor


class Scaled(geir.Neuron[ScaledState]):
    """The gradient of `gain` depends on that of the output also where the surrogate derivative is zero."""

    gain: geir.Parameter = geir.parameter(default=1.0)

    def rest(self):
        return ScaledState(v=torch.zeros(()))

    def step(self, x, state):
        v = 0.9 * state.v + x
        z = self.surrogate(v - 1)
        return z * self.gain, ScaledState(v=v * (1 - z))


def test_an_output_is_active_where_only_a_constant_needs_its_gradient(monkeypatch, shares):
    monkeypatch.setattr(active, "MAX_ACTIVE", 0.99)
    gain = nn.Parameter(torch.linspace(0.5, 1.5, 37))
    net, xs = layer(Scaled(gain=gain, surrogate=Rectangle(width=0.1)))
    actual = run(net, xs)
    assert shares
    assert max(shares) < 0.9
    close(actual, run(with_reference(net), xs))


@dataclass(frozen=True)
class Flat(geir.surrogates.Surrogate):
    def derivative(self, x):
        return 1e-30 + 0 * x


def test_a_gradient_that_underflows_is_not_taken_for_zero(monkeypatch, shares):
    monkeypatch.setattr(active, "MAX_ACTIVE", 0.99)
    # The product of both is zero in float32, but not times a gradient of 1e10.
    net, xs = layer(Scaled(gain=1e-20, surrogate=Flat()))
    run(net.float(), xs.float())
    assert shares == []


def test_gradients_do_not_depend_on_the_chunks_of_steps(monkeypatch, shares):
    net, xs = layer(geir.LIF(surrogate=Rectangle(width=0.6)))
    with torch.no_grad():
        net.input_weights.div_(4)
    gradients = []
    monkeypatch.setattr(active, "MAX_ACTIVE", 0.5)
    for every in (1, 4, 7, 30):
        net.unroll = geir.Fused(checkpoint_every=every)
        gradients.append(run(net, xs))
    assert len(shares) == 4 * len(xs)
    assert min(shares) < 0.5 * max(shares), "all steps are alike"
    for other in gradients[1:]:
        close(gradients[0], other, 0)


def test_weights_that_are_not_finite_matter_only_where_they_are_used(monkeypatch, shares):
    """As in the forward products, which skip silent neurons: zero times infinity is left out."""
    monkeypatch.setattr(active, "MAX_ACTIVE", 0.99)
    # The last neuron gets no input, so it never comes near threshold and never spikes.
    net, xs = layer(geir.LIF(surrogate=Rectangle(width=0.3)))
    with torch.no_grad():
        net.input_weights[-1] = 0
        net.recurrent_weights[-1] = 0
    expected = run(net, xs)["input_weights.grad"]
    assert shares.pop() < 1
    with torch.no_grad():
        net.recurrent_weights[:, -1] = torch.inf
    assert net(xs)[0][..., -1].sum() == 0
    assert torch.equal(run(net, xs)["input_weights.grad"], expected)


def test_gradients_that_are_not_finite_are_not_lost(monkeypatch, shares):
    monkeypatch.setattr(active, "MAX_ACTIVE", 0.99)
    net, xs = layer(geir.LIF(surrogate=Rectangle(width=0.3)))
    for number in (torch.nan, torch.inf):
        xs.grad = None
        zs = net(xs.requires_grad_())[0]
        grad = torch.zeros_like(zs)
        grad[20] = number
        zs.backward(grad)
        assert not xs.grad[20].isfinite().any()
    assert shares


def test_batched_gradients_equal_a_loop(monkeypatch, shares):
    monkeypatch.setattr(active, "MAX_ACTIVE", 0.99)
    net, xs = layer(geir.LIF(surrogate=Rectangle(width=0.3)))
    zs, parameters = net(xs)[0], list(net.parameters())
    grads = torch.randn(3, *zs.shape, dtype=zs.dtype)
    together = torch.autograd.grad(zs, parameters, grads, retain_graph=True, is_grads_batched=True)
    each = [torch.autograd.grad(zs, parameters, grad, retain_graph=True) for grad in grads]
    assert shares
    for batched, single in zip(together, zip(*each, strict=True), strict=True):
        close(batched, torch.stack(single), 1e-12)
