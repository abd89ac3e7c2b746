from itertools import pairwise
from typing import NamedTuple

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from scipy.linalg import expm
from torch import Tensor

import geir
from geir.core.integrators import phi1
from geir.core.integrators._affine import linear_system
from geir.core.integrators.series import SeriesExact

DOUBLE = torch.float64


def exactly(value):
    """A parameter that float32 does not round."""
    return torch.tensor(value, dtype=DOUBLE)


def li_after(time, tau_mem, tau_syn, i0, v0, v_rest):
    """Closed form of a leaky integrator between inputs."""
    v = v_rest + (v0 - v_rest) * np.exp(-time / tau_mem)
    if tau_mem == tau_syn:
        return v + i0 * time / tau_mem * np.exp(-time / tau_mem)
    return v + i0 * tau_syn / (tau_mem - tau_syn) * (np.exp(-time / tau_mem) - np.exp(-time / tau_syn))


@pytest.mark.filterwarnings("ignore:.*times are in seconds")
@pytest.mark.parametrize("dt", [1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1.0])
@pytest.mark.parametrize("tau_syn", [5e-3, 9.99e-3, 10e-3 + 1e-9, 10e-3, 40e-3])
def test_exact_equals_the_closed_form_at_any_step(dt, tau_syn):
    tau_mem, v_rest, steps = 10e-3, -0.3, 20
    li = geir.LI(tau_mem=exactly(tau_mem), tau_syn=exactly(tau_syn), v_rest=exactly(v_rest), dt=dt)
    state = geir.neurons.LIState(v=exactly([0.4]), i=exactly([0.7]))
    vs, last = li(torch.zeros(steps, 1, dtype=DOUBLE), state)
    times = dt * np.arange(1, steps + 1)
    expected = [li_after(t, tau_mem, tau_syn, 0.7, 0.4, v_rest) for t in times]
    if 0 < abs(tau_syn - tau_mem) < 1e-6:  # the formula itself cancels there: the limit is closer
        expected = [li_after(t, tau_mem, tau_mem, 0.7, 0.4, v_rest) for t in times]
        np.testing.assert_allclose(vs[:, 0], expected, atol=1e-7)
    else:
        np.testing.assert_allclose(vs[:, 0], expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(last.i[0], 0.7 * np.exp(-dt * steps / tau_syn), rtol=1e-12, atol=1e-12)


class ChainState(NamedTuple):
    a: Tensor
    b: Tensor


class Chain(geir.ODE[ChainState], affine=True):
    """Two parts, the first driven by a current and a constant, the second by the first and a constant."""

    rate_a: geir.Parameter = geir.parameter(default=-100.0)
    rate_b: geir.Parameter = geir.parameter(default=-50.0)
    coupling: geir.Parameter = geir.parameter(default=30.0)
    drive_a: geir.Parameter = geir.parameter(default=2.0)
    drive_b: geir.Parameter = geir.parameter(default=-3.0)

    def rest(self):
        return ChainState(torch.zeros(()), torch.zeros(()))

    def derivative(self, x, state):
        a = self.rate_a * state.a + 7 * x + self.drive_a
        return ChainState(a, self.rate_b * state.b + self.coupling * state.a + self.drive_b)

    def step(self, x, state, coefficients):
        state = self.advance(x, state, coefficients)
        return state.b, state


class RingState(NamedTuple):
    a: Tensor
    b: Tensor
    c: Tensor


class Ring(geir.ODE[RingState], affine=True):
    """Three parts, each driven by another, and by a current."""

    k: geir.Parameter = geir.parameter(default=80.0)

    def rest(self):
        return RingState(torch.zeros(()), torch.zeros(()), torch.zeros(()))

    def derivative(self, x, state):
        a, b, c = state
        return RingState(self.k * (c - 2 * a) + 5 * x, self.k * (a - b) + 1, self.k * (b - 3 * c))

    def step(self, x, state, coefficients):
        state = self.advance(x, state, coefficients)
        return state.c, state


def by_matrix_exponential(matrix, drive, start, dt, steps):
    size = len(start)
    augmented = np.zeros((size + 1, size + 1))
    augmented[:size, :size], augmented[:size, size] = matrix, drive
    whole = expm(augmented * dt)
    states = [np.append(start, 1.0)]
    for _ in range(steps):
        states.append(whole @ states[-1])
    return np.array(states)[1:, :size]


rates = st.floats(-300, 0) | st.sampled_from([0.0, -50.0, -1e-7, -100.0])


@given(rate_a=rates, rate_b=rates, dt=st.sampled_from([1e-5, 1e-3, 3e-2]))
def test_exact_solves_any_chain_of_two(rate_a, rate_b, dt):
    chain = Chain(rate_a=exactly(rate_a), rate_b=exactly(rate_b), dt=dt).double()
    chain.record_states = True
    x, start, steps = 0.4, [0.3, -0.6], 6
    _, states = chain(torch.full((steps, 1), x, dtype=DOUBLE), ChainState(*(exactly([s]) for s in start)))
    matrix = np.array([[rate_a, 0], [30, rate_b]])
    expected = by_matrix_exponential(matrix, [7 * x + 2, -3], start, dt, steps)
    np.testing.assert_allclose(torch.cat([states.a, states.b], 1), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dt", [1e-5, 1e-3, 3e-2])
def test_exact_solves_larger_groups_by_the_matrix_exponential(dt):
    ring = Ring(dt=dt, record_states=True).double()
    _, states = ring(torch.full((9, 1), 0.4, dtype=DOUBLE), RingState(*(exactly([s]) for s in (0.3, -0.6, 1.0))))
    matrix = 80 * np.array([[-2, 0, 1], [1, -1, 0], [0, 1, -3]])
    expected = by_matrix_exponential(matrix, [2.0, 1, 0], [0.3, -0.6, 1.0], dt, 9)
    np.testing.assert_allclose(torch.cat(list(states), 1), expected, rtol=1e-10, atol=1e-11)


class TwoCurrentsState(NamedTuple):
    v: Tensor
    fast: Tensor
    slow: Tensor


class TwoCurrents(geir.ODE[TwoCurrentsState], affine=True):
    """Two currents that drive a potential, which has a constant drive; the second drives the first, too."""

    rate: geir.Parameter = geir.parameter(default=50.0)

    def rest(self):
        return TwoCurrentsState(*torch.zeros(3))

    def derivative(self, x, state):
        return TwoCurrentsState(
            self.rate * (3 - state.v + state.fast + state.slow),
            4 * self.rate * (state.slow - state.fast),
            2 * self.rate * (x - state.slow),
        )

    def step(self, x, state, coefficients):
        state = self.advance(x, state, coefficients)
        return state.v, state


def test_exact_has_no_terms_between_parts_that_do_not_influence_each_other():
    model = TwoCurrents(dt=2e-3, record_states=True).double()
    coefficients = model.integrator.prepare(model)
    sources = {"v": {"v", "fast", "slow"}, "fast": {"fast", "slow"}, "slow": {"slow"}}
    assert coefficients.propagator.keys() == {(part, source) for part in sources for source in sources[part]}
    assert coefficients.forcing.keys() == {("v", "constant"), ("v", "input"), ("fast", "input"), ("slow", "input")}
    start = (0.3, -0.6, 1.0)
    _, states = model(torch.full((9, 1), 0.4, dtype=DOUBLE), TwoCurrentsState(*(exactly([s]) for s in start)))
    matrix = np.array([[-50, 50, 50], [0, -200, 200], [0, 0, -100]])
    expected = by_matrix_exponential(matrix, [150, 0, 40], start, 2e-3, 9)
    np.testing.assert_allclose(torch.cat(list(states), 1), expected, rtol=1e-10, atol=1e-11)


def test_exact_accepts_parameters_per_neuron():
    taus = torch.tensor([2e-3, 5e-3, 10e-3], dtype=DOUBLE)
    together = geir.LIF(tau_mem=taus, tau_syn=exactly(5e-3))(torch.ones(30, 3, dtype=DOUBLE))[0]
    apart = [geir.LIF(tau_mem=tau, tau_syn=exactly(5e-3))(torch.ones(30, 1, dtype=DOUBLE))[0] for tau in taus]
    torch.testing.assert_close(together, torch.cat(apart, 1))


@pytest.mark.parametrize("tau_syn", [10e-3, 10e-3 + 1e-10, 10.1e-3, 9e-3, 5e-3, 0.2e-3])
def test_gradients_of_exact_are_right_for_nearly_equal_time_constants(tau_syn):
    def final_v(log_tau_mem, log_tau_syn):
        li = geir.LI(v_rest=exactly(0.2))
        values = {"tau_mem": torch.exp(log_tau_mem), "tau_syn": torch.exp(log_tau_syn)}
        return torch.func.functional_call(li.double(), values, (torch.ones(3, 1, dtype=DOUBLE),))[1].v

    taus = torch.log(exactly(10e-3)).requires_grad_(), torch.log(exactly(tau_syn)).requires_grad_()
    assert torch.autograd.gradcheck(final_v, taus, eps=1e-5, atol=1e-8, rtol=1e-6)


def test_phi1_is_accurate_everywhere():
    z = torch.tensor(
        [-700.0, -30, -1, -0.0501, -0.0499, -1e-3, -1e-9, 0, 1e-12, 0.03, 0.2, 3], dtype=DOUBLE, requires_grad=True
    )
    with np.errstate(invalid="ignore"):
        direct = np.expm1(z.detach().numpy()) / z.detach().numpy()
    expected = np.where(z.detach() == 0, 1.0, direct)
    np.testing.assert_allclose(phi1(z).detach(), expected, rtol=1e-14)
    assert torch.autograd.gradcheck(phi1, (z[3:],), atol=1e-8)


def convergence(integrator, make, expected, steps=(40, 80, 160)):
    """The measured order: how the error falls when the step is halved."""
    errors = [np.abs(make(n, integrator) - expected).max() for n in steps]
    return [np.log2(a / b) for a, b in pairwise(errors)]


def adex_v(steps, integrator, time=0.02):
    """Potential of an AdEx neuron under a decaying current, below its peak."""
    adex = geir.AdEx(dt=time / steps, integrator=integrator, a=0.5).double()
    state = geir.neurons.AdExState(v=exactly([0.1]), i=exactly([2.5]), w=exactly([0.2]))
    zs, last = adex(torch.zeros(steps, 1, dtype=DOUBLE), state)
    assert zs.sum() == 0
    return last.v.numpy()


@pytest.mark.parametrize(
    ("integrator", "order"),
    [(geir.Euler(), 1), (geir.ExponentialEuler(), 1), (geir.RushLarsen(), 1), (geir.RungeKutta4(), 4)],
    ids=repr,
)
def test_the_measured_order_is_the_documented_one(integrator, order):
    fine = adex_v(5120, geir.RungeKutta4())
    measured = convergence(integrator, adex_v, fine)
    assert all(order - 0.15 < m < order + 0.3 for m in measured), measured


def test_exponential_euler_is_stable_at_large_steps():
    xs = torch.full((100, 1), 0.3, dtype=DOUBLE)
    last = {
        i: geir.AdEx(dt=30e-3, integrator=i, a=0.0).double()(xs)[1].v.item()
        for i in (geir.Euler(), geir.ExponentialEuler())
    }
    assert abs(last[geir.ExponentialEuler()]) < 1 < abs(last[geir.Euler()])


class GateState(NamedTuple):
    v: Tensor
    y: Tensor


class Gate(geir.ODE[GateState]):
    """A gate whose rates depend on a potential that stays: linear in itself, fast where the potential is high, 5 per second at rest."""

    def rest(self):
        return GateState(torch.zeros(()), torch.zeros(()))

    def derivative(self, x, state):
        opens, closes = 2 * torch.exp(state.v), 3 * torch.exp(state.v)
        return GateState(0 * state.v, opens * (1 - state.y) - closes * state.y)

    def step(self, x, state, coefficients):
        state = self.advance(x, state, coefficients)
        return state.y, state


@pytest.mark.parametrize("dt", [1e-3, 0.1, 10.0])
def test_rush_larsen_is_exact_for_a_gate_of_any_speed(dt):
    start = GateState(v=exactly([6.0]), y=exactly([0.9]))
    ys, _ = Gate(dt=dt, integrator=geir.RushLarsen())(torch.zeros(5, 1, dtype=DOUBLE), start)
    expected = 0.4 + 0.5 * np.exp(-5 * np.exp(6.0) * dt * np.arange(1, 6))
    np.testing.assert_allclose(ys[:, 0], expected, rtol=1e-12)
    others = {
        i: Gate(dt=dt, integrator=i)(torch.zeros(5, 1, dtype=DOUBLE), start)[0]
        for i in (geir.Euler(), geir.ExponentialEuler())
    }
    assert all((y[:, 0] - torch.tensor(expected)).abs().max() > 1e-3 for y in others.values())


def test_rush_larsen_treats_growth_as_euler_does():
    """A growth rate taken as an exponential would overflow in the upswing of a spike."""
    qif, euler = geir.QIF(v_peak=1e9, dt=1e-3).double(), geir.QIF(v_peak=1e9, dt=1e-3, integrator=geir.Euler()).double()
    state = geir.neurons.QIFState(v=exactly([300.0]))
    torch.testing.assert_close(
        qif(torch.zeros(2, 1, dtype=DOUBLE), state), euler(torch.zeros(2, 1, dtype=DOUBLE), state)
    )


def test_affine_models_are_exact_by_default_and_others_exponential_euler():
    assert geir.LIF().integrator == geir.ALIF().integrator == geir.Exact()
    assert geir.AdEx().integrator == geir.ExponentialEuler()


def test_coefficients_follow_every_change():
    lif, xs = geir.LIF(), torch.ones(20, 2)
    before, _ = lif(xs)
    lif.dt = 2e-3
    assert not torch.equal(lif(xs)[0], before)
    torch.testing.assert_close(lif(xs)[0], geir.LIF(dt=2e-3)(xs)[0])
    lif.tau_mem = 5e-3
    torch.testing.assert_close(lif(xs), geir.LIF(dt=2e-3, tau_mem=5e-3)(xs))
    lif.load_state_dict(geir.LIF(tau_mem=30e-3).state_dict())
    torch.testing.assert_close(lif(xs), geir.LIF(dt=2e-3, tau_mem=30e-3)(xs))
    with torch.inference_mode():
        lif.tau_syn = 3e-3
        lif(xs)
    lif.integrator = geir.Euler()
    torch.testing.assert_close(lif(xs), geir.LIF(dt=2e-3, tau_mem=30e-3, tau_syn=3e-3, integrator=geir.Euler())(xs))


def test_coefficients_computed_without_gradients_do_not_block_later_training():
    lif = geir.LIF(tau_mem=geir.learnable(20e-3))
    xs = torch.ones(20, 2)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            lif(xs)
    lif(xs)[1].v.sum().backward()
    assert lif.log_tau_mem.grad.abs() > 0


def nir_lif(path, integrator):
    """The LIF neuron that a NIR file describes."""
    with h5py.File(path) as file:
        node = file["node/nodes/1"]
        assert node["type"][()] == b"LIF"
        assert node["r"][()] == 1
        values = {
            key: torch.tensor(node[name][()], dtype=DOUBLE)
            for key, name in {"tau_mem": "tau", "v_rest": "v_leak", "v_th": "v_threshold"}.items()
        }
    return geir.LIFBox(dt=1e-4, integrator=integrator, record_states=True, **values).double()


def columns(path):
    x, v, z = torch.tensor(np.loadtxt(path, delimiter=","), dtype=DOUBLE).T
    return x[:, None], v, z


def test_lif_equals_the_exact_nir_trace_up_to_its_first_spike(real_data):
    lif = nir_lif(real_data / "nir" / "lif_norse.nir", geir.Exact())
    x, v, z = columns(real_data / "nir" / "lif_exact.csv")
    zs, states = lif(x)
    first = int(zs[:, 0].nonzero()[0])
    assert first > 50
    error = (states.v[:first, 0] - v[:first]).abs().max().item()
    assert error < 1e-7, error


def test_lif_with_euler_equals_norses_nir_trace(real_data):
    lif = nir_lif(real_data / "nir" / "lif_norse.nir", geir.Euler())
    x, v, z = columns(real_data / "nir" / "lif_norse.csv")
    zs, states = lif(x)
    assert z.sum() > 3
    assert torch.equal(zs[:, 0], z)
    assert (states.v[:, 0] - v).abs().max() < 1e-6


def test_coefficients_first_computed_in_inference_mode_do_not_block_training():
    lif, xs = geir.LIF(), torch.ones(20, 2)
    with torch.inference_mode():
        lif(xs)
    xs.requires_grad_()
    lif(xs)[1].v.sum().backward()
    assert xs.grad.abs().sum() > 0


def test_coefficients_are_computed_once_in_inference_mode_and_reused_outside(monkeypatch):
    computed = []

    def counting(model):
        computed.append(model)
        return linear_system(model)

    monkeypatch.setattr("geir.core.integrators.exact.linear_system", counting)
    neuron, x = geir.LIFCell(), torch.full((3,), 10.0)
    with torch.inference_mode():
        _, state = neuron(x)
        neuron(x, state)
    assert len(computed) == 1
    x.requires_grad_()
    _, state = neuron(x)
    state.v.sum().backward()
    assert len(computed) == 1
    assert (x.grad > 0).all()


@pytest.mark.parametrize("model", [geir.AlphaLIF, geir.ResonateAndFire], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("dt", [1e-6, 1e-3, 1e-2, 0.1])
def test_the_series_of_the_matrix_exponential_is_accurate_at_any_step(model, dt):
    neuron = model(dt=dt).double()
    for exact, series in zip(
        *(method.prepare(neuron) for method in (geir.Exact(), SeriesExact())), strict=True
    ):  # propagator and forcing
        for key in exact.keys() | series.keys():
            expected = exact.get(key, torch.zeros((), dtype=torch.float64))
            torch.testing.assert_close(series.get(key, torch.zeros_like(expected)), expected, rtol=1e-10, atol=1e-13)
