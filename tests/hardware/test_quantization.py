"""Networks on a chip's grid: quantized, integer, and an independent integer simulation agree."""

import copy

import numpy as np
import pytest
import torch
from integer_simulators import loihi_layer, xylo_layer
from torch import nn

import geir
from geir.hardware import LOIHI2, quantize, QuantizedLayer, to_integer, XYLO_AUDIO_3
from geir.surrogates import MultiSpike


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
        nn.Linear(30, 10),
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
