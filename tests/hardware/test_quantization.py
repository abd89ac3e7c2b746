"""Networks on a chip's grid: quantized, integer, and an independent integer simulation agree."""

import copy
import pickle

import numpy as np
import pytest
import torch
from integer_simulators import loihi_layer, xylo_layer
from seeding import seeded
from torch import nn

import geir
from geir.hardware import LOIHI2, quantize, QuantizedLayer, SPECK, to_integer, XYLO_AUDIO_3
from geir.surrogates import MultiSpike, Triangle


def loihi_network():
    """Two convolutions, a sum pool, biases, a dense layer and a readout; time constants of each layer differ."""
    return geir.SequentialState(
        nn.Conv2d(1, 6, 3, padding=1),
        geir.LIF(tau_mem=20e-3, v_th=0.3),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 8, 3),
        geir.LIF(tau_syn=2e-3, v_th=-0.07, v_rest=-0.1, v_reset=-0.1),
        nn.Flatten(),
        nn.Linear(32, 12, bias=False),
        geir.LIFBox(v_th=0.01),
        nn.Linear(12, 10),
        geir.LI(tau_mem=30e-3),
        lift=True,
    )


def xylo_network():
    settings = {"reset_mechanism": geir.ResetBySubtraction(), "surrogate": MultiSpike()}
    return geir.SequentialState(
        nn.Linear(16, 40),
        geir.LIF(tau_mem=16e-3, tau_syn=4e-3, v_th=0.1, **settings),
        nn.Linear(40, 30, bias=False),
        geir.LIF(tau_mem=9e-3, tau_syn=3e-3, v_th=0.2, **settings),
        nn.Linear(30, 10, bias=False),
        geir.LI(tau_mem=30e-3, tau_syn=5e-3),
        lift=True,
    )


def recurrent_network(reset):
    return geir.SequentialState(
        geir.LIFRecurrent(16, 30, v_th=0.3, reset_mechanism=reset),
        nn.Linear(30, 10),
        geir.LIF(v_th=0.1, reset_mechanism=reset),
        lift=True,
    )


def spikes_of(*shape):
    return torch.bernoulli(torch.full(shape, 0.3))


CASES = [
    pytest.param(loihi_network, LOIHI2, (200, 3, 1, 8, 8), id="Loihi"),
    pytest.param(xylo_network, XYLO_AUDIO_3, (300, 3, 16), id="Xylo"),
    pytest.param(lambda: recurrent_network(geir.ResetToValue()), LOIHI2, (300, 3, 16), id="recurrent Loihi"),
    pytest.param(lambda: recurrent_network(geir.ResetBySubtraction()), XYLO_AUDIO_3, (300, 3, 16), id="recurrent Xylo"),
]
every_network = pytest.mark.parametrize(("network", "target", "shape"), CASES)


def outputs_of_neurons(model, xs):
    """The outputs of all layers with neurons."""
    outputs, state = [], None
    for module in model:
        if isinstance(module, geir.Dynamics):
            xs, state = module(xs)
            outputs.append(xs)
        else:
            xs = geir.Lift(module)(xs)
    return outputs


@every_network
@pytest.mark.parametrize("learn_scale", [False, True])
def test_quantized_and_integer_model_agree_in_every_spike_and_potential(network, target, shape, learn_scale):
    quantized = quantize(network(), target, learn_scale=learn_scale)
    integer = to_integer(quantized, target)
    xs = spikes_of(*shape)
    q, z = outputs_of_neurons(quantized, xs), outputs_of_neurons(integer, xs)
    assert len(q) == len(z)
    for expected, actual in zip(q[:-1], z[:-1], strict=True):
        assert expected.sum() > 100
        assert torch.equal(actual, expected)
    if integer[-1].spiking:
        assert torch.equal(z[-1], q[-1])
    else:
        layer = quantized[-1]
        unit = layer.integers(layer.equation()).unit / layer.grid.units
        assert torch.equal(z[-1], z[-1].round())
        torch.testing.assert_close(q[-1], z[-1] * unit + layer.equation().rest, rtol=1e-12, atol=1e-12)


