"""Batch normalization over time, against the formulas of the papers."""

from functools import partial

import numpy as np
import pytest
import torch
from model_helpers import images, run_with_rates
from torch import nn

import geir
from geir.models import BatchNormThroughTime, TemporalEffectiveBatchNorm, ThresholdDependentBatchNorm

STEPS, BATCH, CHANNELS, EPS = 6, 4, 3, 1e-5
NORMS = {
    "tdBN": partial(ThresholdDependentBatchNorm, CHANNELS, v_th=0.7, alpha=0.5**0.5),
    "TEBN": partial(TemporalEffectiveBatchNorm, CHANNELS, STEPS),
    "BNTT": partial(BatchNormThroughTime, CHANNELS, STEPS),
}
every_norm = pytest.mark.parametrize("name", NORMS)


def drifting(*space):
    """Input whose mean and variance change from step to step."""
    generator = torch.Generator().manual_seed(3)
    xs = torch.randn(STEPS, BATCH, CHANNELS, *space, generator=generator, dtype=torch.float64)
    t = torch.arange(1.0, STEPS + 1, dtype=torch.float64).view(-1, *[1] * (xs.dim() - 1))
    return t * xs + t**2


def built(name):
    """The normalization with random parameters."""
    torch.manual_seed(5)
    norm = NORMS[name]().double()
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 2.0)
    return norm


def output_of(result):
    return result[0] if isinstance(result, tuple) else result


def standardized(x, axes, mean=None, var=None):
    mean = x.mean(axes, keepdims=True) if mean is None else mean
    var = x.var(axes, keepdims=True) if var is None else var
    return (x - mean) / np.sqrt(var + EPS)


def over_channels(values, x):
    return values.detach().numpy().reshape(-1, *[1] * (x.ndim - 3))


@every_norm
@pytest.mark.parametrize("space", [(), (5,), (4, 5)])
def test_it_is_the_formula_of_the_paper(name, space):
    norm, xs = built(name), drifting(*space)
    x, others = xs.numpy(), tuple(range(3, xs.dim()))
    if name == "BNTT":
        gamma = norm.weight.detach().numpy().reshape(STEPS, 1, CHANNELS, *[1] * len(space))
        expected = gamma * standardized(x, (1, *others))
    else:
        normalized = standardized(x, (0, 1, *others))
        gamma, beta = over_channels(norm.weight, x), over_channels(norm.bias, x)
        if name == "tdBN":
            expected = gamma * (0.5**0.5 * 0.7 * normalized) + beta
        else:
            p = norm.factors.detach().numpy().reshape(-1, *[1] * (x.ndim - 1))
            expected = p * (gamma * normalized + beta)
    np.testing.assert_allclose(output_of(norm(xs)).detach(), expected, rtol=1e-9, atol=1e-9)


def test_in_evaluation_mode_bntt_uses_the_running_statistics_of_each_step():
    norm, xs = built("BNTT"), drifting(5)
    norm(xs)
    x = xs.numpy()
    mean = 0.1 * x.mean((1, 3), keepdims=True)
    var = 0.9 + 0.1 * x.var((1, 3), keepdims=True, ddof=1)
    expected = norm.weight.detach().numpy().reshape(STEPS, 1, CHANNELS, 1) * standardized(x, None, mean, var)
    np.testing.assert_allclose(norm.eval()(xs)[0].detach(), expected, rtol=1e-9)


@every_norm
def test_runs_in_a_row_equal_one_run_in_evaluation_mode(name):
    norm, xs = built(name), drifting(4, 5)
    norm(xs)
    model = geir.SequentialState(norm.eval(), geir.Leaky().double(), lift=True)
    expected, last = model(xs)
    assert 0 < expected.mean() < 1
    parts, state = [], None
    for chunk in xs.split([1, 3, 0, 2]):
        part, state = model(chunk, state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts), expected, rtol=0, atol=0)
    torch.testing.assert_close(state[1], last[1])


def test_bntt_runs_in_parts_in_training_mode_too():
    whole, parts, xs = built("BNTT"), built("BNTT"), drifting(5)
    expected, _ = whole(xs)
    first, state = parts(xs[:2])
    second, _ = parts(xs[2:], state)
    torch.testing.assert_close(torch.cat([first, second]), expected)
    torch.testing.assert_close(parts.running_var, whole.running_var)


