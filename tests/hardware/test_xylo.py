"""Xylo's neuron: XyloSim, an independent integer simulator, gradients."""

import numpy as np
import pytest
import torch
from integer_simulators import xylo_layer

import geir
from geir.hardware import XyloLIF, XyloLIFRecurrent

DASHES = [(2, 4), (1, 1), (0, 3), (8, 15), (15, 8)]
UNROLLS = [pytest.param(geir.Fused(), id="kernel"), pytest.param(geir.reference, id="reference")]


def inputs_of(scale, steps=2000, seed=0):
    """Integers of both signs, with long stretches of one sign, so that states reach their limits."""
    rng = np.random.default_rng(seed)
    drift = np.repeat(rng.integers(-1, 2, (steps // 50, 20)), 50, axis=0)
    return np.round(rng.normal(0, scale, (steps, 20)) + drift * scale).astype(np.int64)


def run(layer, inputs):
    zs, states = layer(torch.tensor(inputs, dtype=torch.float64))
    return [t.detach().numpy() for t in (zs, states.v, states.i)]


@pytest.mark.parametrize("unroll", UNROLLS)
@pytest.mark.parametrize(("dash_syn", "dash_mem"), DASHES)
@pytest.mark.parametrize(("scale", "v_th"), [(30, 100), (300, 7), (10000, 3000), (30000, 32767)])
@pytest.mark.parametrize("max_spikes", [31, 1])
def test_the_neuron_equals_an_int64_simulator_bit_for_bit(scale, v_th, dash_syn, dash_mem, max_spikes, unroll):
    inputs = inputs_of(scale, steps=2000 if unroll is not geir.reference else 200)
    expected = xylo_layer(inputs, dash_syn, dash_mem, v_th, bias=11, max_spikes=max_spikes)
    layer = XyloLIF(
        dash_syn=dash_syn, dash_mem=dash_mem, v_th=v_th, bias=11, max_spikes=max_spikes, record_states=True,
        unroll=unroll,
    )  # fmt: skip
    for actual, wanted in zip(run(layer, inputs), expected, strict=True):
        np.testing.assert_array_equal(actual, wanted)


def test_the_simulated_runs_emit_several_spikes_and_saturate():
    spikes, _, _ = xylo_layer(inputs_of(300), 2, 4, 7)
    assert set(range(5)) | {31} <= set(spikes.ravel())
    _, potentials, _ = xylo_layer(inputs_of(30000), 8, 15, 32767)
    assert potentials.min() == -(2**15)


def test_recurrent_layer_and_readout_equal_the_simulator_of_the_chips_vendor():
    """XyloSim adds the delay of one step from hidden to output neurons."""
    xylosim = pytest.importorskip("xylosim.v2", reason="XyloSim is not installed")
    rng = np.random.default_rng(2)
    steps, inputs, hidden, outputs = 400, 16, 40, 8
    w_in, w_rec = rng.integers(-128, 128, (inputs, hidden)), rng.integers(-20, 12, (hidden, hidden))
    w_out = rng.integers(-128, 128, (hidden, outputs))
    dash_mem, dash_syn = rng.integers(1, 6, hidden), rng.integers(1, 5, hidden)
    dash_mem_out, dash_syn_out = rng.integers(1, 6, outputs), rng.integers(1, 5, outputs)
    v_th, v_th_out, bias = (
        rng.integers(200, 2000, hidden),
        rng.integers(200, 2000, outputs),
        rng.integers(-20, 60, hidden),
    )
    events = rng.poisson(1.0, (steps, inputs)).clip(0, 15)

    def synapses(weights):
        return [[xylosim.XyloSynapse(k, 0, int(w)) for k, w in enumerate(row)] for row in weights]

    # The layer does not own its synapses.
    owned = synapses(w_in), synapses(w_rec), synapses(w_out)
    chip = xylosim.XyloLayer(
        synapses_in=owned[0], synapses_rec=owned[1], synapses_out=owned[2], aliases=[[] for _ in range(hidden)],
        threshold=v_th.tolist(), threshold_out=v_th_out.tolist(), has_bias=True, bias=bias.tolist(),
        bias_out=[0] * outputs, weight_shift_inp=0, weight_shift_rec=0, weight_shift_out=0,
        dash_mem=dash_mem.tolist(), dash_mem_out=dash_mem_out.tolist(),
        dash_syns=[[int(d), 0] for d in dash_syn], dash_syns_out=[[int(d)] for d in dash_syn_out], name="",
    )  # fmt: skip
    out = np.array(chip.evolve(events.tolist()))
    recorded = np.array(chip.rec_recurrent_spikes), np.array(chip.rec_v_mem).T, np.array(chip.rec_i_syn).T

    layer = XyloLIFRecurrent(
        inputs, hidden, dash_syn=torch.tensor(dash_syn), dash_mem=torch.tensor(dash_mem), v_th=torch.tensor(v_th),
        bias=torch.tensor(bias), autapses=True, input_weights=torch.tensor(w_in.T).double(),
        recurrent_weights=torch.tensor(w_rec.T).double(), record_states=True,
    )  # fmt: skip
    zs, states = layer(torch.tensor(events).double())
    assert recorded[0].sum() > 1000
    assert recorded[0].max() > 1
    np.testing.assert_array_equal(zs.detach().numpy(), recorded[0])
    np.testing.assert_array_equal(states.neuron.v.detach().numpy(), recorded[1])
    np.testing.assert_array_equal(states.neuron.i.detach().numpy(), recorded[2])

    readout = XyloLIF(
        dash_syn=torch.tensor(dash_syn_out), dash_mem=torch.tensor(dash_mem_out), v_th=torch.tensor(v_th_out),
        max_spikes=1, record_states=True,
    )  # fmt: skip
    outs, states = readout(zs.detach() @ torch.tensor(w_out).double())
    assert out.sum() > 100
    np.testing.assert_array_equal(outs[:-1].numpy(), out[1:])
    np.testing.assert_array_equal(states.v[:-1].numpy(), np.array(chip.rec_v_mem_out).T[1:])


def test_the_gradient_is_that_of_the_smooth_equation():
    xs = torch.zeros(6, dtype=torch.float64)
    xs[0] = 1000
    xs.requires_grad_()
    vs, _ = XyloLIF(dash_syn=2, dash_mem=3, readout=True)(xs)
    (grad,) = torch.autograd.grad(vs[-1], xs)
    alpha, beta = 1 - 1 / 4, 1 - 1 / 8
    expected = [sum(alpha ** (k + 1) * beta ** (n - k) for k in range(n + 1)) for n in range(5, -1, -1)]
    np.testing.assert_allclose(grad.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"dash_syn": 2.5}, "XyloLIF.dash_syn must be an integer, got 2.5"),
        ({"v_th": 40000}, "XyloLIF.v_th must be < 32768"),
        ({"max_spikes": 32}, "XyloLIF.max_spikes must be an integer from 1 to 31"),
    ],
)
def test_numbers_that_do_not_fit_a_register_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        XyloLIF(**keywords)