@every_network
def test_the_integer_model_equals_a_simulation_in_int64(network, target, shape):
    """From the registers of the integer model, by the published equations; with NumPy's integers all along."""
    integer = to_integer(network(), target)
    xs = spikes_of(*shape)
    actual = outputs_of_neurons(integer, xs)
    activity, found = xs.numpy().astype(np.int64), []
    for name, module in integer.named_children():
        if isinstance(module, geir.Dynamics):
            recurrent = None
            if "Recurrent" in type(module).__name__:
                activity = integer_product(module.input_weights, activity)
                recurrent = module.recurrent_weights.detach().numpy().astype(np.int64)
            activity = simulate(module, activity, recurrent)
            found.append(activity)
        elif name.endswith("_input"):
            activity = integer_product(module, activity)
        elif "SumPool2d" in type(module).__name__:
            t, b, c, h, w = activity.shape
            activity = activity.reshape(t, b, c, h // 2, 2, w // 2, 2).sum((4, 6))
        elif isinstance(module, nn.Flatten):
            activity = activity.reshape(*activity.shape[:2], -1)
    assert len(actual) == len(found) > 1
    assert all(abs(expected).sum() > 100 for expected in found), "the input is too weak for this test"
    for expected, z in zip(found, actual, strict=True):
        np.testing.assert_array_equal(z.detach().numpy(), expected)


def integer_product(module, activity):
    weight = module.weight.numpy().astype(np.int64)
    bias = module.bias.numpy().astype(np.int64) if "bias" in module._names else 0
    if weight.ndim == 2:
        return activity @ weight.T + bias
    padding = module._connection[0].padding[0]
    padded = np.pad(activity, [(0, 0)] * 3 + [(padding, padding)] * 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(3, 4))
    return np.moveaxis(np.einsum("tbchwij,ocij->tbhwo", windows, weight) + bias, -1, 2)


def simulate(module, activity, recurrent):
    registers = {name: int(value) for name, value in module.declared_parameters().items() if name != "distance"}
    if hasattr(module, "decay_current"):
        v_th = 2**40 if module.readout else registers["v_th"]
        spikes, potentials, _ = loihi_layer(
            activity, registers["decay_current"], registers["decay_voltage"], v_th, recurrent=recurrent
        )
    else:
        v_th = 2**40 if module.readout else registers["v_th"]
        spikes, potentials, _ = xylo_layer(
            activity, registers["dash_syn"], registers["dash_mem"], v_th, max_spikes=module.max_spikes,
            recurrent=recurrent,
        )  # fmt: skip
    return potentials if module.readout else spikes


@every_network
def test_a_run_in_two_halves_equals_one_run(network, target, shape):
    for model in (quantize(network(), target), to_integer(network(), target)):
        xs = spikes_of(*shape)
        ys, _ = model(xs)
        first, state = model(xs[:50])
        second, _ = model(xs[50:], state)
        assert torch.equal(torch.cat([first, second]), ys)


@every_network
def test_kernels_and_reference_loop_agree_to_the_bit(network, target, shape):
    model = network()
    fused = quantize(model, target)
    loop = copy.deepcopy(fused)
    for module in loop:
        if isinstance(module, QuantizedLayer):
            module.unroll = geir.reference
    xs = spikes_of(40, *shape[1:])
    ys, expected = fused(xs)[0], loop(xs)[0]
    assert torch.equal(ys, expected)
    cotangent = torch.randn_like(ys)
    for parameter, other in zip(fused.parameters(), loop.parameters(), strict=True):
        parameter.grad = other.grad = None
    ys.backward(cotangent)
    expected.backward(cotangent)
    for (name, parameter), other in zip(fused.named_parameters(), loop.parameters(), strict=True):
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-6, atol=1e-6 * float(other.grad.abs().max()))


def test_with_fine_grids_the_quantized_network_is_the_network_itself():
    """Loihi's rounding is finer than the distance of these potentials from threshold."""
    torch.manual_seed(3)
    model = geir.SequentialState(nn.Linear(20, 30), geir.LIF(v_th=0.3), nn.Linear(30, 5), geir.LI(), lift=True)
    # Weights on the grid already.
    with torch.no_grad():
        for linear in (model[0], model[2]):
            for p in (linear.weight, linear.bias):
                p.copy_(torch.randint(-127, 128, p.shape) / 512)
            linear.weight[0, 0] = 127 / 512
    xs = spikes_of(200, 4, 20)
    zs, quantized_zs = model[:2](xs)[0], quantize(model, LOIHI2)[:2](xs)[0]
    assert zs.sum() > 1000
    assert (zs != quantized_zs).float().mean() < 2e-3
    vs, quantized_vs = model(xs)[0], quantize(model, LOIHI2)(xs)[0]
    assert (vs - quantized_vs).abs().max() < 0.05 * vs.abs().max()


