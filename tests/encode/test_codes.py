"""Encoders, decoders, filters and logic, each against what it should be by hand or by another's arithmetic."""

import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from scipy.stats import binom

import geir
from geir._util.function_module import module_of
from geir.testing import check_neuron

F64 = torch.float64


def random_spikes(*shape, rate=0.3, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=F64) < rate).to(F64)


# Encoders


def test_one_step_of_poisson_has_the_rate_of_all_and_repeats_with_its_generator():
    x = torch.tensor([0.0, 0.3, 1.0]).expand(20_000, 3)
    zs = geir.encode.PoissonEncoderCell(f_max=200.0, generator=torch.Generator().manual_seed(1))(x)
    assert zs.shape == x.shape
    for k, p in enumerate((0.0, 0.06, 0.2)):
        assert zs[:, k].sum().item() == pytest.approx(20_000 * p, abs=4 * binom(20_000, p).std() + 1e-9)
    again = geir.encode.poisson(x, 1, f_max=200.0, generator=torch.Generator().manual_seed(1))[0]
    assert torch.equal(zs, again)
    signed = geir.encode.SignedPoissonEncoderCell(f_max=200.0, generator=torch.Generator().manual_seed(1))(-x)
    assert torch.equal(signed, -zs)


def test_time_to_first_spike_falls_linearly_and_zero_never_spikes():
    x = torch.tensor([1.0, 0.76, 0.75, 0.74, 1e-3, 0.0])
    zs = geir.encode.TimeToFirstSpikeEncoder(100)(x)
    assert zs.sum(0).tolist() == [1, 1, 1, 1, 1, 0]
    assert zs.argmax(0).tolist()[:5] == [0, 24, 25, 26, 99]


@pytest.mark.parametrize("period", [1, 4, 8, 12])
def test_phases_spell_the_binary_digits(period):
    x = torch.rand(200, dtype=F64)
    zs = geir.encode.PhaseEncoder(2 * period, period=period)(x)
    for value, train in zip(x.tolist(), zs.T.tolist(), strict=True):
        digits = format(int(value * 2**period), f"0{period}b")
        assert train == [float(digit) for digit in digits * 2]
    decoded = geir.encode.phase_weights(2 * period, period).double() @ zs / 2
    assert ((x - decoded >= 0) & (x - decoded < 2.0**-period)).all()


def test_phases_of_the_ends_of_the_range():
    assert geir.encode.phase(torch.tensor([0.0, 1.0]), 8).T.tolist() == [[0] * 8, [1] * 8]
    assert geir.encode.phase(torch.tensor([0.5], dtype=torch.float16), 20, period=20).T.tolist() == [
        [1.0] + [0.0] * 19
    ]


def test_bursts_have_the_spikes_and_intervals_of_the_formula():
    x = torch.tensor([0.0, 0.01, 0.2, 0.21, 0.5, 0.8, 0.99, 1.0], dtype=F64)
    zs = geir.encode.BurstEncoder(100, max_spikes=5, shortest=2, longest=20)(x)
    for value, train in zip(x.tolist(), zs.T, strict=True):
        number, interval = math.ceil(5 * value), math.ceil(20 - 18 * value)
        assert train.nonzero().flatten().tolist() == [k * interval for k in range(number)]
    # By default five spikes at the longest interval just fit.
    x = torch.linspace(0, 1, 301, dtype=F64)
    for steps, longest in ((40, 9), (41, 10), (44, 10)):
        zs = geir.encode.burst(x, steps)
        assert torch.equal(zs, geir.encode.burst(x, steps, longest=longest))
        assert torch.equal(zs.sum(0), torch.ceil(5 * x))


def test_ranks_are_those_of_sorting_and_ties_keep_their_order():
    x = torch.rand(3, 4, 10)
    zs = geir.encode.RankOrderEncoder()(x)
    assert zs.shape == (10, 3, 4, 10)
    order = zs.argmax(-1)  # who spikes at each step
    np.testing.assert_array_equal(order.movedim(0, -1), np.argsort(-x.numpy(), axis=-1))
    assert (zs.sum(0) == 1).all()
    assert (zs.sum(-1) == 1).all()
    assert torch.equal(geir.encode.rank_order(x, 4), zs[:4])
    assert geir.encode.rank_order(torch.tensor([2.0, 5.0, 5.0, 2.0])).argmax(-1).tolist() == [1, 2, 0, 3]


