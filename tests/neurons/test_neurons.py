"""Classical neurons, each against a closed form or another solver."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import geir

DOUBLE = torch.float64


def exactly(value):
    return torch.tensor(value, dtype=DOUBLE)


def spike_times(zs, dt):
    return (zs.flatten().nonzero().flatten().numpy() + 1) * dt


def pulses(steps, strength, every, dtype=DOUBLE):
    xs = torch.zeros(steps, 1, dtype=dtype)
    xs[::every] = strength
    return xs


def test_li_equals_the_convolution_with_a_double_exponential():
    dt, tau_mem, tau_syn = 0.4e-3, 12e-3, 3e-3
    xs = torch.randn(200, 1, dtype=DOUBLE)
    vs, _ = geir.LI(tau_mem=exactly(tau_mem), tau_syn=exactly(tau_syn), dt=dt)(xs)
    t = dt * np.arange(1, 201)
    kernel = tau_syn / (tau_mem - tau_syn) * (np.exp(-t / tau_mem) - np.exp(-t / tau_syn))
    np.testing.assert_allclose(vs[:, 0], np.convolve(xs[:, 0], kernel)[:200], rtol=1e-10, atol=1e-12)


def test_libox_approaches_a_constant_current_exponentially():
    dt, tau, v_rest = 0.7e-3, 9e-3, -0.2
    vs, _ = geir.LIBox(tau_mem=exactly(tau), v_rest=exactly(v_rest), dt=dt)(torch.full((50, 1), 0.8, dtype=DOUBLE))
    t = dt * np.arange(1, 51)
    np.testing.assert_allclose(vs[:, 0], v_rest + 0.8 * (1 - np.exp(-t / tau)), rtol=1e-12)


def test_lif_equals_the_exact_propagator_with_resets():
    dt, tau_mem, tau_syn, v_rest, v_th, v_reset = 0.3e-3, 10e-3, 4e-3, 0.1, 0.9, -0.2
    xs = pulses(600, 1.5, 11)
    values = {"tau_mem": tau_mem, "tau_syn": tau_syn, "v_rest": v_rest, "v_th": v_th, "v_reset": v_reset}
    lif = geir.LIF(**{k: exactly(v) for k, v in values.items()}, dt=dt, record_states=True)
    zs, states = lif(xs)
    # By hand, around the resting potential.
    step = expm(np.array([[-1 / tau_mem, 1 / tau_mem], [0, -1 / tau_syn]]) * dt)
    u, i, expected, spikes = 0.0, 0.0, [], []
    for x in xs[:, 0].numpy():
        u, i = step @ [u, i + x]
        spikes.append(u + v_rest > v_th)
        u = v_reset - v_rest if spikes[-1] else u
        expected.append(u + v_rest)
    assert 10 < sum(spikes) < 200
    np.testing.assert_array_equal(zs[:, 0].bool(), spikes)
    np.testing.assert_allclose(states.v[:, 0], expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("current", [1.05, 1.5, 3.0])
def test_lifbox_has_the_f_i_curve_of_the_textbook(current):
    dt, tau = 1e-6, 10e-3
    zs, _ = geir.LIFBox(tau_mem=exactly(tau), dt=dt)(
        torch.full((40_000 if current < 1.1 else 12_000, 1), current, dtype=DOUBLE)
    )
    first = spike_times(zs, dt)[0]
    assert first == pytest.approx(tau * np.log(current / (current - 1)), abs=2 * dt)


def test_lif_converges_to_the_differential_equation_with_any_integrator():
    """Spike times as found by another solver, at a small step."""
    drive, tau_mem, tau_syn = 3.0, 10e-3, 0.5

    def crossing(t, y):
        return y[0] - 1.0

    crossing.terminal, crossing.direction = True, 1
    t, y, expected = 0.0, [0.0, drive], []
    while True:
        solution = solve_ivp(
            lambda _, s: [(s[1] - s[0]) / tau_mem, -s[1] / tau_syn],
            (t, 0.06),
            y,
            events=crossing,
            rtol=1e-11,
            atol=1e-12,
        )
        if solution.status != 1:
            break
        t, y = solution.t_events[0][0], [0.0, solution.y_events[0][0][1]]
        expected.append(t)
    assert len(expected) > 10
    for integrator in (geir.Exact(), geir.RungeKutta4(), geir.Euler(), geir.ExponentialEuler()):
        dt = 1e-5
        lif = geir.LIF(tau_mem=exactly(tau_mem), tau_syn=exactly(tau_syn), dt=dt, integrator=integrator)
        zs, _ = lif(torch.zeros(6_000, 1, dtype=DOUBLE), geir.neurons.LIFState(v=exactly([0.0]), i=exactly([drive])))
        actual = spike_times(zs, dt)
        assert len(actual) == len(expected)
        # Each interval is up to one step too long.
        assert np.abs(actual - expected).max() < (len(expected) + 1) * dt


def test_iaf_with_reset_by_subtraction_conserves_charge():
    xs = torch.rand(500, 4, dtype=DOUBLE) * 0.9
    zs, state = geir.IAF(v_th=exactly(1.3), v_reset=exactly(0.2), reset_mechanism=geir.ResetBySubtraction())(xs)
    assert zs.sum() > 100
    torch.testing.assert_close(zs.sum(0) * (1.3 - 0.2) + state.v, xs.sum(0))


def test_iaf_counts_inputs():
    zs, _ = geir.IAF(v_th=3.5)(torch.ones(12, 1))
    assert zs.flatten().tolist() == [0, 0, 0, 1] * 3


def test_alif_threshold_is_its_filtered_spikes():
    dt, tau, beta = 1e-3, 150e-3, 0.3
    alif = geir.ALIF(tau_adapt=exactly(tau), beta=exactly(beta), dt=dt, record_states=True)
    zs, states = alif(torch.full((400, 1), 0.9, dtype=DOUBLE))
    times = zs[:, 0].nonzero().flatten().numpy()
    assert len(times) > 10
    t = np.arange(400)[:, None]
    expected = np.where(t >= times, np.exp(-(t - times) * dt / tau), 0).sum(1)
    np.testing.assert_allclose(states.b[:, 0], expected, rtol=1e-9, atol=1e-12)
    # The first spike is where the exact LIF trajectory crosses that threshold.
    plain = geir.LIF(v_th=exactly(1e9), record_states=True)(torch.full((400, 1), 0.9, dtype=DOUBLE))[1]
    assert times[0] == int((plain.v[:, 0] > 1).nonzero()[0])


def test_alif_adapts_within_its_time_constant_in_seconds():
    zs, _ = geir.ALIF(tau_adapt=100e-3)(torch.full((1000, 1), 0.8))
    intervals = np.diff(zs.flatten().nonzero().flatten().numpy())
    assert intervals[0] * 1.5 < intervals[-1], "adaptation makes intervals longer"
    late = intervals[-len(intervals) // 3 :]
    assert late.max() - late.min() <= 1, "and they settle well within ten time constants"


def adex_reference(adex, i0, until):
    """Spike times and last state of the differential equation, by another solver with event detection."""
    p = {name: value.item() for name, value in adex.declared_parameters().items()}

    def flow(_, s):
        v, i, w = s
        upswing = p["delta_T"] * np.exp((min(v, p["v_peak"]) - p["v_th"]) / p["delta_T"])
        return [
            (p["v_rest"] - v + upswing - w + i) / p["tau_mem"],
            -i / p["tau_syn"],
            (p["a"] * (v - p["v_rest"]) - w) / p["tau_adapt"],
        ]

    def peak(_, s):
        return s[0] - p["v_peak"]

    peak.terminal, peak.direction = True, 1
    t, s, times = 0.0, [p["v_rest"], i0, 0.0], []
    while True:
        solution = solve_ivp(flow, (t, until), s, events=peak, rtol=1e-10, atol=1e-12)
        if solution.status != 1:
            return times, solution.y[:, -1]
        t = solution.t_events[0][0]
        times.append(t)
        _, i, w = solution.y_events[0][0]
        s = [p["v_reset"], i, w + p["b"]]


@pytest.mark.parametrize("integrator", [geir.RungeKutta4(), geir.ExponentialEuler()], ids=repr)
def test_adex_spikes_at_the_times_of_another_solver(integrator):
    dt, until = 2e-6, 0.06
    adex = geir.AdEx(tau_syn=exactly(0.5), dt=dt, integrator=integrator).double()
    expected, last = adex_reference(adex, 2.0, until)
    assert len(expected) >= 4
    assert all(b > a for a, b in pairwise(np.diff(expected))), "an adapting train"
    state = geir.neurons.AdExState(v=exactly([0.0]), i=exactly([2.0]), w=exactly([0.0]))
    zs, after = adex(torch.zeros(round(until / dt), 1, dtype=DOUBLE), state)
    actual = spike_times(zs, dt)
    assert len(actual) == len(expected)
    assert np.abs(actual - expected).max() < 3e-5
    assert after.w.item() == pytest.approx(last[2], rel=1e-3)


def test_adex_rests_at_the_fixed_point_of_its_equation():
    """At rest v = v_rest + delta_T exp((v - v_th) / delta_T) - a (v - v_rest)."""
    adex = geir.AdEx(delta_T=0.2, a=0.4).double()
    _, state = adex(torch.zeros(4000, 1, dtype=DOUBLE))
    v = state.v.item()
    assert v == pytest.approx(0.2 * np.exp((v - 1) / 0.2) - 0.4 * v, abs=1e-7)
    assert v > 1e-4