@every_norm
def test_gradients_are_those_of_finite_differences(name):
    norm, xs = built(name), drifting()[:, :2].requires_grad_()
    names, parameters = zip(*norm.named_parameters(), strict=True)

    def run(xs, *values):
        return output_of(torch.func.functional_call(norm, dict(zip(names, values, strict=True)), (xs,)))

    # Keep the buffers as they are: they do not depend on the output.
    norm.momentum = 0.0
    assert torch.autograd.gradcheck(run, (xs, *parameters))


@pytest.mark.parametrize(
    "norm",
    [
        partial(ThresholdDependentBatchNorm, v_th=geir.models.threshold_weight(geir.LIF) / 2),
        partial(TemporalEffectiveBatchNorm, steps=24),
        partial(BatchNormThroughTime, steps=24),
    ],
    ids=NORMS,
)
def test_residual_networks_with_it_are_active_in_every_layer_and_train(norm):
    model = geir.models.sew_resnet18(num_classes=10, norm=norm)
    ys, rates = run_with_rates(model, images(24))
    assert 0.02 < min(rates) < max(rates) < 0.5, f"rates {rates}"
    ys.sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize(
    "norm",
    [
        lambda: ThresholdDependentBatchNorm(50, v_th=4.0),
        lambda: TemporalEffectiveBatchNorm(50, 200),
        lambda: BatchNormThroughTime(50, 200),
    ],
    ids=NORMS,
)
def test_init_weights_makes_neurons_after_it_fire_as_after_batch_normalization(norm):
    def rate(norm):
        torch.manual_seed(0)
        model = geir.SequentialState(nn.Linear(100, 50), norm, geir.LIF(), lift=True)
        zs, _ = geir.init_weights(model)((torch.rand(200, 20, 100) < 0.05).float())
        return zs.mean().item()

    assert rate(norm()) == pytest.approx(rate(nn.BatchNorm1d(50)), rel=0.1)


def test_parallel_neurons_and_threshold_dependent_normalization_are_not_lifted_again():
    xs = 3 * torch.rand(8, 5, 3, 4, 4)
    model = geir.SequentialState(ThresholdDependentBatchNorm(3), geir.ParallelSpikingNeuron(8), lift=True)
    torch.testing.assert_close(model(xs)[0], model[1](model[0](xs)))
    network = geir.models.sew_resnet18(num_classes=10, neuron=partial(geir.ParallelSpikingNeuron, 4))
    assert network(images(4))[0].shape == (4, 2, 10)
    with pytest.raises(TypeError, match="Lift expected a module that processes one step.*ParallelSpikingNeuron"):
        geir.Lift(geir.ParallelSpikingNeuron(8))


XS = torch.rand(STEPS, BATCH, CHANNELS, 5, generator=torch.Generator().manual_seed(0))
CASES = {
    "no batch": (
        lambda: ThresholdDependentBatchNorm(3)(torch.rand(6, 3)),
        ValueError,
        r"ThresholdDependentBatchNorm expected input of shape \(time, batch, channels, ...\) with 3 channels, got .*\(6, 3\)",
    ),
    "other channels": (
        lambda: BatchNormThroughTime(4, 6)(XS),
        ValueError,
        r"BatchNormThroughTime expected .* with 4 channels, got shape \(6, 4, 3, 5\)",
    ),
    "integers": (lambda: TemporalEffectiveBatchNorm(3, 6)(XS.long()), TypeError, "expected floating-point input"),
    "too many steps": (
        lambda: TemporalEffectiveBatchNorm(3, 5)(XS),
        ValueError,
        "TemporalEffectiveBatchNorm has parameters for 5 steps, got 6 steps; build it with steps=6 or more",
    ),
    "too many steps in parts": (
        lambda: BatchNormThroughTime(3, 8)(XS, BatchNormThroughTime(3, 8)(XS)[1]),
        ValueError,
        "BatchNormThroughTime has parameters for 8 steps, got 6 steps after 6 others; build it with steps=12",
    ),
    "another state": (
        lambda: BatchNormThroughTime(3, 8)(XS, (3,)),
        TypeError,
        "BatchNormThroughTime expected a StepCount as its state, got tuple",
    ),
    "no steps": (
        lambda: TemporalEffectiveBatchNorm(3, 0),
        ValueError,
        "TemporalEffectiveBatchNorm: steps must be an integer >= 1, got 0",
    ),
    "a negative threshold": (
        lambda: ThresholdDependentBatchNorm(3, v_th=-1.0),
        ValueError,
        "ThresholdDependentBatchNorm.v_th must be positive and finite, got -1.0",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_arguments_and_input_are_rejected(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()