def test_delta_spikes_follow_a_signal_as_a_loop_says():
    xs = torch.randn(400, 3, dtype=F64).cumsum(0) / 10
    xs[100:150] = (
        0.3 + 0.15 * torch.arange(50, dtype=F64)[:, None]
    )  # changes that are the threshold itself up to rounding
    zs = geir.encode.delta(xs, threshold=0.15)
    for signal, train in zip(xs.T.tolist(), zs.T.tolist(), strict=True):
        reference, expected = 0.0, []
        for value in signal:
            z = (value - reference > 0.15) - (reference - value > 0.15)
            reference += 0.15 * z
            expected.append(float(z))
        assert train == expected
    assert {-1.0, 1.0} <= set(zs.unique().tolist())


def test_delta_spikes_rebuild_a_slow_signal_within_the_threshold():
    ts = torch.linspace(0, 1, 1000, dtype=F64)
    xs = torch.stack([torch.sin(2 * math.pi * 3 * ts), ts**2, -ts], 1)
    rebuilt = 0.05 * geir.encode.delta(xs, threshold=0.05).cumsum(0)
    assert (rebuilt - xs).abs().max() <= 0.05 + 1e-12


def test_a_delta_stream_in_parts_is_one_stream_and_starts_where_it_is_told():
    xs = torch.randn(60, 2).cumsum(0)
    encoder = geir.encode.DeltaEncoder(threshold=0.5)
    whole, _ = encoder(xs)
    first, state = encoder(xs[:25])
    assert torch.equal(torch.cat([first, encoder(xs[25:], state)[0]]), whole)
    constant = torch.full((10, 2), 7.0)
    assert not encoder(constant, geir.encode.DeltaState(constant[0]))[0].any()


@pytest.mark.parametrize(
    "model", [geir.encode.DeltaEncoder(threshold=0.7), geir.measures.ExponentialFilter(tau=4e-3)], ids=repr
)
def test_encoders_and_filters_with_a_state_keep_the_contract(model):
    check_neuron(model, compiled=True)


MODULES = [
    (geir.encode.TimeToFirstSpikeEncoder, "time_to_first_spike_encode", {"steps": 9}),
    (geir.encode.PhaseEncoder, "phase_encode", {"steps": 9, "period": 3}),
    (geir.encode.BurstEncoder, "burst_encode", {"steps": 9, "max_spikes": 3}),
    (geir.encode.RankOrderEncoder, "rank_order_encode", {"steps": 3}),
    (geir.encode.PopulationEncoder, "population_encode", {"out_features": 4, "sigma": 0.5}),
    (geir.encode.SpikeLatencyEncoder, "spike_latency_encode", {}),
    (
        geir.encode.ConstantCurrentLIFEncoder,
        "constant_current_encode",
        {"steps": 9, "neuron": geir.LIFBox(v_th=0.3)},
    ),
    (geir.encode.SpikeLatencyLIFEncoder, "latency_encode", {"steps": 9}),
    (geir.decode.SpikeTimesDecoder, "spike_times", {"spike_count": 2, "missing": 5.0}),
]


@pytest.mark.parametrize(("module", "name", "settings"), MODULES, ids=[name for _, name, _ in MODULES])
def test_a_module_is_its_function(module, name, settings):
    x = torch.rand(5, 4)
    expected = getattr(geir, name)(x, **settings)
    made = module(**settings)
    assert torch.equal(made(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(made))(x), expected)
    assert f"`{name}` as a module" in module.__doc__


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_encoders_keep_dtype_and_gradients_never_pass_spikes(dtype):
    x = torch.rand(3, 4).to(dtype).requires_grad_()
    for encoder in (
        geir.encode.PoissonEncoder(7),
        geir.encode.TimeToFirstSpikeEncoder(7),
        geir.encode.PhaseEncoder(7),
        geir.encode.BurstEncoder(9),
        geir.encode.RankOrderEncoder(7),
    ):
        zs = encoder(x)
        assert zs.dtype == dtype
        assert not zs.requires_grad
        assert set(zs.unique().tolist()) <= {0.0, 1.0}


