"""Input in half precision gives the results of float32, for every public function and module of the namespaces below.

Each row of `function_table` is run with input of float16 and bfloat16, and with the same numbers in float32. Both must
agree up to the rounding of the result: nothing in between may be computed in half precision, in which 257 (bfloat16)
and 2049 (float16) are no numbers, one step of a slow decay is a factor of 1, and probabilities are multiples of 1/256.
"""

import copy
import inspect
import types

import pytest
import torch
from function_table import correlated, EXEMPT, flatten, FUNCTIONS, learned, MODULES, pre_and_post, spikes, uniform
from model_table import MODELS
from torch import nn

import geir
from geir import connections, decode, encode, measures, plasticity, receptive_fields, surrogates, synapses
from geir._util.function_module import FunctionModule
from geir.neurons import parallel, statespace

NAMESPACES = [
    *(encode, decode, measures, surrogates, plasticity, connections, receptive_fields, synapses, parallel, statespace),
]
HALF = [torch.float16, torch.bfloat16]


def public(namespace):
    for name, value in vars(namespace).items():
        here = namespace.__name__.removeprefix("geir.").split(".")[0]
        if name.startswith("_") or not getattr(value, "__module__", "").startswith(f"geir.{here}"):
            continue
        if isinstance(value, types.ModuleType | property) or inspect.isabstract(value):
            continue
        if inspect.isclass(value) and issubclass(value, tuple):
            continue
        if callable(value) and not hasattr(value, "__supertype__"):
            yield value.function if inspect.isclass(value) and issubclass(value, FunctionModule) else value


@pytest.mark.parametrize("namespace", NAMESPACES, ids=lambda namespace: namespace.__name__)
def test_every_public_function_and_module_is_in_the_table(namespace):
    found = {value for value in public(namespace) if value.__module__ != "typing"}
    assert found
    assert not found - FUNCTIONS.keys() - MODULES.keys() - EXEMPT.keys()


def assert_rounded(actual, expected, ulps):
    """The result of half precision is that of float32, rounded to its dtype."""
    actual, expected = flatten(actual), flatten(expected)
    assert len(actual) == len(expected) > 0
    assert any(bool((part != 0).any()) for part in expected), "nothing to compare"
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        if not one.numel():
            continue
        if one.dtype == other.dtype:
            torch.testing.assert_close(one, other, rtol=1e-5 if ulps else 1e-6, atol=1e-6, equal_nan=True)
            continue
        assert one.dtype in HALF
        rounded = other.to(one.dtype)
        if not ulps:
            torch.testing.assert_close(one, rounded, rtol=0, atol=0, equal_nan=True)
            continue
        # Sums of another order differ where terms cancel.
        scale = torch.finfo(one.dtype).eps * ulps
        torch.testing.assert_close(one, rounded, rtol=scale, atol=scale * other.abs().mean().item() / 8, equal_nan=True)


def halved(inputs, dtype):
    half = [x.to(dtype) if x.is_floating_point() else x for x in inputs]
    return half, [x.float() if x.is_floating_point() else x for x in half]


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_function_of_half_precision_agrees_with_float32(function, dtype):
    run, inputs, ulps = FUNCTIONS[function]
    half, wide = halved(inputs(), dtype)
    assert_rounded(run(*half), run(*wide), ulps)


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("kind", MODULES, ids=lambda kind: kind.__name__)
def test_a_module_in_half_precision_agrees_with_the_same_parameters_in_float32(kind, dtype):
    make, inputs, ulps = MODULES[kind]
    half, wide = halved(inputs(), dtype)
    torch.manual_seed(0)
    module = make()
    with torch.no_grad():
        actual = module.to(dtype)(*half)
        assert_rounded(actual, module.float()(*wide), ulps)


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize(
    "kind", [plasticity.RewardModulated, plasticity.BCM, plasticity.SynapticScaling, plasticity.STDP]
)
def test_a_rule_converted_to_half_precision_keeps_its_time_constants(kind, dtype):
    """In bfloat16, a trace of one second would never decay."""
    rule = kind(plasticity.STDP()) if kind is plasticity.RewardModulated else kind()
    run, inputs = learned(rule), pre_and_post()
    expected = run(*inputs)
    rule.to(dtype)
    assert all(part.dtype == torch.float32 for part in rule.buffers())
    assert_rounded(run(*inputs), expected, 0)


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_a_neuron_in_half_precision_agrees_with_the_same_parameters_in_float32(model, dtype):
    xs = uniform(300, 4, high=30.0).to(dtype)
    module = copy.deepcopy(model).to(dtype)
    with torch.no_grad():
        actual = module(xs)
        assert_rounded(actual, module.float()(xs.float()), 0)


