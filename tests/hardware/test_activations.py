"""Activations and weights for networks that are converted, against explicit loops and published formulas."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import geir
from geir.hardware import from_ann, QCFS, Ternary


def spike_counts(x, threshold, steps):
    """Spikes of an integrate-and-fire neuron that starts at half its threshold, with constant input: a plain loop."""
    v = torch.full_like(x, threshold / 2)
    counts = torch.zeros_like(x)
    for _ in range(steps):
        v = v + x
        spike = v > threshold
        counts += spike
        v = torch.where(spike, v - threshold, v)
    return counts


@pytest.mark.parametrize("levels", [1, 2, 3, 4, 8, 16])
def test_qcfs_equals_the_spike_count_of_an_integrate_and_fire_neuron(levels):
    generator = torch.Generator().manual_seed(levels)
    x = 3 * torch.randn(20_000, generator=generator, dtype=torch.float64)
    y = QCFS(levels, threshold=1.7).double()(x)
    counts = spike_counts(x, QCFS(levels, threshold=1.7).double().threshold.item(), levels)
    assert len(y.unique()) == levels + 1
    assert int((y * levels / 1.7).round().ne(counts).sum()) == 0
    torch.testing.assert_close(y, counts * 1.7 / levels, rtol=1e-6, atol=0)


@pytest.mark.parametrize("levels", [1, 2, 4, 8])
def test_qcfs_equals_the_spike_count_where_rounding_is_a_tie(levels):
    # Multiples of 1/32 are exact, so every sum is; half of the ties are at -1/2, 1/2, 3/2, ... levels.
    x = torch.arange(-64, 128, dtype=torch.float64) / 32
    ties = (x * levels - 0.5) % 1 == 0
    assert int(ties.sum()) > 5
    assert torch.equal(QCFS(levels, threshold=1.0).double()(x) * levels, spike_counts(x, 1.0, levels))


def test_a_converted_qcfs_layer_gives_the_same_output_after_as_many_steps_as_levels():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 300), QCFS(8, threshold=0.9), nn.Linear(300, 5)).double()
    x = torch.randn(400, 20, dtype=torch.float64)
    spiking = from_ann(model, x)
    zs, _ = spiking[:2](x.expand(8, *x.shape))
    expected = model[:2](x)
    assert 0.2 < (expected > 0).double().mean() < 0.8
    assert int((zs.sum(0) != (expected * 8 / model[1].threshold).round()).sum()) == 0  # of 120,000
    sums, _ = spiking(x.expand(8, *x.shape))
    torch.testing.assert_close(sums[-1] / 8, model(x), rtol=1e-9, atol=1e-9)


def test_the_gradients_of_qcfs_are_the_published_ones():
    levels, theta = 4, 1.5
    activation = QCFS(levels, threshold=torch.nn.Parameter(torch.tensor(theta, dtype=torch.float64)))
    x = torch.tensor([-2.0, -0.1, 0.3, 0.7, 1.1, 1.6, 4.0], dtype=torch.float64, requires_grad=True)
    by_x, by_theta = torch.autograd.grad(activation(x).sum(), [x, activation.threshold])
    # Inside, the rounding is passed as if it were the identity.
    level = [max(0, min(levels, math.ceil(v * levels / theta - 0.5))) for v in x.tolist()]
    inside = [0 <= math.ceil(v * levels / theta - 0.5) <= levels for v in x.tolist()]
    assert by_x.tolist() == [float(i) for i in inside]
    expected = sum(k / levels - i * v / theta for k, i, v in zip(level, inside, x.tolist(), strict=True))
    assert by_theta.item() == pytest.approx(expected, rel=1e-12)


def test_the_threshold_of_qcfs_is_learned_and_stays_positive():
    activation = QCFS(4, threshold=0.5)
    optimizer = torch.optim.SGD(activation.parameters(), lr=0.4)
    activation(torch.ones(5)).sum().backward()
    optimizer.step()
    assert 0 < activation.threshold < 0.5


@pytest.mark.parametrize(("levels", "error"), [(0, ValueError), (-1, ValueError), (2.5, TypeError)])
def test_levels_that_are_not_a_positive_number_are_refused(levels, error):
    with pytest.raises(error, match="QCFS.levels must be a positive number of levels, got"):
        QCFS(levels)


def test_a_threshold_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match=r"QCFS.threshold must be > 0.0, got -1.0"):
        QCFS(4, threshold=-1.0)


def test_ternary_weights_have_three_values_and_keep_the_variance():
    torch.manual_seed(0)
    layer = nn.Linear(200, 50)
    before = layer.weight.detach().clone()
    parametrize.register_parametrization(layer, "weight", Ternary())
    weight = layer.weight.detach()
    scale = weight.max().item()
    assert sorted(weight.unique().tolist()) == pytest.approx([-scale, 0, scale])
    expected = torch.where(before.abs() > before.abs().max() / 2, before.sign(), 0)
    assert torch.equal(weight / scale, expected)
    assert weight.square().mean() == pytest.approx(before.square().mean().item(), rel=1e-5)


def test_ternary_weights_keep_their_value_between_the_thresholds():
    ternary = Ternary(hysteresis=0.1)
    ternary.right_inverse(torch.tensor([1.0, -1.0, 0.1, 0.1]))
    ternary.scale = torch.ones(())
    # Each column moves through these hidden weights; the value changes beyond 0.6 and below 0.4 only.
    path = torch.tensor([[0.9, -0.9, 0.45, 0.59], [0.45, -0.45, 0.61, 0.4], [0.39, -0.39, 0.45, -0.7]])
    values = [ternary(row).tolist() for row in path]
    assert values == [[1, -1, 0, 0], [1, -1, 1, 0], [0, 0, 1, -1]]
    ternary.eval()
    ternary(torch.tensor([0.9, 0.9, 0.9, 0.9]))
    assert ternary(torch.tensor([0.5, 0.5, 0.5, 0.5])).tolist() == [0, 0, 1, -1]


def test_ternary_weights_pass_gradients_but_do_not_push_hidden_weights_further_out():
    ternary = Ternary()
    ternary.right_inverse(torch.ones(4))
    ternary.scale = torch.tensor(2.0)
    hidden = torch.tensor([0.2, 1.5, 1.5, -1.5], requires_grad=True)
    # A step of gradient descent moves against the gradient.
    (ternary(hidden) * torch.tensor([1.0, 1.0, -1.0, 1.0])).sum().backward()
    assert hidden.grad.tolist() == [2.0, 2.0, 0.0, 0.0]


def test_a_network_with_ternary_weights_learns_and_is_converted():
    torch.manual_seed(0)
    x = torch.randn(400, 10)
    labels = (x[:, 0] * x[:, 1] > 0).long()
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 2))
    parametrize.register_parametrization(model[0], "weight", Ternary())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    model.eval()
    assert (model(x).argmax(1) == labels).double().mean() > 0.9
    spiking = from_ann(model, x)
    assert len(spiking[0].weight.unique()) == 3
    assert torch.equal(spiking[0].weight, model[0].weight)
    sums, _ = spiking(x.expand(64, *x.shape))
    assert (sums[-1].argmax(1) == model(x).argmax(1)).double().mean() > 0.97


def test_ternary_weights_refuse_what_they_cannot_scale():
    with pytest.raises(ValueError, match="weights that are not all zero"):
        Ternary().right_inverse(torch.zeros(3))
    with pytest.raises(ValueError, match=r"hysteresis must be in \[0, 0.5\), got 0.5"):
        Ternary(hysteresis=0.5)


def test_qcfs_is_a_module_like_any_other():
    activation = QCFS(4, threshold=2.0)
    clone = QCFS(4)
    clone.load_state_dict(activation.state_dict())
    assert clone.threshold == activation.threshold
    assert geir.hardware.QCFS is QCFS
