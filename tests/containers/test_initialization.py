"""`init_weights`: every layer of a network fires."""

import math

import pytest
import torch
from torch import nn

import geir
from geir import LI, LIF, LIFRecurrent, Lift, SequentialState


def rates_of_layers(model, xs):
    """Firing rate of every spiking layer in Hz."""
    rates = []

    def record(module, arguments, result):
        rates.append(result[0].detach().mean().item() / module.dt)

    handles = [module.register_forward_hook(record) for module in model if isinstance(module, geir.Neuron)]
    with torch.no_grad():
        model(xs)
    for handle in handles:
        handle.remove()
    return rates


def deep_network(neuron, depth=10, width=100):
    layers = [module for _ in range(depth) for module in (nn.Linear(width, width), neuron())]
    return SequentialState(*layers, lift=True)


@pytest.mark.parametrize("neuron", [geir.LIF, geir.ALIF, geir.AdEx, geir.IAF, geir.Leaky])
def test_ten_layers_of_defaults_fire_between_1_and_100_hz_at_every_layer(neuron):
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = geir.init_weights(deep_network(neuron))
        for rate in (20.0, 60.0, 200.0):
            xs = geir.encode.poisson(torch.ones(4, 100), steps=300, f_max=rate)
            rates = rates_of_layers(model, xs)
            assert len(rates) == 10
            assert min(rates) > 1, (rate, rates)
            assert max(rates) < 100, (rate, rates)


def test_a_network_of_pytorch_defaults_is_silent():
    xs = geir.encode.poisson(torch.ones(4, 100), steps=300, f_max=100.0)
    assert rates_of_layers(deep_network(LIF), xs)[2] == 0, "the test above would pass without init_weights"


def test_the_weights_have_the_mean_and_variance_of_the_closed_form():
    # Potential at the ms after a spike of weight 1, and the weight that brings its peak to the threshold.
    response = [math.exp(-t / 10) - math.exp(-t / 5) for t in range(1, 51)]
    relative = [r / max(response) for r in response]
    energy, area, unit = sum(r * r for r in relative), sum(relative), 1 / max(response)
    rate, xi, n = 80.0, 0.8, 2000
    model = SequentialState(nn.Linear(n, 500), LIF(), lift=True)
    geir.init_weights(model, rate=rate, xi=xi)
    weights = model[0].weight.detach()
    probability = rate * 1e-3  # of an input spike in a step
    forgets = 1 - relative[-1]
    mean = -forgets * unit / area / probability / n
    # Inputs differ by a standard deviation of `rate`: the variance of the mean input is `rate * dt` times that of spikes.
    std = (1 + forgets) * unit / xi / math.sqrt(energy + probability * area**2) / math.sqrt(probability * n)
    assert weights.mean().item() == pytest.approx(mean, rel=0.03)
    assert weights.mean(1).std().item() < 0.1 * std / math.sqrt(n), "the mean of each neuron is not left to chance"
    # The variance of the mean input is rounded to 20 %, which changes the standard deviation by at most 10 %.
    assert weights.std().item() == pytest.approx(std, rel=0.1)
    assert not model[0].bias.any()


def test_a_neuron_without_leak_has_weights_of_mean_zero():
    model = geir.init_weights(SequentialState(nn.Linear(1000, 500), geir.IAF(), lift=True))
    weights = model[0].weight.detach()
    assert abs(weights.mean().item()) < 3 * weights.std().item() / math.sqrt(weights.numel())


def test_the_scale_follows_the_threshold_of_any_neuron():
    torch.manual_seed(1)
    small = geir.init_weights(deep_network(LIF, depth=2))
    torch.manual_seed(1)
    large = geir.init_weights(deep_network(lambda: LIF(v_th=7.0, v_reset=0.0), depth=2))
    # The unit is found in increments of 2 %.
    torch.testing.assert_close(large[2].weight, 7 * small[2].weight, rtol=0.03, atol=0.02)


