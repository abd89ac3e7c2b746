"""Recurrent layers with spiking gates, against the formulas, PyTorch's number of parameters and SpikingJelly."""

import importlib
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import geir
from geir.models import SpikingConvLSTM, SpikingGRU, SpikingLSTM, SpikingLTC
from geir.models.gated import SpikingGRUState, SpikingLSTMState

STEPS, BATCH, INPUTS, HIDDEN = 15, 3, 4, 5
LAYERS = {
    "LSTM": (partial(SpikingLSTM, INPUTS, HIDDEN), (INPUTS,)),
    "GRU": (partial(SpikingGRU, INPUTS, HIDDEN), (INPUTS,)),
    "ConvLSTM": (partial(SpikingConvLSTM, INPUTS, HIDDEN), (INPUTS, 6, 7)),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def made(name, **settings):
    torch.manual_seed(1)
    make, shape = LAYERS[name]
    return make(**settings).double(), torch.randn(STEPS, BATCH, *shape, dtype=torch.float64)


def heaviside(x):
    return (x > 0).astype(float)


def affine(module, x):
    return x @ module.weight.detach().numpy().T + module.bias.detach().numpy()


def test_an_lstm_is_its_formula():
    layer, xs = made("LSTM")
    h = c = np.zeros((BATCH, HIDDEN))
    expected, highest = [], 0
    for x in xs.numpy():
        gates = affine(layer.input_weights, x) + affine(layer.recurrent_weights, h)
        i, f, g, o = np.split(heaviside(gates), 4, axis=1)
        c = np.minimum(f * c + i * g, 1)
        highest = max(highest, (f + i * g).max())
        h = o * c
        expected.append(h)
    hs, state = layer(xs)
    assert highest == 2
    assert 0.1 < hs.mean() < 0.9
    np.testing.assert_array_equal(hs.detach(), expected)
    np.testing.assert_array_equal(state.c.detach(), c)


def test_the_gradient_passes_through_a_full_cell():
    layer, xs = made("LSTM")
    nn.init.ones_(layer.input_weights.bias)
    for weight in (layer.input_weights.weight, layer.recurrent_weights.weight, layer.recurrent_weights.bias):
        nn.init.zeros_(weight)
    c = torch.ones(BATCH, HIDDEN, dtype=torch.float64, requires_grad=True)
    hs, _ = layer(xs[:3], SpikingLSTMState(torch.zeros_like(c), c))
    assert torch.equal(hs, torch.ones_like(hs))
    hs[-1].sum().backward()
    assert torch.equal(c.grad, torch.ones_like(c))


def test_a_gru_is_its_formula():
    layer, xs = made("GRU")
    h, expected = np.zeros((BATCH, HIDDEN)), []
    for x in xs.numpy():
        a, b = affine(layer.input_weights, x), affine(layer.recurrent_weights, h)
        r = heaviside(a[:, :HIDDEN] + b[:, :HIDDEN])
        u = heaviside(a[:, HIDDEN : 2 * HIDDEN] + b[:, HIDDEN : 2 * HIDDEN])
        n = heaviside(a[:, 2 * HIDDEN :] + r * b[:, 2 * HIDDEN :])
        h = np.where(u > 0, h, n)
        expected.append(h)
    hs, _ = layer(xs)
    assert 0.1 < hs.mean() < 0.9
    np.testing.assert_array_equal(hs.detach(), expected)


def test_a_convolutional_lstm_with_one_pixel_is_an_lstm_with_the_centers_of_its_kernels():
    conv, _ = made("ConvLSTM")
    lstm, xs = made("LSTM")
    with torch.no_grad():
        for part in ("input_weights", "recurrent_weights"):
            getattr(lstm, part).weight.copy_(getattr(conv, part).weight[:, :, 1, 1])
        lstm.input_weights.bias.copy_(conv.input_weights.bias)
        lstm.recurrent_weights.bias.zero_()
    hs, _ = conv(3 * xs[..., None, None])
    assert hs.sum() > 20
    torch.testing.assert_close(hs[..., 0, 0], lstm(3 * xs)[0], rtol=0, atol=0)


def test_a_convolutional_lstm_is_shifted_with_its_input():
    layer, xs = made("ConvLSTM")
    padded = nn.functional.pad(xs, (STEPS + 2,) * 4)
    hs, _ = layer(padded)
    shifted, _ = layer(padded.roll((1, 1), (-2, -1)))
    assert hs.std() > 0
    inside = slice(STEPS + 1, -STEPS - 1)
    torch.testing.assert_close(shifted.roll((-1, -1), (-2, -1))[..., inside, inside], hs[..., inside, inside])


@every_layer
def test_runs_in_chunks_equal_one_run(name):
    layer, xs = made(name)
    expected, last = layer(xs)
    parts, state = [], None
    for chunk in xs.split([1, 6, 0, 8]):
        part, state = layer(chunk, state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts), expected, rtol=0, atol=0)
    torch.testing.assert_close(state, last, rtol=0, atol=0)


