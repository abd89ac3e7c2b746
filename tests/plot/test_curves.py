"""f-I curves and STDP windows."""

import math

import pytest
import torch
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from plot_helpers import check_rejected, stdp, XS

import geir
from geir import plot


def test_the_f_i_curve_of_a_leaky_neuron_is_its_closed_form(ax):
    lif = geir.LIFBox(dt=0.1e-3, tau_mem=20e-3, v_th=0.8)
    currents = torch.linspace(0, 3, 40)
    assert plot.f_i_curve(lif, ax, inputs=currents) is ax
    x, hertz = ax.lines[0].get_data()
    assert_array_equal(x, currents.numpy())
    # The first whole step at which 1 - exp(-t / tau) > v_th / x.
    period = [
        math.floor(-math.log(1 - 0.8 / i) * 20e-3 / 0.1e-3) + 1 if i > 0.8 else math.inf
        for i in currents.double().tolist()
    ]
    assert_allclose(hertz, [1 / (0.1e-3 * n) for n in period], rtol=1e-4)
    assert hertz[10] == 0
    assert hertz[-1] > 100


def test_the_rate_is_measured_after_settling(ax):
    alif = geir.ALIF()
    plot.f_i_curve(alif, ax, inputs=torch.tensor([0.5]), settle=1.0, duration=1.0)
    times = alif(torch.full((2000,), 0.5))[0].nonzero().flatten()
    late, early = times[times >= 1000].diff().double(), times[times < 1000].diff().double()
    assert late.mean() > 1.1 * early.mean()
    assert_allclose(ax.lines[0].get_ydata(), 1 / (1e-3 * late.mean()), rtol=1e-6)


def test_several_neurons_have_one_curve_each(ax):
    taus = torch.tensor([10e-3, 20e-3])
    plot.f_i_curve(geir.LIFBox(tau_mem=taus), ax)
    slow = Figure().subplots()
    plot.f_i_curve(geir.LIFBox(tau_mem=20e-3), slow)
    assert len(ax.lines) == 2
    assert_array_equal(ax.lines[1].get_ydata(), slow.lines[0].get_ydata())


@pytest.mark.parametrize(
    "neuron",
    [geir.LIF(), geir.Refractory(geir.LIFBox(), period=2e-3), geir.IAF(), geir.LIF(record_states=True).double()],
)
def test_any_neuron_has_an_f_i_curve(ax, neuron):
    before = neuron.record_states
    plot.f_i_curve(neuron, ax, inputs=torch.tensor([0.0, 1.5]))
    low, high = ax.lines[0].get_ydata()
    assert low == 0
    assert 0 < high <= 1000
    assert neuron.record_states == before


def test_the_axis_tells_currents_from_impulses():
    labels = [
        plot.f_i_curve(neuron, Figure().subplots(), duration=0.02, settle=0).get_xlabel()
        for neuron in (geir.LIFBox(), geir.LIF(), geir.IAF())
    ]
    assert labels == ["input current", "input per step", "input per step"]


def test_an_stdp_window_has_two_separate_branches(ax):
    plot.stdp_window(stdp, ax, max_lag=50e-3)
    negative, positive = ax.lines[2:]
    for branch in (negative, positive):
        lags, changes = branch.get_data()
        assert_allclose(changes, stdp(torch.tensor(lags) / 1e3).numpy(), rtol=1e-4)
    assert negative.get_xdata().max() < 0 < positive.get_xdata().min()
    assert positive.get_xdata().max() == pytest.approx(50)


def test_an_stdp_window_may_be_measured(ax):
    lags = torch.tensor([0.03, -0.02, 0.01])
    plot.stdp_window((lags, stdp(lags)), ax)
    negative, positive = ax.lines[2:]
    assert_allclose(negative.get_xdata(), [-20])
    assert_allclose(positive.get_xdata(), [10, 30])
    assert_allclose(positive.get_ydata(), stdp(lags[[2, 0]]).numpy())


CASES = {
    "a cell": (
        lambda: plot.f_i_curve(geir.LIFCell()),
        TypeError,
        r"f_i_curve expected a spiking layer over time, such as LIF\(\), got LIFCell",
    ),
    "a model that does not spike": (
        lambda: plot.f_i_curve(geir.LI()),
        TypeError,
        "f_i_curve expected a spiking layer over time",
    ),
    "a recurrent layer": (
        lambda: plot.f_i_curve(geir.LIFRecurrent(2, 2)),
        ValueError,
        "f_i_curve measures single neurons, but LIFRecurrent is recurrent",
    ),
    "a recurrent layer in a wrapper": (
        lambda: plot.f_i_curve(geir.Refractory(geir.LIFRecurrent(2, 2))),
        ValueError,
        "f_i_curve measures single neurons, but Refractory is recurrent",
    ),
    "a matrix of inputs": (
        lambda: plot.f_i_curve(geir.LIF(), inputs=XS),
        ValueError,
        r"f_i_curve expected inputs of shape \(n,\), got \(20, 3\)",
    ),
    "a duration of 0": (
        lambda: plot.f_i_curve(geir.LIF(), duration=0),
        ValueError,
        "f_i_curve expected duration > 0 s and settle >= 0 s, got 0 and",
    ),
    "lags without changes": (
        lambda: plot.stdp_window(XS),
        TypeError,
        "stdp_window expected a function of the lag, or a tuple of lags and changes, got Tensor",
    ),
    "lags and changes of different shapes": (
        lambda: plot.stdp_window((XS[0], XS[:, 0])),
        ValueError,
        r"of the same shape \(n,\), got \(3,\) and \(20,\)",
    ),
    "a largest lag of 0": (
        lambda: plot.stdp_window(stdp, max_lag=0),
        ValueError,
        "stdp_window: max_lag must be a positive number of seconds, got 0",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_is_rejected(case):
    check_rejected(*CASES[case])
