"""Neuron models of deep learning, noise, compartments and sensors, each against something that is not this library."""

import copy
import math
import warnings
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad, solve_ivp
from scipy.linalg import expm
from scipy.special import erf
from torch import nn

import geir
from geir._util.state import leaves, map_state
from geir.wrappers.random import _FACTORS, _MODULI, Generator, _next

DOUBLE = torch.float64


def exactly(value):
    return torch.tensor(value, dtype=DOUBLE)


def with_reference(model):
    twin = copy.deepcopy(model)
    twin.unroll = geir.reference
    return twin


# Models


def test_alpha_currents_and_potentials_are_their_closed_forms():
    dt, tau_mem, tau_syn = 0.4e-3, 12e-3, 3e-3
    xs = torch.randn(200, 1, dtype=DOUBLE)
    neuron = geir.AlphaLIF(
        tau_mem=exactly(tau_mem), tau_syn=exactly(tau_syn), v_th=exactly(1e9), dt=dt, record_states=True
    )
    _, states = neuron(xs)
    t = dt * np.arange(1, 201)
    current = t / tau_syn * np.exp(1 - t / tau_syn)
    np.testing.assert_allclose(states.i[:, 0], np.convolve(xs[:, 0], current)[:200], rtol=1e-10, atol=1e-12)
    d = 1 / tau_syn - 1 / tau_mem
    potential = math.e / (tau_syn * tau_mem * d**2) * (np.exp(-t / tau_mem) - np.exp(-t / tau_syn) * (1 + d * t))
    np.testing.assert_allclose(states.v[:, 0], np.convolve(xs[:, 0], potential)[:200], rtol=1e-9, atol=1e-12)


def test_cubalif_is_the_exact_propagator_of_a_held_input_with_resets():
    dt, tau_mem, tau_syn, r, w_in, leak, threshold, reset = 0.3e-3, 10e-3, 4e-3, 2.0, 3.0, 0.1, 0.9, -0.2
    xs = torch.rand(600, 1, dtype=DOUBLE)
    values = {
        "tau_mem": tau_mem,
        "tau_syn": tau_syn,
        "r": r,
        "w_in": w_in,
        "v_leak": leak,
        "v_threshold": threshold,
        "v_reset": reset,
    }
    zs, states = geir.CubaLIF(**{k: exactly(v) for k, v in values.items()}, dt=dt, record_states=True)(xs)
    # Potential, current and the input, which does not change during a step.
    step = expm(dt * np.array([[-1 / tau_mem, r / tau_mem, 0], [0, -1 / tau_syn, w_in / tau_syn], [0, 0, 0]]))
    u, i, expected, spikes = 0.0, 0.0, [], []
    for x in xs[:, 0].numpy():
        u, i, _ = step @ [u, i, x]
        spikes.append(u + leak > threshold)
        u = reset - leak if spikes[-1] else u
        expected.append(u + leak)
    assert 10 < sum(spikes) < 300
    np.testing.assert_array_equal(zs[:, 0].bool(), spikes)
    np.testing.assert_allclose(states.v[:, 0], expected, rtol=1e-10, atol=1e-11)


def test_cubalif_with_an_instant_synapse_is_the_lif_whose_exact_solution_nir_publishes(real_data):
    xs, vs, zs = torch.tensor(np.loadtxt(real_data / "nir" / "lif_exact.csv", delimiter=",")).unbind(1)
    neuron = geir.CubaLIF(tau_mem=2.5e-3, tau_syn=1e-12, v_threshold=0.1, dt=1e-4, record_states=True).double()
    actual, states = neuron(xs)
    assert zs.sum() == 4
    # They reset one step later.
    assert (actual.nonzero() == zs.nonzero()).all() or (actual.nonzero() == zs.nonzero() - 1).all()
    first = int(zs.nonzero()[0])
    np.testing.assert_allclose(states.v[:first], vs[:first], rtol=1e-5, atol=1e-9)


