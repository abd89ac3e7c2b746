"""Raster plots and firing rates."""

import math

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from numpy.testing import assert_allclose
from plot_helpers import check_rejected, DT, random_spikes, XS

from geir import plot


def raster_marks(ax):
    """For each neuron, the times of its marks in ms, and their rows."""
    (collection,) = ax.collections
    return [(path.vertices[::2, 0], path.vertices[:, 1].reshape(-1, 2).mean(1)) for path in collection.get_paths()]


def test_a_raster_marks_every_spike_at_its_time_and_neuron(ax):
    zs = random_spikes(200, 30)
    zs[:, 7] = 0
    assert plot.raster(zs, ax, dt=DT) is ax
    marks = raster_marks(ax)
    assert len(marks) == 30
    for k, (times, rows) in enumerate(marks):
        assert_allclose(times, 1e3 * DT * zs[:, k].nonzero().flatten().numpy())
        assert_allclose(rows, k)
    assert ax.get_xlim() == (0, 100)
    assert ax.get_xlabel() == "time (ms)"


def test_the_neurons_of_a_sample_are_flattened(ax):
    zs = random_spikes(50, 4, 2, 3)
    plot.raster(zs, ax, sample=2)
    for k, (times, _) in enumerate(raster_marks(ax)):
        assert_allclose(times, zs[:, 2].flatten(1)[:, k].nonzero().flatten().numpy())


def test_each_neuron_may_have_its_own_color(ax):
    plot.raster(random_spikes(50, 3), ax, color=["red", "blue", "0.5"])
    assert_allclose(ax.collections[0].get_edgecolor(), [matplotlib.colors.to_rgba(c) for c in ("red", "blue", "0.5")])


def test_marks_fill_their_row_but_remain_visible_among_many_neurons():
    for neurons, height in ((10, 0.8), (1000, 8.0)):
        ax = plot.raster(torch.ones(2, neurons), Figure().subplots())
        assert_allclose(np.diff(ax.collections[0].get_paths()[3].vertices[:2, 1]), height)


def test_many_spikes_are_rasterized_in_vector_formats(ax):
    plot.raster(random_spikes(100, 10), ax)
    plot.raster(torch.ones(1000, 100), ax)
    assert [c.get_rasterized() for c in ax.collections] == [False, True]


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.bfloat16, torch.float64])
def test_spikes_may_have_any_dtype(ax, dtype):
    zs = random_spikes(20, 3, rate=0.3)
    plot.raster(zs.to(dtype), ax)
    assert_allclose(raster_marks(ax)[1][0], zs[:, 1].nonzero().flatten().numpy())


def test_a_constant_rate_is_drawn_as_a_constant(ax):
    plot.rate(torch.full((80, 4, 5), 0.04), ax, dt=DT, sigma=7e-3)
    assert_allclose(ax.lines[0].get_ydata(), 0.04 / DT, rtol=1e-6)


def test_the_rate_of_a_single_spike_is_a_gaussian_with_the_area_of_one_spike(ax):
    zs = torch.zeros(400, 10)
    zs[200, 3] = 1
    plot.rate(zs, ax, dt=DT, sigma=5e-3)
    t, hertz = ax.lines[0].get_data()
    # One spike of 10 neurons.
    assert_allclose(hertz, 0.1 * np.exp(-((t - 100) ** 2) / 50) / (5e-3 * math.sqrt(2 * math.pi)), atol=5e-3)
    assert hertz.sum() * DT == pytest.approx(0.1, rel=1e-4)


def test_the_rate_without_smoothing_is_the_mean_of_the_spikes(ax):
    zs = random_spikes(60, 5, 8)
    plot.rate(zs, ax, sigma=0)
    assert_allclose(ax.lines[0].get_ydata(), zs.mean((1, 2)).numpy() / 1e-3, rtol=1e-6)


def test_a_negative_width_is_rejected():
    check_rejected(
        lambda: plot.rate(XS, sigma=-1e-3), ValueError, "rate: sigma must be a number of seconds >= 0, got -0.001"
    )
