"""White noise in the potential, and its pseudo-random number generator."""

import copy
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from scipy.special import erf

import geir
from geir.wrappers._random import _advance, _FACTORS, _MODULI, WichmannHill

DOUBLE = torch.float64


def with_reference(model):
    twin = copy.deepcopy(model)
    twin.unroll = geir.reference
    return twin


class UState(NamedTuple):
    u: torch.Tensor


class NoPotential(geir.Neuron[UState]):
    def rest(self):
        return UState(torch.zeros(()))

    def step(self, x, state):
        return self.surrogate(x), state


def wichmann_hill(state, count):
    """The published algorithm, in integers."""
    for _ in range(count):
        state = [171 * state[0] % 30269, 172 * state[1] % 30307, 170 * state[2] % 30323]
        yield state, (state[0] / 30269 + state[1] / 30307 + state[2] / 30323) % 1


@pytest.mark.parametrize("unroll", [geir.Fused(), geir.reference], ids=["kernel", "reference"])
def test_the_generator_equals_the_published_algorithm_in_float32(unroll):
    neuron = geir.Noisy(geir.LIF(), seed=3, unroll=unroll)
    _, state = neuron(torch.zeros(1000, 2))
    start = neuron.initial_state(torch.zeros(2))
    for place in range(2):
        *_, (last, _) = wichmann_hill([int(part[place]) for part in start.generator], 2000)
        assert [int(part[place]) for part in state.generator] == last
    values, _ = start.generator.uniform()
    expected = [next(wichmann_hill([int(part[place]) for part in start.generator], 1))[1] for place in range(2)]
    torch.testing.assert_close(values, torch.tensor(expected), atol=3e-7, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=str)
def test_no_state_of_the_generator_is_rounded_to_a_wrong_successor(dtype):
    for factor, modulus in zip(_FACTORS, _MODULI, strict=True):
        states = torch.arange(1, modulus)
        assert torch.equal(_advance(states.to(dtype), factor, modulus).long(), factor * states % modulus)


def test_seeds_are_valid_and_differ_between_places_and_seeds():
    x = torch.zeros(100_000)
    first, second = (torch.stack([*WichmannHill.seed(seed, x, torch.float32)], 1) for seed in (0, 1))
    assert (first >= 1).all()
    assert (first < torch.tensor([30269, 30307, 30323])).all()
    assert len(first.unique(dim=0)) == len(x)
    assert not (first == second).all(1).any()
    for column, modulus in zip(first.T.numpy(), (30269, 30307, 30323), strict=True):
        assert stats.kstest(column / modulus, "uniform").pvalue > 1e-3


class NoiseOnly(geir.Neuron):
    """A neuron whose output is the noise added to its potential."""

    def rest(self):
        return geir.neurons.LIFBoxState(torch.zeros(()))

    def step(self, x, state):
        return state.v, geir.neurons.LIFBoxState(0 * state.v)


def test_noise_is_white_and_normal_over_time_and_over_neurons():
    xi, _ = geir.Noisy(NoiseOnly(dt=1.0), sigma=1.0, seed=5)(torch.zeros(400, 500))
    xi = xi.double().numpy()
    n = xi.size
    assert abs(xi.mean()) < 4 / math.sqrt(n)
    assert abs(xi.var() - 1) < 4 * math.sqrt(2 / n)
    assert stats.kstest(xi.ravel(), "norm").pvalue > 1e-3
    assert abs(stats.kurtosis(xi.ravel())) < 4 * math.sqrt(24 / n)
    for lag in (1, 2, 3, 10):
        assert abs((xi[lag:] * xi[:-lag]).mean()) < 4 / math.sqrt(n), f"in time, {lag} steps apart"
        assert abs((xi[:, lag:] * xi[:, :-lag]).mean()) < 4 / math.sqrt(n), f"{lag} neurons apart"
    # The correlations between neurons are those of independent noise.
    between = np.corrcoef(xi.T)[np.triu_indices(500, 1)]
    assert stats.kstest(between * math.sqrt(400), "norm").pvalue > 1e-4