@pytest.mark.parametrize(
    "neuron",
    [
        LIF(tau_mem=geir.learnable(20e-3), v_th=torch.linspace(0.5, 1.5, 30)),
        geir.Refractory(LIF(), period=3e-3),
        geir.Noisy(LIF(), seed=1),
        geir.Compartments(LIF(), 30),
        geir.Izhikevich(),
        geir.neurons.HodgkinHuxley(),
        geir.neurons.QIF(),
        geir.SynapticLeaky(),
    ],
    ids=lambda neuron: type(neuron).__name__,
)
def test_any_neuron_and_wrapper_is_measured(neuron):
    before = {name: value.clone() for name, value in neuron.state_dict().items()}
    model = SequentialState(nn.Linear(50, 30), neuron, lift=True)
    geir.init_weights(model)
    assert model[0].weight.isfinite().all()
    assert model[0].weight.std() > 0
    for name, value in neuron.state_dict().items():
        assert torch.equal(value, before[name]), "the measurement changed the neuron"
    steps = 300 if neuron.dt == 1e-3 else 2000
    xs = geir.encode.poisson(torch.ones(2, 50), steps=steps, f_max=50.0, dt=neuron.dt)
    assert neuron(Lift(model[0])(xs))[0].sum() > 0


def test_layers_of_every_kind_are_initialized():
    model = SequentialState(
        nn.Conv2d(2, 8, 3),
        nn.BatchNorm2d(8),
        LIF(),
        nn.Flatten(),
        geir.connections.SparseLinear(8 * 36, 40, connection_probability=0.2),
        LIF(),
        geir.connections.MaskedLinear(40, 40, connection_probability=0.3),
        LIF(),
        LIFRecurrent(40, 60),
        geir.LIFRecurrent(60, 60, input_weights=nn.Linear(60, 60, bias=False), recurrent_weights=nn.Linear(60, 60)),
        nn.Linear(60, 10),
        LI(),
        lift=True,
    )
    readout = model[10].weight.detach().clone()
    geir.init_weights(model)
    assert torch.equal(model[10].weight, readout), "the readout keeps its weights"
    assert not (model[6].weight * ~model[6].mask).any(), "missing connections stay missing"
    assert not model[8].recurrent_weights.diagonal().any(), "there are no autapses"
    assert model[0].weight.std().item() * math.sqrt(18) == pytest.approx(1, rel=0.2), "before a normalization"
    xs = geir.encode.poisson(torch.ones(4, 2, 8, 8), steps=200, f_max=50.0)
    rates = rates_of_layers(model, xs)
    assert len(rates) == 5
    assert min(rates) > 1, rates
    assert max(rates) < 150, rates


def test_pooled_spikes_drive_the_next_layer_as_spikes_do():
    """Rates of the second layer after pooling are close to those without it, where the weights allow for it."""
    rates = {}
    for pool in (nn.Identity(), nn.MaxPool1d(4), nn.AvgPool1d(4), nn.Sequential(nn.MaxPool1d(2), nn.AvgPool1d(2))):
        torch.manual_seed(0)
        count = 200 if isinstance(pool, nn.Identity) else 50
        model = SequentialState(nn.Linear(100, 200), LIF(), pool, nn.Linear(count, 300), LIF(), lift=True)
        xs = geir.encode.poisson(torch.ones(8, 100), steps=300, f_max=50.0)
        rates[str(pool)] = rates_of_layers(geir.init_weights(model), xs)[1]
    plain, *pooled = rates.values()
    assert plain == pytest.approx(25, rel=0.4)
    assert pooled == pytest.approx([plain] * 3, rel=0.3), rates


def test_a_first_convolution_of_one_or_three_channels_is_for_images_and_a_rate_for_spikes():
    def std(channels, **arguments):
        torch.manual_seed(0)
        model = geir.init_weights(SequentialState(nn.Conv2d(channels, 50, 3), LIF(), lift=True), **arguments)
        return model[0].weight.std().item()

    for channels in (1, 3):
        assert std(channels) == std(channels, rate=250.0)
        assert std(channels) < 0.8 * std(channels, rate=50.0)
    assert std(2) == std(2, rate=50.0), "frames of an event camera are spikes"


