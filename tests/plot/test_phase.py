"""Phase planes."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from plot_helpers import check_rejected, DT, STATES, XS

import geir
from geir import plot


def nullclines(ax):
    """The points of both nullclines."""
    contours = [collection for collection in ax.collections if hasattr(collection, "levels")]
    return [np.concatenate([path.vertices for path in contour.get_paths()]).T for contour in contours]


def run_with_constant_current(neuron, current, steps):
    """Spikes and states of a neuron whose synaptic current has the same value at the start of every step."""
    decay = math.exp(-neuron.dt / neuron.tau_syn.item())
    start = neuron.initial_state(torch.zeros(1))._replace(i=torch.full((1,), current * decay))
    return neuron(torch.full((steps, 1), current * (1 - decay)), start)


def test_nullclines_are_those_of_the_equations(ax):
    adex = geir.AdEx(delta_T=0.2, a=0.4)
    state = adex.rest()._replace(i=torch.tensor(0.7))
    plot.phase_plane(adex, ax, state=state, xlim=(-1.0, 1.4), ylim=(-1.0, 2.0))
    (v, w), w_nullcline = nullclines(ax)
    assert len(v) > 50
    assert_allclose(w, -v + 0.2 * np.exp((v - 1) / 0.2) + 0.7, atol=2e-3)
    v, w = w_nullcline
    assert_allclose(w, 0.4 * v, atol=1e-4)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$v$", "$w$")


@pytest.mark.parametrize("size", [(2.0, 3.5), (6.4, 4.8)])
def test_the_labels_of_nullclines_are_inside_the_axes(size):
    adex = geir.AdEx(delta_T=0.25, a=0.2)
    figure = Figure(figsize=size, layout="constrained")
    ax = figure.subplots()
    state = adex.rest()._replace(i=torch.tensor(2.6))
    plot.phase_plane(adex, ax, state=state, xlim=(-1, 3.5), ylim=(-0.5, 4.2))
    figure.draw_without_rendering()
    assert {label.get_text() for label in ax.texts} == {r"$\dot v = 0$", r"$\dot w = 0$"}
    for label in ax.texts:
        (left, bottom), (right, top) = ax.transAxes.inverted().transform(label.get_window_extent())
        assert -0.03 < left < right < 1.03
        assert -0.03 < bottom < top < 1.03


def test_a_trajectory_is_interrupted_at_each_reset(ax):
    adex = geir.AdEx(dt=DT, record_states=True)
    zs, states = run_with_constant_current(adex, 1.6, 400)
    plot.phase_plane(adex, ax, trajectory=states, spikes=zs)
    line, resets = ax.lines
    v, _ = line.get_data()
    assert zs.sum() > 3
    assert np.isnan(v).sum() == zs.sum()
    assert_array_equal(v[~np.isnan(v)], states.v[:, 0].numpy())
    assert_array_equal(resets.get_ydata(), states.w[zs > 0].numpy())
    # No part of the line jumps back to the reset.
    assert np.nanmin(np.diff(v)) > -0.5
    assert ax.get_xlim()[0] < v[~np.isnan(v)].min()


def test_one_range_may_be_given_and_the_other_taken_from_the_trajectory(ax):
    plot.phase_plane(geir.AdEx(), ax, trajectory=STATES, xlim=(-3.0, 3.0))
    assert ax.get_xlim() == (-3, 3)
    low, high = STATES.w.min().item(), STATES.w.max().item()
    assert_allclose(ax.get_ylim(), (low - 0.15 * (high - low), high + 0.15 * (high - low)), rtol=1e-5)


class FHNState(NamedTuple):
    v: torch.Tensor
    w: torch.Tensor


class FitzHughNagumo(geir.ODE[FHNState]):
    def rest(self):
        return FHNState(torch.tensor(-1.2), torch.tensor(-0.62))

    def derivative(self, x, state):
        return FHNState(state.v - state.v**3 / 3 - state.w + x, 0.08 * (state.v + 0.7 - 0.8 * state.w))

    def step(self, x, state, coefficients):
        state = self.advance(x, state, coefficients)
        return state.v, state


def test_a_user_defined_model_has_a_phase_plane(ax):
    """FitzHugh-Nagumo: v' = v - v^3/3 - w + x, w' = 0.08 (v + 0.7 - 0.8 w)."""
    plot.phase_plane(FitzHughNagumo(), ax, current=0.5, xlim=(-2.5, 2.5), ylim=(-1.0, 2.0))
    (v, w), w_nullcline = nullclines(ax)
    assert_allclose(w, v - v**3 / 3 + 0.5, atol=2e-3)
    v, w = w_nullcline
    assert_allclose(w, (v + 0.7) / 0.8, atol=1e-4)


CASES = {
    "no differential equations": (
        lambda: plot.phase_plane(geir.IAF()),
        TypeError,
        r"phase_plane expected a neuron given by differential equations, .* got IAF",
    ),
    "a single variable": (
        lambda: plot.phase_plane(geir.LIF()),
        ValueError,
        "phase_plane expected the names of two variables of LIF, whose state has v, i; by default v. Pass variables=",
    ),
    "an unknown variable": (
        lambda: plot.phase_plane(geir.LIF(), variables=("v", "w")),
        ValueError,
        "whose state has v, i; got v, w",
    ),
    "several neurons": (
        lambda: plot.phase_plane(geir.AdEx(a=torch.rand(3)), xlim=(0, 1), ylim=(0, 1)),
        ValueError,
        r"phase_plane draws a single neuron, but AdEx has a of shape \(3,\)",
    ),
    "no ranges": (
        lambda: plot.phase_plane(geir.AdEx()),
        ValueError,
        "phase_plane needs xlim and ylim, or a trajectory",
    ),
    "spikes of another run": (
        lambda: plot.phase_plane(geir.AdEx(), Figure().subplots(), trajectory=STATES, spikes=XS[:5, 0]),
        ValueError,
        "phase_plane: the trajectory has 20 steps, but spikes has 5",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_is_rejected(case):
    check_rejected(*CASES[case])
