"""Traces of state variables, with spikes, threshold and reset."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from plot_helpers import check_rejected, DT, lines_at, run_recorded, XS

import geir
from geir import plot


def test_traces_are_the_recorded_states(ax):
    _, states = run_recorded(geir.LIF(), torch.rand(100, 3))
    plot.traces(states, ax, variable="i", dt=DT)
    assert len(ax.lines) == 3
    for line, i in zip(ax.lines, states.i.T, strict=True):
        assert_array_equal(line.get_ydata(), i.numpy())
        assert_allclose(line.get_xdata(), 1e3 * DT * np.arange(100))
    assert ax.get_ylabel() == "$i$"


def test_spikes_are_marked_at_their_times_above_the_threshold(ax):
    lif = geir.LIF(dt=DT)
    zs, states = run_recorded(lif, torch.full((200, 2), 0.3))
    assert zs.sum() > 4
    plot.traces(states, ax, spikes=zs, neuron=lif)
    assert len(ax.collections) == 2
    for k, ticks in enumerate(ax.collections):
        segments = np.array(ticks.get_segments())
        assert_allclose(segments[:, 0, 0], 1e3 * DT * zs[:, k].nonzero().flatten().numpy())
        assert segments[..., 1].min() > 1


def test_threshold_and_reset_are_those_of_the_neuron(ax):
    lif = geir.LIF(v_th=1.5, v_reset=-0.25)
    _, states = run_recorded(lif, torch.full((200, 1), 0.5))
    plot.traces(states, ax, neuron=lif)
    assert len(lines_at(ax, 1.5)) == len(lines_at(ax, -0.25)) == 1
    assert {text.get_text() for text in ax.texts} == {"threshold", "reset"}


def test_a_reset_by_subtraction_has_no_line(ax):
    lif = geir.LIF(v_reset=-0.25, reset_mechanism=geir.ResetBySubtraction())
    _, states = run_recorded(lif, torch.full((50, 1), 0.5))
    plot.traces(states, ax, neuron=lif)
    assert not lines_at(ax, -0.25)


def test_an_adaptive_threshold_is_drawn_at_every_step(ax):
    alif = geir.ALIF(beta=0.5)
    _, states = run_recorded(alif, torch.full((200, 1), 0.5))
    plot.traces(states, ax, neuron=alif)
    assert states.b.max() > 1
    assert len(lines_at(ax, 1 + 0.5 * states.b[:, 0].numpy())) == 1


@pytest.mark.parametrize(
    "neuron", [geir.IAF(v_th=2.0), geir.Refractory(geir.LIF(v_th=2.0)), geir.LIFRefrac(v_th=2.0), geir.AdEx(v_peak=2.0)]
)
def test_the_threshold_of_any_model_is_found(ax, neuron):
    _, states = run_recorded(neuron, torch.full((30, 2, 4), 0.5))
    plot.traces(states, ax, neuron=neuron, sample=1)
    assert len(lines_at(ax, 2.0)) == 1
    assert len(ax.lines) == 4 + 2


def test_the_threshold_of_a_recurrent_wrapped_model_is_found(ax):
    neuron = geir.Recurrent(geir.Refractory(geir.LIF(v_th=2.0)), 3, 4)
    _, states = run_recorded(neuron, torch.rand(30, 3))
    plot.traces(states, ax, neuron=neuron)
    assert len(lines_at(ax, 2.0)) == 1


def test_a_model_that_does_not_spike_has_no_threshold():
    li = geir.LI()
    assert plot.threshold_potential(li, run_recorded(li, torch.rand(5, 2))[1]) is None


CASES = {
    "an unknown variable": (
        lambda: plot.traces(run_recorded(geir.LIF(), XS)[1], variable="w"),
        ValueError,
        "traces: LIFState has no variable 'w'; its variables are v, i.",
    ),
    "spikes of another run": (
        lambda: plot.traces(run_recorded(geir.LIF(), XS)[1], Figure().subplots(), spikes=XS[:5]),
        ValueError,
        r"traces: spikes of shape \(5, 3\) do not match the state of shape \(20, 3\)",
    ),
    "a neuron without its states": (
        lambda: plot.traces(XS, neuron=geir.LIF()),
        TypeError,
        "traces computes the threshold of the neuron from its recorded states, got Tensor; run .* record_states=True",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_is_rejected(case):
    check_rejected(*CASES[case])
