"""The interface of `SpikeTimeLayer`: neurons, dtypes, bad input, overflow, and the limit of geir's own steps."""

import copy
import math
import pickle
from typing import NamedTuple

import pytest
import torch
from torch import nn, Tensor

import geir
from geir.learning import SpikeTimeLayer

TIMES, UNITS = torch.tensor([[1e-3, 2e-3, math.inf]]), torch.tensor([[0, 1, -1]])


def strong(n_in=2, n_out=3, neuron=None, weight=3.0, **settings):
    layer = SpikeTimeLayer(n_in, n_out, neuron, **settings)
    nn.init.constant_(layer.weight, weight)
    return layer


def test_the_output_is_a_named_tuple_in_the_dtype_of_the_times():
    for dtype in (torch.float32, torch.float64):
        spikes = strong(max_spikes=7)(TIMES.to(dtype), UNITS)
        assert spikes._fields == ("times", "units")
        assert spikes.times.shape == spikes.units.shape == (1, 7)
        assert spikes.times.dtype == dtype
        assert spikes.units.tolist() == [[0, 1, 2, -1, -1, -1, -1]]
        assert spikes.times.isfinite().tolist() == (spikes.units >= 0).tolist()


def test_layers_are_chained_and_float32_gradients_have_the_right_dtype():
    first, second = strong(), strong(3, 2, weight=2.0)
    times = TIMES.clone().requires_grad_()
    spikes = second(*first(times, UNITS))
    assert spikes.units[0, :2].tolist() == [0, 1]
    spikes.times[spikes.times.isfinite()].sum().backward()
    for tensor in (times, first.weight, second.weight):
        assert tensor.grad.dtype == torch.float32
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().sum() > 0
    assert times.grad[0, 2] == 0


def test_geir_steps_converge_to_the_events():
    """A spike of step k of the grid happened within (k dt, (k + 1) dt]; an input of step k arrives at k dt."""
    g = torch.Generator().manual_seed(0)
    weight = 4 * torch.rand(4, 6, generator=g, dtype=torch.float64)
    times = (torch.rand(1, 30, generator=g, dtype=torch.float64) * 0.08).mul(1e3).round().div(1e3).sort().values
    units = torch.randint(6, (1, 30), generator=g)
    layer = strong(6, 4, geir.LIF().double(), duration=0.1).double()
    layer.weight.data = weight
    with torch.no_grad():
        spikes = layer(times, units)
    errors = []
    for dt in (1e-4, 1e-5):
        steps = round(0.1 / dt)
        xs = geir.learning.times_to_spikes(times, units, steps=steps, size=6, dt=dt)
        zs, _ = geir.LIF(dt=dt).double()(xs @ weight.T)
        worst = 0.0
        for j in range(4):
            exact = spikes.times[0][spikes.units[0] == j][:5]
            found = (zs[:, 0, j].nonzero()[:5, 0] + 1) * dt
            assert len(exact) == len(found) == 5, "too few spikes for this test"
            worst = max(worst, float((found - exact).abs().max()))
        errors.append(worst)
    assert errors[0] < 10e-4
    assert errors[1] < 0.15 * errors[0]


def test_gradients_of_a_fine_grid_converge_to_those_of_the_events():
    # The potential at a time after a spike, by finite differences of geir's own steps.
    at, dt = 8e-3, 1e-6
    weight = torch.tensor([[5.0]], dtype=torch.float64)
    layer = strong(1, 1, geir.LIF().double()).double()
    layer.weight.data = weight
    v = layer.run(torch.tensor([[0.0]]).double(), torch.tensor([[0]]), at=torch.tensor([at]).double()).states.v
    (found,) = torch.autograd.grad(v.sum(), layer.weight)
    steps = round(at / dt)

    def potential(w):
        xs = torch.zeros(steps, 1, dtype=torch.float64)
        xs[0] = w
        zs, state = geir.LIF(dt=dt).double()(xs)
        assert zs.sum() == 1
        return state.v.item()

    # A step of the weight that moves the spike over hundreds of steps of the grid.
    slope = (potential(5.2) - potential(4.8)) / 0.4
    assert found.item() == pytest.approx(slope, rel=0.01)


def test_repeated_runs_continue_from_a_state():
    layer = strong(neuron=geir.LIF().double(), weight=8.0).double()
    times = torch.tensor([[1e-3, 6e-3]], dtype=torch.float64)
    units = torch.tensor([[0, 1]])
    whole = layer.run(times, units, at=[0.004, 0.009])
    half = layer.run(times[:, :1], units[:, :1], at=[0.004])
    state = type(half.states)(*(part[:, 0] for part in half.states))
    rest = layer.run(times[:, 1:] - 0.004, units[:, 1:], state, at=[0.005])
    torch.testing.assert_close(rest.states.v[:, 0], whole.states.v[:, 1], rtol=1e-12, atol=1e-14)
    assert half.totals > 0
    assert rest.totals > 0