def test_the_seed_decides_about_the_weights_and_about_nothing_else():
    torch.manual_seed(3)
    first = geir.init_weights(deep_network(LIF, depth=2))[0].weight.detach()
    torch.manual_seed(3)
    second = geir.init_weights(deep_network(LIF, depth=2))[0].weight.detach()
    assert torch.equal(first, second)
    # The measurements of a random neuron draw no numbers from PyTorch's generator.
    torch.manual_seed(3)
    geir.init_weights(deep_network(lambda: geir.Noisy(LIF()), depth=2))
    after_noisy = torch.rand(())
    torch.manual_seed(3)
    geir.init_weights(deep_network(LIF, depth=2))
    assert torch.equal(torch.rand(()), after_noisy)


def test_typical_input_replaces_the_rate():
    xs = torch.full((20, 3, 100), 0.5)
    torch.manual_seed(3)
    measured = geir.init_weights(deep_network(LIF, depth=2), xs)
    torch.manual_seed(3)
    given = geir.init_weights(deep_network(LIF, depth=2), rate=250.0)
    torch.testing.assert_close(measured[0].weight, given[0].weight)


def test_threshold_weight_takes_an_instance_too():
    assert geir.models.threshold_weight(LIF()) == geir.models.threshold_weight(LIF)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: geir.init_weights(LIF), TypeError, "init_weights expected a module, got"),
        (lambda: geir.init_weights(deep_network(LIF), 50.0), TypeError, "typical input, a tensor .*, got float"),
        (lambda: geir.init_weights(deep_network(LIF), torch.zeros(5, 2, 100)), ValueError, "a mean square of 0.0"),
        (lambda: geir.init_weights(nn.Linear(3, 3)), ValueError, "found no spiking neuron in Linear"),
        (lambda: geir.init_weights(SequentialState(LIF())), ValueError, "found no weights before the spiking neurons"),
        (
            lambda: geir.init_weights(deep_network(LIF), rate=0.0),
            ValueError,
            "rate must be positive and finite, got 0.0",
        ),
        (
            lambda: geir.init_weights(deep_network(LIF), xi=math.nan),
            ValueError,
            "xi must be positive and finite, got nan",
        ),
        (
            lambda: geir.init_weights(SequentialState(nn.LazyLinear(3), LIF(), lift=True)),
            ValueError,
            "LazyLinear has no weights yet; call the model once",
        ),
        (
            lambda: geir.init_weights(SequentialState(nn.Linear(3, 3), LIF(v_th=1e9), lift=True)),
            ValueError,
            "LIF does not spike after one input spike of any weight",
        ),
        (lambda: geir.init_weights(deep_network(LIF).to("meta")), ValueError, "LIF is on the meta device"),
    ],
)
def test_what_cannot_be_initialized_is_an_error(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_computed_weights_are_refused_because_setting_them_would_have_no_effect():
    for constrain in (geir.connections.constrain_signs, nn.utils.parametrizations.weight_norm):
        model = SequentialState(constrain(nn.Linear(3, 4)), LIF(), lift=True)
        with pytest.raises(ValueError, match="cannot set the weights of .*Linear, which are no parameter but computed"):
            geir.init_weights(model)
        readout = SequentialState(nn.Linear(3, 4), LIF(), constrain(nn.Linear(4, 2)), geir.LI(), lift=True)
        geir.init_weights(readout)  # it keeps its weights
    recurrent = geir.LIFRecurrent(3, 4, autapses=True)
    geir.connections.constrain_signs(recurrent, name="recurrent_weights")
    with pytest.raises(ValueError, match="cannot set the weights of .*LIFRecurrent"):
        geir.init_weights(recurrent)