def test_parametric_lif_is_the_formula_of_its_paper_and_learns_whatever_it_is_given():
    neuron = geir.ParametricLIF(tau_mem=exactly(2e-3), v_reset=exactly(0.1), record_states=True)
    assert [name for name, _ in neuron.named_parameters()] == ["log_tau_mem"]
    neuron.tau_mem = exactly(3e-3)
    assert isinstance(neuron.log_tau_mem, nn.Parameter)
    xs = 2 * torch.rand(100, 1, dtype=DOUBLE)
    zs, states = neuron(xs)
    k, v = 1 - math.exp(-1 / 3), 0.0
    for x, z, after in zip(xs[:, 0].tolist(), zs[:, 0].tolist(), states.v[:, 0].tolist(), strict=True):
        v += k * (x - v)
        assert (v > 1) == z
        v = 0.1 if z else v
        assert after == pytest.approx(v, abs=1e-12)
    assert 5 < zs.sum() < 95
    (grad,) = torch.autograd.grad(states.v[-1].sum(), neuron.log_tau_mem)
    assert grad != 0


def test_gated_lif_is_the_formula_of_its_paper():
    alpha, beta, gamma, tau, leak, g, sub = 0.3, 0.6, 0.7, 5e-3, 20.0, 0.4, 0.8
    values = {"alpha": alpha, "beta": beta, "gamma": gamma, "tau_mem": tau, "leak": leak, "g": g, "v_sub": sub}
    neuron = geir.GatedLIF(**{k: exactly(v) for k, v in values.items()}, record_states=True)
    assert len(list(neuron.parameters())) == len(values)
    xs = 2 * torch.rand(100, 1, dtype=DOUBLE)
    zs, states = neuron(xs)
    v, decay = 0.0, math.exp(-1e-3 / tau)
    for x, z, after in zip(xs[:, 0].tolist(), zs[:, 0].tolist(), states.v[:, 0].tolist(), strict=True):
        u = (1 - alpha * (1 - decay)) * v - (1 - alpha) * leak * 1e-3 + (1 - beta * (1 - g)) * x
        assert (u > 1) == z
        v = u - gamma * z * u - (1 - gamma) * z * sub
        assert after == pytest.approx(v, abs=1e-12)
    assert 5 < zs.sum() < 95


def test_klif_is_the_formula_of_its_paper():
    neuron = geir.KLIF(tau_mem=exactly(4e-3), k=exactly(1.2), record_states=True)
    xs = 3 * torch.rand(100, 1, dtype=DOUBLE) - 0.5
    zs, states = neuron(xs)
    v = 0.0
    for x, z, after in zip(xs[:, 0].tolist(), zs[:, 0].tolist(), states.v[:, 0].tolist(), strict=True):
        v = max(0.0, 1.2 * (x + (v - x) * math.exp(-0.25)))
        assert (v > 1) == z
        v = 0.0 if z else v
        assert after == pytest.approx(v, abs=1e-12)
    assert 5 < zs.sum() < 95


# Several spikes in a step


def test_graded_spikes_lose_no_charge_and_leave_every_neuron_below_threshold():
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


def test_graded_spikes_have_the_derivative_of_the_nearest_threshold():
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


def test_graded_spikes_drive_recurrent_neurons_as_the_reference_says():
    torch.manual_seed(1)
    keywords = {"surrogate": geir.surrogates.MultiSpike(), "reset_mechanism": geir.ResetBySubtraction()}
    layer = geir.LIFRecurrent(5, 4, **keywords)
    xs = 8 * torch.rand(50, 3, 5)
    zs, _ = layer(xs)
    assert zs.max() > 1
    torch.testing.assert_close(zs, with_reference(layer)(xs)[0])


# Noise


def wichmann_hill(state, count):
    """The published algorithm, in whole numbers."""
    for _ in range(count):
        state = [171 * state[0] % 30269, 172 * state[1] % 30307, 170 * state[2] % 30323]
        yield state, (state[0] / 30269 + state[1] / 30307 + state[2] / 30323) % 1


