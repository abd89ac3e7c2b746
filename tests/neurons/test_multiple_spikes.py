"""Several spikes of one neuron in one step."""

import copy

import numpy as np
import pytest
import torch
from scipy import stats

import geir

DOUBLE = torch.float64


def exactly(value):
    return torch.tensor(value, dtype=DOUBLE)


def with_reference(model):
    twin = copy.deepcopy(model)
    twin.unroll = geir.reference
    return twin


class Plain(geir.Neuron):
    """A neuron without a reset."""

    def rest(self):
        return geir.neurons.LIFBoxState(torch.zeros(()))

    def step(self, x, state):
        return state.v, state


def test_multiple_spikes_conserve_charge_and_leave_every_neuron_below_threshold():
    step = 0.75
    neuron = geir.IAF(
        v_th=step,
        surrogate=geir.surrogates.MultiSpike(step),
        reset_mechanism=geir.ResetBySubtraction(),
        record_states=True,
    ).double()
    xs = 3 * torch.rand(200, 5, dtype=DOUBLE)
    zs, states = neuron(xs)
    assert zs.max() == 4
    assert ((states.v <= step) & (states.v > 0)).all()
    np.testing.assert_array_equal(zs.sum(0), (xs.sum(0) / step).ceil() - 1)


def test_the_derivative_of_multiple_spikes_is_that_of_the_nearest_threshold():
    spike, x = (
        geir.surrogates.MultiSpike(2.0, geir.surrogates.Gaussian(0.3)),
        torch.linspace(-3, 7, 401, dtype=DOUBLE, requires_grad=True),
    )
    z = spike(x)
    z.sum().backward()
    distance = np.abs(x.detach().numpy()[:, None] - [0, 2, 4, 6]).min(1)
    np.testing.assert_allclose(x.grad, stats.norm.pdf(distance, 0, 0.3), atol=1e-12)
    np.testing.assert_array_equal(z.detach(), np.maximum(0, np.ceil(x.detach().numpy() / 2)))
    assert not z.signbit().any()
    assert spike(exactly(float("nan"))) == 0


def test_a_maximum_of_spikes_rounds_and_clips_the_potential():
    # X. Luo et al. 2024: clip(round(v), 0, D), with a derivative of 1 in the range of its steps.
    spike = geir.surrogates.MultiSpike(surrogate=geir.surrogates.Rectangle(), maximum=4)
    v = torch.linspace(-2, 7, 450, dtype=DOUBLE, requires_grad=True)
    z = spike(v - 0.5)
    z.sum().backward()
    expected = np.clip(np.ceil(v.detach().numpy() - 0.5), 0, 4)
    np.testing.assert_array_equal(z.detach(), expected)
    np.testing.assert_array_equal(v.grad, ((v > 0) & (v < 4)).double())


def test_ternary_spikes_are_symmetric_in_the_sign_of_the_input():
    settings = {"reset_mechanism": geir.ResetBySubtraction(), "record_states": True}
    neuron = geir.Leaky(v_th=0.7, surrogate=geir.surrogates.TernarySpike(0.7), reset_delay=False, **settings).double()
    xs = torch.randn(300, 5, dtype=DOUBLE)
    zs, states = neuron(xs)
    opposite, mirrored = neuron(-xs)
    torch.testing.assert_close(opposite, -zs)
    torch.testing.assert_close(mirrored.v, -states.v)
    v, beta, v_th = torch.zeros(5, dtype=DOUBLE), neuron.beta, neuron.v_th
    for x, z, after in zip(xs, zs, states.v, strict=True):
        v = beta * v + x
        assert torch.equal(z, (v > v_th).double() - (v < -v_th).double())
        v = v - v_th * z
        torch.testing.assert_close(after, v)
    assert min((zs == value).double().mean() for value in (-1, 0, 1)) > 0.1


