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


def test_multiple_spikes_drive_recurrent_neurons_as_in_the_reference():
    torch.manual_seed(1)
    keywords = {"surrogate": geir.surrogates.MultiSpike(), "reset_mechanism": geir.ResetBySubtraction()}
    layer = geir.LIFRecurrent(5, 4, **keywords)
    xs = 8 * torch.rand(50, 3, 5)
    zs, _ = layer(xs)
    assert zs.max() > 1
    torch.testing.assert_close(zs, with_reference(layer)(xs)[0])


XS = torch.rand(10, 4, 5)
CASES = {
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
