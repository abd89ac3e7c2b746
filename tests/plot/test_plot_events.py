"""Plots and animations of events."""

import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from plot_helpers import BATCH, check_rejected, DT, random_spikes, XS

from geir import plot


def test_events_are_points_in_space_and_time(ax_3d):
    events = random_spikes(20, 2, 6, 9)
    plot.scatter_3d(events, ax_3d, dt=DT)
    for polarity, points in enumerate(ax_3d.collections):
        t, y, x = events[:, polarity].nonzero().T.numpy()
        for actual, expected in zip(points._offsets3d, (1e3 * DT * t, x, y), strict=True):
            assert_allclose(actual, expected)


@pytest.mark.parametrize("form", ["polarity", "signed", "batch"])
def test_an_animation_shows_the_events_of_every_step(ax, form, tmp_path):
    by_polarity = random_spikes(5, 2, 6, 9)
    signed = by_polarity[:, 1] - by_polarity[:, 0]
    events, keywords = {
        "polarity": (by_polarity, {}),
        "signed": (signed, {}),
        "batch": (torch.stack([torch.zeros_like(by_polarity), by_polarity], 1), {"sample": 1}),
    }[form]
    animation = plot.animate_events(events, ax, dt=DT, fps=20, **keywords)
    shown = []
    animation._func, draw = lambda k: (shown.append(k), draw(k))[1], animation._func
    animation.save(str(tmp_path / "events.gif"), writer="pillow")
    assert set(shown) == set(range(5))
    for k in range(5):
        draw(k)
        assert_array_equal(ax.images[0].get_array(), signed[k].numpy())
        assert ax.get_title() == f"{1e3 * DT * k:.4g} ms"
    assert ax.images[0].get_clim() == (-1, 1)


def removed_axes() -> Axes:
    ax = Figure().subplots()
    ax.remove()
    return ax


CASES = {
    "events without height and width": (
        lambda: plot.scatter_3d(XS),
        ValueError,
        r"scatter_3d expected shape \(time, height, width\) or .* got \(20, 3\); select a sample",
    ),
    "three polarities": (
        lambda: plot.animate_events(torch.rand(5, 3, 4, 4)),
        ValueError,
        r"2 polarities, height, width\), got \(5, 3, 4, 4\)",
    ),
    "0 frames per second": (
        lambda: plot.animate_events(BATCH, fps=0),
        ValueError,
        "animate_events: fps must be a positive number of frames per second, got 0",
    ),
    "axes without a figure": (
        lambda: plot.animate_events(BATCH, removed_axes()),
        ValueError,
        r"animate_events expected axes that are part of a figure; create them with figure.subplots\(\)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_is_rejected(case):
    check_rejected(*CASES[case])