@pytest.mark.parametrize("unroll", [geir.Fused(), geir.reference], ids=["kernel", "reference"])
def test_the_generator_is_the_published_one_in_float32_too(unroll):
    neuron = geir.wrappers.NoisyLIF(seed=3, unroll=unroll)
    _, state = neuron(torch.zeros(1000, 2))
    start = neuron.initial_state(torch.zeros(2))
    for place in range(2):
        *_, (last, _) = wichmann_hill([int(part[place]) for part in start.generator], 2000)
        assert [int(part[place]) for part in state.generator] == last
    values, _ = start.generator.uniform()
    expected = [next(wichmann_hill([int(part[place]) for part in start.generator], 1))[1] for place in range(2)]
    torch.testing.assert_close(values, torch.tensor(expected), atol=3e-7, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=str)
def test_no_state_of_the_generator_is_rounded_to_a_wrong_next_one(dtype):
    for factor, modulus in zip(_FACTORS, _MODULI, strict=True):
        states = torch.arange(1, modulus)
        assert torch.equal(_next(states.to(dtype), factor, modulus).long(), factor * states % modulus)


def test_seeds_are_valid_and_differ_between_places_and_seeds():
    x = torch.zeros(100_000)
    first, second = (torch.stack([*Generator(seed, seed, seed).spread(x, torch.float32)], 1) for seed in (0, 1))
    assert (first >= 1).all()
    assert (first < torch.tensor([30269, 30307, 30323])).all()
    assert len(first.unique(dim=0)) == len(x)
    assert not (first == second).all(1).any()
    for column, modulus in zip(first.T.numpy(), (30269, 30307, 30323), strict=True):
        assert stats.kstest(column / modulus, "uniform").pvalue > 1e-3


class Pure(geir.Neuron):
    """Its output is what noise adds to its potential."""

    def rest(self):
        return geir.neurons.LIFBoxState(torch.zeros(()))

    def step(self, x, state):
        return state.v, geir.neurons.LIFBoxState(0 * state.v)


def test_noise_is_white_and_normal_over_time_and_over_neurons():
    xi, _ = geir.Noisy(Pure(dt=1.0), sigma=1.0, seed=5)(torch.zeros(400, 500))
    xi = xi.double().numpy()
    n = xi.size
    assert abs(xi.mean()) < 4 / math.sqrt(n)
    assert abs(xi.var() - 1) < 4 * math.sqrt(2 / n)
    assert stats.kstest(xi.ravel(), "norm").pvalue > 1e-3
    assert abs(stats.kurtosis(xi.ravel())) < 4 * math.sqrt(24 / n)
    for lag in (1, 2, 3, 10):
        assert abs((xi[lag:] * xi[:-lag]).mean()) < 4 / math.sqrt(n), f"in time, {lag} steps apart"
        assert abs((xi[:, lag:] * xi[:, :-lag]).mean()) < 4 / math.sqrt(n), f"{lag} neurons apart"
    # Neighbours correlate in no way that a whole run would show.
    between = np.corrcoef(xi.T)[np.triu_indices(500, 1)]
    assert stats.kstest(between * math.sqrt(400), "norm").pvalue > 1e-4


def test_noise_spreads_a_membrane_as_an_ornstein_uhlenbeck_process():
    dt, tau, sigma = 1e-3, 10e-3, 3.0
    _, state = geir.Noisy(geir.LIFBox(tau_mem=tau, v_th=1e9, dt=dt), sigma=sigma, seed=2).double()(
        torch.zeros(100, 40_000, dtype=DOUBLE)
    )
    decay = math.exp(-2 * dt / tau)
    expected = sigma**2 * dt * decay / (1 - decay)
    assert state.neuron.v.var().item() == pytest.approx(expected, rel=4 * math.sqrt(2 / 40_000))
    assert expected == pytest.approx(sigma**2 * tau / 2, rel=2 * dt / tau)