def test_encoders_of_nothing_return_nothing():
    for encoder in (
        geir.encode.PoissonEncoder(7),
        geir.encode.TimeToFirstSpikeEncoder(7),
        geir.encode.PhaseEncoder(7),
        geir.encode.BurstEncoder(9),
        geir.encode.RankOrderEncoder(7),
    ):
        assert encoder(torch.zeros(0, 4)).shape[1:] == (0, 4)
    assert geir.encode.phase(torch.zeros(3), 0).shape == (0, 3)


# Decoders


def times_by_hand(train, count, missing):
    spikes = [t for t, z in enumerate(train) if z]
    return [spikes[k] if k < len(spikes) else missing for k in range(count)]


def test_spike_times_are_those_of_the_spikes():
    zs = random_spikes(12, 40, rate=0.15)
    times = geir.decode.SpikeTimesDecoder(3, dt=2e-3)(zs)
    assert times.shape == (3, 40)
    for train, actual in zip(zs.T.tolist(), times.T.tolist(), strict=True):
        np.testing.assert_allclose(actual, np.multiply(2e-3, times_by_hand(train, 3, math.inf)), rtol=1e-12)
    assert times.isinf().any()
    assert times.isfinite().any()
    assert torch.equal(geir.decode.spike_times(zs, 3, missing=0.5).isinf(), torch.zeros(3, 40, dtype=torch.bool))
    assert geir.decode.spike_count(zs).tolist() == zs.numpy().sum(0).tolist()


def test_the_gradient_of_spike_times_is_the_difference_a_spike_makes():
    # All trains of seven steps, so every case of missing and superfluous spikes is among them.
    trains = torch.tensor(list(itertools.product([0.0, 1.0], repeat=7)), dtype=F64)
    for k in range(3):
        zs = trains.T.clone().requires_grad_()
        geir.decode.spike_times(zs, 3, dt=1.0, missing=7.0)[k].sum().backward()
        for train, grad in zip(trains.tolist(), zs.grad.T.tolist(), strict=True):
            for t in range(7):
                with_spike, without = ([*train[:t], z, *train[t + 1 :]] for z in (1.0, 0.0))
                assert grad[t] == times_by_hand(with_spike, 3, 7)[k] - times_by_hand(without, 3, 7)[k]


def test_the_first_of_spike_times_is_first_spike_time_and_so_is_its_gradient():
    zs, twin = (random_spikes(20, 50, rate=0.05).requires_grad_() for _ in range(2))
    times, expected = geir.decode.spike_times(zs, missing=20e-3)[0], geir.decode.first_spike_time(twin)
    torch.testing.assert_close(times, expected)
    (times**2).sum().backward()
    (expected**2).sum().backward()
    torch.testing.assert_close(zs.grad, twin.grad)
    assert (zs.sum(0) == 0).any(), "no train is silent"


def test_silent_neurons_learn_to_spike_from_spike_times():
    linear = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(linear.weight, 0.1)
    model = geir.SequentialState(geir.Lift(linear), geir.LIF())
    optimizer = torch.optim.Adam(linear.parameters(), lr=0.1)
    xs, losses = torch.ones(50, 1, 1), []
    assert not model(xs)[0].any()
    for _ in range(60):
        optimizer.zero_grad()
        times = geir.decode.spike_times(model(xs)[0], 2, missing=50e-3)
        loss = ((times - torch.tensor([10e-3, 20e-3]).view(2, 1, 1)) / 50e-3).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert model(xs)[0].any()
    assert min(losses) < losses[0] / 10


