"""Second derivatives: loud where there are none, right in the context `geir.learning.second_derivatives`."""

import copy

import pytest
import torch
from model_table import MODELS
from seeding import seeded
from torch import nn
from torch.autograd import gradgradcheck
from torch.func import functional_call, grad

import geir
from geir.learning import second_derivatives

SOFT = geir.ResetToValue(detach=False)


def smooth(x):
    return torch.sigmoid(4 * x)


def second(model, xs):
    """The gradient of the squared gradient."""
    leaf = xs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf)[0].square().sum(), leaf, create_graph=True)
    (result,) = torch.autograd.grad(gradient.square().sum(), leaf)
    return result


@pytest.mark.parametrize(
    "model",
    [
        geir.LIF(surrogate=smooth, reset_mechanism=SOFT),
        geir.LIF(surrogate=smooth, tau_mem=geir.learnable(0.01), reset_mechanism=SOFT),
        geir.ALIF(surrogate=smooth, reset_mechanism=SOFT),
        geir.AdEx(surrogate=smooth, reset_mechanism=SOFT),
        geir.CubaLIF(surrogate=smooth, reset_mechanism=SOFT),
        geir.IAF(surrogate=smooth, reset_mechanism=SOFT),
        geir.LI(tau_mem=geir.learnable(0.01)),
    ],
    ids=["LIF", "learnable LIF", "ALIF", "AdEx", "CubaLIF", "IAF", "LI"],
)
def test_second_derivatives_agree_with_finite_differences(model):
    model = copy.deepcopy(model).double()
    names = [name for name, _ in model.named_parameters()]
    xs = torch.rand(6, 3, generator=torch.Generator().manual_seed(0)).double()

    def run(xs, *parameters):
        with second_derivatives():
            zs, state = functional_call(model, dict(zip(names, parameters, strict=True)), (xs,))
        return zs, state[0]

    leaves = [xs.requires_grad_(), *(p.detach().clone().requires_grad_() for p in model.parameters())]
    assert gradgradcheck(run, leaves, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_the_context_gives_the_second_derivative_of_the_reference_loop_for_every_model(model):
    model = copy.deepcopy(model).double()
    xs = 5 * torch.rand(8, 4, generator=torch.Generator().manual_seed(0)).double()
    looped = copy.deepcopy(model)
    looped.unroll = geir.reference
    torch.manual_seed(1)
    expected = second(looped, xs)
    torch.manual_seed(1)
    with second_derivatives():
        actual = second(model, xs)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    if not model.elementwise:  # the reference loop runs it anyway
        return
    # Outside, the kernels run again.
    torch.manual_seed(1)
    with pytest.raises(RuntimeError, match=r"Kernels have no second derivative.*second_derivatives\(\)"):
        second(model, xs)


def test_a_spike_has_the_derivative_of_its_surrogate_derivative():
    sigma, xs = 0.4, torch.tensor([[0.7, 1.3, 0.9]]).double()
    lif = geir.LIFBox(surrogate=geir.surrogates.Gaussian(sigma=sigma)).double()
    gain = -torch.expm1(-torch.tensor(lif.dt / 10e-3).double())
    u = gain * xs - 1  # the distance to threshold after one step from rest
    leaf = xs.clone().requires_grad_()
    with second_derivatives():
        zs, _ = lif(leaf)
    (gradient,) = torch.autograd.grad(zs.sum(), leaf, create_graph=True)
    (curvature,) = torch.autograd.grad(gradient.sum(), leaf)
    density = torch.exp(-(u**2) / (2 * sigma**2)) / (sigma * (2 * torch.pi) ** 0.5)
    torch.testing.assert_close(gradient.detach(), gain * density)
    torch.testing.assert_close(curvature, -(gain**2) * u / sigma**2 * density)


@pytest.mark.parametrize("calls", [1, 4], ids=["first call", "direct call"])
@pytest.mark.parametrize(
    "model", seeded(lambda: [geir.LIF(), geir.LIFRecurrent(4, 4), geir.Recurrent(geir.ALIF(), 4, 4)]), ids=repr
)
def test_without_the_context_kernels_raise(model, calls):
    xs = torch.rand(8, 4)
    for _ in range(calls):
        model(xs)
    with pytest.raises(RuntimeError, match="Kernels have no second derivative"):
        second(model, xs)
    assert second_in_context(model, xs).isfinite().all()
    with pytest.raises(RuntimeError, match="Kernels have no second derivative"):
        grad(lambda x: grad(lambda y: model(y)[0].sum())(x).square().sum())(xs)


def second_in_context(model, xs):
    with second_derivatives():
        return second(model, xs)


def test_a_network_with_sparse_layers_has_second_derivatives_in_the_context():
    torch.manual_seed(0)
    model = geir.SequentialState(
        geir.Lift(nn.Conv2d(1, 3, 3)),
        geir.LIF(v_th=0.2, surrogate=geir.surrogates.Gaussian()),
        geir.Lift(nn.Flatten()),
        geir.LIFRecurrent(3 * 16, 5, surrogate=geir.surrogates.Gaussian()),
        geir.LI(),
    ).double()
    xs = 5 * (torch.rand(6, 2, 1, 6, 6) < 0.05).double()
    looped = copy.deepcopy(model)
    for module in looped:
        if isinstance(module, geir.Dynamics):
            module.unroll = geir.reference

    def hessian_product(network):
        loss = (network(xs)[0] - 1).square().sum()
        gradients = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in gradients), list(network.parameters()))

    expected = hessian_product(looped)
    with second_derivatives():
        actual = hessian_product(model)
    assert expected[0].abs().sum() > 0
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_the_context_ends_after_an_error_and_can_be_nested():
    lif, xs = geir.LIF(), torch.rand(4, 3)
    with pytest.raises(KeyError), second_derivatives():
        raise KeyError
    with second_derivatives():
        with second_derivatives():
            pass
        second(lif, xs)
    with pytest.raises(RuntimeError, match="no second derivative"):
        second(lif, xs)


def test_spike_times_and_online_learning_have_no_second_derivative_in_silence():
    layer = geir.learning.SpikeTimeLayer(2, 3)
    nn.init.constant_(layer.weight, 3.0)
    times = torch.tensor([[1e-3, 2e-3]]).double().requires_grad_()
    spikes = layer(times, torch.tensor([[0, 1]]))
    with pytest.raises(RuntimeError, match="SpikeTimeLayer is differentiable once"):
        torch.autograd.grad(spikes.times[0, 0], times, create_graph=True)
    model = geir.SequentialState(geir.Lift(nn.Linear(3, 4)), geir.LIF(v_th=0.1), geir.Lift(nn.Linear(4, 2)), geir.LI())
    learner, state = geir.learning.Online(model, geir.learning.EProp()), None
    for x in torch.rand(5, 2, 3):
        y, state = learner(x, state)
    gradients = torch.autograd.grad(y.square().sum(), list(model.parameters()), create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        sum(g.square().sum() for g in gradients).backward()
