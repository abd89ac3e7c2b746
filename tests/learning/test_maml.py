"""Gradient steps that can be differentiated: MAML and FOMAML."""

import importlib

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

import geir
from geir.learning import adapt

# The package has a function of the same name.
KERNELS = importlib.import_module("geir._runtime.kernels.fused")
SOFT = geir.ResetToValue(detach=False)


def smooth(x):
    return torch.sigmoid(4 * x)


def network(surrogate, reset=SOFT):
    torch.manual_seed(0)
    return geir.SequentialState(
        geir.Lift(nn.Linear(3, 6)),
        geir.LIF(v_th=0.3, surrogate=surrogate, reset_mechanism=reset, tau_mem=geir.learnable(0.01)),
        geir.LIFRecurrent(6, 4, v_th=0.3, surrogate=surrogate, reset_mechanism=reset),
        geir.Lift(nn.Linear(4, 2)),
        geir.LI(),
    ).double()


def start(model):
    return {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}


def samples(tasks=1):
    generator = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.rand(*shape, generator=generator).double()
    xs, ys = draw(tasks, 2, 8, 5, 3), draw(tasks, 2, 5, 2)
    return xs, ys


def loss_of(model, xs, ys):
    return lambda parameters: (functional_call(model, parameters, (xs,))[0][-1] - ys).square().sum()


def outer_loss(model, parameters, xs, ys, **options):
    adapted = adapt(loss_of(model, xs[0], ys[0]), parameters, **options)
    return loss_of(model, xs[1], ys[1])(adapted)


