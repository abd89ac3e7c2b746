"""Whether a network fits a chip: every limit, and bad input."""

import pytest
import torch
from seeding import seeded
from torch import nn

import geir
from geir import hardware
from geir.surrogates import GradedSpike, MultiSpike, TernarySpike

SUBTRACT = geir.ResetBySubtraction()


def network(*modules):
    return geir.SequentialState(*modules, lift=True)


def findings(model, target, input_shape):
    report = hardware.check(model, target, input_shape)
    assert report.ok == (not report.findings)
    return [(f.module, f.limit) for f in report.findings]


FITTING = seeded(lambda: [
    pytest.param(
        network(nn.Linear(14, 100), geir.LIF(reset_mechanism=SUBTRACT), nn.Linear(100, 8, bias=False), geir.LI()),
        hardware.XYLO_AUDIO_2, (14,), id="Xylo",
    ),
    pytest.param(
        network(geir.LIFRecurrent(16, 100, reset_mechanism=SUBTRACT), nn.Linear(100, 8, bias=False), geir.LI()),
        hardware.XYLO_IMU, (16,), id="Xylo, recurrent",
    ),
    pytest.param(
        network(nn.Conv2d(2, 8, 3), geir.LIF(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(72, 10), geir.LI()),
        hardware.LOIHI2, (2, 8, 8), id="Loihi",
    ),
    pytest.param(
        network(nn.Conv2d(2, 8, 3), geir.IAF(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(72, 10), geir.IAF()),
        hardware.SPECK, (2, 8, 8), id="Speck",
    ),
    pytest.param(
        network(nn.Linear(128, 100, bias=False), geir.AdEx(), nn.Linear(100, 10, bias=False), geir.LI()),
        hardware.BRAINSCALES2, (128,), id="BrainScaleS-2",
    ),
    pytest.param(network(nn.Linear(255, 300), geir.IAF()), hardware.TRUENORTH, (255,), id="TrueNorth"),
    pytest.param(network(nn.Linear(255, 300), geir.LIF()), hardware.SPINNAKER2, (255,), id="SpiNNaker2"),
])  # fmt: skip


@pytest.mark.parametrize(("model", "target", "input_shape"), FITTING)
def test_a_network_that_fits_has_no_findings(model, target, input_shape):
    assert findings(model, target, input_shape) == []


# One step beyond each limit.
EXCEEDING = seeded(lambda: [
    (network(nn.Linear(17, 9, bias=False), geir.LI()), hardware.XYLO_AUDIO_2, (17,),
     [("0", "input channels: at most 16"), ("1", "output neurons: at most 8")]),
    # the biases of a hidden layer are one more input
    (network(nn.Linear(15, 8), geir.LIF(reset_mechanism=SUBTRACT), nn.Linear(8, 8), geir.LIF(reset_mechanism=SUBTRACT),
             nn.Linear(8, 8), geir.LI()), hardware.XYLO_AUDIO_2, (15,),
     [("0", "input channels: at most 16"), ("4", "biases of output neurons: none")]),
    (network(nn.Linear(4, 497, bias=False), geir.LIF(reset_mechanism=SUBTRACT), nn.Linear(497, 16, bias=False), geir.LI()),
     hardware.XYLO_IMU, (4,), [("", "hidden neurons: at most 496")]),
    (network(nn.Linear(4, 4, bias=False), geir.LIF()), hardware.XYLO_IMU, (4,), [("1", "reset: subtraction")]),
    (network(nn.Linear(4, 4), geir.LIF(reset_mechanism=SUBTRACT)), hardware.LOIHI2, (4,), [("1", "reset: value")]),
    (network(nn.Linear(4, 4, bias=False), geir.LIFBox(reset_mechanism=SUBTRACT)), hardware.XYLO_IMU, (4,), [("1", "neurons: LIF, LI")]),
    (network(nn.Conv2d(1, 2, 3, bias=False), geir.LI()), hardware.XYLO_IMU, (1, 3, 3), [("0", "connections: Linear")]),
    (network(nn.Linear(4, 4), geir.LIF()), hardware.SPECK, (4,), [("1", "neurons: IAF")]),
    (network(nn.Conv2d(1, 2, 17, stride=3, padding=8), geir.IAF()), hardware.SPECK, (1, 20, 20),
     [("0", "kernel size: at most 16"), ("0", "stride: 1, 2, 4, 8"), ("0", "padding: at most 7")]),
    (network(nn.Conv2d(1, 3, 1), geir.IAF()), hardware.SPECK, (1, 129, 65),
     [("1", "height and width: at most 64"),
      ("1", "memory of a core, kernels + states in KiB words: 16+16, 16+64, 32+32, 64+16"),
      ("", "input height and width: at most 128")]),
    (network(nn.Conv2d(1, 1025, 1), geir.IAF()), hardware.SPECK, (1, 2, 2), [("0", "channels: at most 1,024")]),
    (network(nn.Conv2d(1, 2, 1), geir.IAF(), nn.AvgPool2d(3), nn.Conv2d(2, 2, 1), geir.IAF()), hardware.SPECK, (1, 9, 9),
     [("2", "size of pooling: 1, 2, 4")]),
    (network(geir.Recurrent(geir.IAF(), 4, 4)), hardware.SPECK, (4,), [("0", "recurrent layers: none")]),
    (network(*[m for _ in range(10) for m in (nn.Conv2d(1, 1, 1), geir.IAF())]), hardware.SPECK, (1, 4, 4),
     [("", "layers: at most 9")]),
    (network(nn.Linear(129, 4), geir.LIF()), hardware.BRAINSCALES2, (129,),
     [("0", "biases of output neurons: none"), ("1", "synapses of one neuron: at most 128")]),
    (network(nn.Linear(4, 513, bias=False), geir.LIF()), hardware.BRAINSCALES2, (4,), [("", "neurons: at most 512")]),
    (network(nn.Linear(256, 4), geir.IAF()), hardware.TRUENORTH, (256,), [("1", "synapses of one neuron: at most 256")]),
    (network(nn.Conv2d(1, 8, 11, padding=5), geir.LIF()), hardware.LOIHI2, (1, 360, 360), [("", "synapses: at most 120,000,000")]),
    (network(nn.Linear(1, 2**20 + 1), geir.LIF()), hardware.LOIHI2, (1,), [("", "neurons: at most 1,048,576")]),
    (network(nn.Linear(4, 4), geir.ALIF()), hardware.LOIHI2, (4,),
     [("1", "neurons: LIF, LI, LIFBox, LIBox, IAF, ParametricLIF")]),
    (network(nn.Conv2d(1, 2, 1), geir.LIF(), nn.MaxPool2d(2), nn.Conv2d(2, 2, 1), geir.LIF()), hardware.LOIHI2, (1, 8, 8),
     [("2", "pooling: sums")]),
    (network(nn.Linear(4, 4), geir.LIF(v_reset=-1.0)), hardware.LOIHI2, (4,), [("1", "a reset to rest or by v_th")]),
    (network(nn.Linear(4, 4), nn.BatchNorm1d(4), geir.LIF()), hardware.LOIHI2, (4,), [("1", "modules of a chip")]),
    (network(nn.Linear(4, 4), nn.Linear(4, 4), geir.LIF()), hardware.LOIHI2, (4,), [("0", "neurons after every connection")]),
    (network(nn.Linear(4, 4), geir.LIF(), nn.Linear(4, 4)), hardware.LOIHI2, (4,), [("2", "neurons after every connection")]),
    (network(geir.LIF(), nn.Linear(4, 4), geir.LIF()), hardware.LOIHI2, (4,), [("0", "synapses before every neuron")]),
    (network(nn.Linear(4, 4), geir.IAF(reset_mechanism=SUBTRACT, surrogate=MultiSpike())), hardware.SPECK, (4,),
     [("1", "spikes of one neuron in one step: at most 1")]),
    (network(nn.Linear(4, 4), geir.IAF(reset_mechanism=SUBTRACT, surrogate=TernarySpike())), hardware.LOIHI2, (4,),
     [("1", "a spike where v crosses v_th")]),
    (network(nn.Linear(4, 4), geir.IAF(reset_mechanism=SUBTRACT, surrogate=GradedSpike())), hardware.LOIHI2, (4,),
     [("1", "a spike where v crosses v_th")]),
])  # fmt: skip


@pytest.mark.parametrize(("model", "target", "input_shape", "expected"), EXCEEDING)
def test_each_exceeded_limit_is_one_finding_with_its_module(model, target, input_shape, expected):
    assert findings(model, target, input_shape) == expected


def test_every_limit_has_a_source():
    for target in hardware.TARGETS:
        limits = [value for value in vars(target).values() if isinstance(value, hardware.Limit)]
        assert len(limits) >= 4
        assert all(len(value.source) > 5 for value in limits)


def test_sizes_are_those_of_the_network():
    model = network(nn.Conv2d(2, 6, 3), geir.LIF(), nn.Flatten(), nn.Linear(96, 5, bias=False), geir.LI())
    first, last = hardware.check(model, hardware.LOIHI2, (2, 6, 6)).layers
    assert (first.neurons, first.fan_in, first.synapses, first.weights) == (96, 19, 96 * 19, 2 * 6 * 9 + 6)
    assert (last.neurons, last.fan_in, last.synapses, last.weights) == (5, 96, 480, 480)


def test_a_pooled_input_counts_once_for_each_neuron_of_its_window():
    model = network(nn.AvgPool2d((2, 4)), nn.Flatten(), nn.Linear(4, 3, bias=False), geir.LI())
    (layer,) = hardware.check(model, hardware.LOIHI2, (1, 4, 8)).layers
    assert (layer.fan_in, layer.synapses, layer.weights) == (32, 96, 12)


def test_the_memory_of_speck_is_counted_in_powers_of_two():
    """sinabs: c 2^(ceil(log2 k) + ceil(log2 f)) words of kernels; 5 * 2^(4 + 7) = 10,240 fit, 40 times 2^(4 + 7) not."""
    fits = network(nn.Conv2d(5, 65, 3), geir.IAF())
    too_large = network(nn.Conv2d(40, 65, 3), geir.IAF())
    assert findings(fits, hardware.SPECK, (5, 8, 8)) == []
    (finding,) = hardware.check(too_large, hardware.SPECK, (40, 8, 8)).findings
    assert finding.value == f"{40 * 2**11:,} words of kernels and {65 * 2**6:,} of states"


def test_a_bias_larger_than_the_weights_needs_several_inputs():
    model = network(nn.Linear(14, 4), geir.LIF(reset_mechanism=SUBTRACT), nn.Linear(4, 4, bias=False), geir.LI())
    with torch.no_grad():
        model[0].weight.clamp_(-0.1, 0.1)[0, 0] = 0.1
        model[0].bias.clamp_(-0.1, 0.1)[0] = -0.2
    assert findings(model, hardware.XYLO_IMU, (14,)) == []
    with torch.no_grad():
        model[0].bias[0] = -0.21
    (finding,) = hardware.check(model, hardware.XYLO_IMU, (14,)).findings
    assert (finding.limit, finding.value) == ("input channels: at most 16", "17")


def test_nested_containers_are_opened_and_named_as_in_the_state_dict():
    inner = geir.SequentialState(geir.Lift(nn.Conv2d(1, 2, 3)), geir.LIF(reset_mechanism=SUBTRACT))
    model = geir.SequentialState(inner, geir.Lift(nn.Flatten()), geir.Lift(nn.Linear(8, 3)), geir.LI())
    assert findings(model, hardware.LOIHI2, (1, 4, 4)) == [("0.1", "reset: value")]


def test_the_report_is_a_table():
    model = network(nn.Linear(4, 4), geir.LIF(reset_mechanism=SUBTRACT))
    text = str(hardware.check(model, hardware.LOIHI2, (4,)))
    assert "layer  neurons  fan-in" in text
    assert "reset: value" in text
    assert "ResetToValue" in text
    assert "Lava" in text
    fitting = str(hardware.check(network(nn.Linear(4, 4), geir.LIF()), hardware.LOIHI2, (4,)))
    assert fitting.endswith("No limit of Loihi 2 in this table is exceeded.")


def nan_network():
    model = network(nn.Linear(4, 4), geir.LIF())
    with torch.no_grad():
        model[0].weight[1, 2] = float("nan")
    return model


def infinite_network():
    model = network(nn.Linear(4, 4), geir.LIF())
    with torch.no_grad():
        model[0].bias[1] = float("inf")
    return model


FUNCTIONS = [
    pytest.param(lambda model, target: hardware.check(model, target, (4,)), id="check"),
    pytest.param(hardware.quantize, id="quantize"),
    pytest.param(hardware.to_integer, id="to_integer"),
]
every_function = pytest.mark.parametrize("function", FUNCTIONS)


@every_function
def test_weights_that_are_not_finite_are_refused(function):
    with pytest.raises(ValueError, match=r"0\.weight must be finite, got nan in 1 of 16 places"):
        function(nan_network(), hardware.LOIHI2)
    with pytest.raises(ValueError, match=r"0\.bias must be finite, got inf in 1 of 4 places"):
        function(infinite_network(), hardware.LOIHI2)


@every_function
def test_an_unknown_target_is_refused_with_the_names_of_all(function):
    with pytest.raises(TypeError, match=r"expected a target such as geir\.hardware\.LOIHI2, got 'loihi'.*SPECK"):
        function(network(nn.Linear(4, 4), geir.LIF()), "loihi")


@every_function
def test_a_model_that_is_no_sequence_is_refused(function):
    with pytest.raises(TypeError, match=r"expected a geir\.SequentialState of connections and neurons, got LIF"):
        function(geir.LIF(), hardware.LOIHI2)


@every_function
def test_a_network_that_is_an_integer_model_already_is_refused(function):
    integer = hardware.to_integer(network(nn.Linear(4, 4), geir.LIF()), hardware.LOIHI2)
    with pytest.raises(TypeError, match="expected a network in float"):
        function(integer, hardware.LOIHI2)


def test_an_input_that_the_network_does_not_accept_is_refused():
    with pytest.raises(ValueError, match=r"module 0 \(Linear\) does not accept .* input_shape=\(5,\)"):
        hardware.check(network(nn.Linear(4, 4), geir.LIF()), hardware.LOIHI2, (5,))


def test_a_connection_before_a_recurrent_layer_is_to_be_removed():
    model = network(nn.Linear(4, 4), geir.LIFRecurrent(4, 4))
    (finding,) = hardware.check(model, hardware.LOIHI2, (4,)).findings
    assert (finding.module, finding.advice) == ("0", "remove it; LIFRecurrent has input weights")


@pytest.mark.parametrize("target", hardware.TARGETS, ids=lambda target: target.name)
def test_a_target_is_printed_with_every_limit_and_its_source(target):
    lines = str(target).splitlines()
    limits = {name: limit for name, limit in vars(target).items() if isinstance(limit, hardware.Limit)}
    assert len(lines) == 2 + len(limits)
    for line, (name, limit) in zip(lines[2:], limits.items(), strict=True):
        assert line.startswith(name.replace("_", " "))
        assert line.endswith(limit.source)
    assert repr(target) == f"<Target {target.name}>"