def test_graded_spikes_carry_the_whole_potential():
    settings = {"reset_mechanism": geir.ResetBySubtraction(), "record_states": True}
    neuron = geir.IAF(v_th=0.5, surrogate=geir.surrogates.GradedSpike(0.5), **settings).double()
    xs = torch.rand(200, 5, dtype=DOUBLE)
    zs, states = neuron(xs)
    spiked = zs > 0
    assert 0.2 < spiked.double().mean() < 0.9
    assert zs[spiked].min() > 1
    torch.testing.assert_close(states.v[spiked], torch.zeros_like(states.v[spiked]))
    # Nothing of the input is lost.
    torch.testing.assert_close((0.5 * zs).sum(0) + states.v[-1], xs.sum(0))


def test_the_derivatives_of_ternary_and_graded_spikes_add_those_of_their_thresholds():
    shape = geir.surrogates.Gaussian(0.3)
    x = torch.linspace(-4, 3, 301, dtype=DOUBLE)
    density = lambda center: stats.norm.pdf(x.numpy(), center, 0.3)
    ternary, graded = geir.surrogates.TernarySpike(0.8, shape), geir.surrogates.GradedSpike(0.8, shape)
    np.testing.assert_allclose(ternary.derivative(x), density(0) + density(-1.6), atol=1e-12)
    np.testing.assert_allclose(graded.derivative(x), (x.numpy() > 0) / 0.8 + density(0), atol=1e-12)


def test_multiple_spikes_drive_recurrent_neurons_as_in_the_reference():
    torch.manual_seed(1)
    keywords = {"surrogate": geir.surrogates.MultiSpike(), "reset_mechanism": geir.ResetBySubtraction()}
    layer = geir.LIFRecurrent(5, 4, **keywords)
    xs = 8 * torch.rand(50, 3, 5)
    zs, _ = layer(xs)
    assert zs.max() > 1
    torch.testing.assert_close(zs, with_reference(layer)(xs)[0])


XS = torch.rand(10, 4, 5, generator=torch.Generator().manual_seed(0))
CASES = {
    "negative spikes and a reset to a value": (
        lambda: geir.LIF(surrogate=geir.surrogates.TernarySpike()),
        ValueError,
        r"LIF with reset_mechanism=ResetToValue.* emits",
    ),
    "a fraction for the maximum": (
        lambda: geir.surrogates.MultiSpike(maximum=2.5),
        ValueError,
        "MultiSpike.maximum must be a positive integer or None, got 2.5",
    ),
    "a maximum of zero": (
        lambda: geir.surrogates.MultiSpike(maximum=0),
        ValueError,
        "MultiSpike.maximum must be positive and finite, got 0",
    ),
    "a string for the surrogate of graded spikes": (
        lambda: geir.surrogates.GradedSpike(surrogate="atan"),
        TypeError,
        "GradedSpike.surrogate must be a surrogate .*got 'atan'",
    ),
    "multiple spikes and a reset to a value": (
        lambda: geir.LIF(surrogate=geir.surrogates.MultiSpike()),
        ValueError,
        r"LIF with reset_mechanism=ResetToValue.* emits",
    ),
    "multiple spikes without a reset": (
        lambda: Plain(surrogate=geir.surrogates.MultiSpike()),
        ValueError,
        "Plain with no `reset_mechanism` cannot undo several",
    ),
    "multiple spikes while refractory": (
        lambda: geir.LIFRefrac(surrogate=geir.surrogates.MultiSpike(), reset_mechanism=geir.ResetBySubtraction()),
        ValueError,
        "LIFRefrac waits after every spike, but MultiSpike.* emits several per step",
    ),
    "a distance of zero": (
        lambda: geir.surrogates.MultiSpike(step=0.0),
        ValueError,
        "MultiSpike.step must be positive and finite, got 0.0",
    ),
    "a string for a surrogate": (
        lambda: geir.surrogates.MultiSpike(surrogate="atan"),
        TypeError,
        "MultiSpike.surrogate must be a surrogate .*got 'atan'",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_raises(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()