def test_a_spike_keeps_its_total_effect_on_xylo_although_decays_are_powers_of_two():
    """The sum over time of the response to one spike; 17 ms and 3.3 ms are far from the grid."""
    model = geir.SequentialState(nn.Linear(3, 2, bias=False), geir.LI(tau_mem=17e-3, tau_syn=3.3e-3), lift=True)
    xs = torch.zeros(400, 1, 3)
    # many spikes, so that rounding the potential does not matter
    xs[0] = 15
    effect, quantized = (network(xs)[0].double().sum(0) for network in (model, quantize(model, XYLO_AUDIO_3)))
    torch.testing.assert_close(quantized, effect, rtol=0.05, atol=0)


def test_on_xylos_grid_the_quantized_readout_is_that_of_the_network():
    # leaks of 1/8 and 1/4 per step
    tau_mem, tau_syn = (-1e-3 / np.log(1 - leak) for leak in (1 / 8, 1 / 4))
    model = geir.SequentialState(nn.Linear(16, 5), geir.LI(tau_mem=tau_mem, tau_syn=tau_syn), lift=True)
    xs = spikes_of(200, 4, 16)
    vs, quantized = model(xs)[0], quantize(model, XYLO_AUDIO_3)(xs)[0]
    assert (vs - quantized).abs().max() < 0.03 * vs.abs().max()


@pytest.mark.parametrize("window", [2, (2, 4)])
def test_sums_replace_averages_without_changing_what_reaches_the_neurons(window):
    modules = nn.AvgPool2d(window), nn.Flatten(), nn.LazyLinear(5), geir.LI(v_rest=0.3)
    model, xs = geir.SequentialState(*modules, lift=True), spikes_of(100, 4, 2, 8, 8)
    vs = model(xs)[0]
    assert (vs - quantize(model, LOIHI2)(xs)[0]).abs().max() < 0.02 * (vs - 0.3).abs().max()


def test_gradients_are_those_of_the_float_network_where_rounding_is_fine():
    torch.manual_seed(0)
    model = geir.SequentialState(nn.Linear(20, 5), geir.LI(tau_mem=geir.learnable(20e-3)), lift=True)
    xs = spikes_of(50, 4, 20)
    quantized = quantize(model, LOIHI2)
    for network in (model, quantized):
        network(xs)[0].sum().backward()
    names = {name.split(".")[-1]: p.grad for name, p in quantized.named_parameters()}
    torch.testing.assert_close(names["weight"], model[0].weight.grad, rtol=2e-2, atol=0)
    torch.testing.assert_close(names["bias"], model[0].bias.grad, rtol=2e-2, atol=0)
    torch.testing.assert_close(names["log_tau_mem"], model[1].log_tau_mem.grad, rtol=5e-2, atol=0)


@pytest.mark.parametrize("v_th", [0.3, 3.0])
@pytest.mark.parametrize("target", [LOIHI2, XYLO_AUDIO_3])
def test_gradients_through_spikes_are_those_of_the_float_network(target, v_th):
    """The surrogate derivative sees distances in the units of the float network, not of the integers."""
    tau_mem, tau_syn = (-1e-3 / np.log(1 - leak) for leak in (1 / 8, 1 / 4))
    settings = {"tau_mem": tau_mem, "tau_syn": tau_syn, "v_th": v_th, "surrogate": Triangle(width=v_th)}
    if target is XYLO_AUDIO_3:
        settings |= {"reset_mechanism": geir.ResetBySubtraction()}
    model = geir.SequentialState(nn.Linear(16, 20), geir.LIF(**settings), lift=True)
    with torch.no_grad():
        for parameter in model[0].parameters():
            parameter.mul_(3 * v_th)
    xs, quantized = spikes_of(60, 8, 16), quantize(model, target)
    zs = [network(xs)[0] for network in (model, quantized)]
    assert zs[0].sum() > 200
    for z in zs:
        z.sum().backward()
    gradients = model[0].weight.grad, quantized[1].connection.weight.grad
    assert (gradients[0] - gradients[1]).norm() < 0.03 * gradients[0].norm()


def test_stochastic_rounding_keeps_the_mean_and_stops_in_evaluation_mode():
    torch.manual_seed(0)
    model = geir.SequentialState(nn.Linear(30, 20, bias=False), geir.LI(), lift=True)
    quantized = quantize(model, LOIHI2, stochastic=True)
    layer = quantized[1]
    equation = layer.equation()
    exact = layer.grid.gain(equation) * layer.connection.weight.double() / layer.integers(equation).unit
    drawn = torch.stack([layer.integers(equation).connection["weight"] for _ in range(400)])
    assert (drawn.mean(0) - exact).abs().max() < 5 * 0.5 / 400**0.5
    assert (drawn[0] != drawn[1]).any()
    quantized.eval()
    assert torch.equal(layer.integers(equation).connection["weight"], exact.round())


