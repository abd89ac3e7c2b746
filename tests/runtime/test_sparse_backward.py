"""Gradients of recurrent layers whose surrogate derivative is zero for most neurons."""

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from runtime_helpers import with_reference
from torch import nn, Tensor

import geir
from geir._runtime import sparse
from geir.surrogates import Rectangle, SparseFastSigmoid, SuperSpike, Triangle
from geir.testing import close, run

COMPACT = [Triangle(width=0.3), Rectangle(width=0.3), SparseFastSigmoid(width=0.2)]


@pytest.fixture
def shares(monkeypatch):
    """Select outputs in products of any size, and return the list of shares that were selected."""
    monkeypatch.setattr(sparse._gate, "SMALL", 0)
    monkeypatch.setattr(sparse._gate, "MIN_SELECTED_SIZE", 0)
    measured, add_selected = list[float](), sparse.add_selected

    def spy(z, weights, needed, out):
        measured.append(needed.count_nonzero().item() / needed.numel())
        add_selected(z, weights, needed, out)

    monkeypatch.setattr(sparse, "add_selected", spy)
    return measured


def layer(model, size=37, **settings):
    torch.manual_seed(0)
    net = geir.Recurrent(model, 5, size, **settings).double()
    with torch.no_grad():
        net.input_weights.mul_(8)
    return net, torch.rand(30, 3, 5, dtype=torch.float64)


def densely(monkeypatch, net, xs):
    with monkeypatch.context() as patched:
        patched.setattr(sparse._gate, "MAX_SELECTED", -1.0)
        return run(net, xs)


@pytest.mark.parametrize("surrogate", COMPACT, ids=repr)
@pytest.mark.parametrize("model", [geir.LIF, geir.ALIF, geir.AdEx, geir.LIFRefrac], ids=lambda m: m.__name__)
@pytest.mark.parametrize("record", [False, True])
def test_leaving_out_inactive_neurons_changes_no_gradient(monkeypatch, shares, surrogate, model, record):
    monkeypatch.setattr(sparse._gate, "MAX_SELECTED", 0.99)
    neuron = model(v_th=nn.Parameter(torch.linspace(0.9, 1.2, 37)), surrogate=surrogate)
    net, xs = layer(neuron, record_states=record)
    actual = run(net, xs)
    assert actual["zs"].sum() > 10
    assert len(shares) == len(xs) - 1
    assert 0 < sum(shares) / len(shares) < 0.9
    close(actual, densely(monkeypatch, net, xs), 1e-12)
    close(actual, run(with_reference(net), xs))
    assert len(shares) == len(xs) - 1


@pytest.mark.parametrize("size", [40, 600])  # one thread and several; part of a block and more than one
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_selected_numbers_of_a_product_equal_pytorch(size, dtype, share):
    torch.manual_seed(0)
    z, weights = torch.randn(21, size + 3, dtype=dtype), torch.randn(size, size + 3, dtype=dtype)
    needed, start = torch.rand(21, size) < share, torch.randn(21, size, dtype=dtype)
    out = start.clone()
    sparse.add_selected(z, weights, needed, out)
    close(out, torch.where(needed, start + z @ weights.t(), start), 1e-12 if dtype == torch.float64 else 1e-4)


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
    monkeypatch.setattr(sparse._gate, "MAX_SELECTED", 0.99)
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
    monkeypatch.setattr(sparse._gate, "MAX_SELECTED", 0.99)
    # The product of both is zero in float32, but not times a gradient of 1e10.
    net, xs = layer(Scaled(gain=1e-20, surrogate=Flat()))
    run(net.float(), xs.float())
    assert shares == []


def test_gradients_do_not_depend_on_the_chunks_of_steps(monkeypatch, shares):
    # In some steps more neurons are active than in others.
    net, xs = layer(geir.LIF(surrogate=Rectangle(width=0.6)))
    with torch.no_grad():
        net.input_weights.div_(4)
    gradients = []
    monkeypatch.setattr(sparse._gate, "MAX_SELECTED", 0.23)
    for every in (1, 4, 7, 30):
        net.unroll = geir.Fused(checkpoint_every=every)
        gradients.append(run(net, xs))
    assert 4 * 5 < len(shares) < 4 * (len(xs) - 5), "all steps are alike"
    for other in gradients[1:]:
        close(gradients[0], other, 0)


def test_weights_that_are_not_finite_matter_only_where_they_are_used(monkeypatch, shares):
    """As in the forward products, which skip silent neurons: zero times infinity is left out."""
    monkeypatch.setattr(sparse._gate, "MAX_SELECTED", 0.99)
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
    monkeypatch.setattr(sparse._gate, "MAX_SELECTED", 0.99)
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
    monkeypatch.setattr(sparse._gate, "MAX_SELECTED", 0.99)
    net, xs = layer(geir.LIF(surrogate=Rectangle(width=0.3)))
    zs, parameters = net(xs)[0], list(net.parameters())
    grads = torch.randn(3, *zs.shape, dtype=zs.dtype)
    together = torch.autograd.grad(zs, parameters, grads, retain_graph=True, is_grads_batched=True)
    each = [torch.autograd.grad(zs, parameters, grad, retain_graph=True) for grad in grads]
    assert shares
    for batched, single in zip(together, zip(*each, strict=True), strict=True):
        close(batched, torch.stack(single), 1e-12)