def test_noise_makes_a_membrane_below_threshold_fire_at_the_rate_of_siegert():
    dt, tau, sigma, mu = 0.1e-3, 10e-3, 5.0, 0.8
    neuron = geir.Noisy(geir.LIFBox(tau_mem=tau, dt=dt), sigma=sigma, seed=7)
    _, state = neuron(torch.full((1000, 2000), mu))
    zs, _ = neuron(torch.full((3000, 2000), mu), state)
    # A threshold that is looked at every dt is passed as one that lies higher by 0.5826 standard deviations of a step.
    low, high = (-mu / (sigma * math.sqrt(tau)), (1 + 0.5826 * sigma * math.sqrt(dt) - mu) / (sigma * math.sqrt(tau)))
    rate = 1 / (tau * math.sqrt(math.pi) * quad(lambda u: math.exp(u * u) * (1 + erf(u)), low, high)[0])
    assert zs.mean().item() / dt == pytest.approx(rate, rel=0.02)


def test_a_seed_makes_the_same_noise_and_none_what_pytorchs_generator_says():
    xs = torch.zeros(20, 3, 4)
    seeded, drawn = (geir.Noisy(Pure(), seed=seed) for seed in (1, None))
    assert torch.equal(seeded(xs)[0], seeded(xs)[0])
    assert not torch.equal(geir.Noisy(Pure(), seed=2)(xs)[0], seeded(xs)[0])
    assert not torch.equal(drawn(xs)[0], drawn(xs)[0])
    again = []
    for _ in range(2):
        torch.manual_seed(4)
        again.append(drawn(xs)[0])
    assert torch.equal(*again)
    zs, _ = seeded(xs)
    assert len(zs.flatten(1).unique()) == zs.numel(), "no two samples, neurons or times are alike"


def test_noise_within_other_forms_differs_between_neurons_too():
    layer = geir.Recurrent(geir.Refractory(geir.wrappers.NoisyLIF(seed=1)), 3, 4)
    _, state = layer(torch.zeros(5, 2, 3))
    v = state.neuron.neuron.neuron.v
    assert len(v.unique()) == 8
    _, state = geir.wrappers.NoisyLIFRecurrent(3, 4, seed=1)(torch.zeros(5, 2, 3))
    assert len(state.neuron.neuron.v.unique()) == 8
    z, after = geir.wrappers.NoisyLIFCell(seed=1)(torch.zeros(2, 3))
    assert len(after.neuron.v.unique()) == 6


@pytest.mark.parametrize(
    "model", [geir.wrappers.NoisyLIF(sigma=5.0, seed=1), geir.wrappers.StochasticLIF(seed=1)], ids=repr
)
def test_noisy_spikes_in_float32_are_the_references_but_for_rounding(model):
    xs = 0.3 * torch.rand(100, 2000)
    (actual, state), (expected, last) = model(xs), with_reference(model)(xs)
    assert expected.sum() > 1000
    assert (actual != expected).float().mean() < 1e-3
    assert all(torch.equal(part, other) for part, other in zip(state.generator, last.generator, strict=True))


def held_at(potential, **keywords):
    """Many stochastic neurons whose potential is what they are given."""
    return geir.Stochastic(
        geir.LIFBox(tau_mem=1e-7, surrogate=geir.surrogates.Gaussian(0.02)), seed=11, **keywords
    ), torch.full((100, 1000), potential)


@pytest.mark.parametrize("distance", [-0.3, -0.1, 0.0, 0.1, 0.3])
@pytest.mark.parametrize(
    ("hazard", "form"),
    [(geir.wrappers.ExponentialHazard(), np.exp), (geir.wrappers.SigmoidalHazard(), lambda y: 1 / (1 + np.exp(-y)))],
    ids=["exponential", "sigmoidal"],
)
def test_spikes_escape_with_the_stated_probability(distance, hazard, form):
    rate, width = 700.0, 0.15
    neuron, xs = held_at(1 + distance, rate=rate, width=width, hazard=hazard)
    p = 1 - np.exp(-rate * form(distance / width) * 1e-3)
    zs, _ = neuron(xs)
    assert zs.mean().item() == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / zs.numel()) + 1e-5)
    assert abs(((zs[1:] - p) * (zs[:-1] - p)).mean()) < 4 * p * (1 - p) / math.sqrt(zs.numel()), "steps are independent"