def test_the_gradient_through_two_steps_agrees_with_finite_differences():
    model, (xs, ys) = network(smooth), samples()
    parameters, options = start(model), {"lr": 0.3, "steps": 2}
    outer_loss(model, parameters, xs[0], ys[0], **options).backward()
    first_order = start(model)
    outer_loss(model, first_order, xs[0], ys[0], **options, first_order=True).backward()
    largest = 0.0
    for name, p in parameters.items():
        for k in range(0, p.numel(), max(1, p.numel() // 3)):
            shifted = []
            for h in (1e-5, -1e-5):
                moved = {n: q.detach().clone() for n, q in parameters.items()}
                moved[name].view(-1)[k] += h
                shifted.append(outer_loss(model, moved, xs[0], ys[0], **options).item())
            numerical = (shifted[0] - shifted[1]) / 2e-5
            assert p.grad.view(-1)[k].item() == pytest.approx(numerical, rel=1e-5, abs=1e-7), (name, k)
            largest = max(largest, abs(first_order[name].grad.view(-1)[k].item() - numerical))
    # The second derivative matters here.
    assert largest > 1e-3


@pytest.mark.parametrize("surrogate", [geir.surrogates.Gaussian(), geir.surrogates.SuperSpike(alpha=10.0)], ids=repr)
def test_with_spikes_it_equals_steps_written_out_on_the_reference_loop(surrogate):
    model, (xs, ys) = network(surrogate, geir.ResetToValue()), samples()
    parameters = start(model)
    outer_loss(model, parameters, xs[0], ys[0], lr=0.3, steps=2).backward()
    for module in model:
        if isinstance(module, geir.Dynamics):
            module.unroll = geir.reference
    expected = start(model)
    current = expected
    for _ in range(2):
        loss = loss_of(model, xs[0, 0], ys[0, 0])(current)
        gradients = torch.autograd.grad(loss, list(current.values()), create_graph=True)
        current = {n: p - 0.3 * g for (n, p), g in zip(current.items(), gradients, strict=True)}
    loss_of(model, xs[0, 1], ys[0, 1])(current).backward()
    assert expected["0.module.weight"].grad.abs().max() > 1e-3
    for name, p in parameters.items():
        torch.testing.assert_close(p.grad, expected[name].grad, rtol=1e-9, atol=1e-12)


def test_the_first_order_gradient_is_that_at_the_adapted_parameters():
    model, (xs, ys) = network(geir.surrogates.Gaussian()), samples()
    parameters = start(model)
    outer_loss(model, parameters, xs[0], ys[0], lr=0.3, steps=3, first_order=True).backward()
    current = start(model)
    for _ in range(3):
        gradients = torch.autograd.grad(loss_of(model, xs[0, 0], ys[0, 0])(current), list(current.values()))
        moved = {n: p.detach() - 0.3 * g for (n, p), g in zip(current.items(), gradients, strict=True)}
        current = {n: p.requires_grad_() for n, p in moved.items()}
    expected = torch.autograd.grad(loss_of(model, xs[0, 1], ys[0, 1])(current), list(current.values()))
    for p, wanted in zip(parameters.values(), expected, strict=True):
        torch.testing.assert_close(p.grad, wanted, rtol=1e-9, atol=1e-12)


def test_without_steps_it_is_supervised_learning():
    model, (xs, ys) = network(geir.surrogates.Gaussian()), samples()
    parameters, plain = start(model), start(model)
    outer_loss(model, parameters, xs[0], ys[0], lr=0.3, steps=0).backward()
    loss_of(model, xs[0, 1], ys[0, 1])(plain).backward()
    for name, p in parameters.items():
        assert torch.equal(p.grad, plain[name].grad)


@pytest.mark.parametrize("first_order", [False, True])
def test_tasks_are_mapped_as_one_by_one(first_order):
    model, (xs, ys) = network(geir.surrogates.Gaussian()), samples(tasks=3)
    options = {"lr": 0.3, "first_order": first_order}

    def loss(parameters):
        return vmap(lambda x, y: outer_loss(model, parameters, x, y, **options))(xs, ys).sum()

    def looped(parameters):
        return sum(outer_loss(model, parameters, x, y, **options) for x, y in zip(xs, ys, strict=True))

    mapped, single = grad(loss)(dict(model.named_parameters())), grad(looped)(dict(model.named_parameters()))
    for name, g in mapped.items():
        torch.testing.assert_close(g, single[name], rtol=1e-8, atol=1e-10)


def test_the_learning_rates_can_be_learned():
    model, (xs, ys) = network(smooth), samples()
    parameters = {n: p.detach() for n, p in model.named_parameters()}
    rates = {n: torch.tensor(0.2, dtype=torch.float64, requires_grad=True) for n in parameters}
    outer_loss(model, parameters, xs[0], ys[0], lr=rates).backward()
    for name in ("0.module.weight", "1.log_tau_mem"):
        losses = []
        for h in (1e-5, -1e-5):
            moved = {n: r.detach() + (h if n == name else 0) for n, r in rates.items()}
            losses.append(outer_loss(model, parameters, xs[0], ys[0], lr=moved).item())
        assert rates[name].grad.item() == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5)


def test_only_the_parameters_that_are_given_are_adapted_and_none_is_changed():
    model, (xs, ys) = network(geir.surrogates.Gaussian()), samples()
    readout = {n: p for n, p in model.named_parameters() if n.startswith("3.")}
    before = {n: p.detach().clone() for n, p in readout.items()}
    adapted = adapt(loss_of(model, xs[0, 0], ys[0, 0]), readout, lr=0.1)
    assert adapted.keys() == readout.keys()
    for name, p in readout.items():
        assert torch.equal(p, before[name])
        assert not torch.equal(adapted[name], p)


@pytest.mark.parametrize("first_order", [False, True])
def test_the_first_order_variant_runs_on_the_kernels(first_order, monkeypatch):
    runs = []
    for name in ("_run_feedforward", "run_recurrent"):
        original = getattr(KERNELS, name)
        monkeypatch.setattr(KERNELS, name, lambda *a, original=original: runs.append(1) or original(*a))
    model, (xs, ys) = network(geir.surrogates.Gaussian()), samples()
    adapt(loss_of(model, xs[0, 0], ys[0, 0]), start(model), lr=0.1, first_order=first_order)
    assert bool(runs) == first_order


def test_bad_input_raises():
    model, (xs, ys) = network(geir.surrogates.Gaussian()), samples()
    loss, parameters = loss_of(model, xs[0, 0], ys[0, 0]), start(model)
    with pytest.raises(ValueError, match="adapt: steps must be an integer >= 0, got -1"):
        adapt(loss, parameters, 0.1, steps=-1)
    with pytest.raises(TypeError, match=r"adapt expected parameters by name, dict\(model.named_parameters\(\)\)"):
        adapt(loss, list(parameters.values()), 0.1)
    with pytest.raises(ValueError, match="adapt: lr has no entry for 0.module.bias, 1.log_tau_mem"):
        adapt(loss, parameters, {"0.module.weight": 0.1})
    with pytest.raises(ValueError, match=r"adapt expected loss_function to return a scalar tensor, got \(5, 2\)"):
        adapt(lambda p: functional_call(model, p, (xs[0, 0],))[0][-1], parameters, 0.1)
    with pytest.raises(ValueError, match="got tuple"):
        adapt(lambda p: functional_call(model, p, (xs[0, 0],)), parameters, 0.1)