@every_layer
def test_gradients_with_a_smooth_threshold_are_those_of_finite_differences(name):
    layer, xs = made(name, surrogate=torch.sigmoid)
    xs = xs[:4, :1, :, :2, :2] if name == "ConvLSTM" else xs[:4, :1]
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def run(xs, *values):
        hs, state = torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (xs,))
        return hs, *state

    assert torch.autograd.gradcheck(run, (xs.requires_grad_(), *parameters), fast_mode=True)


@every_layer
def test_it_trains_in_front_of_other_layers(name):
    layer, xs = made(name)
    model = geir.SequentialState(layer, nn.Flatten(), nn.LazyLinear(2), geir.LI(), lift=True).double()
    model(xs)[0].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


RESTING_AT_ZERO = {
    "SpikingLSTM": LAYERS["LSTM"],
    "SpikingGRU": LAYERS["GRU"],
    "SpikingConvLSTM": LAYERS["ConvLSTM"],
    "SpikingLTC": (partial(SpikingLTC, INPUTS, HIDDEN), (INPUTS,)),
    "StateSpaceNeuron": (partial(geir.neurons.StateSpaceNeuron, 8, shape=(INPUTS,)), (INPUTS,)),
    "SlidingParallelSpikingNeuron": (
        partial(geir.SlidingParallelSpikingNeuron, BATCH + 1, surrogate=torch.sigmoid),
        (INPUTS,),
    ),
    "TemporalEffectiveBatchNorm": (partial(geir.models.TemporalEffectiveBatchNorm, INPUTS, 40), (INPUTS,)),
}


@pytest.mark.parametrize("name", RESTING_AT_ZERO)
def test_states_are_reset_for_all_samples_or_for_some(name):
    make, shape = RESTING_AT_ZERO[name]
    torch.manual_seed(0)
    # Weak input: the state decides.
    layer, xs = make(), (3 if name == "StateSpaceNeuron" else 0.3) * torch.randn(STEPS, BATCH, *shape)
    if name == "TemporalEffectiveBatchNorm":
        nn.init.uniform_(layer.factors)
    model = geir.SequentialState(layer, geir.LIF(), lift=True).eval()
    expected, _ = model(xs)
    torch.testing.assert_close(model(xs, geir.initial_state(model, xs))[0], expected)
    state = pytree.tree_map(torch.ones_like, model(xs)[1])
    assert all((layer(xs, state[0])[0] != layer(xs)[0])[:, sample].any() for sample in range(BATCH))
    if name == "TemporalEffectiveBatchNorm":  # all samples are at the same step
        with pytest.raises(ValueError, match=r"a part of the state has shape \(\)"):
            geir.reset(model, state, torch.ones(BATCH, dtype=torch.bool))
        return
    samples = torch.tensor([True, False, False])
    ys, _ = model(xs, geir.reset(model, state, samples))
    torch.testing.assert_close(ys[:, 0], expected[:, 0])
    torch.testing.assert_close(ys[:, 1:], model(xs, state)[0][:, 1:])