def test_gradients_of_escape_are_on_average_those_of_the_probability():
    width, rate, d = 0.2, 500.0, 0.05
    neuron, xs = held_at(1 + d, rate=nn.Parameter(torch.tensor(rate)), width=nn.Parameter(torch.tensor(width)))
    xs.requires_grad_()
    neuron(xs)[0].mean().backward()
    hazard = rate * 1e-3 * math.exp(d / width)
    slope = hazard * math.exp(-hazard)
    n = math.sqrt(xs.numel())
    assert xs.grad.sum().item() == pytest.approx(slope / width, rel=12 / n)
    assert neuron.rate.grad.item() == pytest.approx(slope / rate, rel=12 / n)
    assert neuron.width.grad.item() == pytest.approx(-slope * d / width**2, rel=40 / n)


# Compartments


def chain(size, rate):
    """Neighbours are coupled."""
    coupling = torch.zeros(size, size, dtype=DOUBLE)
    for k in range(size - 1):
        coupling[k, k + 1] = coupling[k + 1, k] = rate
    return coupling


def test_compartments_without_input_are_the_matrix_exponential():
    tau, coupling = 10e-3, chain(4, 80.0) + torch.rand(4, 4, dtype=DOUBLE) * 30
    neuron = geir.LIFMC(4, coupling=coupling, tau_mem=exactly(tau), v_th=exactly(1e9), record_states=True)
    start = geir.neurons.LIFState(
        v=torch.tensor([[1.0, 0.0, -1.0, 0.5]], dtype=DOUBLE), i=torch.zeros(1, 4, dtype=DOUBLE)
    )
    _, states = neuron(torch.zeros(30, 1, 4, dtype=DOUBLE), start)
    rates = coupling.numpy() - np.diag(coupling.numpy().sum(1)) - np.eye(4) / tau
    expected = [expm(rates * 1e-3 * t) @ start.v[0].numpy() for t in range(1, 31)]
    np.testing.assert_allclose(states.v[:, 0].detach(), expected, rtol=1e-10, atol=1e-12)


def test_compartments_converge_to_another_solver_with_order_one():
    tau_mem, tau_syn, until, coupling = 10e-3, 4e-3, 20e-3, chain(3, 150.0)

    def flow(_, s):
        v, i = s[:3], s[3:]
        flowing = (coupling.numpy() * (v[None] - v[:, None])).sum(1)
        return [*((i - v) / tau_mem + flowing), *(-i / tau_syn)]

    expected = solve_ivp(flow, (0, until), [0, 0, 0, 3, 0, 0], rtol=1e-11, atol=1e-13).y[:3, -1]
    errors = []
    for steps in (20, 40, 80):
        neuron = geir.LIFMC(
            3,
            coupling=coupling,
            tau_mem=exactly(tau_mem),
            tau_syn=exactly(tau_syn),
            v_th=exactly(1e9),
            dt=until / steps,
        )
        xs = torch.zeros(steps, 3, dtype=DOUBLE)
        xs[0, 0] = 3
        errors.append(np.abs(neuron(xs)[1].v.detach().numpy() - expected).max())
    assert expected[2] > 0.05, "the end of the chain feels it"
    assert errors[0] < 0.1
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 1, atol=0.15)


def test_a_refractory_compartment_is_held_while_others_feel_it():
    neuron = geir.LIFMCRefrac(2, period=5e-3, record_states=True).double()
    xs = torch.zeros(60, 2, dtype=DOUBLE)
    xs[:, 0] = 1.5
    zs, states = neuron(xs)
    times = zs[:, 0].nonzero().flatten()
    assert len(times) > 3
    assert times.diff().min() > 5
    for t in times[:-1]:
        assert (states.neuron.v[t : t + 6, 0] == 0).all()
    assert states.neuron.v[:, 1].max() > 0.05


