"""Analog chips: every neuron deviates, the weights are shared."""

import pytest
import torch
from torch import nn

import geir
from geir.hardware import mismatch


def network():
    return geir.SequentialState(
        nn.Conv2d(1, 20, 3), geir.LIF(v_th=0.2), nn.Flatten(), nn.Linear(20 * 900, 8), geir.Noisy(geir.LI(), seed=0),
        lift=True,
    )  # fmt: skip


@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.5])
def test_parameters_have_the_given_mean_and_deviation(sigma):
    lif = mismatch(network(), sigma, (1, 32, 32), seed=1)[1]
    for name, value in {"tau_mem": 10e-3, "tau_syn": 5e-3, "v_th": 0.2}.items():
        drawn = getattr(lif, name).double() / value
        assert drawn.shape == (20, 30, 30)
        count = drawn.numel()
        # standard errors; that of the deviation is larger for the skewed distribution
        assert abs(drawn.mean() - 1) < 4 * sigma / count**0.5
        assert abs(drawn.std() / sigma - 1) < 0.05
    assert (lif.tau_mem > 0).all()
    assert not torch.equal(lif.tau_mem / 10e-3, lif.tau_syn / 5e-3)
    assert (lif.v_reset == 0).all()


def test_a_seed_is_a_chip():
    model = network()
    first, again, other = (mismatch(model, 0.2, (1, 32, 32), seed=seed) for seed in (1, 1, 2))
    xs = torch.rand(20, 2, 1, 32, 32)
    assert torch.equal(first(xs)[0], again(xs)[0])
    assert not torch.equal(first(xs)[0], other(xs)[0])
    assert first[-1].neuron.tau_mem.shape == (8,)


def test_training_a_chip_trains_the_weights_of_the_network():
    model = network()
    before = {name: value.clone() for name, value in model[1].state_dict().items()}
    mismatch(model, 0.2, (1, 32, 32))(torch.rand(10, 2, 1, 32, 32))[0].sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model[1].state_dict().items())


def test_without_deviation_the_chip_is_the_network():
    model, xs = network(), torch.rand(20, 2, 1, 32, 32)
    zs, chip_zs = model[:2](xs)[0], mismatch(model, 0.0, (1, 32, 32))[:2](xs)[0]
    assert zs.sum() > 100
    assert torch.equal(zs, chip_zs)


def test_learned_time_constants_deviate_from_their_learned_value():
    layer = geir.LIF(tau_mem=geir.learnable(20e-3))
    with torch.no_grad():
        layer.log_tau_mem.fill_(1.0)
    chip = mismatch(geir.SequentialState(nn.Linear(2, 10_000), layer, lift=True), 0.1, (2,), seed=0)
    assert abs(chip[1].tau_mem.mean() / layer.tau_mem.item() - 1) < 0.01
    assert [name for name, _ in chip[1].named_parameters()] == []


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="sigma must be a finite number >= 0, got -0.1"):
        mismatch(network(), -0.1, (1, 32, 32))
    with pytest.raises(TypeError, match="mismatch expected a geir.SequentialState"):
        mismatch(geir.LIF(), 0.1, (3,))
    with pytest.raises(ValueError, match=r"mismatch: module 0 \(Conv2d\) does not accept"):
        mismatch(network(), 0.1, (3, 32, 32))