def test_they_have_as_many_parameters_as_those_of_pytorch():
    for ours, theirs in ((SpikingLSTM, nn.LSTM), (SpikingGRU, nn.GRU)):
        counts = [sum(p.numel() for p in kind(7, 11).parameters()) for kind in (ours, theirs)]
        assert counts[0] == counts[1]
    # X. Shi et al. 2015: 3 x 3 kernels from input and output to four gates; here without peepholes.
    assert sum(p.numel() for p in SpikingConvLSTM(7, 11).parameters()) == 4 * 11 * (9 * (7 + 11) + 1)


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_they_are_those_of_spikingjelly(name):
    rnn = pytest.importorskip("spikingjelly.activation_based.rnn", reason="SpikingJelly is in the extra 'peers'")
    layer, xs = made(name)
    atan = importlib.import_module("spikingjelly.activation_based.surrogate").ATan(alpha=2.0)
    theirs = getattr(rnn, f"Spiking{name}")(INPUTS, HIDDEN, 1, surrogate_function1=atan).double()
    cell = theirs.cells[0]
    for ours, peer in ((layer.input_weights, cell.linear_ih), (layer.recurrent_weights, cell.linear_hh)):
        peer.load_state_dict(ours.state_dict())
    results = []
    weights = torch.randn(STEPS, BATCH, HIDDEN, dtype=torch.float64)
    for module, maps in (
        (layer, (layer.input_weights, layer.recurrent_weights)),
        (theirs, (cell.linear_ih, cell.linear_hh)),
    ):
        hs, _ = module(xs)
        (weights * hs).sum().backward()
        results.append((hs, *[part.weight.grad for part in maps]))
    torch.testing.assert_close(*results)


XS = torch.rand(STEPS, BATCH, INPUTS, generator=torch.Generator().manual_seed(0))
CASES = {
    "no batch": (
        lambda: SpikingLSTM(INPUTS, HIDDEN)(XS[:, 0]),
        ValueError,
        r"SpikingLSTM expected input of shape \(time, batch, features\), got \(15, 4\)",
    ),
    "vectors for images": (
        lambda: SpikingConvLSTM(INPUTS, HIDDEN)(XS),
        ValueError,
        r"SpikingConvLSTM expected input of shape \(time, batch, channels, height, width\), got \(15, 3, 4\)",
    ),
    "integers": (lambda: SpikingGRU(INPUTS, HIDDEN)(XS.long()), TypeError, "SpikingGRU expected floating-point input"),
    "the state of another layer": (
        lambda: SpikingGRU(INPUTS, HIDDEN)(XS, SpikingLSTM(INPUTS, HIDDEN)(XS)[1]),
        TypeError,
        "SpikingGRU expected a SpikingGRUState as its state, got SpikingLSTMState",
    ),
    "the state of another batch": (
        lambda: SpikingLSTM(INPUTS, HIDDEN)(XS, SpikingLSTMState(torch.zeros(3, 5), torch.zeros(5))),
        ValueError,
        r"SpikingLSTMState.c has shape \(5,\), but SpikingLSTM needs \(3, 5\)",
    ),
    "the output of another size": (
        lambda: SpikingGRU(INPUTS, HIDDEN)(XS, SpikingGRUState(torch.zeros(3, 6))),
        ValueError,
        r"SpikingGRUState.h has shape \(3, 6\), but SpikingGRU needs \(3, 5\)",
    ),
    "no outputs": (
        lambda: SpikingLSTM(INPUTS, 0),
        ValueError,
        "SpikingLSTM: hidden_size must be an integer >= 1, got 0",
    ),
    "an even kernel": (
        lambda: SpikingConvLSTM(INPUTS, HIDDEN, 4),
        ValueError,
        "SpikingConvLSTM.kernel_size must be odd, to keep height and width, got 4",
    ),
    "the name of a surrogate": (
        lambda: SpikingLSTM(INPUTS, HIDDEN, surrogate="atan"),
        TypeError,
        r"SpikingLSTM.surrogate must be a surrogate such as ATan\(\), got 'atan'",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_arguments_and_input_are_rejected(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()
