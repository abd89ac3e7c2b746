"""Cells: one step instead of a run over time."""

import pytest
import torch
from model_table import NEURONS
from quadratic_neuron import QIF

import geir
from geir import neurons


class QIFCell(geir.CellMixin, QIF): ...


class QIFRecurrentCell(geir.CellMixin, geir.RecurrentMixin, QIF): ...


def strong_gain(layer):
    """A strength of constant input at which a neuron spikes within 60 steps."""
    for gain in (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0):
        zs, _ = layer(gain * torch.rand(60, 2, 4))
        if not layer.spiking or zs.sum() > 5:
            return gain
    raise AssertionError("no input is strong enough for this test to see a spike")


@pytest.mark.parametrize("layer", NEURONS, ids=repr)
def test_a_cell_stepped_through_time_equals_the_layer(layer):
    xs = strong_gain(layer) * torch.rand(60, 2, 4)
    zs, last = layer(xs)
    sizes = (4,) if not layer.elementwise else ()
    cell = getattr(neurons, f"{type(layer).__name__}Cell")(
        *sizes, **({"period": 3e-3} if hasattr(layer, "period") else {})
    )
    cell.load_state_dict(layer.state_dict())
    state = None
    for x, expected in zip(xs, zs, strict=True):
        z, state = cell(x, state)
        torch.testing.assert_close(z, expected)
    torch.testing.assert_close(state, last)


def test_a_user_defined_neuron_has_every_form():
    xs = torch.rand(30, 2, 3) * 20
    zs, state = QIF()(xs)
    assert zs.sum() > 5
    cell, after = QIFCell(), None
    for x, z in zip(xs, zs, strict=True):
        out, after = cell(x, after)
        torch.testing.assert_close(out, z)
    torch.testing.assert_close(after, state)
    assert QIFRecurrentCell(3, 4)(xs[0])[0].shape == (2, 4)