@pytest.mark.parametrize(
    "made",
    [
        lambda: geir.LIFMC(4),
        lambda: geir.Compartments(geir.ALIF(), 4),
        lambda: geir.LIFMCRecurrent(4, 4),
        lambda: geir.Refractory(geir.Recurrent(geir.LIFMC(4), 4, 4)),
    ],
    ids=["LIFMC", "Compartments", "LIFMCRecurrent", "Refractory"],
)
def test_compartments_run_on_the_reference_loop_without_a_warning(made):
    torch.manual_seed(0)
    layer = made()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zs, state = layer(10 * torch.rand(40, 2, 4))
    assert zs.sum() > 5
    (zs.sum() + sum(part.sum() for _, part in leaves(state))).backward()
    coupling = next(p for name, p in layer.named_parameters() if name.endswith("coupling"))
    assert coupling.grad.abs().sum() > 0


# Correlation sensors


def counted(pre, post, tau_causal, tau_anticausal, dt):
    """By all pairs of spikes of one connection, shape (time, neurons) each."""
    causal, anticausal = np.zeros((2, post.shape[1], pre.shape[1]))
    for k, j in np.ndindex(causal.shape):
        sources, targets = np.flatnonzero(pre[:, j]), np.flatnonzero(post[:, k])
        for t in targets:
            if len(before := sources[sources <= t]):
                causal[k, j] += math.exp(-(t - before[-1]) * dt / tau_causal)
        for t in sources:
            if len(before := targets[targets < t]):
                anticausal[k, j] += math.exp(-(t - before[-1]) * dt / tau_anticausal)
    return causal, anticausal


def test_correlation_sensors_count_nearest_pairs():
    torch.manual_seed(2)
    layer = geir.LIFCorrelation(3, 4, input_weights=2 * torch.rand(4, 3), tau_causal=7e-3, tau_anticausal=4e-3).double()
    xs = (torch.rand(120, 2, 3) < 0.2).double()
    zs, state = layer(xs)
    assert zs.sum() > 30
    fed_back = torch.cat([torch.zeros(1, 2, 4), zs.detach()[:-1]])
    for sample in range(2):
        for pre, sensors in ((xs, state.input), (fed_back, state.recurrent)):
            expected = counted(pre[:, sample].numpy(), zs[:, sample].detach().numpy(), 7e-3, 4e-3, 1e-3)
            np.testing.assert_allclose(sensors.causal[sample], expected[0], atol=1e-12)
            np.testing.assert_allclose(sensors.anticausal[sample], expected[1], atol=1e-12)
    assert torch.equal(zs, super(geir.plasticity.CorrelationSensors, layer).forward(xs)[0]), (
        "they do not act on the neurons"
    )


def test_correlation_sensors_go_on_where_they_were_step_by_step_too():
    layer = geir.LIFCorrelation(3, 4, input_weights=2 * torch.rand(4, 3))
    cell = geir.LIFCorrelationCell(3, 4)
    cell.load_state_dict(layer.state_dict())
    xs = (torch.rand(50, 2, 3) < 0.2).float()
    zs, whole = layer(xs)
    first, middle = layer(xs[:20])
    second, last = layer(xs[20:], middle)
    torch.testing.assert_close((torch.cat([first, second]), last), (zs, whole))
    state = None
    for x in xs:
        z, state = cell(x, state)
    torch.testing.assert_close(state, whole)
    torch.testing.assert_close(layer(xs[:0], whole)[1], whole)
    torch.testing.assert_close(layer(xs[:, 0])[1], map_state(lambda part: part[0], layer(xs[:, :1])[1]))


# Parallel spiking neurons


def test_parallel_neurons_with_the_weights_of_a_membrane_spike_where_it_passes_threshold():
    steps, decay = 40, math.exp(-1e-3 / 10e-3)
    neuron = geir.ParallelSpikingNeuron(steps).double()
    lag = torch.arange(steps)[:, None] - torch.arange(steps)
    neuron.weight = nn.Parameter(torch.where(lag >= 0, (1 - decay) * decay ** lag.double(), 0))
    neuron.threshold = nn.Parameter(torch.full((steps,), 0.6, dtype=DOUBLE))
    xs = 2 * torch.rand(steps, 3, 5, dtype=DOUBLE)
    vs, _ = geir.LIBox().double()(xs)
    assert 0.1 < (vs > 0.6).double().mean() < 0.9
    assert torch.equal(neuron(xs), (vs > 0.6).double())
    assert torch.equal(neuron(xs[:, 0, 0]), neuron(xs)[:, 0, 0])


