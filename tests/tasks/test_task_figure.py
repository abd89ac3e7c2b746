"""Figures of training runs: `geir.tasks.figure`."""

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import geir
from geir.tasks import figure


@pytest.fixture
def axes(monkeypatch):
    """The axes of the last figure that is drawn, by title."""
    found = {}

    class Recorded(Figure):
        def savefig(self, *args, **kwargs):
            found.update({axes.get_title("left"): axes for part in self.subfigs for axes in part.axes})
            super().savefig(*args, **kwargs)

    monkeypatch.setattr(figure, "Figure", Recorded)
    return found


def draw(path, xs, *readout):
    model = geir.SequentialState(geir.Lift(nn.Flatten()), geir.Lift(nn.Linear(6, 8)), geir.LIF(), *readout)
    history = [{"loss": 1.0, "test_accuracy": 0.5}]
    figure.draw_run(model, xs, torch.tensor(1), history, path / "figure.png")


@pytest.mark.parametrize("shape", [(20, 1, 6), (20, 1, 6, 1, 1)])
def test_input_without_an_image_is_drawn_as_spikes_or_as_traces(tmp_path, axes, shape):
    spikes = (torch.arange(120) % 7 == 0).float().view(shape)
    draw(tmp_path, spikes, geir.Lift(nn.Linear(8, 3)), geir.LI())
    raster = axes["Input of class 1"]
    assert raster.get_ylabel() == "neuron"
    # One path for each of six channels, with a mark for each of its spikes.
    assert len(raster.collections[0].get_paths()) == 6
    draw(tmp_path, spikes / 2, geir.Lift(nn.Linear(8, 3)), geir.LI())
    assert len(axes["Input of class 1"].lines) == 6


def test_output_is_called_potential_only_if_it_is_one(tmp_path, axes):
    xs = torch.rand(20, 1, 6)
    draw(tmp_path, xs, geir.Lift(nn.Linear(8, 3)), geir.LI())
    assert axes["Output membranes"].get_ylabel() == "potential"
    axes.clear()
    draw(tmp_path, xs, geir.Lift(nn.AvgPool1d(4)))
    assert axes["Output"].get_ylabel() == ""
    assert "Output membranes" not in axes