def test_a_learned_scale_receives_the_gradient_of_learned_step_size_quantization():
    """For a weight w inside the limits the gradient of unit * round(w / unit) is round(w / unit) - w / unit."""
    torch.manual_seed(0)
    model = geir.SequentialState(nn.Linear(4, 1, bias=False), geir.LI(), lift=True)
    layer = quantize(model, LOIHI2, learn_scale=True)[1]
    integers = layer.integers(layer.equation())
    (integers.unit * integers.connection["weight"]).sum().backward()
    exact = layer.grid.gain(layer.equation()) * layer.connection.weight.double() / integers.unit
    expected = integers.unit * (exact.round() - exact).sum()
    torch.testing.assert_close(layer.log_unit.grad, expected.detach(), rtol=1e-9, atol=0)


def test_a_network_of_several_layers_equals_the_simulator_of_xylos_vendor():
    """On the chip all hidden layers are one recurrent population, so that each layer is one step late."""
    xylosim = pytest.importorskip("xylosim.v2", reason="XyloSim is not installed")
    integer = to_integer(xylo_network(), XYLO_AUDIO_3)
    xs = torch.poisson(torch.full((300, 1, 16), 0.5))
    first, second, potentials = (ys[:, 0].numpy() for ys in outputs_of_neurons(integer, xs))
    w1, w2, w3 = (module.weight.numpy().astype(int) for name, module in integer.named_children() if "_input" in name)
    bias = integer[1].bias.numpy().astype(int)
    n1, n2, n3 = len(w1), len(w2), len(w3)
    # A bias is an input that spikes in every step; hidden neurons of the second layer have none.
    w_in = np.zeros((17, n1 + n2), int)
    w_in[:16, :n1], w_in[16, :n1] = w1.T, bias
    w_rec = np.zeros((n1 + n2, n1 + n2), int)
    w_rec[:n1, n1:] = w2.T
    w_out = np.zeros((n1 + n2, n3), int)
    w_out[n1:] = w3.T
    layers = [module for module in integer if isinstance(module, geir.Dynamics)]

    def registers(name, modules, sizes):
        return [int(getattr(module, name)) for module, size in zip(modules, sizes, strict=True) for _ in range(size)]

    def synapses(weights):
        return [[xylosim.XyloSynapse(k, 0, int(w)) for k, w in enumerate(row)] for row in weights]

    owned = synapses(w_in), synapses(w_rec), synapses(w_out)
    hidden, sizes = layers[:2], (n1, n2)
    chip = xylosim.XyloLayer(
        synapses_in=owned[0], synapses_rec=owned[1], synapses_out=owned[2], aliases=[[] for _ in range(n1 + n2)],
        threshold=registers("v_th", hidden, sizes), threshold_out=[32767] * n3, has_bias=False, bias=[0] * (n1 + n2),
        bias_out=[0] * n3, weight_shift_inp=0, weight_shift_rec=0, weight_shift_out=0,
        dash_mem=registers("dash_mem", hidden, sizes), dash_mem_out=registers("dash_mem", layers[2:], [n3]),
        dash_syns=[[d, 0] for d in registers("dash_syn", hidden, sizes)],
        dash_syns_out=[[d] for d in registers("dash_syn", layers[2:], [n3])], name="",
    )  # fmt: skip
    events = np.concatenate([xs[:, 0].numpy(), np.ones((300, 1))], 1).astype(int)
    chip.evolve(events.tolist())
    spikes = np.array(chip.rec_recurrent_spikes)
    assert first.sum() > 100
    assert second.sum() > 100
    np.testing.assert_array_equal(first, spikes[:, :n1])
    np.testing.assert_array_equal(second[:-1], spikes[1:, n1:])
    np.testing.assert_array_equal(potentials[:-2], np.array(chip.rec_v_mem_out).T[2:])