def test_spike_times_work_under_torch_func():
    zs = random_spikes(10, 4)
    gradient = torch.func.grad(lambda zs: geir.decode.spike_times(zs, 2, missing=1.0).sum())(zs)
    twin = zs.clone().requires_grad_()
    geir.decode.spike_times(twin, 2, missing=1.0).sum().backward()
    torch.testing.assert_close(gradient, twin.grad)
    torch.testing.assert_close(
        torch.func.vmap(geir.decode.spike_times, in_dims=1, out_dims=1)(zs), geir.decode.spike_times(zs)
    )


# Filters


@pytest.mark.parametrize("tau", [1e-4, 5e-3, 1.0])
def test_the_exponential_filter_is_scipys(tau):
    xs = torch.randn(200, 3, dtype=F64)
    ys = geir.measures.exponential_filter(xs, tau=tau, dt=2e-3)
    np.testing.assert_allclose(
        ys, lfilter([1], [1, -math.exp(-2e-3 / tau)], xs.numpy(), axis=0), rtol=1e-12, atol=1e-12
    )


def test_the_exponential_filter_is_the_sum_over_the_past():
    xs, taus = random_spikes(30, 2, 3), torch.tensor([2e-3, 10e-3, 50e-3], dtype=F64)
    ts = 1e-3 * torch.arange(30, dtype=F64)
    kernel = torch.exp(-(ts[:, None] - ts)[..., None] / taus)
    kernel = kernel * (ts[:, None] >= ts)[..., None]
    torch.testing.assert_close(geir.measures.exponential_filter(xs, taus), torch.einsum("tsn,sbn->tbn", kernel, xs))


def test_the_exponential_filter_differentiates_by_input_and_time_constant():
    xs = torch.randn(6, 2, dtype=F64, requires_grad=True)
    tau = torch.tensor([3e-3, 20e-3], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda xs, scaled: geir.measures.exponential_filter(xs, scaled * 1e-3),
        (xs, (tau * 1e3).detach().requires_grad_()),
    )
    parameter = torch.nn.Parameter(torch.tensor(5e-3))
    geir.measures.exponential_filter(xs, parameter).sum().backward()
    assert parameter.dtype == torch.float32  # the caller's parameter stays as it is
    assert parameter.grad.isfinite()