def test_masked_parallel_neurons_see_only_the_last_steps():
    neuron, xs = geir.ParallelSpikingNeuron(10, order=3, surrogate=torch.sigmoid), torch.rand(10, 2, requires_grad=True)
    for t in range(10):
        (grad,) = torch.autograd.grad(neuron(xs)[t].sum(), xs)
        assert grad[:, 0].nonzero().flatten().tolist() == list(range(max(0, t - 2), t + 1))


def test_sliding_parallel_neurons_are_a_convolution_and_stream():
    neuron = geir.SlidingParallelSpikingNeuron(4, surrogate=lambda x: x).double()
    xs = torch.rand(30, 2, dtype=DOUBLE)
    hs, state = neuron(xs)
    expected = [np.convolve(x, [1, 0.5, 0.25, 0.125])[:30] - 1 for x in xs.T.numpy()]
    np.testing.assert_allclose(hs.detach().T, expected, rtol=1e-12)
    parts, last = [], None
    for chunk in xs.split([1, 2, 0, 20, 7]):
        part, last = neuron(chunk, last)
        parts.append(part)
    torch.testing.assert_close((torch.cat(parts), last), (hs, state))


def test_parallel_neurons_learn_within_a_network():
    model = geir.SequentialState(
        geir.Lift(nn.Linear(3, 5)), geir.ParallelSpikingNeuron(8), geir.SlidingParallelSpikingNeuron(3), geir.LIF()
    )
    zs, state = model(torch.rand(8, 2, 3) * 4)
    assert state[1] == ()
    (state[3].v.sum() + zs.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model[1:3].parameters())


# Wrong input