REFUSED = seeded(lambda: [
    (nn.Sequential(nn.Linear(4, 4), geir.ALIF()), LOIHI2, "1: neurons with a potential v and a current i: got ALIF"),
    (nn.Sequential(nn.Linear(4, 4), geir.LIF()), XYLO_AUDIO_3, "1: Xylo Audio 3 resets by subtraction: got value; use"),
    (nn.Sequential(nn.Linear(4, 4), geir.LIF(reset_mechanism=geir.ResetBySubtraction())), LOIHI2,
     "1: Loihi 2 resets by value: got subtraction; use geir.ResetToValue"),
    (nn.Sequential(nn.Linear(4, 4), geir.LIBox()), XYLO_AUDIO_3, "every neuron has a synaptic current: got none"),
    (nn.Sequential(nn.Linear(4, 4), geir.LIF(v_th=torch.tensor([1.0, 2.0, 1.0, 1.0]))), LOIHI2,
     "1.v_th: one value for the neurons of a layer: got 4 values"),
    (nn.Sequential(nn.Linear(4, 4), geir.CubaLIF()), LOIHI2, "1: input that reaches the potential through the current"),
    (nn.Sequential(nn.Linear(4, 4), geir.QIF()), LOIHI2, "1: a linear membrane at rest without input: got QIF"),
    (nn.Sequential(nn.Linear(4, 4), geir.Refractory(geir.LIF())), LOIHI2, "1: plain neurons: got Refractory; use geir.LIF"),
    (nn.Sequential(nn.Linear(4, 4), geir.LIF(v_th=-1.0)), LOIHI2, "1: a threshold v_th above rest: got LIF with a distance of -1"),
    (nn.Sequential(nn.Linear(4, 4), geir.LIFCell()), LOIHI2, "1: layers over time: got LIFCell; use LIF"),
    (nn.Sequential(nn.Conv2d(1, 1, 1), geir.LIF(), nn.MaxPool2d(2), nn.Conv2d(1, 1, 1), geir.LIF()), LOIHI2,
     "2: Loihi 2 adds spikes: got MaxPool2d; use torch.nn.AvgPool2d"),
    (nn.Sequential(nn.AvgPool2d(2, padding=1), nn.Conv2d(1, 1, 1), geir.LIF()), LOIHI2, "0: averages of whole windows"),
    (nn.Sequential(nn.Linear(4, 4)), LOIHI2, "0: neurons after every connection: got Linear; put neurons after it"),
    (nn.Sequential(nn.Linear(4, 4), geir.IAF()), SPECK, "the arithmetic of Speck .* is not modeled; expected one of Loihi 2"),
])  # fmt: skip


@pytest.mark.parametrize("function", [quantize, to_integer])
@pytest.mark.parametrize(("model", "target", "message"), REFUSED)
def test_what_a_chip_cannot_compute_is_refused_with_module_and_limit(function, model, target, message):
    with pytest.raises(ValueError, match=message):
        function(model, target)


def test_hidden_neurons_of_xylo_emit_up_to_31_spikes_and_outputs_one():
    hidden, _, output = to_integer(recurrent_network(geir.ResetBySubtraction()), XYLO_AUDIO_3)[1:]
    assert (hidden.max_spikes, output.max_spikes) == (31, 1)


def test_a_quantized_network_that_diverged_in_training_is_refused():
    quantized = quantize(loihi_network(), LOIHI2)
    with torch.no_grad():
        quantized[1].connection.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"1\.connection\.weight must be finite, got nan in 1 of 54 places"):
        to_integer(quantized, LOIHI2)


def test_a_network_quantized_for_another_chip_is_refused():
    quantized = quantize(loihi_network(), LOIHI2)
    with pytest.raises(ValueError, match="is quantized for Loihi 2, expected Xylo Audio 3"):
        to_integer(quantized, XYLO_AUDIO_3)


@pytest.mark.parametrize("function", [quantize, to_integer])
def test_input_that_is_no_spikes_is_refused(function):
    with pytest.raises(ValueError, match=r"input of a chip is spikes, or integers; got 0\.5"):
        function(xylo_network(), XYLO_AUDIO_3)(torch.full((3, 1, 16), 0.5))
    with pytest.raises(ValueError, match="accepts 0 to 15 spikes of an input in one step, got 16 to 16"):
        function(xylo_network(), XYLO_AUDIO_3)(torch.full((3, 1, 16), 16.0))


def test_the_given_network_stays_as_it_is():
    model = loihi_network()
    before = copy.deepcopy(model.state_dict())
    quantized = quantize(model, LOIHI2)
    for parameter in quantized.parameters():
        parameter.data.zero_()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@every_network
def test_models_are_saved_and_copied(network, target, shape):
    xs = spikes_of(20, *shape[1:])
    model, other = network(), network()
    quantized, restored = quantize(model, target), quantize(other, target)
    restored.load_state_dict(quantized.state_dict())
    assert torch.equal(restored(xs)[0], quantized(xs)[0])
    integer = to_integer(model, target)
    copied = pickle.loads(pickle.dumps(integer))
    assert torch.equal(copied(xs)[0], integer(xs)[0])
    loaded = to_integer(other, target)
    loaded.load_state_dict(integer.state_dict())
    assert torch.equal(loaded(xs)[0], integer(xs)[0])