def test_an_initial_state_above_the_threshold_spikes_at_time_zero():
    layer = strong(n_out=1, neuron=geir.LIF().double()).double()
    state = geir.neurons.LIFState(v=torch.full((1, 1), 1.5).double(), i=torch.zeros(1, 1).double())
    spikes = layer(TIMES.double()[:, :0], UNITS[:, :0], state)
    assert spikes.times[0, :2].tolist() == [0.0, math.inf]


def test_spikes_beyond_max_spikes_are_counted_and_reported():
    for reference in (False, True):
        whole = strong(weight=20.0, use_reference=reference)
        run = whole.run(TIMES, UNITS)
        total = int(run.totals)
        assert total > 6
        short = strong(weight=20.0, max_spikes=5, use_reference=reference)
        with pytest.warns(RuntimeWarning, match=rf"{total - 5} spikes in 1 of 1 samples are beyond max_spikes=5"):
            spikes = short(TIMES, UNITS)
        assert torch.equal(spikes.times, run.spikes.times[:, :5])
        grads = []
        for times, layer in ((run.spikes.times, whole), (spikes.times, short)):
            grads.append(torch.autograd.grad(times[0, :5].sum(), layer.weight)[0])
        torch.testing.assert_close(*grads)
        with pytest.raises(ValueError, match="States can only be read if all spikes fit"):
            short.run(TIMES, UNITS, at=[0.01])


def test_spikes_without_end_are_counted_up_to_a_limit():
    layer = strong(neuron=geir.LIFBox(v_rest=2.0), max_spikes=5)
    with pytest.warns(RuntimeWarning, match="at least 1045 spikes"):
        layer(TIMES, UNITS)


def test_spikes_after_the_duration_are_not_simulated():
    spikes = strong(neuron=geir.LIFBox(v_rest=2.0), n_out=1, duration=0.02, weight=0.0)(TIMES, UNITS)
    # It starts above the threshold, and spikes every tau ln 2 = 6.93 ms.
    torch.testing.assert_close(spikes.times[0, :4], torch.tensor([0.0, 1.0, 2.0, math.inf]) * 0.01 * math.log(2))


def test_layers_are_saved_copied_and_converted():
    layer = strong(recurrent=True, delay=nn.Parameter(torch.tensor(1e-3)), recurrent_delay=2e-3)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(TIMES, UNITS).times, layer(TIMES, UNITS).times)
    assert set(layer.state_dict()) >= {"weight", "recurrent_weight", "delay", "recurrent_delay", "neuron.tau_mem"}
    assert {name for name, _ in layer.named_parameters()} == {"weight", "recurrent_weight", "delay"}
    assert layer.double().weight.dtype == torch.float64


def test_an_empty_batch_and_an_input_without_spikes_give_no_spikes():
    layer = strong()
    assert layer(TIMES[:0], UNITS[:0]).times.shape == (0, 1024)
    assert layer(TIMES[:, :0], UNITS[:, :0]).times.isinf().all()


class QuadraticState(NamedTuple):
    v: Tensor


class Quadratic(geir.IntegrateAndFire[QuadraticState], affine=True):
    """Affine between spikes, but with another threshold."""

    tau: geir.Parameter = geir.parameter(default=0.01, above=0.0)
    v_th: geir.Parameter = geir.parameter(default=1.0)
    v_reset: geir.Parameter = geir.parameter(default=0.0)

    def rest(self):
        return QuadraticState(v=torch.zeros(()))

    def receive(self, x, state):
        return QuadraticState(v=state.v + x)

    def derivative(self, x, state):
        return QuadraticState(v=-state.v / self.tau)

    def threshold(self, before, after):
        return after.v**2 - self.v_th


class SaturatingInput(Quadratic):
    def receive(self, x, state):
        return QuadraticState(v=state.v + x * (2 - state.v))

    def threshold(self, before, after):
        return after.v - self.v_th


class RisingThreshold(Quadratic):
    def threshold(self, before, after):
        return after.v - self.v_th - 0.1 * before.v


@pytest.mark.parametrize(
    ("neuron", "error", "message"),
    [
        (geir.AdEx(), TypeError, "must be declared affine .*AdEx is not"),
        (geir.IAF(), TypeError, "given by differential equations.*got IAF"),
        (geir.LI(), TypeError, "must be a spiking neuron.*got LI"),
        (geir.neurons.KLIF(), TypeError, "KLIF overrides `advance`"),
        (geir.LIFCell(), TypeError, "LIFCell overrides `forward`"),
        (geir.LIFRefrac(), TypeError, "got LIFRefrac"),
        (Quadratic(), ValueError, "affine in the state; the threshold of Quadratic is not"),
        (SaturatingInput(), ValueError, "the input of SaturatingInput is not"),
        (RisingThreshold(), ValueError, "threshold of RisingThreshold is not, or depends on the state before"),
        (geir.LIF(tau_mem=torch.tensor([0.01, 0.02])), ValueError, r"tau_mem has shape \(2,\)"),
    ],
)
def test_neurons_that_cannot_be_simulated_are_refused(neuron, error, message):
    with pytest.raises(error, match=message):
        SpikeTimeLayer(2, 3, neuron)


