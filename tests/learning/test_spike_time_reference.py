"""The compiled layer equals the definition, which autograd differentiates; both find every spike."""

import math

import numpy as np
import pytest
import scipy.integrate
import torch
from spike_time_networks import learned, network, NEURONS, timing_loss

import geir
from geir._runtime import compiler
from geir.learning import SpikeTimeLayer
from geir.learning.spike_time import compiled
from geir.learning.spike_time.modes import find_modes, first_crossing

AT = torch.tensor([0.01, 0.021], dtype=torch.float64)


def results(layer, times, units, state=None):
    run = layer.run(times, units, state, AT)
    tensors = {"times": times, **dict(layer.named_parameters())}
    grads = torch.autograd.grad(timing_loss(run), list(tensors.values()), materialize_grads=True)
    return run, dict(zip(tensors, grads, strict=True))


def both(name, **settings):
    compiled_layer, times, units = network(name, **settings)
    reference, *_ = network(name, use_reference=True, **settings)
    return results(compiled_layer, times, units), results(reference, times, units)


SMALL = {"size": 3, "count": 9, "batch": 1, "end": 0.02, "duration": 0.03}


@pytest.mark.parametrize("delays", [0.0, 2e-3])
@pytest.mark.parametrize("name", NEURONS)
def test_compiled_code_equals_the_definition(name, delays):
    (actual, grads), (expected, right) = both(name, delays=delays, **SMALL)
    assert expected.totals.sum() > 5, "too few spikes for this test"
    assert torch.equal(actual.spikes.units, expected.spikes.units)
    torch.testing.assert_close(actual.spikes.times, expected.spikes.times, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(tuple(actual.states), tuple(expected.states), rtol=1e-10, atol=1e-12)
    for key, grad in right.items():
        torch.testing.assert_close(grads[key], grad, rtol=1e-9, atol=1e-10 * float(grad.abs().max()), msg=key)


def test_a_reset_to_the_threshold_is_not_a_spike_if_the_potential_falls():
    found = []
    for reference in (False, True):
        # The default of ResonateAndFire: reset to v = v_th, from where the potential falls.
        layer = SpikeTimeLayer(1, 1, geir.ResonateAndFire(v_reset=1.0), use_reference=reference, duration=0.2).double()
        torch.nn.init.constant_(layer.weight, 1.5)
        pulses = 12.5e-3 * torch.arange(10, dtype=torch.float64)[None]
        run = layer.run(pulses, torch.zeros(1, 10, dtype=torch.long))
        found.append(run.spikes.times[0, : int(run.totals)])
        assert run.spikes.times.diff()[0, : len(found[-1]) - 1].min() > 5e-3
    assert len(found[0]) > 5, "too few spikes for this test"
    torch.testing.assert_close(*found, rtol=1e-12, atol=0)


def test_arrivals_that_lift_the_potential_above_the_threshold_cause_spikes_at_their_time():
    for reference in (False, True):
        neuron = learned(geir.LIFBox, {}, dt=1e-3, reset_mechanism=geir.ResetBySubtraction())
        layer = SpikeTimeLayer(1, 1, neuron, use_reference=reference).double()
        # A jump of w dt / tau_mem = 2.5: two spikes, and 0.5 is left.
        torch.nn.init.constant_(layer.weight, 25.0)
        times = torch.tensor([[4e-3]], dtype=torch.float64, requires_grad=True)
        run = layer.run(times, torch.tensor([[0]]), at=torch.tensor([4e-3, 6e-3], dtype=torch.float64))
        assert run.spikes.times[0, :3].tolist() == [4e-3, 4e-3, math.inf]
        assert run.states.v[0, 0].item() == 0.0
        v = run.states.v[0, 1, 0]
        assert v.item() == pytest.approx(0.5 * math.exp(-0.2), rel=1e-12)
        weight, time = torch.autograd.grad(v + run.spikes.times[0, :2].sum(), [layer.weight, times])
        assert weight.item() == pytest.approx(0.1 * math.exp(-0.2), rel=1e-12)
        assert time.item() == pytest.approx(2 + 0.5 * math.exp(-0.2) / 0.01, rel=1e-12)


@pytest.mark.parametrize("name", ["LIF", "LIF with equal time constants", "LIF with tau_mem = 2 tau_syn", "ALIF"])
def test_spike_times_agree_with_a_numerical_solver(name):
    layer, times, units = network(name, size=1, count=40, batch=1, feedback=0.0)
    neuron, weights = layer.neuron, layer.weight.detach()[0]
    kind = type(neuron.rest())

    def rate(t, s):
        state = kind(*(torch.tensor(float(x), dtype=torch.float64) for x in s))
        return np.array([float(p.detach()) for p in neuron.derivative(torch.zeros(()).double(), state)])

    def above(t, s):
        state = kind(*(torch.tensor(float(x), dtype=torch.float64) for x in s))
        return float(neuron.threshold(state, state).detach())

    above.terminal, above.direction = True, 1
    now, state, expected = 0.0, np.zeros(len(neuron.rest())), []
    for t, unit in [*zip(times[0].tolist(), units[0].tolist(), strict=True), (0.1, None)]:
        while now < t:
            found = scipy.integrate.solve_ivp(rate, (now, t), state, "DOP853", events=above, rtol=1e-11, atol=1e-12)
            now, state = found.t[-1], found.y[:, -1]
            if found.status == 1:
                expected.append(now)
                state = np.array(
                    [float(p.detach()) for p in neuron.reset(torch.ones(()).double(), kind(*torch.tensor(state)))]
                )
        if unit is not None:
            state[1] += float(weights[unit])
    assert len(expected) > 5, "too few spikes for this test"
    found = layer(times, units).times[0]
    torch.testing.assert_close(found[found.isfinite()].tolist(), expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("kind", ["real", "repeated", "complex"])
def test_the_first_crossing_is_found_however_close_two_crossings_are(kind):
    rng, times, spikes = np.random.default_rng(1), np.linspace(0, 4, 40_001), 0
    for _ in range(30):
        A = rng.normal(size=(3, 3)) * (3 if kind == "complex" else 1) - np.eye(3)
        A = A if kind == "complex" else np.triu(A)
        if kind == "repeated":
            np.fill_diagonal(A, -1.3)
        flow = np.block([[A, rng.normal(size=(3, 1))], [np.zeros((1, 4))]])
        state, threshold = np.append(rng.normal(size=3), 1.0), np.append(rng.normal(size=3), 0.0)
        threshold[-1] = -threshold @ state - abs(rng.normal()) * 0.3
        step, s, g = scipy.linalg.expm(flow * times[1]), state, []
        for _ in times:
            g.append(threshold @ s)
            s = step @ s
        g = np.array(g)
        expected = times[np.argmax(g > 0)] if (g > 1e-6).any() else math.inf
        found = first_crossing(find_modes("test", flow, threshold, 4.0), state, 4.0)
        spikes += math.isfinite(found)
        assert found == expected or abs(found - expected) < 2e-4
    assert spikes > 5, "too few spikes for this test"


def test_a_peak_one_billionth_above_the_threshold_is_a_spike_and_one_below_is_none():
    layer = SpikeTimeLayer(1, 1, geir.LIF(tau_mem=0.01, tau_syn=0.005)).double()
    peak = 0.25  # of the response to a weight of 1, where tau_mem = 2 tau_syn
    for factor, count in ((1 + 1e-9, 1), (1 - 1e-9, 0)):
        torch.nn.init.constant_(layer.weight, factor / peak)
        run = layer.run(torch.tensor([[1e-3]]).double(), torch.tensor([[0]]))
        assert run.totals.tolist() == [count]


def test_grazing_spikes_are_counted_and_their_gradients_are_finite():
    for reference in (False, True):
        neuron = geir.LIF(tau_mem=0.01, tau_syn=0.005).double()
        layer = SpikeTimeLayer(1, 1, neuron, use_reference=reference).double()
        times = torch.tensor([[1e-3]], dtype=torch.float64)
        grads = []
        for near in (1e-4, 1e-8, 1e-14):
            torch.nn.init.constant_(layer.weight, 4 * (1 + near))
            run = layer.run(times, torch.tensor([[0]]))
            assert run.totals.tolist() == [1]
            grads.append(torch.autograd.grad(run.spikes.times[0, 0], layer.weight)[0].item())
            assert run.grazing.tolist() == [int(near == 1e-14)]
        # The gradient grows as one over the root of the distance, up to its bound.
        assert grads[1] / grads[0] == pytest.approx(100, rel=0.02)
        assert math.isfinite(grads[2])
        assert grads[2] < 0


def test_a_silent_layer_has_no_gradient():
    layer = SpikeTimeLayer(2, 3).double()
    torch.nn.init.constant_(layer.weight, 0.1)
    times = torch.tensor([[1e-3, 2e-3]], dtype=torch.float64, requires_grad=True)
    spikes = layer(times, torch.tensor([[0, 1]]))
    assert spikes.times.isinf().all()
    assert (spikes.units == -1).all()
    first = geir.learning.first_spike_times(*spikes, 3)
    loss = geir.learning.first_spike_cross_entropy(first, torch.tensor([1]), tau=1e-3, missing=0.1, alpha=1.0)
    loss.backward()
    assert (layer.weight.grad == 0).all()
    assert (times.grad == 0).all()


def test_without_a_compiler_the_definition_runs_with_a_warning(monkeypatch):
    def fail(size):
        raise compiler.NoCompilerError("there is no C compiler")

    layer, times, units = network(**SMALL)
    expected = layer(times, units)
    monkeypatch.setattr(compiled, "load", fail)
    with pytest.warns(RuntimeWarning, match="SpikeTimeLayer runs on the slow definition: there is no C compiler"):
        found = layer(times, units)
    torch.testing.assert_close(found.times, expected.times)


def test_results_do_not_depend_on_the_number_of_threads():
    layer, times, units = network(batch=20)
    kept = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(results(layer, times, units))
    finally:
        torch.set_num_threads(kept)
    (a, a_grads), (b, b_grads) = found
    assert torch.equal(a.spikes.times, b.spikes.times)
    assert all(torch.equal(a_grads[name], b_grads[name]) for name in a_grads)


def test_samples_do_not_mix_and_their_gradients_add_up():
    layer, times, units = network(batch=20)
    together, grads = results(layer, times, units)
    alone = [results(layer, times[k : k + 1], units[k : k + 1]) for k in range(20)]
    for k, (run, _) in enumerate(alone):
        assert torch.equal(run.spikes.times[0], together.spikes.times[k])
    for name in set(grads) - {"times"}:
        torch.testing.assert_close(grads[name], sum(grad[name] for _, grad in alone), rtol=1e-10, atol=1e-10)


def test_second_derivatives_are_refused():
    for reference in (False, True):
        layer, times, units = network(**SMALL, use_reference=reference)
        found = layer(times, units).times
        loss = found[found.isfinite()].sum()
        with pytest.raises(NotImplementedError, match="differentiable once"):
            torch.autograd.grad(loss, times, create_graph=True)