def test_autocast_does_not_affect_what_a_rule_learns():
    pres, posts = pre_and_post()
    pres, posts = pres.repeat(1, 64, 1), posts.repeat(1, 64, 1)
    expected = learned(plasticity.STDP())(pres, posts)
    with torch.autocast("cpu", torch.bfloat16):
        assert_rounded(learned(plasticity.STDP())(pres, posts), expected, 0)


def test_autocast_does_not_affect_correlation_sensors():
    (zs,) = spikes()
    layer = correlated(plasticity.LIFCorrelation)
    _, expected = layer(zs)
    with torch.autocast("cpu", torch.bfloat16):
        _, actual = layer(zs)
    assert_rounded(actual, expected, 0)


@pytest.mark.parametrize("kind", [plasticity.Plastic, plasticity.PlasticCell])
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_a_plastic_layer_converted_to_half_precision_refuses_to_learn(kind, dtype):
    connection = nn.Linear(5, 2, bias=False)
    nn.init.constant_(connection.weight, 0.3)
    layer = kind(connection, geir.LIF(), plasticity.STDP()).to(dtype)
    x = torch.ones(3, 1, 5, dtype=dtype)
    with pytest.raises(TypeError, match=f"STDP changes weights in steps too small for {dtype}; keep them in float32"):
        layer(x if kind is plasticity.Plastic else x[0])
    layer.eval()(x if kind is plasticity.Plastic else x[0])


def test_intrinsic_plasticity_refuses_thresholds_that_are_too_coarse():
    with pytest.raises(
        TypeError, match=r"moves thresholds in steps too small for torch.bfloat16; keep them in float32"
    ):
        plasticity.IntrinsicPlasticity()(torch.ones(1, 2), torch.ones(2, dtype=torch.bfloat16))


@pytest.mark.parametrize("learnable", [False, True])
def test_delays_stay_whole_steps_when_a_network_is_converted(learnable):
    """0.1 s is 100 steps; in bfloat16 it would be 100.1, and 0.257 s would be 258."""
    delays = torch.tensor([0.1, 0.257])
    layer = connections.Delay(delay=geir.learnable(delays) if learnable else delays)
    xs = torch.zeros(300, 2)
    xs[0] = 1
    network = nn.Sequential(layer)
    layer(xs)[0].sum().backward() if learnable else None
    network.bfloat16()
    ys, _ = network(xs.bfloat16())
    assert ys.dtype == torch.bfloat16
    torch.testing.assert_close(ys.float().argmax(0), torch.tensor([100, 257]))
    torch.testing.assert_close(ys.float().amax(0), torch.ones(2), rtol=0.01, atol=0)
    assert layer.delay.dtype == torch.float32
    for stored in layer.parameters():
        assert stored.dtype == stored.grad.dtype == torch.float32
    network.double()
    assert layer.delay.dtype == torch.float64


def test_sums_of_a_stream_in_half_precision_do_not_stop_growing():
    """In bfloat16, 256 + 1 is 256."""
    total = None
    for zs in torch.ones(2000, 1, 2, dtype=torch.bfloat16):
        total = measures.spike_accumulator(zs, total)
    assert total.tolist() == [2000, 2000]
