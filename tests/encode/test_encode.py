"""All encoders: names, module forms, dtypes, empty input, contract, errors."""

import inspect
import pickle

import pytest
import torch
from torch import nn

import geir
from geir import encode
from geir.testing import check_neuron

ENCODERS = {
    name: function
    for name, function in vars(encode).items()
    # `phase_weights` decodes what `phase` encodes; `spike_trains` takes spikes, not values.
    if inspect.isfunction(function) and name not in ("phase_weights", "spike_trains")
}

# Settings for a run of every function whose module takes the same input and returns the same output.
SETTINGS = {
    "poisson": {"steps": 9, "f_max": 300.0},
    "poisson_step": {"f_max": 300.0},
    "signed_poisson": {"steps": 9, "f_max": 300.0},
    "signed_poisson_step": {"f_max": 300.0},
    "constant_current_lif": {"steps": 9, "neuron": geir.LIFBox(v_th=0.3)},
    "spike_latency_lif": {"steps": 9, "neuron": geir.LIFBox(v_th=0.3)},
    "spike_latency": {},
    "time_to_first_spike": {"steps": 9},
    "rank_order": {"steps": 3},
    "phase": {"steps": 9, "period": 3},
    "burst": {"steps": 9, "max_spikes": 3},
    "population": {"out_features": 4, "sigma": 0.5},
}


def module_name(function_name):
    """The naming rule: CamelCase of the function and `Encoder`, or `EncoderCell` if it encodes one step."""
    stem = function_name.removesuffix("_step")
    words = ["LIF" if word == "lif" else word.capitalize() for word in stem.split("_")]
    return "".join(words) + ("Encoder" if stem == function_name else "EncoderCell")


def intensity_encoders():
    """Encoders of intensities in [0, 1] to spikes of shape (time, ...)."""
    return [
        encode.PoissonEncoder(7),
        encode.TimeToFirstSpikeEncoder(7),
        encode.PhaseEncoder(7),
        encode.BurstEncoder(9),
        encode.RankOrderEncoder(7),
    ]


@pytest.mark.parametrize("name", ENCODERS)
def test_every_function_has_a_module_named_after_it(name):
    module = getattr(encode, module_name(name))
    assert issubclass(module, nn.Module)
    assert module.__name__ == module_name(name)
    if name != "delta":  # `DeltaEncoder` is a neuron, because it has a state
        assert module.function is ENCODERS[name]
        assert f"Module form of `{name}`." in module.__doc__


def test_every_module_is_named_after_a_function():
    modules = {
        value.__name__ for value in vars(encode).values() if inspect.isclass(value) and issubclass(value, nn.Module)
    }
    # The cell of an encoder with a state needs no function.
    assert modules == {module_name(name) for name in ENCODERS} | {"DeltaEncoderCell"}


@pytest.mark.parametrize(
    "name",
    [
        "ConstantCurrentLIFEncoder",
        "PoissonEncoder",
        "PoissonEncoderStep",
        "PopulationEncoder",
        "SignedPoissonEncoder",
        "SpikeLatencyEncoder",
        "SpikeLatencyLIFEncoder",
    ],
)
def test_the_class_names_of_norse_exist(name):
    assert issubclass(getattr(encode, name), nn.Module)


@pytest.mark.parametrize("name", sorted(ENCODERS.keys() - {"delta"}))
def test_a_module_returns_the_same_as_its_function_and_can_be_pickled(name):
    x = torch.rand(5, 4)
    module = getattr(encode, module_name(name))(**SETTINGS[name])
    copy = pickle.loads(pickle.dumps(module))
    results = []
    for call in (lambda x: ENCODERS[name](x, **SETTINGS[name]), module, copy):
        torch.manual_seed(3)
        results.append(call(x))
    expected, actual, actual_of_copy = results
    assert torch.equal(actual, expected)
    assert torch.equal(actual_of_copy, expected)
    assert expected.any()


def test_the_module_of_delta_returns_its_spikes_and_a_state():
    xs = torch.rand(20, 4)
    zs, _ = encode.DeltaEncoder(threshold=0.25)(xs)
    assert torch.equal(zs, encode.delta(xs, threshold=0.25))
    assert zs.any()


def test_modules_show_and_pickle_their_settings():
    encoder = encode.PoissonEncoder(30, f_max=50.0)
    assert repr(encoder) == "PoissonEncoder(steps=30, f_max=50.0, dt=0.001)"
    assert repr(pickle.loads(pickle.dumps(encoder))) == repr(encoder)