@pytest.mark.parametrize(
    ("times", "units", "error", "message"),
    [
        (
            [[2e-3, 1e-3]],
            [[0, 1]],
            ValueError,
            "ascending order.*got 0.001.* s after 0.002.* s for spike 1 of sample 0",
        ),
        ([[math.inf, 1e-3]], [[0, 1]], ValueError, "ascending order, padded with infinity at the end"),
        ([[-1e-3, 1e-3]], [[0, 1]], ValueError, "times >= 0 s, got -0.001"),
        ([[1e-3, math.nan]], [[0, 1]], ValueError, "times without NaN"),
        ([[1e-3, 2e-3]], [[0, 2]], ValueError, "unit numbers from 0 to 1, got 2 for spike 1 of sample 0"),
        ([[1e-3, 2e-3]], [[0, -1]], ValueError, "unit numbers from 0 to 1, got -1"),
        ([[1e-3, 2e-3]], [[0]], ValueError, r"the same shape .*got \(1, 2\) and \(1, 1\)"),
        ([1e-3], [0], ValueError, r"shape \(batch, spikes\), got \(1,\)"),
        ([[1, 2]], [[0, 1]], TypeError, "times in float32 or float64.*got torch.int64"),
        ([[1e-3]], [[0.0]], TypeError, "units as integers, got torch.float32"),
        ([[1e-3]], [[True]], TypeError, "units as integers, got torch.bool"),
    ],
)
def test_wrong_spikes_are_refused(times, units, error, message):
    times, units = torch.tensor(times), torch.tensor(units)
    with pytest.raises(error, match=message):
        strong()(times, units)
    with pytest.raises(error, match=message):
        geir.learning.spike_counts(times, units, 2)


def test_half_precision_and_lists_are_refused():
    with pytest.raises(TypeError, match="got torch.float16"):
        strong()(TIMES.half(), UNITS)
    with pytest.raises(TypeError, match="times as a tensor, got list"):
        strong()([[1e-3]], UNITS)


def test_other_wrong_arguments_are_refused():
    layer = strong()
    zero = torch.zeros(1, 3)
    for arguments, error, message in (
        ({"state": zero}, TypeError, "LIFState"),
        ({"state": geir.neurons.LIFState(zero, zero[:, :2])}, ValueError, r"LIFState.i has shape \(1, 2\)"),
        ({"state": geir.neurons.LIFState(zero, zero * math.nan)}, ValueError, "LIFState.i must be finite"),
        ({"at": [0.02, 0.01]}, ValueError, "ascending times from 0"),
        ({"at": [-0.01]}, ValueError, "ascending times from 0"),
        ({"at": [math.inf]}, ValueError, "ascending times from 0"),
        ({"at": [[0.01]]}, ValueError, r"shape \(readings,\)"),
        ({"at": torch.tensor([1])}, TypeError, "floating-point times"),
    ):
        with pytest.raises(error, match=message):
            layer.run(TIMES, UNITS, **arguments)
    for settings, message in (
        ({"max_spikes": 0}, "max_spikes must be an integer >= 1"),
        ({"duration": 0.0}, "duration must be positive"),
        ({"recurrent_delay": 1e-3}, "recurrent_delay needs recurrent=True"),
    ):
        with pytest.raises(ValueError, match=message):
            SpikeTimeLayer(2, 3, **settings)
    with pytest.raises(ValueError, match=r"delay must be >= 0 s, got -0.001"):
        strong(delay=-1e-3)(TIMES, UNITS)
    with pytest.raises(ValueError, match="weight must be finite, got nan"):
        strong(weight=math.nan)(TIMES, UNITS)
    with pytest.raises(ValueError, match=r"delay has shape \(2, 3\)"):
        strong(delay=torch.zeros(2, 3))(TIMES, UNITS)


class Growing(Quadratic):
    def derivative(self, x, state):
        return QuadraticState(v=state.v / self.tau)

    def threshold(self, before, after):
        return after.v - self.v_th


def test_a_neuron_that_does_not_settle_needs_a_duration():
    with pytest.raises(ValueError, match="does not return to rest.*give a finite duration"):
        strong(neuron=Growing(), weight=0.5)(TIMES, UNITS)
    spikes = strong(neuron=Growing(), weight=0.5, n_out=1, duration=0.01)(TIMES[:, :1], UNITS[:, :1])
    assert spikes.times[0, 0].item() == pytest.approx(1e-3 + 0.01 * math.log(2), rel=1e-5)