XS = torch.rand(10, 4, 5)
SUBTRACT = {"reset_mechanism": geir.ResetBySubtraction()}
CASES = {
    "counts and a reset to a value": (
        lambda: geir.LIF(surrogate=geir.surrogates.MultiSpike()),
        ValueError,
        r"LIF with reset_mechanism=ResetToValue.* counts",
    ),
    "counts without a reset": (
        lambda: Pure(surrogate=geir.surrogates.MultiSpike()),
        ValueError,
        "Pure with no `reset_mechanism` cannot take back several",
    ),
    "counts while refractory": (
        lambda: geir.LIFRefrac(surrogate=geir.surrogates.MultiSpike(), **SUBTRACT),
        ValueError,
        "LIFRefrac waits after every spike, but MultiSpike.* counts several in a step",
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
    "a gate out of range": (lambda: geir.GatedLIF(alpha=1.0), ValueError, "GatedLIF.alpha must be < 1.0, got 1.0"),
    "a negative seed": (
        lambda: geir.wrappers.NoisyLIF(seed=-1),
        ValueError,
        r"NoisyLIF.seed must be a whole number from 0 to 2\*\*32 - 1, or None, got -1",
    ),
    "a seed that is not whole": (
        lambda: geir.wrappers.NoisyLIF(seed=0.5),
        TypeError,
        "NoisyLIF.seed must be a whole number",
    ),
    "negative noise": (
        lambda: geir.wrappers.NoisyLIF(sigma=-1.0),
        ValueError,
        r"NoisyLIF.sigma must be >= 0.0 1/sqrt\(s\), got -1.0",
    ),
    "noise without a potential": (
        lambda: geir.Noisy(NoPotential())(XS),
        TypeError,
        "Noisy adds to the potential `v`, but UState has only u",
    ),
    "coupling without a potential": (
        lambda: geir.Compartments(NoPotential(), 5)(XS),
        TypeError,
        "Compartments couples potentials `v`, but UState has only u",
    ),
    "escape from a step": (
        lambda: geir.Stochastic(geir.IAF()),
        TypeError,
        r"Stochastic shifts the threshold of .* got IAF\(\); put other forms around",
    ),
    "escape while refractory": (
        lambda: geir.Stochastic(geir.LIFRefrac()),
        TypeError,
        r"Stochastic shifts the threshold of .* got LIFRefrac\(\)",
    ),
    "escape of a mixin": (
        lambda: StochasticIAF(),
        TypeError,
        "StochasticIAF shifts the threshold of .* got StochasticIAF",
    ),
    "a string for a hazard": (
        lambda: geir.wrappers.StochasticLIF(hazard="exp"),
        TypeError,
        "StochasticLIF.hazard must be of type Hazard",
    ),
    "no compartments": (
        lambda: geir.LIFMC(0),
        ValueError,
        "LIFMC.hidden_size must be a positive number of neurons, got 0",
    ),
    "coupling of another shape": (
        lambda: geir.LIFMC(3, coupling=torch.ones(3)),
        ValueError,
        r"LIFMC.coupling must have shape \(3, 3\), got \(3,\)",
    ),
    "other compartments": (
        lambda: geir.LIFMC(3)(XS),
        ValueError,
        r"LIFMC has 3 compartments in the last dimension, but .* shape \(4, 5\)",
    ),
    "sensors in a module": (
        lambda: geir.LIFCorrelation(3, 4, input_weights=nn.Linear(3, 4)),
        TypeError,
        "LIFCorrelation has a sensor for each of input_weights, which must be a tensor, got Linear",
    ),
    "sensors without time constant": (
        lambda: geir.LIFCorrelation(3, 4, tau_causal=0.0),
        ValueError,
        "LIFCorrelation.tau_causal must be a positive number of seconds, got 0.0",
    ),
    "sensors of another batch": (
        lambda: geir.LIFCorrelation(5, 4)(XS[:, :2], geir.LIFCorrelation(5, 4)(XS)[1]),
        ValueError,
        r"LIFCorrelationState.input.traces.pre has shape \(4, 5\), but the input asks for \(2, 5\)",
    ),
    "sensors from another state": (
        lambda: geir.LIFCorrelation(5, 4)(XS, geir.LIFRecurrent(5, 4)(XS)[1]),
        TypeError,
        "LIFCorrelation continues from a LIFCorrelationState, got RecurrentState",
    ),
    "another number of steps": (
        lambda: geir.ParallelSpikingNeuron(8)(XS),
        ValueError,
        r"ParallelSpikingNeuron takes runs of 8 steps, got shape \(10, 4, 5\)",
    ),
    "no steps": (
        lambda: geir.ParallelSpikingNeuron(0),
        ValueError,
        "ParallelSpikingNeuron.steps must be a positive number of steps, got 0",
    ),
    "an order of zero": (
        lambda: geir.ParallelSpikingNeuron(8, order=0),
        ValueError,
        "ParallelSpikingNeuron.order must be a positive number of steps",
    ),
    "integers in parallel": (
        lambda: geir.ParallelSpikingNeuron(2)(torch.ones(2, 3).long()),
        TypeError,
        "ParallelSpikingNeuron takes a floating-point tensor, got torch.int64",
    ),
    "parallel without time": (
        lambda: geir.SlidingParallelSpikingNeuron(2)(torch.tensor(1.0)),
        ValueError,
        r"SlidingParallelSpikingNeuron runs over time: it takes \(time, ...\)",
    ),
    "a window of another shape": (
        lambda: geir.SlidingParallelSpikingNeuron(3)(XS, geir.neurons.SlidingState(torch.zeros(2, 5))),
        ValueError,
        r"SlidingState.xs has shape \(2, 5\), but SlidingParallelSpikingNeuron continues from \(2, 4, 5\)",
    ),
}


class UState(NamedTuple):
    u: torch.Tensor


class NoPotential(geir.Neuron[UState]):
    def rest(self):
        return UState(torch.zeros(()))

    def step(self, x, state):
        return self.surrogate(x), state


class StochasticIAF(geir.wrappers.EscapeNoise, geir.IAF): ...


@pytest.mark.parametrize("case", CASES)
def test_wrong_input_is_refused(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()