@pytest.mark.parametrize(
    "model", [encode.DeltaEncoder(threshold=0.7), geir.measures.ExponentialFilter(tau=4e-3)], ids=repr
)
def test_encoders_and_filters_with_a_state_keep_the_contract_of_neurons(model):
    check_neuron(model, compiled=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_encoders_keep_the_dtype_and_pass_no_gradient(dtype):
    x = torch.rand(3, 4).to(dtype).requires_grad_()
    for encoder in intensity_encoders():
        zs = encoder(x)
        assert zs.dtype == dtype
        assert not zs.requires_grad
        assert set(zs.unique().tolist()) <= {0.0, 1.0}


def test_encoders_accept_empty_tensors_and_zero_steps():
    for encoder in intensity_encoders():
        assert encoder(torch.zeros(0, 4)).shape[1:] == (0, 4)
    assert encode.phase(torch.zeros(3), 0).shape == (0, 3)


X = torch.zeros(4, 2)

INVALID_VALUES = {
    "time_to_first_spike: negative intensity": (
        lambda: encode.time_to_first_spike(torch.tensor([0.5, -2.0]), 5),
        r"encode.time_to_first_spike expected .*\[0, 1\], got -2.0",
    ),
    "poisson: intensities of bytes": (
        lambda: encode.poisson(torch.tensor([0.5, 255.0]), 10),
        r"intensities in \[0, 1\], got 255.0; scale the input",
    ),
    "poisson: the message names the invalid value": (
        lambda: encode.poisson(torch.tensor([0.9, -0.1]), 5),
        r"encode.poisson expected intensities in \[0, 1\], got -0.1",
    ),
    "poisson: one negative intensity": (
        lambda: encode.poisson(torch.tensor([-0.1]), 10),
        r"intensities in \[0, 1\], got -0.1",
    ),
    "poisson: NaN": (lambda: encode.poisson(torch.tensor([float("nan")]), 10), "got nan"),
    "signed_poisson: intensity above 1": (
        lambda: encode.signed_poisson(torch.tensor([1.5]), 10),
        r"intensities in \[-1, 1\], got 1.5",
    ),
    "phase: intensity above 1": (
        lambda: encode.phase(torch.tensor([1.5]), 5),
        r"encode.phase expected intensities in \[0, 1\], got 1.5",
    ),
    "burst: intensity above 1": (
        lambda: encode.burst(torch.tensor([1.5]), 9),
        r"encode.burst expected intensities in \[0, 1\], got 1.5",
    ),
    "poisson: negative rate": (
        lambda: encode.poisson(X, 5, f_max=-1.0),
        r"encode.poisson: f_max and dt must not be negative, got f_max=-1.0 Hz",
    ),
    "poisson_step: negative rate": (
        lambda: encode.poisson_step(X, f_max=-1.0),
        "encode.poisson_step: f_max and dt must not be negative",
    ),
    "poisson: rate too high": (
        lambda: encode.poisson(torch.zeros(2), 10, f_max=2000),
        "f_max=2000 Hz is 2 spikes per step of dt=0.001 s, but a step holds at most one",
    ),
    "signed_poisson_step: rate too high": (
        lambda: encode.signed_poisson_step(X, f_max=2e3),
        "encode.signed_poisson_step: f_max=2000.0 Hz is 2 spikes",
    ),
    "poisson: negative number of steps": (
        lambda: encode.poisson(torch.zeros(2), -1),
        "encode.poisson: steps must be an integer >= 0, got -1",
    ),
    "poisson: fractional number of steps": (
        lambda: encode.poisson(torch.zeros(2), 1.5),
        "steps must be an integer >= 0, got 1.5",
    ),
    "phase: no phases": (
        lambda: encode.phase(X, 5, period=0),
        "encode.phase: period must be an integer >= 1, got 0",
    ),
    "phase_weights: fractional period": (
        lambda: encode.phase_weights(5, period=1.5),
        "encode.phase_weights: period must be an integer >= 1, got 1.5",
    ),
    "burst: too long for the run": (
        lambda: encode.burst(X, 9, max_interval=5),
        "5 spikes fit into 9 steps only at intervals of up to 2 steps; .* got min_interval=2 and max_interval=5",
    ),
    "burst: no spikes": (
        lambda: encode.burst(X, 9, max_spikes=0),
        "encode.burst: max_spikes must be an integer >= 1, got 0",
    ),
    "rank_order: scalar": (
        lambda: encode.rank_order(torch.tensor(1.0)),
        r"encode.rank_order expected .* shape \(..., neurons\), got torch.float32 of shape \(\)",
    ),
    "population: one neuron": (lambda: encode.PopulationEncoder(1)(torch.zeros(2)), "at least 2 neurons"),
    "population: low above high": (lambda: encode.PopulationEncoder(3, low=1, high=0)(torch.zeros(2)), "low < high"),
    "population: sigma of zero": (lambda: encode.PopulationEncoder(3, sigma=0)(torch.zeros(2)), "sigma must be posit"),
    "delta: threshold of zero": (
        lambda: encode.delta(X, threshold=0.0),
        "encode.delta: threshold must be positive and finite, got 0.0",
    ),
    "delta: no time dimension": (
        lambda: encode.delta(torch.tensor(1.0)),
        r"encode.delta expected .* \(time, ...\) with at least one step, got shape \(\)",
    ),
    "spike_latency: no step": (
        lambda: encode.spike_latency(X[:0]),
        r"encode.spike_latency expected .* \(time, ...\) with at least one step",
    ),
}


@pytest.mark.parametrize("case", INVALID_VALUES)
def test_invalid_values_raise(case):
    call, message = INVALID_VALUES[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: encode.phase(torch.zeros(2, dtype=torch.uint8), 5),
            "encode.phase expected floating-point intensities, got torch.uint8",
        ),
        (
            lambda: encode.poisson(torch.zeros(2, dtype=torch.uint8), 10),
            "encode.poisson expected floating-point intensities, got torch.uint8",
        ),
        (lambda: encode.PhaseEncoder(), "PhaseEncoder: missing a required argument: 'steps'"),
        (lambda: encode.PoissonEncoder(5, fmax=3.0), "PoissonEncoder: got an unexpected keyword argument 'fmax'"),
    ],
)
def test_invalid_types_raise(call, message):
    with pytest.raises(TypeError, match=message):
        call()