def test_the_potential_is_an_ornstein_uhlenbeck_process():
    dt, tau, sigma = 1e-3, 10e-3, 3.0
    _, state = geir.Noisy(geir.LIFBox(tau_mem=tau, v_th=1e9, dt=dt), sigma=sigma, seed=2).double()(
        torch.zeros(100, 40_000, dtype=DOUBLE)
    )
    decay = math.exp(-2 * dt / tau)
    expected = sigma**2 * dt * decay / (1 - decay)
    assert state.neuron.v.var().item() == pytest.approx(expected, rel=4 * math.sqrt(2 / 40_000))
    assert expected == pytest.approx(sigma**2 * tau / 2, rel=2 * dt / tau)


def test_noise_driven_firing_has_the_rate_of_the_siegert_formula():
    dt, tau, sigma, mu = 0.1e-3, 10e-3, 5.0, 0.8
    neuron = geir.Noisy(geir.LIFBox(tau_mem=tau, dt=dt), sigma=sigma, seed=7)
    _, state = neuron(torch.full((1000, 2000), mu))
    zs, _ = neuron(torch.full((3000, 2000), mu), state)
    # A threshold compared every dt acts as one that is higher by 0.5826 standard deviations of a step.
    low, high = (-mu / (sigma * math.sqrt(tau)), (1 + 0.5826 * sigma * math.sqrt(dt) - mu) / (sigma * math.sqrt(tau)))
    rate = 1 / (tau * math.sqrt(math.pi) * quad(lambda u: math.exp(u * u) * (1 + erf(u)), low, high)[0])
    assert zs.mean().item() / dt == pytest.approx(rate, rel=0.02)


def test_a_seed_fixes_the_noise_and_without_one_pytorchs_generator_does():
    xs = torch.zeros(20, 3, 4)
    seeded, drawn = (geir.Noisy(NoiseOnly(), seed=seed) for seed in (1, None))
    assert torch.equal(seeded(xs)[0], seeded(xs)[0])
    assert not torch.equal(geir.Noisy(NoiseOnly(), seed=2)(xs)[0], seeded(xs)[0])
    assert not torch.equal(drawn(xs)[0], drawn(xs)[0])
    again = []
    for _ in range(2):
        torch.manual_seed(4)
        again.append(drawn(xs)[0])
    assert torch.equal(*again)
    zs, _ = seeded(xs)
    assert len(zs.flatten(1).unique()) == zs.numel(), "no two samples, neurons or times are alike"


def test_noise_differs_between_neurons_inside_other_wrappers():
    layer = geir.Recurrent(geir.Refractory(geir.Noisy(geir.LIF(), seed=1)), 3, 4)
    _, state = layer(torch.zeros(5, 2, 3))
    v = state.neuron.neuron.neuron.v
    assert len(v.unique()) == 8
    _, state = geir.Recurrent(geir.Noisy(geir.LIF(), seed=1), 3, 4)(torch.zeros(5, 2, 3))
    assert len(state.neuron.neuron.v.unique()) == 8
    z, after = geir.NoisyCell(geir.LIF(), seed=1)(torch.zeros(2, 3))
    assert len(after.neuron.v.unique()) == 6


@pytest.mark.parametrize(
    "model", [geir.Noisy(geir.LIF(), sigma=5.0, seed=1), geir.Stochastic(geir.LIF(), seed=1)], ids=repr
)
def test_noisy_spikes_in_float32_equal_the_reference_up_to_rounding(model):
    xs = 0.3 * torch.rand(100, 2000)
    (actual, state), (expected, last) = model(xs), with_reference(model)(xs)
    assert expected.sum() > 1000
    assert (actual != expected).float().mean() < 1e-3
    assert all(torch.equal(part, other) for part, other in zip(state.generator, last.generator, strict=True))


XS = torch.rand(10, 4, 5, generator=torch.Generator().manual_seed(0))
CASES = {
    "a negative seed": (
        lambda: geir.Noisy(geir.LIF(), seed=-1),
        ValueError,
        r"Noisy.seed must be an integer from 0 to 2\*\*32 - 1, or None, got -1",
    ),
    "a seed that is no integer": (
        lambda: geir.Noisy(geir.LIF(), seed=0.5),
        TypeError,
        "Noisy.seed must be an integer",
    ),
    "negative noise": (
        lambda: geir.Noisy(geir.LIF(), sigma=-1.0),
        ValueError,
        r"Noisy.sigma must be >= 0.0 1/sqrt\(s\), got -1.0",
    ),
    "noise without a potential": (
        lambda: geir.Noisy(NoPotential()),
        TypeError,
        "Noisy needs a neuron with a membrane potential `v`, but the state of NoPotential has only u",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_raises(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()
