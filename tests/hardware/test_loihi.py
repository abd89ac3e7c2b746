"""Loihi's neuron: recorded data, an independent integer simulator, gradients."""

import numpy as np
import pytest
import torch
from integer_simulators import loihi_layer

import geir
from geir.hardware import LoihiLIF, LoihiLIFRecurrent

# Registers: weak and strong decays, and the ends of their ranges.
DECAYS = [(4095, 415), (500, 128), (0, 1), (1, 4095), (0, 0)]
UNROLLS = [pytest.param(geir.Fused(), id="kernel"), pytest.param(geir.reference, id="reference")]


def inputs_of(scale, steps=2000, seed=0):
    """Integers of both signs, with long stretches of one sign, so that states reach their limits."""
    rng = np.random.default_rng(seed)
    drift = np.repeat(rng.integers(-1, 2, (steps // 50, 20)), 50, axis=0)
    return np.round(rng.normal(0, scale, (steps, 20)) + drift * scale).astype(np.int64)


def run(layer, inputs):
    zs, states = layer(torch.tensor(inputs, dtype=torch.float64))
    return [t.detach().numpy() for t in (zs, states.v, states.i)]


def test_a_recorded_layer_of_loihi_has_no_mismatch_in_spikes_and_current(real_data):
    data = np.load(real_data / "loihi" / "dense.npz", allow_pickle=False)
    inputs = (data["weight"] @ data["in"]).T
    layer = LoihiLIF(decay_current=4095, decay_voltage=415, v_th=6, record_states=True)
    zs, _, currents = run(layer, inputs)
    # The recording is one step late, and its current has not been shifted by 6 bits.
    assert data["out"].sum() == 1826
    assert (zs[:-1] != data["out"].T[1:]).sum() == 0
    assert (currents[:-1] != 64 * data["current"].T[1:]).sum() == 0


@pytest.mark.parametrize("unroll", UNROLLS)
@pytest.mark.parametrize(("du", "dv"), DECAYS)
@pytest.mark.parametrize(("scale", "v_th"), [(30, 300), (1000, 2000), (30000, 2**17 - 1)])
def test_the_neuron_equals_an_int64_simulator_bit_for_bit_also_where_it_saturates(scale, v_th, du, dv, unroll):
    inputs = inputs_of(scale, steps=2000 if unroll is not geir.reference else 300)
    expected = loihi_layer(inputs, du, dv, v_th=v_th, bias=-37)
    layer = LoihiLIF(decay_current=du, decay_voltage=dv, v_th=v_th, bias=-37, record_states=True, unroll=unroll)
    zs, vs, currents = run(layer, inputs)
    np.testing.assert_array_equal(zs, expected[0])
    np.testing.assert_array_equal(vs, np.where(expected[0], 0, expected[1]))
    np.testing.assert_array_equal(currents, expected[2])


def test_the_simulated_runs_spike_wrap_around_and_saturate():
    spikes, _, currents = loihi_layer(inputs_of(30000), 500, 128, v_th=2000)
    _, potentials, _ = loihi_layer(inputs_of(30000), 0, 1, v_th=2**17 - 1)
    assert spikes.sum() > 100
    assert (np.abs(np.diff(currents, axis=0)) > 2**23).any(), "no current wraps around"
    assert potentials.max() == 2**23 - 1
    assert potentials.min() == 1 - 2**23


def test_a_readout_returns_the_potential():
    inputs = inputs_of(100)
    # no neuron of this simulator spikes
    _, potentials, _ = loihi_layer(inputs, 300, 200, v_th=2**40)
    vs, _, _ = run(LoihiLIF(decay_current=300, decay_voltage=200, readout=True, record_states=True), inputs)
    np.testing.assert_array_equal(vs, potentials)


def test_a_recurrent_layer_equals_an_int64_simulator():
    rng = np.random.default_rng(1)
    weights, recurrent = rng.integers(-100, 100, (20, 30)), rng.integers(-60, 60, (20, 20))
    spikes = rng.integers(0, 2, (500, 3, 30))
    layer = LoihiLIFRecurrent(
        30, 20, decay_current=1000, decay_voltage=300, v_th=400, autapses=True,
        input_weights=torch.tensor(weights).double(), recurrent_weights=torch.tensor(recurrent).double(),
    )  # fmt: skip
    zs, _ = layer(torch.tensor(spikes).double())
    expected, _, _ = loihi_layer(spikes @ weights.T, 1000, 300, v_th=400, recurrent=recurrent)
    assert expected.sum() > 100
    np.testing.assert_array_equal(zs.detach().numpy(), expected)


def test_the_gradient_is_that_of_the_smooth_equation():
    """Below threshold, one spike's effect on the potential is that of the equation without rounding."""
    xs = torch.zeros(6, dtype=torch.float64)
    xs[0] = 50
    xs.requires_grad_()
    layer = LoihiLIF(decay_current=1023, decay_voltage=512, readout=True)
    vs, _ = layer(xs)
    (grad,) = torch.autograd.grad(vs[-1], xs)
    alpha, beta = 1 - 1024 / 4096, 1 - 512 / 4096
    expected = [64 * sum(alpha**k * beta ** (n - k) for k in range(n + 1)) for n in range(5, -1, -1)]
    np.testing.assert_allclose(grad.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"v_th": 1.5}, "LoihiLIF.v_th must be an integer, got 1.5"),
        ({"v_th": 2.0**17}, "LoihiLIF.v_th must be < 131072"),
        ({"decay_current": 4096}, "LoihiLIF.decay_current must be < 4096"),
        ({"decay_voltage": -1}, "LoihiLIF.decay_voltage must be >= 0"),
    ],
)
def test_numbers_that_do_not_fit_a_register_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        LoihiLIF(**keywords)
