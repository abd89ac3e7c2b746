"""Shared by the tests of plots. Importing it selects a backend without windows."""

import matplotlib
import numpy as np
import pytest
import torch
from seeding import seeded

matplotlib.use("agg")

import geir
from geir import plot

DT = 0.5e-3


def random_spikes(*shape, rate=0.1):
    return (torch.rand(shape) < rate).float()


def run_recorded(neuron, xs):
    """Spikes and recorded states."""
    neuron.record_states = True
    with torch.no_grad():
        return neuron(xs)


def lines_at(ax, height):
    """The lines of a plot that are at this height, a number or one number per step."""
    drawn = [(line, line.get_ydata()) for line in ax.lines]
    return [line for line, ys in drawn if np.shape(height) in ((), np.shape(ys)) and np.allclose(ys, height, atol=1e-6)]


def stdp(lag):
    return torch.where(lag > 0, torch.exp(-lag / 17e-3), -0.5 * torch.exp(lag / 34e-3))


# Input of the tests of errors.
BATCH, XS = seeded(lambda: (random_spikes(20, 4, 3), torch.rand(20, 3)))
STATES = seeded(lambda: run_recorded(geir.AdEx(), torch.rand(20, 1))[1])


def check_rejected(call, kind, message):
    """Check that a call raises an error before it creates a figure."""
    from matplotlib import pyplot as plt

    with pytest.raises(kind, match=message):
        call()
    assert not plt.get_fignums()


DRAW_2D = {
    "raster": lambda ax: plot.raster(random_spikes(20, 3), ax),
    "rate": lambda ax: plot.rate(random_spikes(20, 3), ax),
    "traces": lambda ax: plot.traces(STATES, ax, neuron=geir.AdEx()),
    "heatmap_2d": lambda ax: plot.heatmap_2d(torch.rand(20, 3), ax, label="v"),
    "weights": lambda ax: plot.weights(torch.randn(3, 4), ax),
    "phase_plane": lambda ax: plot.phase_plane(geir.AdEx(), ax, trajectory=STATES),
    "f_i_curve": lambda ax: plot.f_i_curve(geir.LIFBox(), ax, duration=0.1, settle=0.0),
    "stdp_window": lambda ax: plot.stdp_window(stdp, ax),
}
DRAW_3D = {
    "heatmap_3d": lambda ax: plot.heatmap_3d(torch.rand(5, 4), ax),
    "scatter_3d": lambda ax: plot.scatter_3d(random_spikes(5, 4, 4), ax),
}
DRAW = DRAW_2D | DRAW_3D