@pytest.mark.parametrize(("steps", "length"), [(40, 7), (5, 7), (200, 90), (64, 1), (129, 65)])
def test_a_causal_filter_is_numpys_convolution(steps, length):
    xs, kernel = torch.randn(steps, 2, 3, dtype=F64), torch.randn(length, dtype=F64)
    ys = geir.measures.causal_filter(xs, kernel)
    for b, n in itertools.product(range(2), range(3)):
        np.testing.assert_allclose(ys[:, b, n], np.convolve(xs[:, b, n], kernel)[:steps], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(geir.measures.causal_filter(xs[:, 1, 2], kernel), ys[:, 1, 2], rtol=1e-12, atol=1e-12)
    assert geir.measures.causal_filter(xs[:, :0], kernel).shape == (steps, 0, 3)


def test_a_causal_filter_differentiates_and_agrees_with_the_exponential_one():
    xs, kernel = torch.randn(5, 2, dtype=F64, requires_grad=True), torch.randn(3, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(geir.measures.causal_filter, (xs, kernel))
    spikes, exponential = random_spikes(100, 3), torch.exp(-1e-3 * torch.arange(100, dtype=F64) / 4e-3)
    torch.testing.assert_close(
        geir.measures.causal_filter(spikes, exponential), geir.measures.exponential_filter(spikes, 4e-3)
    )


# Logic

TABLE = list(itertools.product([0.0, 1.0], repeat=2))


@pytest.mark.parametrize(
    ("gate", "oracle"),
    [
        (geir.measures.logical_and, lambda x, y: bool(x) and bool(y)),
        (geir.measures.logical_or, lambda x, y: bool(x) or bool(y)),
        (geir.measures.logical_xor, lambda x, y: bool(x) != bool(y)),
    ],
)
def test_gates_have_their_truth_tables_and_take_chances(gate, oracle):
    x, y = torch.tensor(TABLE, dtype=F64).T
    assert gate(x, y).tolist() == [float(oracle(*row)) for row in TABLE]
    # The chance that the gate spikes for independent inputs of these chances.
    p, q = torch.rand(2, 5, dtype=F64)
    chance = sum(oracle(a, b) * (p if a else 1 - p) * (q if b else 1 - q) for a, b in TABLE)
    torch.testing.assert_close(gate(p, q), chance)
    assert torch.autograd.gradcheck(gate, (p.requires_grad_(), q.requires_grad_()))


def test_not_is_not():
    assert geir.measures.logical_not(torch.tensor([0.0, 1.0])).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_a_muller_c_element_waits_for_both(start):
    xs, ys = random_spikes(50, 4, rate=0.5), random_spikes(50, 4, rate=0.5, seed=1)
    zs, state = geir.measures.muller_c(xs, ys, torch.full((4,), start, dtype=F64))
    held = [start] * 4
    for x, y, z in zip(xs.tolist(), ys.tolist(), zs.tolist(), strict=True):
        held = [a if a == b else before for a, b, before in zip(x, y, held, strict=True)]
        assert z == held
    assert state.tolist() == held
    first, middle = geir.measures.muller_c(xs[:20], ys[:20], torch.full((4,), start, dtype=F64))
    assert torch.equal(torch.cat([first, geir.measures.muller_c(xs[20:], ys[20:], middle)[0]]), zs)


def test_an_edge_is_where_a_spike_follows_none():
    xs = random_spikes(50, 4, rate=0.5)
    zs, state = geir.measures.posedge_detector(xs)
    assert torch.equal(zs[0], xs[0])
    assert torch.equal(zs[1:], (xs.diff(dim=0) > 0).to(F64))
    first, middle = geir.measures.posedge_detector(xs[:20])
    assert torch.equal(torch.cat([first, geir.measures.posedge_detector(xs[20:], middle)[0]]), zs)
    falling, _ = geir.measures.posedge_detector(
        geir.measures.logical_not(xs), geir.measures.logical_not(torch.zeros(4, dtype=F64))
    )
    assert torch.equal(falling[1:], (xs.diff(dim=0) < 0).to(F64))


# Bad input

T4 = torch.zeros(4, 2)

CASES = {
    "ttfs out of range": (
        lambda: geir.encode.time_to_first_spike(torch.tensor([0.5, -2.0]), 5),
        r"time_to_first_spike_encode takes .*\[0, 1\], got -2.0",
    ),
    "the value at fault is named": (
        lambda: geir.encode.poisson(torch.tensor([0.9, -0.1]), 5),
        r"in \[0, 1\], got -0.1",
    ),
    "phase out of range": (
        lambda: geir.encode.phase(torch.tensor([1.5]), 5),
        r"phase_encode takes intensities in \[0, 1\], got 1.5",
    ),
    "burst out of range": (
        lambda: geir.encode.burst(torch.tensor([1.5]), 9),
        r"burst_encode takes intensities in \[0, 1\], got 1.5",
    ),
    "negative rate": (
        lambda: geir.encode.poisson(T4, 5, f_max=-1.0),
        r"poisson_encode: f_max and dt must not be negative, got f_max=-1.0 Hz",
    ),
    "negative rate, one step": (
        lambda: geir.encode.poisson_step(T4, f_max=-1.0),
        "poisson_encode_step: f_max and dt must not be negative",
    ),
    "rate too high, one step": (
        lambda: geir.encode.signed_poisson_step(T4, f_max=2e3),
        "signed_poisson_encode_step: a rate of f_max=2000.0 Hz means 2",
    ),
    "no phases": (
        lambda: geir.encode.phase(T4, 5, period=0),
        "phase_encode: period must be a whole number of steps, at least 1, got 0",
    ),
    "no phases to weigh": (
        lambda: geir.encode.phase_weights(5, period=1.5),
        "phase_weights: period must be a whole number of steps, at least 1, got 1.5",
    ),
    "burst too long": (
        lambda: geir.encode.burst(T4, 9, longest=5),
        "5 spikes fit into 9 steps with intervals of up to 2 steps, so shortest=2 <= longest=5 <= 2",
    ),
    "no spikes in a burst": (
        lambda: geir.encode.burst(T4, 9, max_spikes=0),
        "burst_encode: max_spikes must be a whole number of steps, at least 1, got 0",
    ),
    "ranks of a scalar": (
        lambda: geir.encode.rank_order(torch.tensor(1.0)),
        r"shape \(..., neurons\), got torch.float32 of shape \(\)",
    ),
    "delta of no threshold": (
        lambda: geir.encode.delta(T4, threshold=0.0),
        "delta_encode: threshold must be positive and finite, got 0.0",
    ),
    "delta without time": (
        lambda: geir.encode.delta(torch.tensor(1.0)),
        r"delta_encode takes \(time, ...\) of at least one step, got shape \(\)",
    ),
    "latency without time": (
        lambda: geir.encode.spike_latency(T4[:0]),
        r"spike_latency_encode takes \(time, ...\) of at least one step",
    ),
    "no spike times": (
        lambda: geir.decode.spike_times(T4, 0),
        "spike_times: spike_count must be a positive number of spikes, got 0",
    ),
    "spike times in no time": (
        lambda: geir.decode.spike_times(T4, dt=0.0),
        "spike_times: dt must be positive and finite, got 0.0",
    ),
    "sum of no steps": (
        lambda: geir.decode.spike_count(T4[:0]),
        r"sum_decode takes \(time, ...\) of at least one step, got shape \(0, 2\)",
    ),
    "filter of no steps": (
        lambda: geir.measures.exponential_filter(T4[:0]),
        r"exponential_filter takes \(time, ...\) of at least one step",
    ),
    "filter without decay": (
        lambda: geir.measures.exponential_filter(T4, tau=0.0),
        "ExponentialFilter.tau must be > 0.0 s, got 0.0",
    ),
    "kernel of two dimensions": (
        lambda: geir.measures.causal_filter(T4, torch.ones(2, 2)),
        r"kernel of shape \(length,\) in the dtype .* got shape \(2, 2\) of torch.float32",
    ),
    "kernel of another dtype": (
        lambda: geir.measures.causal_filter(T4, torch.ones(2, dtype=F64)),
        r"in the dtype of its input, torch.float32, got shape \(2,\) of torch.float64",
    ),
    "C of two shapes": (
        lambda: geir.measures.muller_c(T4, T4[:, :1]),
        r"muller_c compares trains of one shape, got \(4, 2\) and \(4, 1\)",
    ),
    "C of another state": (
        lambda: geir.measures.muller_c(T4, T4, torch.zeros(3)),
        r"muller_c continues from a state of shape \(2,\), got \(3,\)",
    ),
    "edge of another state": (
        lambda: geir.measures.posedge_detector(T4, torch.zeros(3)),
        r"posedge_detector continues from a state of shape \(2,\), got \(3,\)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_values_are_refused(case):
    call, message = CASES[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: geir.encode.phase(torch.zeros(2, dtype=torch.uint8), 5),
            "phase_encode takes floating-point intensities, got torch.uint8",
        ),
        (
            lambda: geir.measures.logical_or(T4.bool(), T4),
            r"logical_or takes spikes as floating-point numbers, got torch.bool; convert them with .float\(\)",
        ),
        (
            lambda: geir.decode.spike_times(T4.long()),
            r"spike_times takes floating-point values over time, got torch.int64; convert them with .float\(\)",
        ),
        (lambda: geir.encode.PhaseEncoder(), "PhaseEncoder: missing a required argument: 'steps'"),
        (lambda: geir.encode.PoissonEncoder(5, fmax=3.0), "PoissonEncoder: got an unexpected keyword argument 'fmax'"),
        (lambda: module_of(lambda x, *, factor: x)(3), "too many positional arguments"),
    ],
)
def test_bad_types_are_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call()
